package message_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/message"
	"gatehouse/templates"
)

func load(t *testing.T, files fs.FS) *message.Catalogue {
	t.Helper()
	c, err := message.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// writeFiles returns a directory with a file for each name.
func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestBuiltInLanguagesAreComplete(t *testing.T) {
	t.Parallel()
	for _, l := range load(t, templates.FS).Languages() {
		if missing := l.Missing(); len(missing) > 0 {
			t.Errorf("%s lacks the messages %v", l.Name, missing)
		}
	}
}

func TestPreferencesSelectLanguage(t *testing.T) {
	t.Parallel()
	c := load(t, templates.FS)
	for _, test := range []struct {
		preferences []string
		want        string
	}{
		{nil, "en"},
		{[]string{"de"}, "de"},
		{[]string{"de-AT"}, "de"},
		{[]string{"de-CH,de;q=0.9,en;q=0.8"}, "de"},
		{[]string{"en;q=0.8, de-DE;q=0.9"}, "de"},
		{[]string{"fr de en"}, "de"},
		{[]string{"fr", "de"}, "de"},
		{[]string{"ja", "en-GB"}, "en"},
		{[]string{"ja"}, "en"},
		{[]string{"", "\x00;;,", "de"}, "de"},
		{[]string{strings.Repeat("de,", 200)}, "en"},
		{[]string{"*"}, "en"},
	} {
		if got := c.Match(test.preferences...).Tag; got != test.want {
			t.Errorf("Match(%q) = %s, want %s", test.preferences, got, test.want)
		}
	}
}

func TestNumberSelectsPluralForm(t *testing.T) {
	t.Parallel()
	l := load(t, templates.FS).Language("de")
	for n, want := range map[int]string{1: "1 Minute", 2: "2 Minuten"} {
		if got := l.Text("wait.minutes", n); got != want {
			t.Errorf("Text(wait.minutes, %d) = %q, want %q", n, got, want)
		}
	}
}

// TestLanguageIsOneFile adds a language with three plural forms, written from right to left, that has few messages.
func TestLanguageIsOneFile(t *testing.T) {
	t.Parallel()
	files, err := templates.Overlay(writeFiles(t, map[string]string{"messages/he.json": `{
		"language.name": "עברית", "language.direction": "rtl",
		"login.title": "כניסה",
		"wait.minutes": {"one": "דקה", "two": "דקותיים", "other": "%d דקות"}
	}`}))
	if err != nil {
		t.Fatal(err)
	}
	l := load(t, files).Match("he-IL,he;q=0.9")
	if l.Tag != "he" || l.Direction != "rtl" || l.Text("login.title") != "כניסה" {
		t.Errorf("the language is %s, written %s, with the title %q", l.Tag, l.Direction, l.Text("login.title"))
	}
	if got := l.Text("wait.minutes", 2); got != "דקותיים" {
		t.Errorf("Text(wait.minutes, 2) = %q, want the form for two", got)
	}
	if got := l.Text("login.password"); got != "Password" || len(l.Missing()) == 0 {
		t.Errorf("a missing message is %q, want the English one, and to be listed in Missing", got)
	}
}

func TestOperatorReplacesMessages(t *testing.T) {
	t.Parallel()
	files, err := templates.Overlay(writeFiles(t, map[string]string{
		"messages/en.json": `{"login.title": "Log in to Example"}`,
	}))
	if err != nil {
		t.Fatal(err)
	}
	c := load(t, files)
	if got := c.Match("en").Text("login.title"); got != "Log in to Example" {
		t.Errorf("the replaced message is %q", got)
	}
	if got := c.Match("de").Text("login.title"); got != "Anmelden" {
		t.Errorf("the German message is %q, want that of the product", got)
	}
}

// TestInvalidMessagesAreNamedWithLine checks that the error names what the operator has to change.
func TestInvalidMessagesAreNamedWithLine(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		`"login.title": "a",` + "\n" + `"login.titel": "b"}`:   `:2: there is no message "login.titel"`,
		`"login.title": "a"` + "\n" + `"login.password": "b"}`: ":2: invalid character",
		"\n\n" + `"login.throttled": "Wait."}`:                 ":3: login.throttled has no placeholder, want the",
		`"login.throttled": "Wait %d"}`:                        ":1: login.throttled has the placeholder %d, want the",
		`"login.title": "a",` + "\n" + `"login.title": "b"}`:   ":2: the message login.title is in the file twice",
		`"login.title": 1}`:                                    ":1: login.title: a message must be a text",
		`"wait.minutes": {"one": "a"}}`:                        ":1: wait.minutes: the plural form other is missing",
		`"login.title": {"one": "a", "other": "b"}}`:           ":1: login.title has no plural forms",
		`"login.title": "`:                                     ":1:",
	} {
		content, want = "{"+content, "messages/en.json"+want
		files, err := templates.Overlay(writeFiles(t, map[string]string{"messages/en.json": content}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := message.Load(files); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Load of %q: error %v, want one with %q", content, err, want)
		}
	}
}

func TestFileWithUnknownNameIsRefused(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"logn.html":             "logn.html: no template has this name",
		"messages/en.txt":       "messages/en.txt: no template has this name",
		"messages/german.json":  "messages/german.json: the name of the file must be a language tag",
		"messages/fr.json":      "language.name must be",
		"messages/de_DE.json":   "messages/de_DE.json: the name of the file must be a language tag",
		"partials/header.html":  "partials: no template has this name",
		".git/HEAD":             "",
		"messages/.en.json.swp": "",
	} {
		files, err := templates.Overlay(writeFiles(t, map[string]string{name: "{}"}))
		if err == nil {
			_, err = message.Load(files)
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("Overlay with %s: error %v, want %q", name, err, want)
		}
	}
}

func TestTimesAreWrittenInLanguage(t *testing.T) {
	t.Parallel()
	c := load(t, templates.FS)
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 30, 0, 30, 0, 0, time.UTC) // 01:30 in Berlin
	for _, test := range []struct {
		at       time.Time
		tag      string
		location *time.Location
		want     string
	}{
		{now.Add(-time.Hour), "en", zone, "today, 00:30"},
		{now.Add(-time.Hour), "en", time.UTC, "yesterday, 23:30"},
		{now.Add(-2 * time.Hour), "de", zone, "gestern, 23:30"},
		{now.AddDate(0, -8, 0), "de", zone, "30. März 2026, 02:30"},
		{now.AddDate(-1, 0, 0), "en", time.UTC, "30 November 2025, 00:30"},
	} {
		if got := c.Language(test.tag).Time(test.at.In(test.location), now); got != test.want {
			t.Errorf("Time(%s) in %s, %s = %q, want %q", test.at, test.tag, test.location, got, test.want)
		}
	}
}
