package storage

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"gatehouse/keyed"
	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// The kinds of Mail.
const (
	MailVerifyEmail       = "verify_email"
	MailResetPassword     = "reset_password"
	MailEmailChanged      = "email_changed" // to the previous address
	MailInvitation        = "invitation"
	MailSignInCode        = "sign_in_code"
	MailAccountExists     = "account_exists" // in response to a sign-up
	MailNewDevice         = "new_device"
	MailFactorsChanged    = "factors_changed"
	MailFactorAdded       = "factor_added" // with the link that undoes it
	MailPasswordChanged   = "password_changed"
	MailClientConnected   = "app_connected"
	MailDeletionScheduled = "deletion_scheduled"
	MailTest              = "test"
)

// mailKinds are all kinds of Mail. The value reports whether it is a security notice, which disabled and deleted users
// get too.
var mailKinds = map[string]bool{
	MailVerifyEmail: false, MailResetPassword: false, MailInvitation: false, MailSignInCode: false,
	MailAccountExists: false, MailTest: false,
	MailEmailChanged: true, MailNewDevice: true, MailFactorsChanged: true, MailFactorAdded: true,
	MailPasswordChanged: true,
	MailClientConnected: true, MailDeletionScheduled: true,
}

// The values of a Mail. Link and code are shown outside the text.
const (
	MailLink         = "link"    // path and query below the issuer, such as /reset?token=…
	MailCode         = "code"    // that the user types
	MailValueEmail   = "email"   // the new address of the user
	MailValueDate    = "date"    // of a deletion, RFC 3339
	MailValueBrowser = "browser" // user agent of a sign-in
	MailValueAddress = "address" // IP address of a sign-in
	MailValueChange  = "change"  // of factors: one of FactorChanges
	MailValueClient  = "client"  // the name of a client
)

// The suffixes of an audit event in MailValueChange, if the change created recovery codes.
const (
	withCodes    = ".with_codes"     // with the factor
	withNewCodes = ".with_new_codes" // with the factor, in place of other codes
	inPlace      = ".in_place"       // only codes, in place of others
)

// FactorChanges are the values of MailValueChange, each of which has a notice: audit events, with a suffix if the
// change created recovery codes.
var FactorChanges = []string{
	audit.UserTOTPSet, audit.UserTOTPRemoved, audit.UserFactorsReset, audit.RecoveryCodesCreated, audit.RecoveryCodeUsed,
	audit.PasskeyCreated, audit.PasskeyRenamed, audit.PasskeyDeleted, audit.UserFactorsUndone,
	audit.UserTOTPSet + withCodes, audit.UserTOTPSet + withNewCodes, audit.PasskeyCreated + withCodes,
	audit.PasskeyCreated + withNewCodes, audit.RecoveryCodesCreated + inPlace,
}

// Mail is a message to a user by email.
type Mail struct {
	Kind     string            `json:"-"`
	UserID   string            `json:"-"` // empty: the recipient is no user, as of an invitation, or Requester
	To       string            `json:"to"`
	Language string            `json:"language,omitempty"` // BCP 47; empty: the default
	Values   map[string]string `json:"values,omitempty"`   // of its template; they may be secrets
	// ExpiresAt is when the link or code expires: the email is not sent later. Zero: never.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	// Token is the hash of the token or code in the email, which is not sent when that can no longer be used. Empty: it is
	// sent in any case, as a notice with a link that undoes a change.
	Token []byte `json:"token,omitempty"`
	// Requester is the user for whom it is sent to an address that may be another's, in place of UserID: its row and its
	// audit events are not the user's, to whom an export would otherwise show what became of it.
	Requester string `json:"requester,omitempty"`
	// Unsent is the reason why it is never sent, which the audit log has. It is queued so that the work is the same.
	Unsent string `json:"unsent,omitempty"`
}

// MailKinds returns all kinds of Mail in alphabetical order.
func MailKinds() []string { return slices.Sorted(maps.Keys(mailKinds)) }

// IsMailKind reports whether it is a kind of Mail.
func IsMailKind(kind string) bool {
	_, ok := mailKinds[kind]
	return ok
}

// IsNotice reports whether a kind of Mail is a security notice, about a change that an attacker may have caused.
func IsNotice(kind string) bool { return mailKinds[kind] }

// EnableMail makes QueueMail queue emails, because this installation can send them.
func (s *Store) EnableMail() { s.mailEnabled.Store(true) }

// MailEnabled reports whether this installation sends emails.
func (s *Store) MailEnabled() bool { return s.mailEnabled.Load() }

// SetMailDelayed sets whether queued emails wait because the mail server does not respond.
func (s *Store) SetMailDelayed(delayed bool) { s.mailDelayed.Store(delayed) }

// MailDelayed reports what SetMailDelayed set. It does not depend on any recipient, so pages can show it.
func (s *Store) MailDelayed() bool { return s.mailDelayed.Load() }

// mailPurpose is the purpose of the key that emails are sealed with. It survives a change of the root key.
const mailPurpose = "mail"

// QueueMail queues an email in the current transaction, so that it is sent if the transaction is committed. Recipient
// and values are sealed. It does nothing unless MailEnabled.
func (s *Store) QueueMail(ctx context.Context, m Mail) error {
	if !s.MailEnabled() {
		return nil
	}
	if !IsMailKind(m.Kind) {
		return fmt.Errorf("unknown kind of email: %q", m.Kind)
	}
	now := s.Now()
	id, err := uuid.NewV7() // ordered, for emails of the same millisecond
	if err != nil {
		return err
	}
	d := Delivery{
		ID: id.String(), Kind: MailDelivery, Mail: m.Kind, UserID: m.UserID, CreatedAt: now, NextAt: now,
	}
	payload, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if d.Sealed, err = keyed.Seal(s.Vault.Key(mailPurpose), payload, d.mailContext()); err != nil {
		return err
	}
	delayed, err := s.isNoticeDelayed(ctx, m)
	if err != nil {
		return err
	}
	if delayed {
		return s.mergeNotice(ctx, m, d)
	}
	return db.Wrap("queue email", db.Insert(ctx, s.Write, &d))
}

// queueNotice queues a notice to the address of a user, in the language of the user.
func (s *Store) queueNotice(ctx context.Context, kind, userID string, values map[string]string) error {
	if !s.MailEnabled() {
		return nil
	}
	var address string
	err := db.QueryRow(ctx, s.Write, []any{&address}, "SELECT email FROM users WHERE id = ?", userID)
	if err != nil {
		return err
	}
	return s.QueueMail(ctx, Mail{Kind: kind, UserID: userID, To: address, Values: values})
}

// mailContext returns what Sealed is bound to: the row, the kind of the email and its user.
func (d *Delivery) mailContext() string { return d.ID + "\x00" + d.Mail + "\x00" + d.UserID }

// OpenedMail is an email of a delivery with what decides how and whether it is sent.
type OpenedMail struct {
	Mail
	QueuedAt time.Time
	Merged   int64 // how many later ones it stands for
	User     User  // zero when there is none, or none any more
	// PausedUntil is when the pause of the address of a security notice ends, which is not sent before. Zero: there is
	// none, or the link in the notice would expire before.
	PausedUntil time.Time
	// Refusal is the reason why the email must not be sent, empty when it may be sent: it is Unsent, it has expired, its
	// link or code can no longer be used, its address is paused, or the user is disabled and it is no security notice.
	Refusal string
}

// OpenMail returns the email of a delivery.
func (s *Store) OpenMail(ctx context.Context, d Delivery) (m OpenedMail, err error) {
	if m.Mail, err = s.unsealMail(d); err != nil {
		return m, err
	}
	m.QueuedAt, m.Merged = d.CreatedAt, d.Merged
	userID := cmp.Or(m.UserID, m.Requester)
	if userID != "" {
		m.User, err = s.User(ctx, userID)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return m, err
		}
	}
	ended, err := s.hasLinkEnded(ctx, m.Token)
	if err != nil {
		return m, err
	}
	until, err := s.mailPausedUntil(ctx, m.To)
	switch inactive := userID != "" && (m.User.ID == "" || m.User.DisabledAt != nil); {
	case err != nil:
		return m, err
	case m.Unsent != "":
		m.Refusal = m.Unsent
	case !m.ExpiresAt.IsZero() && !s.Now().Before(m.ExpiresAt):
		m.Refusal = "it has expired"
	case inactive && !mailKinds[m.Kind]:
		m.Refusal = "the user is disabled or deleted"
	case ended:
		m.Refusal = "its link or code was replaced, used or ended"
	case until.IsZero():
	case !mailKinds[m.Kind] || s.isNoticeOver(d):
		m.Refusal = "the address is paused"
	case m.ExpiresAt.IsZero() || until.Before(m.ExpiresAt):
		m.PausedUntil = until
	}
	return m, nil
}

// unsealMail returns the content of the email of a delivery.
func (s *Store) unsealMail(d Delivery) (m Mail, err error) {
	payload, err := keyed.Open(s.Vault.Key(mailPurpose), d.Sealed, d.mailContext())
	if err == nil {
		err = json.Unmarshal(payload, &m)
	}
	if err != nil {
		return m, fmt.Errorf("open email %s: %w", d.ID, err)
	}
	m.Kind, m.UserID = d.Mail, d.UserID
	return m, nil
}

// MailRecipient returns the address that gets the email of a delivery, in lower case, or "" when it cannot be opened.
func (s *Store) MailRecipient(d Delivery) string {
	m, err := s.unsealMail(d)
	if err != nil {
		return ""
	}
	return strings.ToLower(m.To)
}

// hasLinkEnded reports whether the token or code with a hash can no longer be used. Expired ones are refused before.
func (s *Store) hasLinkEnded(ctx context.Context, hash []byte) (bool, error) {
	if len(hash) == 0 {
		return false, nil
	}
	now, usable := db.Millis(s.Now()), false
	const row = " WHERE hash = ? AND used_at IS NULL AND expires_at > ?)"
	err := db.QueryRow(ctx, s.Read, []any{&usable}, "SELECT EXISTS (SELECT 1 FROM email_tokens WHERE "+emailTokenUsable+
		") OR EXISTS (SELECT 1 FROM sign_ups"+row+" OR EXISTS (SELECT 1 FROM invitations"+row,
		hash, now, hash, now, hash, now)
	return !usable, db.Wrap("check the link of an email", err)
}

// MailPause is an address that the mail server rejected permanently.
type MailPause struct {
	AddressMAC []byte    `gorm:"primaryKey;column:address_mac"`
	CreatedAt  time.Time `gorm:"serializer:millis;autoCreateTime:false"`
	Until      time.Time `gorm:"serializer:millis"`
}

// addressMAC identifies an address without disclosing it, in any case.
func (s *Store) addressMAC(address string) []byte {
	return keyed.MAC(s.Vault.Key(mailPurpose), "address", strings.ToLower(address))
}

// mailPausedUntil returns when the pause of an address ends, or zero when there is none.
func (s *Store) mailPausedUntil(ctx context.Context, address string) (time.Time, error) {
	p, err := db.Take[MailPause](ctx, s.Read, "address_mac = ? AND until > ?", s.addressMAC(address), db.Millis(s.Now()))
	if errors.Is(err, ErrNotFound) {
		return time.Time{}, nil
	}
	return p.Until, db.Wrap("read paused address", err)
}

// noticeLifetime is how long a security notice waits for an address that rejects emails: as long as the links in them.
const noticeLifetime = 7 * 24 * time.Hour

func (s *Store) isNoticeOver(d Delivery) bool {
	return !s.Now().Before(d.CreatedAt.Add(noticeLifetime))
}

// pausedInterval is how often a security notice is attempted again if its link would expire before the pause ends.
const pausedInterval = time.Hour

// PauseMail sends no email to an address that rejected one permanently before a time or ResumeMail. It abandons the
// delivery, unless that is a security notice: an attacker who makes an address reject emails for a while, or requests
// one at that time, must not suppress the notice that matters.
func (s *Store) PauseMail(
	ctx context.Context, d Delivery, address string, until time.Time, detail map[string]any,
) error {
	e := audit.Event{Type: audit.MailAddressPaused, UserID: d.UserID, Detail: map[string]any{"until": until.Unix()}}
	return db.Wrap("pause an address", s.Tx(ctx, func(tx *Store) error {
		now := db.Millis(s.Now())
		if err := db.Exec(ctx, tx.Write, `INSERT INTO mail_pauses (address_mac, created_at, until) VALUES (?, ?, ?)
			ON CONFLICT (address_mac) DO UPDATE SET until = excluded.until`,
			s.addressMAC(address), now, db.Millis(until)); err != nil {
			return err
		}
		if err := tx.Audit.Record(ctx, e); err != nil {
			return err
		}
		if mailKinds[d.Mail] && !s.isNoticeOver(d) {
			return tx.PostponeDelivery(ctx, d.ID, s.Now().Add(pausedInterval))
		}
		return tx.AbandonDelivery(ctx, d, detail)
	}))
}

// ResumeMail ends the pause of an address, if there is one.
func (s *Store) ResumeMail(ctx context.Context, address string) error {
	return db.Wrap("resume an address", s.Tx(ctx, func(tx *Store) error {
		err := db.ExecOne(ctx, tx.Write, "DELETE FROM mail_pauses WHERE address_mac = ?", s.addressMAC(address))
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return tx.Audit.Record(ctx, audit.Event{Type: audit.MailAddressResumed})
	}))
}
