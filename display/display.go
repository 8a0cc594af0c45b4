// Package display decides which strings may be the name of something that users and operators see, and how stored
// strings are escaped where control characters would take effect: on a terminal and in JSON.
package display

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// maxMarks is the maximum number of consecutive combining marks. No script needs more; a hundred cover the lines
// above.
const maxMarks = 5

// CheckName returns an error unless s can be a name: printable, visible, without surrounding spaces, line breaks,
// control, zero-width or direction characters. The message continues a sentence that starts with what the name is for.
func CheckName(s string) error {
	if !utf8.ValidString(s) {
		return errors.New("is not valid UTF-8")
	}
	visible, marks := false, 0
	for _, r := range s {
		if !IsPrintable(r) {
			return fmt.Errorf("has the character U+%04X, which is invisible or changes how the surrounding text is displayed", r)
		}
		marks++
		if !unicode.IsMark(r) {
			marks = 0
		}
		if marks > maxMarks {
			return fmt.Errorf("has more than %d combining marks on one character", maxMarks)
		}
		visible = visible || r != ' ' && !unicode.IsMark(r)
	}
	switch {
	case !visible:
		return errors.New("is blank")
	case strings.TrimSpace(s) != s:
		return errors.New("begins or ends with a space")
	}
	return nil
}

// NameOr returns s, or fallback if s is not a valid name. It is for records that were stored without CheckName.
func NameOr(s, fallback string) string {
	if CheckName(s) != nil {
		return fallback
	}
	return s
}

// IsPrintable reports whether r has a visible glyph, combines with the previous character, or is an ordinary space.
func IsPrintable(r rune) bool {
	switch r {
	case 0x2800, 0x1d159, 0x13441, 0x13442, utf8.RuneError: // braille without dots, the null notehead, blank hieroglyphs
		return false
	}
	// Ignorable code points are letters by category but invisible.
	return unicode.IsPrint(r) && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}

// IsVisibleASCII reports whether every character of s is a visible one of ASCII: no space and no control character.
func IsVisibleASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !IsVisibleASCIIRune(r) })
}

// IsVisibleASCIIRune reports whether r is a visible character of ASCII.
func IsVisibleASCIIRune(r rune) bool { return r > ' ' && r <= '~' }

// Escape returns s with every unprintable character, including line breaks, as \uXXXX. Applied to a line of JSON it
// yields the same JSON value, because JSON has such characters only inside strings.
func Escape(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !IsPrintable(r) }) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case IsPrintable(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// EscapeLines escapes s like Escape but does not escape line breaks.
func EscapeLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = Escape(lines[i])
	}
	return strings.Join(lines, "\n")
}
