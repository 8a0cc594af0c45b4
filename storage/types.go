package storage

import (
	"context"
	"database/sql/driver"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"gorm.io/gorm/schema"
)

// Strings is a list of words without spaces (scopes, URIs, grant types), one text column with spaces between them.
type Strings []string

// Value implements driver.Valuer.
func (s Strings) Value() (driver.Value, error) {
	for _, w := range s {
		if w == "" || strings.ContainsAny(w, " \t\r\n") {
			return nil, fmt.Errorf("%q does not fit a list of words", w)
		}
	}
	return strings.Join(s, " "), nil
}

// Scan implements sql.Scanner. NULL reads as nil and the empty text as an empty list.
func (s *Strings) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*s = nil
	case string:
		*s = append(Strings{}, words(v)...)
	case []byte:
		*s = append(Strings{}, words(string(v))...)
	default:
		return fmt.Errorf("cannot read %T as a list of words", v)
	}
	return nil
}

// words are the parts between spaces, and between nothing else: what Unicode calls a space may stand in a word.
func words(s string) []string { return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' }) }

// columnsOf lists the columns of a record, for statements that are written out.
func columnsOf(record any, table string) string {
	sch, err := schema.Parse(record, &sync.Map{}, schema.NamingStrategy{})
	if err != nil {
		panic("parse a record: " + err.Error()) // our own structs always parse
	}
	names := make([]string, 0, len(sch.DBNames))
	for _, name := range sch.DBNames {
		names = append(names, table+"."+name)
	}
	return strings.Join(names, ", ")
}

// Has reports whether word is in the list.
func (s Strings) Has(word string) bool {
	for _, w := range s {
		if w == word {
			return true
		}
	}
	return false
}

// String joins the list with spaces, the form of a scope parameter (RFC 6749 §3.3).
func (s Strings) String() string { return strings.Join(s, " ") }

// millis is the one scanner of instants and durations: time.Time, *time.Time and *time.Duration in Go, BIGINT
// milliseconds in both databases, NULL for what has not happened. Text times with offsets compare wrongly in SQLite,
// and the two engines round timestamps differently.
type millis struct{}

func (millis) Scan(ctx context.Context, field *schema.Field, dst reflect.Value, v any) error {
	if v == nil {
		return field.Set(ctx, dst, reflect.Zero(field.FieldType).Interface())
	}
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("column %s holds %T, not milliseconds", field.DBName, v)
	}
	var out any
	switch field.FieldType {
	case reflect.TypeFor[time.Time]():
		out = fromMillis(n)
	case reflect.TypeFor[*time.Time]():
		t := fromMillis(n)
		out = &t
	case reflect.TypeFor[*time.Duration]():
		d := time.Duration(n) * time.Millisecond
		out = &d
	default:
		return fmt.Errorf("field %s is %s, which is no instant", field.Name, field.FieldType)
	}
	field.ReflectValueOf(ctx, dst).Set(reflect.ValueOf(out))
	return nil
}

func (millis) Value(_ context.Context, field *schema.Field, _ reflect.Value, v any) (any, error) {
	switch v := v.(type) {
	case time.Time:
		return toMillis(v), nil
	case *time.Time:
		if v == nil {
			return nil, nil
		}
		return toMillis(*v), nil
	case *time.Duration:
		if v == nil {
			return nil, nil
		}
		return v.Milliseconds(), nil
	}
	return nil, fmt.Errorf("field %s is %T, which is no instant", field.Name, v)
}

// instant and moment read an instant, and one that may not have happened, from a row by hand.
type (
	instant struct{ *time.Time }
	moment  struct{ at **time.Time }
)

// Scan implements sql.Scanner.
func (i instant) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("%T is not milliseconds", v)
	}
	*i.Time = fromMillis(n)
	return nil
}

// Scan implements sql.Scanner.
func (m moment) Scan(v any) error {
	if v == nil {
		*m.at = nil
		return nil
	}
	*m.at = new(time.Time)
	return instant{*m.at}.Scan(v)
}

func toMillis(t time.Time) int64 { return t.UnixMilli() }

func fromMillis(n int64) time.Time { return time.UnixMilli(n).UTC() }
