package mail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"gatehouse/display"
	"gatehouse/keyed"
	"gatehouse/notify"
	"gatehouse/storage"
)

// Concurrent is the Sender.Concurrent of mails: servers accept few connections of one client.
const Concurrent = 4

// Send sends a rendered email, as Server.Send does.
type Send func(ctx context.Context, m Message) (Report, error)

// ToUser returns the kind of delivery of emails. One that cannot be sent is retried for five days (RFC 5321 §4.5.4.1),
// at least every five minutes, so that users get their emails soon after the server is reachable again.
func ToUser(store *storage.Store, r *Renderer, send Send) notify.Kind {
	deliver := func(ctx context.Context, d storage.Delivery) error {
		m, err := store.OpenMail(ctx, d)
		if errors.Is(err, keyed.ErrDamaged) {
			return &notify.Abandoned{Reason: "it cannot be opened"}
		}
		if err != nil {
			return err
		}
		if m.Refusal != "" {
			return &notify.Abandoned{Reason: m.Refusal}
		}
		if !m.PausedUntil.IsZero() {
			return &notify.Postponed{Until: m.PausedUntil}
		}
		if _, err := ParseRecipient(m.To); err != nil {
			return &notify.Abandoned{Reason: "the address is invalid"}
		}
		rendered, err := r.Render(m, d.ID)
		if err != nil {
			return err
		}
		_, err = send(ctx, rendered)
		return outcome(err, m.To)
	}
	return notify.Kind{
		Deliver: deliver, Recipient: store.MailRecipient, FailedMessage: "email delivery failed",
		Lifetime: 5 * 24 * time.Hour, MaxBackoff: 5 * time.Minute,
	}
}

// outcome returns what the error of sending means for the delivery. It does not contain the address, which is personal
// data that neither the log nor the audit log has.
func outcome(err error, address string) error {
	var failed *Error
	if err == nil || !errors.As(err, &failed) {
		return err
	}
	code, enhanced := failed.Code()
	reason := strings.TrimSpace(fmt.Sprintf("the mail server responded %d %s", code, enhanced))
	switch {
	case failed.RejectsRecipient():
		return &notify.Abandoned{Reason: reason, PauseAddress: address}
	case failed.RejectsContent():
		return &notify.Abandoned{Reason: reason}
	}
	return errors.New(strings.ReplaceAll(failed.Error(), address, "(recipient)"))
}

// Print returns a Send that writes emails to w, for development.
func Print(w io.Writer) Send {
	var mu sync.Mutex
	return func(_ context.Context, m Message) (Report, error) {
		mu.Lock()
		defer mu.Unlock()
		content := fmt.Sprintf("\n--- email to %s: %s\n%s---\n", m.To, m.Subject, m.Text)
		_, err := io.WriteString(w, display.EscapeLines(content))
		return Report{}, err
	}
}
