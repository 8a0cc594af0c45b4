package message

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/text/feature/plural"

	"gatehouse/display"
)

// forms are the names of the plural forms (CLDR).
var forms = map[string]plural.Form{
	"zero": plural.Zero, "one": plural.One, "two": plural.Two, "few": plural.Few, "many": plural.Many,
	"other": plural.Other,
}

// parse reads a file of messages: an object whose members are texts, or objects with a text for each plural form. With
// an error it returns the valid messages before it; the error has every message that is not valid.
func parse(name string, content []byte) (map[string]entry, error) {
	d := json.NewDecoder(bytes.NewReader(content))
	messages := map[string]entry{}
	var invalid []error // messages; those after them are checked too
	line := func() int { return 1 + bytes.Count(content[:min(int(d.InputOffset()), len(content))], []byte("\n")) }
	fail := func(err error) (map[string]entry, error) {
		at := line()
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			at = 1 + bytes.Count(content[:min(int(syntax.Offset), len(content))], []byte("\n"))
		}
		return messages, errors.Join(append(invalid, fmt.Errorf("%s:%d: %w", name, at, err))...)
	}
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return fail(errors.Join(errors.New("the file must be a JSON object with messages"), err))
	}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return fail(err)
		}
		key, _ := token.(string)
		var value any
		at := line()
		if err := d.Decode(&value); err != nil {
			return fail(err)
		}
		e, err := newEntry(value)
		if _, ok := messages[key]; ok {
			err = fmt.Errorf("the message %s is in the file twice", key)
		} else if err != nil {
			err = fmt.Errorf("%s: %w", key, err)
		}
		if err != nil {
			invalid = append(invalid, fmt.Errorf("%s:%d: %w", name, at, err))
			continue
		}
		e.line, e.values = at, len(e.placeholders()[0])
		messages[key] = e
	}
	if _, err := d.Token(); err != nil {
		return fail(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fail(errors.New("there is something after the object with the messages"))
	}
	return messages, errors.Join(invalid...)
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

// checkEntries returns an error for every message that is not among the known ones, or has other placeholders.
func checkEntries(name string, messages, known map[string]entry) error {
	keys := slices.Collect(maps.Keys(messages))
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(cmp.Compare(messages[a].line, messages[b].line), cmp.Compare(a, b))
	})
	var errs []error
	for _, key := range keys {
		if problem := messages[key].problem(key, known); problem != "" {
			errs = append(errs, fmt.Errorf("%s:%d: %s", name, messages[key].line, problem))
		}
	}
	return errors.Join(errs...)
}

// problem returns why a message is not valid, or "".
func (e entry) problem(key string, known map[string]entry) string {
	k, ok := known[key]
	if !ok {
		return fmt.Sprintf("there is no message %q", key) +
			display.DidYouMean(key, slices.Sorted(maps.Keys(known)))
	}
	if e.forms != nil && k.forms == nil {
		return key + " has no plural forms"
	}
	want := k.placeholders()[0]
	for _, got := range e.placeholders() {
		if !slices.Equal(got, want) {
			return fmt.Sprintf("%s has %s, want %s", key, placeholderNames(got), placeholderNames(want))
		}
	}
	return ""
}

// placeholderNames returns placeholders as a file has them: %s for the first, and %[2]s for others.
func placeholderNames(placeholders []string) string {
	switch len(placeholders) {
	case 0:
		return "no placeholder"
	case 1:
		if verb, ok := strings.CutPrefix(placeholders[0], "1"); ok && len(verb) == 1 {
			return "the placeholder %" + verb
		}
		return "the placeholder " + placeholderName(placeholders[0])
	}
	names := make([]string, len(placeholders))
	for i, p := range placeholders {
		names[i] = placeholderName(p)
	}
	return "the placeholders " + strings.Join(names, " and ")
}

func placeholderName(placeholder string) string {
	verb := len(placeholder) - 1
	return "%[" + placeholder[:verb] + "]" + placeholder[verb:]
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
