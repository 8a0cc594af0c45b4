// Package message has the texts that users read, on pages and in emails, in several languages. A language is one JSON
// file. The package decides which of the languages a user gets, and nothing about what a text is used for.
package message

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"

	"gatehouse/templates"
)

// base is the language whose file defines which messages exist. A message that another language lacks is shown in it.
const base = "en"

// Catalogue has the messages of every language.
type Catalogue struct {
	languages []*Language // the base language first
	matcher   language.Matcher
}

// Language has the messages of one language.
type Language struct {
	Tag       string // BCP 47, such as en or pt-BR
	Name      string // in the language itself
	Direction string // ltr or rtl

	tag      language.Tag
	messages map[string]entry
	missing  []string // keys of messages that are those of the base language
}

// entry is one message: a text, or one text for each plural form of a number.
type entry struct {
	text   string
	forms  map[plural.Form]string
	values int // how many it needs
	line   int
}

// Load reads the messages of every language in files, an overlay of package templates. A file that replaces that of a
// built-in language may have some of the messages only. It returns an error that names the file and line of every
// message that is unknown or whose placeholders are not those of the English one.
func Load(files fs.FS) (*Catalogue, error) {
	if files == fs.FS(templates.FS) {
		return builtIn()
	}
	return load(files)
}

// builtIn returns the messages of the product, which never change in a process.
var builtIn = sync.OnceValues(func() (*Catalogue, error) { return load(templates.FS) })

func load(files fs.FS) (*Catalogue, error) {
	entries, err := fs.ReadDir(files, templates.Messages)
	if err != nil {
		return nil, err
	}
	c := &Catalogue{}
	var errs []error
	english, err := readLanguage(files, base)
	if err != nil {
		errs = append(errs, err)
		if english, err = readLanguage(templates.FS, base); err != nil { // to check the other languages
			return nil, err
		}
	}
	c.languages = append(c.languages, english)
	for _, file := range entries {
		tag, ok := strings.CutSuffix(file.Name(), ".json")
		if !ok || tag == base {
			continue
		}
		l, err := readLanguage(files, tag)
		if err == nil {
			err = l.completeFrom(english)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c.languages = append(c.languages, l)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	tags := make([]language.Tag, 0, len(c.languages))
	for _, l := range c.languages {
		tags = append(tags, l.tag)
	}
	c.matcher = language.NewMatcher(tags)
	return c, nil
}

// readLanguage reads the messages of a language: those of the product, and those that the operator replaces.
func readLanguage(files fs.FS, tag string) (*Language, error) {
	name := path.Join(templates.Messages, tag+".json")
	l := &Language{Tag: tag, messages: map[string]entry{}}
	var err error
	if l.tag, err = language.Parse(tag); err != nil || l.tag.String() != tag {
		return nil, fmt.Errorf(
			"%s: the name of the file must be a language tag (BCP 47), such as de.json or pt-BR.json", name)
	}
	content, err := templates.FS.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		if l.messages, err = parse(name, content); err != nil {
			return nil, err
		}
	}
	if templates.IsReplaced(files, name) {
		if content, err = fs.ReadFile(files, name); err != nil {
			return nil, err
		}
		own, err := parse(name, content)
		if len(l.messages) > 0 {
			err = errors.Join(err, checkEntries(name, own, l.messages))
		}
		if err != nil {
			return nil, err
		}
		maps.Copy(l.messages, own)
	}
	l.Name, l.Direction = l.messages["language.name"].text, l.messages["language.direction"].text
	if l.Name == "" || l.Direction != "ltr" && l.Direction != "rtl" {
		return nil, fmt.Errorf("%s: language.name must be the name of the language in itself, "+
			"and language.direction must be ltr or rtl", name)
	}
	return l, nil
}

// completeFrom checks the messages against those of the base language, and copies those that are missing.
func (l *Language) completeFrom(english *Language) error {
	if err := checkEntries(path.Join(templates.Messages, l.Tag+".json"), l.messages, english.messages); err != nil {
		return err
	}
	for key, e := range english.messages {
		if _, ok := l.messages[key]; !ok {
			l.messages[key] = e
			l.missing = append(l.missing, key)
		}
	}
	slices.Sort(l.missing)
	return nil
}

// Missing returns the keys of messages that the language does not have, so that they are in English.
func (l *Language) Missing() []string { return l.missing }

// Languages returns every language, English first.
func (c *Catalogue) Languages() []*Language { return c.languages }

// Language returns the language with this tag, or nil.
func (c *Catalogue) Language(tag string) *Language {
	for _, l := range c.languages {
		if l.Tag == tag {
			return l
		}
	}
	return nil
}

// maxPreferences is how many bytes of a preference are read. Browsers send less.
const maxPreferences = 256

// Match returns the language for the first preference that names an available language, otherwise English.
func (c *Catalogue) Match(preferences ...string) *Language {
	if l := c.Find(preferences...); l != nil {
		return l
	}
	return c.languages[0]
}

// Find returns the language for the first preference that names an available language, or nil. A preference is a tag, a
// list of tags separated by spaces (ui_locales of OIDC Core §3.1.2.1) or an Accept-Language header.
func (c *Catalogue) Find(preferences ...string) *Language {
	for _, preference := range preferences {
		if preference == "" || len(preference) > maxPreferences {
			continue
		}
		if !strings.Contains(preference, ",") {
			preference = strings.Join(strings.Fields(preference), ",")
		}
		tags, _, err := language.ParseAcceptLanguage(preference)
		if err != nil {
			continue
		}
		for _, tag := range tags {
			if _, i, confidence := c.matcher.Match(tag); confidence >= language.High {
				return c.languages[i]
			}
		}
	}
	return nil
}

// Has reports whether there is a message with this key.
func (l *Language) Has(key string) bool {
	_, ok := l.messages[key]
	return ok
}

// Text returns the message with this key and with its values filled in, or "" when there is none. The first integer
// among the values selects the plural form.
func (l *Language) Text(key string, values ...any) string {
	e := l.messages[key]
	text := e.text
	if e.forms != nil {
		text = e.forms[l.form(values)]
		if text == "" {
			text = e.forms[plural.Other]
		}
	}
	if len(values) == 0 || !strings.Contains(text, "%") { // the plural form one may have no number
		return strings.ReplaceAll(text, "%%", "%")
	}
	return fmt.Sprintf(text, values...)
}

// Fill returns the message as Text does. It returns an error when there is none with this key, or it needs another
// number of values.
func (l *Language) Fill(key string, values ...any) (string, error) {
	e, ok := l.messages[key]
	if !ok {
		return "", fmt.Errorf("there is no message %q", key)
	}
	if len(values) != e.values {
		return "", fmt.Errorf("the number of values of the message %q is %d, not %d", key, e.values, len(values))
	}
	return l.Text(key, values...), nil
}

// form returns the plural form of the first integer (CLDR).
func (l *Language) form(values []any) plural.Form {
	for _, v := range values {
		if n, ok := v.(int); ok {
			return plural.Cardinal.MatchPlural(l.tag, max(n, -n), 0, 0, 0, 0)
		}
	}
	return plural.Other
}

// Before returns what a message has before its placeholder %s, for a page that shows something other than text there.
func (l *Language) Before(key string) string {
	before, _, _ := strings.Cut(l.Text(key), "%s")
	return before
}

// After returns what a message has after its placeholder %s.
func (l *Language) After(key string) string {
	_, after, _ := strings.Cut(l.Text(key), "%s")
	return after
}

// Date returns a date.
func (l *Language) Date(t time.Time) string {
	return l.Text("date.day", t.Day(), l.Text(fmt.Sprintf("date.month.%d", int(t.Month()))), t.Year())
}

// Time returns a time of day or, with its date unless it is today or yesterday, a time. now is the present. Both are in
// the zone of t.
func (l *Language) Time(t, now time.Time) string {
	day := l.Date(t)
	switch now = now.In(t.Location()); {
	case sameDay(t, now):
		day = l.Text("date.today")
	case sameDay(t, now.AddDate(0, 0, -1)):
		day = l.Text("date.yesterday")
	}
	return l.Text("date.time", day, t.Format("15:04"))
}

func sameDay(a, b time.Time) bool {
	return a.Year() == b.Year() && a.YearDay() == b.YearDay()
}
