package storage

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// The kinds of deliveries.
const (
	BackchannelLogout = "backchannel_logout" // a logout token (OIDC Back-Channel Logout §2.5)
	MailDelivery      = "mail"               // an email to a user
)

// The conditions of the indexes of deliveries.
const (
	isMail  = "kind = '" + MailDelivery + "'"
	notMail = "kind <> '" + MailDelivery + "'"
)

// deliveryEvents are the types of the audit events by the kind of the delivery.
var deliveryEvents = map[string]struct{ delivered, abandoned string }{
	BackchannelLogout: {audit.LogoutDelivered, audit.LogoutUndelivered},
	MailDelivery:      {audit.MailSent, audit.MailFailed},
}

// Delivery is a notification that a client or user must receive. It is inserted in the transaction of the change and
// deleted once it was delivered, so that a crash loses none.
type Delivery struct {
	ID        string
	Kind      string
	ClientID  string
	UserID    string
	SessionID string
	Attempts  int64
	CreatedAt time.Time `gorm:"serializer:millis;autoCreateTime:false"`
	NextAt    time.Time `gorm:"serializer:millis"`
	Mail      string    // of an email: one of the kinds of Mail
	Sealed    []byte    // of an email: its recipient and values
	Digest    []byte    // of a notice that waits for equal ones, which are merged with it
	Merged    int64     // how many notices were
}

// queueUserLogouts queues the logout of every session in which the user used clients.
func (s *Store) queueUserLogouts(ctx context.Context, userID string) error {
	return s.queueLogouts(
		ctx, "grants.consent_id IN (SELECT id FROM consents WHERE user_id = ? AND ended_at IS NULL)", userID,
	)
}

// queueLogouts queues a logout for every client and session of the grants that match the condition, if the client has
// a back-channel logout URI.
func (s *Store) queueLogouts(ctx context.Context, where string, args ...any) error {
	found, err := db.Select[struct{ ClientID, UserID, SessionID string }](
		ctx, s.Write, `SELECT DISTINCT grants.client_id, grants.user_id, grants.session_id
		FROM grants JOIN clients ON clients.id = grants.client_id
		WHERE clients.backchannel_logout_uri <> '' AND clients.disabled_at IS NULL AND `+where, args...,
	)
	if err != nil {
		return err
	}
	now := s.Now()
	for _, f := range found {
		d := Delivery{
			ID: uuid.NewString(), Kind: BackchannelLogout, ClientID: f.ClientID, UserID: f.UserID, SessionID: f.SessionID,
			CreatedAt: now, NextAt: now,
		}
		if err := db.Insert(ctx, s.Write, &d); err != nil {
			return err
		}
	}
	return nil
}

// LeaseDeliveries leases up to limit due deliveries, emails or all others, those with the fewest attempts first: until
// the lease ends, no other process gets them. It returns them in the order in which they were queued.
func (s *Store) LeaseDeliveries(
	ctx context.Context, mails bool, limit int, lease time.Duration,
) ([]Delivery, error) {
	now := s.Now()
	where, order := "next_at <= ? AND "+notMail, "attempts, next_at"
	args := []any{db.Millis(now.Add(lease)), db.Millis(now)}
	if mails {
		where, order = "next_at <= ? AND "+isMail, noticesLast+", attempts, next_at, id"
		args = append(args, db.Millis(now.Add(-noticeRank)))
	}
	// Usually there are none, and this read takes no lock.
	var one int
	err := db.QueryRow(ctx, s.Read, []any{&one}, "SELECT 1 FROM deliveries WHERE "+where+" LIMIT 1", db.Millis(now))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, db.Wrap("check for due deliveries", err)
	}
	out, err := db.Select[Delivery](ctx, s.Write, "UPDATE deliveries SET attempts = attempts + 1, next_at = ?, "+
		"digest = NULL WHERE "+s.SkipLocked(
		"id", "SELECT id FROM deliveries WHERE "+where+" ORDER BY "+order+" LIMIT ?",
	)+" RETURNING "+deliveryRow.Columns(), append(args, limit)...)
	slices.SortFunc(out, func(a, b Delivery) int { // no engine returns them in a certain order
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	return out, db.Wrap("lease deliveries", err)
}

var deliveryRow = db.NewRecord[Delivery]("deliveries")

// PostponeDelivery sets when a failed delivery is retried.
func (s *Store) PostponeDelivery(ctx context.Context, id string, next time.Time) error {
	return db.Wrap(
		"postpone a delivery", db.Exec(ctx, s.Write, "UPDATE deliveries SET next_at = ? WHERE id = ?", db.Millis(next), id),
	)
}

// FinishDelivery removes a delivery that was delivered. detail is what its audit event has in addition.
func (s *Store) FinishDelivery(ctx context.Context, d Delivery, detail map[string]any) error {
	return s.deleteDelivery(ctx, d, deliveryEvents[d.Kind].delivered, detail)
}

// AbandonDelivery removes a delivery that is not attempted again, although it was not delivered.
func (s *Store) AbandonDelivery(ctx context.Context, d Delivery, detail map[string]any) error {
	return s.deleteDelivery(ctx, d, deliveryEvents[d.Kind].abandoned, detail)
}

func (s *Store) deleteDelivery(ctx context.Context, d Delivery, event string, detail map[string]any) error {
	if d.Mail != "" {
		detail = maps.Clone(detail)
		if detail == nil {
			detail = map[string]any{}
		}
		detail["mail"] = d.Mail
	}
	e := audit.Event{Type: event, ClientID: d.ClientID, UserID: d.UserID, Detail: detail}
	return db.Wrap("finish a delivery", s.Tx(ctx, func(tx *Store) error {
		err := db.ExecOne(ctx, tx.Write, "DELETE FROM deliveries WHERE id = ?", d.ID)
		if errors.Is(err, ErrNotFound) {
			return nil // another process delivered and recorded it too
		}
		if err != nil {
			return err
		}
		return tx.Audit.Record(ctx, e)
	}))
}

// maxPostponement exceeds the longest delay of a delivery.
const maxPostponement = 2 * time.Hour

// resetPostponedDeliveries makes deliveries due that a process with a clock far ahead has postponed.
func (s *Store) resetPostponedDeliveries(ctx context.Context) error {
	now := s.Now()
	for _, kind := range []string{isMail, notMail} { // each has an index
		if err := db.Exec(ctx, s.Write, "UPDATE deliveries SET next_at = ? WHERE next_at > ? AND "+kind, db.Millis(now),
			db.Millis(now.Add(maxPostponement))); err != nil {
			return err
		}
	}
	return nil
}
