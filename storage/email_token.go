package storage

import (
	"context"
	"encoding/hex"
	"errors"
	"time"

	"github.com/google/uuid"

	"gatehouse/keyed"
	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// The purposes of an EmailToken.
const (
	ResetPassword   = "reset_password"
	VerifyEmail     = "verify_email"
	ChangeEmail     = "change_email"
	UndoEmailChange = "undo_email_change"
	UndoFactors     = "undo_factors"
	SignInCode      = "sign_in_code"
)

// SignUpRequest is the purpose of the token of a SignUp, which is no EmailToken because it has no user.
const SignUpRequest = "sign_up"

// emailTokenEvents are the types of the audit events of a new token by its purpose.
var emailTokenEvents = map[string]string{
	SignUpRequest: audit.UserSignUpRequested,
	ResetPassword: audit.UserPasswordResetRequested, VerifyEmail: audit.UserEmailVerificationRequested,
	ChangeEmail: audit.UserEmailChangeRequested, SignInCode: audit.UserSignInCodeRequested,
}

// EmailToken is a token or code that an email to a user contains. It is single use, and a new one replaces the previous
// one of the user and purpose.
type EmailToken struct {
	UserID  string `gorm:"primaryKey"`
	Purpose string `gorm:"primaryKey"`
	// Slot is the key of the address of UndoEmailChange, the hash of UndoFactors, and the browser of SignInCode, so that
	// each has its own.
	Slot        string `gorm:"primaryKey"`
	Hash        []byte
	Email       string // the address that it confirms
	EmailKey    string
	UserEpoch   int64
	BrowserHash []byte     // the browser that may use it; nil: any
	RequestID   string     // of the AuthorizationRequest in which it was requested; empty: none
	TriesLeft   int64      // of a code
	CreatedAt   time.Time  `gorm:"serializer:millis;autoCreateTime:false"`
	ExpiresAt   time.Time  `gorm:"serializer:millis"`
	UsedAt      *time.Time `gorm:"serializer:millis"`

	By AccountSession `gorm:"-"` // in which a change of the address was requested; not stored
}

var emailTokenRow = db.NewRecord[EmailToken]("email_tokens")

// UnsentMail returns the event of a request for a token that gets no email, with the reason.
func UnsentMail(purpose, reason string) audit.Event {
	return audit.Event{Type: emailTokenEvents[purpose], Detail: map[string]any{"reason": reason}}
}

// CreateEmailToken stores a token for a user and queues the email with it, in one transaction. When the user has valid
// sign-in codes in too many other browsers, it records only that, with as many statements. It returns
// ErrSessionEnded for a change of the address whose session has ended.
func (s *Store) CreateEmailToken(ctx context.Context, u User, t EmailToken, m Mail) error {
	t.UserID, t.UserEpoch, t.CreatedAt = u.ID, u.Epoch, s.Now()
	m.Token = t.Hash
	if m.Unsent != "" {
		m.ExpiresAt = t.CreatedAt // an older process, which does not read the reason, must not send it either
	}
	return db.Wrap("create email token", s.Tx(ctx, func(tx *Store) error {
		if t.By.ID != "" {
			if err := tx.requireSession(ctx, u.ID, t.By); err != nil {
				return err
			}
		}
		err := tx.insertEmailToken(ctx, t)
		if errors.Is(err, ErrConflict) {
			if err := db.Exec(ctx, tx.Write, "DELETE FROM deliveries WHERE id = ''"); err != nil {
				return err
			}
			return tx.Audit.Record(ctx, UnsentMail(t.Purpose, "the user has codes in too many browsers"))
		}
		if err != nil {
			return err
		}
		if err := tx.QueueMail(ctx, m); err != nil {
			return err
		}
		return tx.Audit.Record(ctx, audit.Event{Type: emailTokenEvents[t.Purpose], UserID: u.ID})
	}))
}

// maxSignInCodes is how many valid sign-in codes a user can have: one in each of so many browsers. Concurrent requests
// can exceed it by a few, which gives no more tries: those are limited per user.
const maxSignInCodes = 5

// codeSlot returns the slot of the sign-in codes of a browser, so that a request in another browser replaces none.
func codeSlot(browser []byte) string { return hex.EncodeToString(browser) }

// insertEmailToken stores a token in place of the previous one of its slot. It returns ErrConflict when the user has
// valid sign-in codes in too many other browsers.
func (s *Store) insertEmailToken(ctx context.Context, t EmailToken) error {
	if t.Purpose == SignInCode {
		t.Slot = codeSlot(t.BrowserHash)
	}
	err := db.ExecOne(
		ctx, s.Write, `INSERT INTO email_tokens (user_id, purpose, slot, hash, email, email_key, user_epoch, browser_hash,
			request_id, tries_left, created_at, expires_at)
		SELECT ?, ?, ?, ?, ?, ?, CAST(? AS BIGINT), ?, ?, CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT)
		WHERE ? <> '`+SignInCode+`' OR (SELECT count(*) FROM email_tokens WHERE user_id = ? AND purpose = '`+SignInCode+`'
			AND slot <> ? AND used_at IS NULL AND expires_at > ?) < ?
		ON CONFLICT (user_id, purpose, slot) DO UPDATE SET hash = excluded.hash, email = excluded.email,
			email_key = excluded.email_key, user_epoch = excluded.user_epoch, browser_hash = excluded.browser_hash,
			request_id = excluded.request_id, tries_left = excluded.tries_left, created_at = excluded.created_at,
			expires_at = excluded.expires_at, used_at = NULL`,
		t.UserID, t.Purpose, t.Slot, t.Hash, t.Email, t.EmailKey, t.UserEpoch, t.BrowserHash, t.RequestID, t.TriesLeft,
		db.Millis(t.CreatedAt), db.Millis(t.ExpiresAt), t.Purpose, t.UserID, t.Slot, db.Millis(s.Now()), maxSignInCodes,
	)
	if errors.Is(err, ErrNotFound) {
		return ErrConflict
	}
	return err
}

// RecordDecoyEmailToken does the same work as CreateEmailToken, with as many statements, when no email is sent, such as
// for a name without an account, so that neither the response nor its duration discloses that. It stores no token and
// no email, and records e, an UnsentMail, if its limit allowed that: an attacker can cause it with any name. by is the
// session of a change of the address, otherwise empty.
func (s *Store) RecordDecoyEmailToken(ctx context.Context, e audit.Event, allowed bool, by AccountSession) error {
	return db.Wrap("create no email token", s.Tx(ctx, func(tx *Store) error {
		if by.ID != "" {
			if err := tx.requireSession(ctx, by.User.ID, by); err != nil {
				return err
			}
		}
		if s.MailEnabled() {
			now, decoy := s.Now(), uuid.NewString()
			d := Delivery{ID: decoy, Kind: MailDelivery, CreatedAt: now, NextAt: now.Add(leaseOfDecoy)}
			var err error
			if d.Sealed, err = keyed.Seal(s.Vault.Key(mailPurpose), []byte(decoy), d.mailContext()); err != nil {
				return err
			}
			if err := db.Insert(ctx, tx.Write, &d); err != nil {
				return err
			}
			if err := db.Exec(ctx, tx.Write, "DELETE FROM deliveries WHERE id = ?", decoy); err != nil {
				return err
			}
		}
		return tx.Audit.RecordIf(ctx, allowed, e)
	}))
}

// leaseOfDecoy is in the future, although no process can read the row before it is deleted.
const leaseOfDecoy = time.Hour

// undoPurposes are the purposes of links that undo a change, which an attacker must not be able to end.
const undoPurposes = "'" + UndoEmailChange + "', '" + UndoFactors + "'"

// emailTokenUsable returns the condition that a token can be used, whose two question marks are its hash and the
// current time. Undoing a change is possible after anything else that an attacker did to the account.
const emailTokenUsable = `email_tokens.hash = ? AND email_tokens.used_at IS NULL AND email_tokens.expires_at > ?
	AND EXISTS (SELECT 1 FROM users WHERE users.id = email_tokens.user_id AND (email_tokens.purpose IN (` +
	undoPurposes + `) OR users.disabled_at IS NULL AND users.epoch = email_tokens.user_epoch))`

// EmailToken returns the token with a hash, which it does not use. It returns a *RefusalError, which is ErrNotFound,
// when the token cannot be used.
func (s *Store) EmailToken(ctx context.Context, hash []byte) (EmailToken, error) {
	t, err := db.Take[EmailToken](ctx, s.Write, emailTokenUsable, hash, db.Millis(s.Now()))
	if errors.Is(err, ErrNotFound) {
		err = s.emailTokenRefusal(ctx, hash)
	}
	return t, db.Wrap("read email token", err)
}

// useEmailToken consumes a token in the current transaction, in which its user is locked. It returns a *RefusalError
// when it cannot be used.
func (s *Store) useEmailToken(ctx context.Context, purpose string, hash []byte) (EmailToken, error) {
	if s.Engine() == Postgres { // before the token: see requireActiveSession
		query := "SELECT 1 FROM users WHERE id = (SELECT user_id FROM email_tokens WHERE hash = ?) FOR UPDATE"
		if err := db.Exec(ctx, s.Write, query, hash); err != nil {
			return EmailToken{}, err
		}
	}
	now := db.Millis(s.Now())
	var t EmailToken
	err := db.QueryRow(ctx, s.Write, emailTokenRow.Targets(&t), "UPDATE email_tokens SET used_at = ? WHERE "+
		emailTokenUsable+" AND purpose = ? RETURNING "+emailTokenRow.Columns(), now, hash, now, purpose)
	if errors.Is(err, ErrNotFound) {
		err = s.emailTokenRefusal(ctx, hash)
	}
	return t, err
}

// emailTokenRefusal returns why a token cannot be used.
func (s *Store) emailTokenRefusal(ctx context.Context, hash []byte) error {
	t, err := db.Take[EmailToken](ctx, s.Write, "hash = ?", hash)
	switch {
	case errors.Is(err, ErrNotFound):
		return &RefusalError{Reason: "unknown, or replaced by a newer one"}
	case err != nil:
		return err
	}
	refusal := &RefusalError{
		Reason: "the user is disabled, or ended everything since", UserID: t.UserID, Purpose: t.Purpose,
	}
	switch {
	case t.UsedAt != nil:
		refusal.Reason = "already used"
	case !t.ExpiresAt.After(s.Now()):
		refusal.Reason = "expired"
	}
	return refusal
}

// deleteEmailTokens deletes the tokens and codes of a user, in the current transaction: those that were requested
// before the password changed must not outlast it. Links that undo a change stay.
func (s *Store) deleteEmailTokens(ctx context.Context, userID string) error {
	query := "DELETE FROM email_tokens WHERE user_id = ? AND purpose NOT IN (" + undoPurposes + ")"
	return db.Exec(ctx, s.Write, query, userID)
}

// deleteEmailTokensBySession does the same for what a session of the user does, in the current transaction, except that
// a link to reset the password stays. An attacker with a session, who repeats this, must not be able to end the link
// that the user is using.
func (s *Store) deleteEmailTokensBySession(ctx context.Context, userID string) error {
	query := "DELETE FROM email_tokens WHERE user_id = ? AND purpose NOT IN (" + undoPurposes + ", '" + ResetPassword +
		"')"
	return db.Exec(ctx, s.Write, query, userID)
}

// keepResetLink keeps a link to reset the password valid that endEverything has just ended in the current transaction.
// It must not be called otherwise: it would renew a link that was ended before.
func (s *Store) keepResetLink(ctx context.Context, userID string) error {
	return db.Exec(ctx, s.Write, `UPDATE email_tokens SET user_epoch = user_epoch + 1 WHERE user_id = ? AND purpose = ?
		AND user_epoch = (SELECT epoch FROM users WHERE id = ?) - 1`, userID, ResetPassword, userID)
}

// TryCode consumes a try of a user's sign-in code in a browser before it is compared, so that concurrent requests get
// no more tries, and returns the hash of the code when correct reports true for it. Otherwise it returns a
// *RefusalError. Each comparison counts against compared, over all codes of the user, until it was correct: beyond
// that limit correct is not called. A request without a valid code in its browser counts against other, so that
// it cannot lock out the user, and that the work is the same.
func (s *Store) TryCode(
	ctx context.Context, userID string, browser []byte, compared, other SignInCount, correct func(hash []byte) bool,
) (hash []byte, err error) {
	var refusal *RefusalError
	err = s.Tx(ctx, func(tx *Store) error {
		refusal = nil
		count := compared
		err := db.QueryRow(
			ctx, tx.Write, []any{&hash}, `UPDATE email_tokens SET tries_left = tries_left - 1
			WHERE user_id = ? AND purpose = ? AND slot = ? AND used_at IS NULL AND expires_at > ? AND tries_left > 0
			RETURNING hash`, userID, SignInCode, codeSlot(browser), db.Millis(s.Now()),
		)
		if errors.Is(err, ErrNotFound) {
			refusal = &RefusalError{Reason: "this browser has no valid code, or no tries left", UserID: userID}
			count = other
		} else if err != nil {
			return err
		}
		err = tx.countComparison(ctx, count)
		switch {
		case errors.Is(err, ErrNotFound) && refusal == nil:
			refusal = &RefusalError{Reason: "too many incorrect codes", UserID: userID}
		case err != nil && !errors.Is(err, ErrNotFound):
			return err
		case refusal == nil && !correct(hash):
			refusal = &RefusalError{Reason: "incorrect code", UserID: userID}
		case refusal == nil:
			return db.Exec(ctx, tx.Write, `UPDATE sign_in_attempts SET failures = failures - 1
				WHERE account = ? AND network = ? AND failures > 0`, count.Account, count.Subnet)
		}
		return nil
	})
	if err == nil && refusal != nil {
		err = refusal
	}
	return hash, db.Wrap("try a code", err)
}

// countComparison adds to a count in one statement. It returns ErrNotFound, and adds nothing, when the count has
// reached its limit. The period begins with the first of the count, so that continued attempts do not extend it.
func (s *Store) countComparison(ctx context.Context, c SignInCount) error {
	now := s.Now()
	// A period in the future began before the clock was set back.
	const over = "(sign_in_attempts.last_at < ? OR sign_in_attempts.last_at > ?)"
	begin, end := db.Millis(now.Add(-c.Limit.Period)), db.Millis(now.Add(db.MaxClockSkew))
	return db.ExecOne(
		ctx, s.Write, `INSERT INTO sign_in_attempts (account, network, failures, last_at) VALUES (?, ?, 1, ?)
		ON CONFLICT (account, network) DO UPDATE SET
			failures = CASE WHEN `+over+` THEN 1 ELSE sign_in_attempts.failures + 1 END,
			last_at = CASE WHEN `+over+` THEN excluded.last_at ELSE sign_in_attempts.last_at END
		WHERE sign_in_attempts.failures < ? OR `+over,
		c.Account, c.Subnet, db.Millis(now), begin, end, begin, end, c.Limit.FreeFailures, begin, end,
	)
}

// UseSignInCode consumes the sign-in code with a hash and returns its user. The code proves the address that it was
// sent to, which becomes verified. It returns a *RefusalError when the code was used or replaced.
func (s *Store) UseSignInCode(ctx context.Context, hash []byte) (u User, err error) {
	return u, db.Wrap("use a sign-in code", s.Tx(ctx, func(tx *Store) error {
		t, err := tx.useEmailToken(ctx, SignInCode, hash)
		if err != nil {
			return err
		}
		if err := tx.verifyEmail(ctx, t); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		u, err = db.Take[User](ctx, tx.Write, "id = ?", t.UserID)
		return err
	}))
}
