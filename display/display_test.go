package display_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"gatehouse/display"
)

func TestNamesAreVisibleAndPrintable(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"Notes", "Müller & Söhne", "Иван", "日本語 アプリ", "علي رضا", "ไทย", "नमस्ते", "O’Brien", "C++ <b>", "❤️ Hearts", "a b",
		"שלום",
	} {
		if err := display.CheckName(s); err != nil {
			t.Errorf("CheckName(%q) = %v, want nil", s, err)
		}
		if got := display.NameOr(s, "x"); got != s {
			t.Errorf("NameOr(%q, \"x\") = %q, want the name", s, got)
		}
	}
	for _, s := range invisible {
		if err := display.CheckName(s); err == nil {
			t.Errorf("CheckName(%q) = nil, want an error", s)
		}
		if got := display.NameOr(s, "x"); got != "x" {
			t.Errorf("NameOr(%q, \"x\") = %q, want the fallback", s, got)
		}
	}
}

func TestVisibleASCII(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"": true, "!~": true, "a b": false, "a\tb": false, "a\x7f": false, "\x00": false, "é": false, "\xff": false,
	} {
		if got := display.IsVisibleASCII(s); got != want {
			t.Errorf("IsVisibleASCII(%q) = %v, want %v", s, got, want)
		}
	}
}

// invisible lists names that cannot be read, or that look like another name.
var invisible = []string{
	"", " ", "\u00a0", "\u3000", "\u200b", "\u200b\u200b", "Not\u200bes", "Not\u200des", "\u2060", "\ufeffNotes",
	"No\u00adtes", "\u202eseton", "\u2066Notes\u2069", "\u200fNotes", "\u061cNotes",
	"Notes\x1b[2J", "Notes\u009b2J", "No\ntes", "No\rtes", "No\ttes", "Notes\x00", "Notes\x7f", " Notes", "Notes ",
	"\u3164", "\u115f", "\uffa0", "\u2800", "\U0001d159", "\U00013441", "\U00013442", "\u0301", "\u034f", "\U000e0001",
	"\ue000",
	"No\u2028tes", "Notes\xff", "N" + strings.Repeat("\u0301", 20),
}

func TestEscapeReturnsPrintableText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Notes":           "Notes",
		"a\x1b[2Jb":       `a\u001b[2Jb`,
		"a\u009b2J":       `a\u009b2J`,
		"a\u202eb":        `a\u202eb`,
		"a\nb\tc":         `a\u000ab\u0009c`,
		"\U000e0001":      `\udb40\udc01`,
		"a\xffb":          `a\ufffdb`,
		"naïve 日本 ❤ \\u1": "naïve 日本 ❤ \\u1",
	} {
		if got := display.Escape(in); got != want {
			t.Errorf("Escape(%q) = %q, want %q", in, got, want)
		}
	}
	if got, want := display.EscapeLines("a\x1b\nb\n"), "a\\u001b\nb\n"; got != want {
		t.Errorf("EscapeLines = %q, want %q", got, want)
	}
}

// FuzzEscape checks that escaped text is printable and that escaped JSON has the same value.
func FuzzEscape(f *testing.F) {
	for _, s := range invisible {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := display.Escape(s)
		if !utf8.ValidString(got) ||
			strings.ContainsFunc(got, func(r rune) bool { return !display.IsPrintable(r) || unicode.IsControl(r) }) {
			t.Errorf("Escape(%q) = %q, which is not printable", s, got)
		}
		plain, err := json.Marshal(strings.ToValidUTF8(s, "?"))
		if err != nil {
			t.Fatal(err)
		}
		var a, b string
		if err := json.Unmarshal(plain, &a); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(display.Escape(string(plain))), &b); err != nil || a != b {
			t.Errorf("%s is %q in JSON, and escaped %q (%v), want the same value", plain, a, b, err)
		}
		if err := display.CheckName(s); err == nil && display.Escape(s) != s {
			t.Errorf("Escape(%q) changes a valid name", s)
		}
	})
}
