package identity

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gatehouse/display"
	"gatehouse/storage"
)

// Bounds of the values of attributes.
const (
	maxAttributeString = 500     // characters of a string
	maxAttributeItem   = 200     // characters of an item of a list
	maxAttributeItems  = 50      // items of a list
	maxAttributeBytes  = 2 << 10 // of the JSON of a value
	maxAttributeInt    = 1<<53 - 1
)

// AttributeError is an InputError about the value of an attribute.
type AttributeError struct {
	Attribute string // its name
	Err       *InputError
}

// Error implements error.
func (e *AttributeError) Error() string { return e.Err.Message }

// Unwrap returns the InputError.
func (e *AttributeError) Unwrap() error { return e.Err }

// AttributeLabel returns what users see as the name of an attribute.
func AttributeLabel(a storage.Attribute) string { return display.NameOr(a.Label, a.Name) }

// EncodeAttribute returns the JSON of a value that a user or operator entered: the items of a list, or a single value
// of any other type. It returns "" for an empty value, and an *AttributeError for one that is not of the type or too
// long.
func EncodeAttribute(a storage.Attribute, entered []string) (string, error) {
	refuse := func(problem string) (string, error) {
		return "", &AttributeError{a.Name, &InputError{AttributeLabel(a) + " " + problem}}
	}
	var values []string
	for _, text := range entered {
		if text = strings.TrimSpace(text); text == "" || slices.Contains(values, text) {
			continue
		}
		if values = append(values, text); len(values) > maxAttributeItems { // each is compared with all others
			return refuse(fmt.Sprintf("must have at most %d items", maxAttributeItems))
		}
	}
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 && a.Type != storage.AttributeStrings {
		return refuse("must have only one value")
	}
	value, problem := attributeValue(a.Type, values)
	if problem != "" {
		return refuse(problem)
	}
	b, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	if len(b) > maxAttributeBytes {
		return refuse("is too long")
	}
	return string(b), nil
}

// attributeValue returns the typed value of what was entered, or the problem with it.
func attributeValue(attributeType string, values []string) (value any, problem string) {
	switch attributeType {
	case storage.AttributeString:
		return values[0], stringProblem(values[0], maxAttributeString)
	case storage.AttributeBoolean:
		v, err := strconv.ParseBool(values[0])
		if err != nil {
			return nil, "must be true or false"
		}
		return v, ""
	case storage.AttributeNumber:
		v, err := strconv.ParseFloat(values[0], 64)
		if err != nil || !json.Valid([]byte(values[0])) {
			return nil, "must be a number like 7 or -1.5"
		}
		// Every JSON parser reads integers up to this magnitude exactly (RFC 8259 §6).
		if math.Abs(v) > maxAttributeInt {
			return nil, "must be between -9007199254740991 and 9007199254740991"
		}
		return v, ""
	default:
		for _, text := range values {
			if problem := stringProblem(text, maxAttributeItem); problem != "" {
				return nil, problem
			}
		}
		return values, ""
	}
}

// stringProblem returns what is wrong with a string, or "".
func stringProblem(text string, limit int) string {
	if utf8.RuneCountInString(text) > limit {
		return "is longer than " + strconv.Itoa(limit) + " characters"
	}
	if err := display.CheckName(text); err != nil {
		return err.Error()
	}
	return ""
}

// encodeAttributes returns the JSON of what was entered for each attribute. It returns an *InputError for an unknown
// attribute or one that is a constant or a template.
func (u *Users) encodeAttributes(ctx context.Context, entered map[string][]string) (map[string]string, error) {
	if len(entered) == 0 {
		return nil, nil
	}
	attributes, err := u.store.Attributes(ctx)
	if err != nil {
		return nil, err
	}
	values := make(map[string]string, len(entered))
	for name, list := range entered {
		a, ok := attributes[name]
		if !ok {
			return nil, &InputError{"there is no attribute " + name + "; see `gatehouse attribute list`"}
		}
		if !a.HasUserValues() {
			return nil, &InputError{"the attribute " + name + " is a constant or template: it has no separate value for a user"}
		}
		if values[name], err = EncodeAttribute(a, list); err != nil {
			return nil, err
		}
	}
	return values, nil
}
