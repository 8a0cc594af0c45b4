package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"gorm.io/gorm/schema"
)

// Strings is a list of values without spaces (scopes, URIs, grant types), one text column with spaces between them.
type Strings []string

// Value implements driver.Valuer.
func (s Strings) Value() (driver.Value, error) {
	for _, v := range s {
		if v == "" || strings.ContainsAny(v, " \t\r\n") {
			return nil, fmt.Errorf("%q is not a value without spaces", v)
		}
	}
	return strings.Join(s, " "), nil
}

// Scan implements sql.Scanner. NULL reads as nil and the empty string as an empty list.
func (s *Strings) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*s = nil
	case string:
		*s = append(Strings{}, splitSpaces(v)...)
	case []byte:
		*s = append(Strings{}, splitSpaces(string(v))...)
	default:
		return fmt.Errorf("cannot read %T as a list of values", v)
	}
	return nil
}

// splitSpaces splits at spaces only: a value may contain other characters that Unicode classifies as spaces.
func splitSpaces(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' })
}

// Has reports whether value is in the list.
func (s Strings) Has(value string) bool {
	for _, v := range s {
		if v == value {
			return true
		}
	}
	return false
}

// String joins the list with spaces, the form of a scope parameter (RFC 6749 §3.3).
func (s Strings) String() string { return strings.Join(s, " ") }

// millis is the serializer of times and durations: time.Time, *time.Time and *time.Duration in Go, BIGINT milliseconds
// in both databases, NULL for what has not happened. Textual times with offsets compare wrongly in SQLite, and the two
// engines round timestamps differently.
type millis struct{}

func (millis) Scan(ctx context.Context, field *schema.Field, dst reflect.Value, v any) error {
	if v == nil {
		return field.Set(ctx, dst, reflect.Zero(field.FieldType).Interface())
	}
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("column %s has a %T, not milliseconds", field.DBName, v)
	}
	var out any
	switch field.FieldType {
	case reflect.TypeFor[time.Time]():
		out = FromMillis(n)
	case reflect.TypeFor[*time.Time]():
		t := FromMillis(n)
		out = &t
	case reflect.TypeFor[*time.Duration]():
		d := time.Duration(n) * time.Millisecond
		out = &d
	default:
		return fmt.Errorf("field %s is %s, which is no time", field.Name, field.FieldType)
	}
	field.ReflectValueOf(ctx, dst).Set(reflect.ValueOf(out))
	return nil
}

func (millis) Value(_ context.Context, field *schema.Field, _ reflect.Value, v any) (any, error) {
	switch v := v.(type) {
	case time.Time:
		return Millis(v), nil
	case *time.Time:
		if v == nil {
			return nil, nil
		}
		return Millis(*v), nil
	case *time.Duration:
		if v == nil {
			return nil, nil
		}
		return v.Milliseconds(), nil
	}
	return nil, fmt.Errorf("field %s is %T, which is no time", field.Name, v)
}

// timeScanner and nullTimeScanner scan a time, and a time that may be NULL, from a column.
type (
	timeScanner     struct{ at *time.Time }
	nullTimeScanner struct{ at **time.Time }
)

// scanTime returns a scan target that stores a column of milliseconds in at.
func scanTime(at *time.Time) sql.Scanner { return timeScanner{at} }

// ScanNullTime does the same as scanTime for a column that may be NULL, which is stored as nil.
func ScanNullTime(at **time.Time) sql.Scanner { return nullTimeScanner{at} }

// Scan implements sql.Scanner.
func (t timeScanner) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("%T is not milliseconds", v)
	}
	*t.at = FromMillis(n)
	return nil
}

// Scan implements sql.Scanner.
func (s nullTimeScanner) Scan(v any) error {
	if v == nil {
		*s.at = nil
		return nil
	}
	*s.at = new(time.Time)
	return timeScanner{*s.at}.Scan(v)
}

// nullDurationScanner scans a duration that may be NULL from a column of milliseconds.
type nullDurationScanner struct{ at **time.Duration }

// Scan implements sql.Scanner.
func (s nullDurationScanner) Scan(v any) error {
	*s.at = nil
	if v == nil {
		return nil
	}
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("%T is not milliseconds", v)
	}
	duration := time.Duration(n) * time.Millisecond
	*s.at = &duration
	return nil
}

// jsonScanner scans a column of JSON into what to points at.
type jsonScanner struct{ to any }

// Scan implements sql.Scanner.
func (j jsonScanner) Scan(v any) error {
	switch v := v.(type) {
	case string:
		return json.Unmarshal([]byte(v), j.to)
	case []byte:
		return json.Unmarshal(v, j.to)
	}
	return fmt.Errorf("%T is not JSON", v)
}

// jsonValue is a value that is stored as JSON.
type jsonValue struct{ v any }

// Value implements driver.Valuer.
func (j jsonValue) Value() (driver.Value, error) {
	b, err := json.Marshal(j.v)
	return string(b), err
}

// Millis returns the Unix milliseconds in which a time is stored.
func Millis(t time.Time) int64 { return t.UnixMilli() }

// NullMillis returns the stored form of a time that may be missing.
func NullMillis(t *time.Time) any {
	if t == nil {
		return nil
	}
	return Millis(*t)
}

// FromMillis returns the time of stored milliseconds.
func FromMillis(n int64) time.Time { return time.UnixMilli(n).UTC() }
