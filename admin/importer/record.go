package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"
)

// recordError is returned for a record that cannot be imported, although those that follow it can be read.
type recordError struct{ error }

// Unwrap returns the reason.
func (e *recordError) Unwrap() error { return e.error }

func recordErrorf(format string, args ...any) error { return &recordError{fmt.Errorf(format, args...)} }

// typeError returns a *recordError when a decoder has reported a value of the wrong JSON type, and nil for any other
// error. The decoder has read the record completely then, and can continue.
func typeError(err error) error {
	e := (*json.UnmarshalTypeError)(nil)
	if !errors.As(err, &e) {
		return nil
	}
	name := strings.TrimPrefix(e.Field, "Profile.") // embedded
	if name == "" {
		name = "the value"
	}
	return recordErrorf("%s is %s, not %s", name, valueName(e.Value), typeName(e.Type))
}

// valueName returns a value of JSON as package json describes it, with its article.
func valueName(value string) string {
	switch {
	case value == "bool":
		return "true or false"
	case value == "array", value == "object":
		return "an " + value
	case strings.HasPrefix(value, "number "):
		return "the " + value
	}
	return "a " + value
}

// typeName returns the type of JSON that a type of Go is decoded from.
func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number that is in range"
	case reflect.Float64:
		return "a number that is in range"
	}
	return "a string"
}

// records is an array of a file that is decoded as one value. An element of the wrong type does not end it.
type records[T any] struct {
	valid   []T
	invalid []invalidRecord[T]
}

// invalidRecord is an element that cannot be imported.
type invalidRecord[T any] struct {
	number int // from 1
	value  T   // what could be decoded
	err    error
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *records[T]) UnmarshalJSON(b []byte) error {
	var all []json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	for i, raw := range all {
		var v T
		err := json.Unmarshal(raw, &v)
		invalid := typeError(err)
		switch {
		case err == nil:
			r.valid = append(r.valid, v)
		case invalid != nil:
			r.invalid = append(r.invalid, invalidRecord[T]{i + 1, v, invalid})
		default:
			return err
		}
	}
	return nil
}

// maxExternalID is the length of the longest id of a user that is stored, which an index of a database can have.
const maxExternalID = 500 // bytes

// checkID returns an error for the id of a user in the other system that cannot be stored.
func checkID(id string) error {
	switch {
	case len(id) > maxExternalID:
		return recordErrorf("the id has more than %d bytes", maxExternalID)
	case !utf8.ValidString(id):
		return recordErrorf("the id is not valid UTF-8")
	case strings.ContainsFunc(id, unicode.IsControl):
		return recordErrorf("the id has a control character")
	}
	return nil
}
