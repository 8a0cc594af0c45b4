package message

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"

	"golang.org/x/text/feature/plural"
)

// forms are the names of the plural forms (CLDR).
var forms = map[string]plural.Form{
	"zero": plural.Zero, "one": plural.One, "two": plural.Two, "few": plural.Few, "many": plural.Many,
	"other": plural.Other,
}

// parse reads a file of messages: an object whose members are texts, or objects with a text for each plural form.
func parse(name string, content []byte) (map[string]entry, error) {
	d := json.NewDecoder(bytes.NewReader(content))
	line := func() int { return 1 + bytes.Count(content[:min(int(d.InputOffset()), len(content))], []byte("\n")) }
	fail := func(err error) (map[string]entry, error) {
		at := line()
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			at = 1 + bytes.Count(content[:min(int(syntax.Offset), len(content))], []byte("\n"))
		}
		return nil, fmt.Errorf("%s:%d: %w", name, at, err)
	}
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return fail(errors.Join(errors.New("the file must be a JSON object with messages"), err))
	}
	messages := map[string]entry{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return fail(err)
		}
		key, _ := token.(string)
		if _, ok := messages[key]; ok {
			return fail(fmt.Errorf("the message %s is in the file twice", key))
		}
		var value any
		at := line()
		if err := d.Decode(&value); err != nil {
			return fail(err)
		}
		e, err := newEntry(value)
		if err != nil {
			return fail(fmt.Errorf("%s: %w", key, err))
		}
		e.line = at
		messages[key] = e
	}
	if _, err := d.Token(); err != nil {
		return fail(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fail(errors.New("there is something after the object with the messages"))
	}
	return messages, nil
}

func newEntry(value any) (entry, error) {
	switch v := value.(type) {
	case string:
		return entry{text: v}, nil
	case map[string]any:
		e := entry{forms: map[plural.Form]string{}}
		for name, text := range v {
			form, ok := forms[name]
			s, isText := text.(string)
			if !ok || !isText {
				return entry{}, fmt.Errorf("%s is not a plural form with a text: use zero, one, two, few, many, other", name)
			}
			e.forms[form] = s
		}
		if e.forms[plural.Other] == "" {
			return entry{}, errors.New("the plural form other is missing")
		}
		return e, nil
	}
	return entry{}, errors.New("a message must be a text, or an object with plural forms")
}

// checkEntries returns an error for a message that is not among the known ones, or with other placeholders.
func checkEntries(name string, messages, known map[string]entry) error {
	for key, e := range messages {
		k, ok := known[key]
		if !ok {
			return fmt.Errorf("%s:%d: there is no message %q", name, e.line, key)
		}
		if e.forms != nil && k.forms == nil {
			return fmt.Errorf("%s:%d: %s has no plural forms", name, e.line, key)
		}
		want := k.placeholders()[0]
		for _, got := range e.placeholders() {
			if !slices.Equal(got, want) {
				return fmt.Errorf("%s:%d: %s has the placeholders %v, want %v", name, e.line, key, got, want)
			}
		}
	}
	return nil
}

var placeholderPattern = regexp.MustCompile(`%(?:\[(\d+)\])?([a-zA-Z%])`)

// placeholders returns the placeholders of each text, in the order of the values that they stand for. The plural form
// other has the number; the others may omit it.
func (e entry) placeholders() [][]string {
	if e.forms == nil {
		return [][]string{placeholdersOf(e.text)}
	}
	all := [][]string{placeholdersOf(e.forms[plural.Other])}
	for form, text := range e.forms {
		if form == plural.Other || !placeholderPattern.MatchString(text) {
			continue
		}
		all = append(all, placeholdersOf(text))
	}
	return all
}

func placeholdersOf(text string) []string {
	found := []string{}
	next := 1
	for _, m := range placeholderPattern.FindAllStringSubmatch(text, -1) {
		if m[2] == "%" {
			continue
		}
		if m[1] != "" {
			next, _ = strconv.Atoi(m[1])
		}
		found = append(found, strconv.Itoa(next)+m[2])
		next++
	}
	slices.Sort(found)
	return slices.Compact(found)
}
