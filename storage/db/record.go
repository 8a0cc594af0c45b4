package db

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"gorm.io/gorm/schema"
)

// Record is a mapping of the fields of T to the columns of a table, for complete statements. Every list of columns,
// values and scan targets comes from it, so that a new field is in all of them.
type Record[T any] struct {
	table  string
	names  []string
	fields [][]int // the index of each field, as of reflect.Value.FieldByIndex
	types  []columnType
}

// columnType is the type of a column: its name in PostgreSQL, and the type of the Go values that it is stored as.
type columnType struct {
	postgres string
	value    reflect.Type
}

// NewRecord returns the mapping of T. It panics when a field has a type that is not supported.
func NewRecord[T any](table string) *Record[T] {
	registerMillis()
	sch, err := schema.Parse(new(T), &sync.Map{}, schema.NamingStrategy{})
	if err != nil {
		panic("parse a record: " + err.Error()) // our own structs always parse
	}
	r := &Record[T]{table: table}
	for _, name := range sch.DBNames {
		field := sch.FieldsByDBName[name]
		r.names = append(r.names, name)
		r.fields = append(r.fields, reflect.TypeFor[T]().FieldByIndex(field.StructField.Index).Index)
		r.types = append(r.types, columnTypeOf(field))
	}
	return r
}

func columnTypeOf(field *schema.Field) columnType {
	text, bigint := reflect.TypeFor[string](), reflect.TypeFor[int64]()
	switch t := field.FieldType; t {
	case text:
		return columnType{"text", text}
	case bigint, reflect.TypeFor[time.Time]():
		return columnType{"bigint", bigint}
	case reflect.TypeFor[*int64](), reflect.TypeFor[*time.Time]():
		return columnType{"bigint", reflect.TypeFor[*int64]()}
	case reflect.TypeFor[[]byte]():
		return columnType{"bytea", t}
	default:
		panic(fmt.Sprintf("column %s has the unsupported type %s", field.DBName, t))
	}
}

// Columns returns the names of the columns, separated by commas.
func (r *Record[T]) Columns() string { return strings.Join(r.names, ", ") }

// Names returns the names of the columns.
func (r *Record[T]) Names() []string { return r.names }

// Targets returns the scan targets of Columns in v.
func (r *Record[T]) Targets(v *T) []any {
	out := make([]any, len(r.fields))
	for i, index := range r.fields {
		switch p := reflect.ValueOf(v).Elem().FieldByIndex(index).Addr().Interface().(type) {
		case *time.Time:
			out[i] = ScanTime(p)
		case **time.Time:
			out[i] = ScanNullTime(p)
		default:
			out[i] = p
		}
	}
	return out
}

// Values returns the stored values of Columns in v, without the named columns.
func (r *Record[T]) Values(v *T, without map[string]string) []any {
	out := make([]any, 0, len(r.fields))
	for i := range r.fields {
		if _, ok := without[r.names[i]]; !ok {
			out = append(out, r.value(v, i))
		}
	}
	return out
}

func (r *Record[T]) value(v *T, column int) any {
	switch value := reflect.ValueOf(v).Elem().FieldByIndex(r.fields[column]).Interface().(type) {
	case time.Time:
		return Millis(value)
	case *time.Time:
		if value == nil {
			return (*int64)(nil)
		}
		millis := Millis(*value)
		return &millis
	default:
		return value
	}
}

// InsertFrom returns a statement for PostgreSQL that adds one record for each row of a relation. The columns in from
// have an expression on that relation; the others have placeholders for Values without them.
func (r *Record[T]) InsertFrom(relation string, from map[string]string) string {
	expressions := make([]string, len(r.names))
	for i, name := range r.names {
		if expressions[i] = from[name]; expressions[i] == "" {
			expressions[i] = "?::" + r.types[i].postgres
		}
	}
	return "INSERT INTO " + r.table + " (" + r.Columns() + ") SELECT " + strings.Join(expressions, ", ") + " FROM " + relation
}

// Query calls fn with each record of the table that matches a condition, which begins with WHERE.
func (r *Record[T]) Query(ctx context.Context, c Conn, fn func(*T) error, where string, args ...any) error {
	return r.QueryColumns(ctx, c, fn, "SELECT "+r.Columns()+" FROM "+r.table+" "+where, args...)
}

// QueryColumns calls fn with each record that a statement returns as Columns.
func (r *Record[T]) QueryColumns(ctx context.Context, c Conn, fn func(*T) error, query string, args ...any) error {
	return Query(ctx, c, func(scan func(dest ...any) error) error {
		var v T
		if err := scan(r.Targets(&v)...); err != nil {
			return err
		}
		return fn(&v)
	}, query, args...)
}

// InsertMissing adds the records whose key does not exist yet. On PostgreSQL the statement is the same for any number
// of records, so that it is prepared once.
func (r *Record[T]) InsertMissing(ctx context.Context, c Conn, records []T) error {
	if c.gorm.Name() != Postgres {
		return InsertMissing(ctx, c, records)
	}
	arrays, columns := make([]any, len(r.names)), make([]string, len(r.names))
	for i, t := range r.types {
		array := reflect.MakeSlice(reflect.SliceOf(t.value), len(records), len(records))
		for j := range records {
			array.Index(j).Set(reflect.ValueOf(r.value(&records[j], i)))
		}
		arrays[i], columns[i] = array.Interface(), "?::"+t.postgres+"[]"
	}
	query := "INSERT INTO " + r.table + " (" + r.Columns() + ") SELECT * FROM unnest(" + strings.Join(columns, ", ") + ") ON CONFLICT DO NOTHING"
	return Exec(ctx, c, query, arrays...)
}
