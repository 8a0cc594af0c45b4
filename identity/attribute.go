package identity

import (
	"context"
	"encoding/json"
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
	maxAttributeText  = 500     // characters of a string
	maxAttributeItem  = 200     // characters of an item of a list
	maxAttributeItems = 50      // items of a list
	maxAttributeBytes = 2 << 10 // of the JSON of a value
	maxAttributeInt   = 1<<53 - 1
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

// EncodeAttribute returns the JSON of a value that a user or operator entered: the items of a list, or one text for any
// other type. It returns "" for an empty value, and an *AttributeError for one that is not of the type or too long.
func EncodeAttribute(a storage.Attribute, entered []string) (string, error) {
	texts := make([]string, 0, len(entered))
	for _, text := range entered {
		if text = strings.TrimSpace(text); text != "" && !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	if len(texts) == 0 {
		return "", nil
	}
	refuse := func(problem string) (string, error) {
		return "", &AttributeError{a.Name, &InputError{AttributeLabel(a) + " " + problem}}
	}
	if len(texts) > 1 && a.Type != storage.AttributeStrings {
		return refuse("has only one value")
	}
	value, problem := attributeValue(a.Type, texts)
	if problem != "" {
		return refuse(problem)
	}
	b, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	if len(b) > maxAttributeBytes {
		return refuse("is longer than 2 KiB")
	}
	return string(b), nil
}

// attributeValue returns the value of one or more texts, or what is wrong with them.
func attributeValue(attributeType string, texts []string) (value any, problem string) {
	switch attributeType {
	case storage.AttributeString:
		return texts[0], textProblem(texts[0], maxAttributeText)
	case storage.AttributeBoolean:
		v, err := strconv.ParseBool(texts[0])
		if err != nil {
			return nil, "must be true or false"
		}
		return v, ""
	case storage.AttributeNumber:
		v, err := strconv.ParseFloat(texts[0], 64)
		if err != nil || !json.Valid([]byte(texts[0])) {
			return nil, "must be a number like 7 or -1.5"
		}
		// The largest number that every parser of JSON reads exactly (RFC 8259 §6).
		if math.Abs(v) > maxAttributeInt {
			return nil, "must not be larger than 9007199254740991"
		}
		return v, ""
	default:
		if len(texts) > maxAttributeItems {
			return nil, "has at most 50 items"
		}
		for _, text := range texts {
			if problem := textProblem(text, maxAttributeItem); problem != "" {
				return nil, problem
			}
		}
		return texts, ""
	}
}

// textProblem returns what is wrong with a string, or "".
func textProblem(text string, limit int) string {
	if utf8.RuneCountInString(text) > limit {
		return "is longer than " + strconv.Itoa(limit) + " characters"
	}
	if err := display.CheckName(text); err != nil {
		return err.Error()
	}
	return ""
}

// encodeAttributes returns the JSON of what was entered for each attribute. It returns an *InputError for an unknown
// attribute or one that is a constant.
func (u *Users) encodeAttributes(ctx context.Context, entered map[string][]string) (map[string]string, error) {
	if len(entered) == 0 {
		return nil, nil
	}
	attributes, err := u.store.Attributes(ctx)
	if err != nil {
		return nil, err
	}
	values := make(map[string]string, len(entered))
	for name, texts := range entered {
		a, ok := attributes[name]
		if !ok {
			return nil, &InputError{"there is no attribute " + name}
		}
		if a.Constant != "" {
			return nil, &InputError{"the attribute " + name + " is a constant: it has the same value for every user"}
		}
		if values[name], err = EncodeAttribute(a, texts); err != nil {
			return nil, err
		}
	}
	return values, nil
}
