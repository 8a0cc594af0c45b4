package db

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"gorm.io/gorm/schema"
)

// Record is a mapping of the fields of T to the columns of a table, for complete statements. Every list of columns,
// values and scan targets comes from it, so that a new field is in all of them.
type Record[T any] struct {
	table     string
	names     []string
	columns   string // names, separated by commas
	qualified string // the same, each with the table
	fields    []recordField
}

// recordField is the field of a column.
type recordField struct {
	index []int // as of reflect.Value.FieldByIndex
	json  bool  // stored as JSON
	columnType
}

// columnType is the type of a column: its name in PostgreSQL, and the type of the Go values that it is stored as.
type columnType struct {
	postgres string
	value    reflect.Type
}

// NewRecord returns the mapping of T. It panics when a field has a type that is not supported.
func NewRecord[T any](table string) *Record[T] {
	registerMillis()
	// With the name of the table, gorm does not search for the plural of T, which makes each start of a process slower.
	sch, err := schema.ParseWithSpecialTableName(new(T), &sync.Map{}, schema.NamingStrategy{}, table)
	if err != nil {
		panic("parse a record: " + err.Error()) // the structs of Gatehouse always parse
	}
	r := &Record[T]{table: table}
	for _, name := range sch.DBNames {
		field := sch.FieldsByDBName[name]
		_, isJSON := field.Serializer.(schema.JSONSerializer)
		r.names = append(r.names, name)
		r.fields = append(r.fields, recordField{field.StructField.Index, isJSON, columnTypeOf(field, isJSON)})
	}
	r.join()
	return r
}

// join sets the lists of names.
func (r *Record[T]) join() {
	r.columns = strings.Join(r.names, ", ")
	r.qualified = r.table + "." + strings.Join(r.names, ", "+r.table+".")
}

// Without returns the mapping without some columns. It panics when one of them does not exist.
func (r *Record[T]) Without(names ...string) *Record[T] {
	out := &Record[T]{table: r.table}
	for i, name := range r.names {
		if !slices.Contains(names, name) {
			out.names, out.fields = append(out.names, name), append(out.fields, r.fields[i])
		}
	}
	if len(out.names)+len(names) != len(r.names) {
		panic(fmt.Sprintf("%s has not all of the columns %v", r.table, names))
	}
	out.join()
	return out
}

func columnTypeOf(field *schema.Field, isJSON bool) columnType {
	text, bigint := reflect.TypeFor[string](), reflect.TypeFor[int64]()
	if isJSON {
		return columnType{"text", text}
	}
	switch t := field.FieldType; t {
	case text, reflect.TypeFor[*string](), reflect.TypeFor[Strings](), reflect.TypeFor[*Strings]():
		return columnType{"text", t}
	case bigint, reflect.TypeFor[time.Time]():
		return columnType{"bigint", bigint}
	case reflect.TypeFor[*int64](), reflect.TypeFor[*time.Time](), reflect.TypeFor[*time.Duration]():
		return columnType{"bigint", reflect.TypeFor[*int64]()}
	case reflect.TypeFor[bool](), reflect.TypeFor[*bool]():
		return columnType{"boolean", t}
	case reflect.TypeFor[[]byte]():
		return columnType{"bytea", t}
	default:
		panic(fmt.Sprintf("column %s has the unsupported type %s", field.DBName, t))
	}
}

// Columns returns the names of the columns, separated by commas.
func (r *Record[T]) Columns() string { return r.columns }

// QualifiedColumns returns Columns, each with the name of the table.
func (r *Record[T]) QualifiedColumns() string { return r.qualified }

// Targets returns the scan targets of Columns in v.
func (r *Record[T]) Targets(v *T) []any {
	out := make([]any, len(r.fields))
	record := reflect.ValueOf(v).Elem()
	for i, f := range r.fields {
		p := record.FieldByIndex(f.index).Addr().Interface()
		switch p := p.(type) {
		case *time.Time:
			out[i] = scanTime(p)
		case **time.Time:
			out[i] = ScanNullTime(p)
		case **time.Duration:
			out[i] = nullDurationScanner{p}
		default:
			out[i] = p
		}
		if f.json {
			out[i] = jsonScanner{p}
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
	f := r.fields[column]
	field := reflect.ValueOf(v).Elem().FieldByIndex(f.index).Interface()
	if f.json {
		return jsonValue{field}
	}
	switch value := field.(type) {
	case time.Time:
		return Millis(value)
	case *time.Time:
		if value == nil {
			return (*int64)(nil)
		}
		millis := Millis(*value)
		return &millis
	case *time.Duration:
		if value == nil {
			return (*int64)(nil)
		}
		millis := value.Milliseconds()
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
			expressions[i] = "?::" + r.fields[i].postgres
		}
	}
	return "INSERT INTO " + r.table + " (" + r.Columns() + ") SELECT " + strings.Join(expressions, ", ") + " FROM " +
		relation
}

// InsertIf adds a record if a relation of one row at most, with its condition, has that row. It returns ErrNotFound
// when the relation has none.
func (r *Record[T]) InsertIf(ctx context.Context, c Conn, v *T, relation string, args ...any) error {
	query := r.InsertFrom(relation, nil)
	if c.gorm.Name() != Postgres { // without types
		query = "INSERT INTO " + r.table + " (" + r.columns + ") SELECT ?" + strings.Repeat(", ?", len(r.names)-1) +
			" FROM " + relation
	}
	return c.translateError(ExecOne(ctx, c, query, append(r.Values(v, nil), args...)...))
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

// insertRows is how many records one statement of InsertAll adds on SQLite, which limits the number of values.
const insertRows = 100

// InsertAll adds the records, or returns ErrConflict.
func (r *Record[T]) InsertAll(ctx context.Context, c Conn, records []T) error {
	if len(records) == 0 {
		return nil
	}
	if c.gorm.Name() == Postgres {
		query, arrays := r.unnest(records)
		return c.translateError(Exec(ctx, c, query, arrays...))
	}
	row := "(?" + strings.Repeat(", ?", len(r.names)-1) + ")"
	for chunk := range slices.Chunk(records, insertRows) {
		values := make([]any, 0, len(chunk)*len(r.names))
		for i := range chunk {
			values = append(values, r.Values(&chunk[i], nil)...)
		}
		query := "INSERT INTO " + r.table + " (" + r.columns + ") VALUES " + row + strings.Repeat(", "+row, len(chunk)-1)
		if err := Exec(ctx, c, query, values...); err != nil {
			return c.translateError(err)
		}
	}
	return nil
}

// InsertMissing adds the records whose key does not exist yet. On PostgreSQL the statement is the same for any number
// of records, so that it is prepared once.
func (r *Record[T]) InsertMissing(ctx context.Context, c Conn, records []T) error {
	if c.gorm.Name() != Postgres {
		return InsertMissing(ctx, c, records)
	}
	query, arrays := r.unnest(records)
	return Exec(ctx, c, query+" ON CONFLICT DO NOTHING", arrays...)
}

// unnest returns the statement for PostgreSQL that adds records, with an array for each column.
func (r *Record[T]) unnest(records []T) (query string, arrays []any) {
	columns := make([]string, len(r.names))
	arrays = make([]any, len(r.names))
	for i, t := range r.fields {
		array := reflect.MakeSlice(reflect.SliceOf(t.value), len(records), len(records))
		for j := range records {
			value := r.value(&records[j], i)
			if v, ok := value.(jsonValue); ok {
				text, _ := v.Value() // the records of Gatehouse can always be encoded
				value = text
			}
			array.Index(j).Set(reflect.ValueOf(value))
		}
		arrays[i], columns[i] = array.Interface(), "?::"+t.postgres+"[]"
	}
	query = "INSERT INTO " + r.table + " (" + r.Columns() + ") SELECT * FROM unnest(" + strings.Join(columns, ", ") + ")"
	return query, arrays
}
