// Package mail renders the emails of a delivery, in the language of their users, and sends them by SMTP. When an
// attempt is made and repeated is decided by package notify, and what an email reports by those that queue it.
package mail

import (
	"bytes"
	"fmt"
	"net/mail"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"gatehouse/display"
)

// Message is a rendered email.
type Message struct {
	ID       string // of the header Message-ID (RFC 5322 §3.6.4)
	From     *mail.Address
	To       string // an address without a name
	Date     time.Time
	Language string // BCP 47
	Subject  string
	Text     string
	HTML     string
}

// ParseRecipient returns the address of an email. It returns an error unless it is exactly one address, without a name.
func ParseRecipient(address string) (*mail.Address, error) {
	parsed, err := mail.ParseAddress(address)
	if err != nil || parsed.Name != "" || parsed.Address != address || strings.ContainsFunc(address, isControl) {
		return nil, fmt.Errorf("%q is not an email address", display.Escape(address))
	}
	return parsed, nil
}

// Bytes returns the message in the form of RFC 5322, with a plain text and an HTML alternative (RFC 2046 §5.1.4). No
// value can add a line to the header. Programs that respond automatically do not respond to it (RFC 3834 §5).
func (m Message) Bytes() ([]byte, error) {
	to, err := ParseRecipient(m.To)
	if err != nil {
		return nil, err
	}
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(&mail.Address{Name: oneLine(m.From.Name), Address: m.From.Address})
	msg.ToMailAddress(to)
	msg.Subject(oneLine(m.Subject))
	msg.SetDateWithValue(m.Date)
	msg.SetMessageIDWithValue(m.ID)
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetGenHeader("Content-Language", m.Language)
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	var out bytes.Buffer
	if _, err := msg.WriteTo(&out); err != nil {
		return nil, fmt.Errorf("write the email: %w", err)
	}
	return out.Bytes(), nil
}

// oneLine replaces control characters, which could end a header field, with spaces.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, s)
}

// isControl reports whether a character is a control character or ends a line in some program.
func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 }
