package storage

import (
	"context"
	"errors"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// Factors are the ways in which a user can authenticate.
type Factors struct {
	Password         bool
	TOTP             bool // a TOTP authenticator
	RecoveryCodes    int  // that are not used
	Passkeys         int  // that sign in without a password
	SecurityKeys     int  // passkeys that are only accepted after a password
	HardwarePasskeys int  // of Passkeys, those that cannot leave their authenticator
}

// HasSecondFactor reports whether a sign-in with a password needs a second factor. A passkey signs in alone, so that
// having one does not make the password insufficient.
func (f Factors) HasSecondFactor() bool { return f.TOTP || f.SecurityKeys > 0 }

// Factors returns the ways in which a user can authenticate.
func (s *Store) Factors(ctx context.Context, userID string) (f Factors, err error) {
	err = db.QueryRow(ctx, s.Write, []any{
		&f.Password, &f.TOTP, &f.RecoveryCodes, &f.Passkeys, &f.SecurityKeys, &f.HardwarePasskeys,
	}, `SELECT EXISTS (SELECT 1 FROM passwords WHERE user_id = ?), EXISTS (SELECT 1 FROM totp_secrets WHERE id = ?),
		(SELECT count(*) FROM recovery_codes WHERE user_id = ? AND used_at IS NULL),
		count(CASE WHEN second_factor THEN NULL ELSE 1 END), count(CASE WHEN second_factor THEN 1 END),
		count(CASE WHEN backup_eligible OR second_factor THEN NULL ELSE 1 END) FROM passkeys WHERE user_id = ?`,
		userID, userID, userID, userID)
	return f, db.Wrap("read factors", err)
}

// ResetFactors removes every factor of a user except the password, and ends the sessions, grants and tokens of the
// user: the lost device may be signed in. The audit row has the reason. It returns ErrNotFound when there is no such
// user.
func (s *Store) ResetFactors(ctx context.Context, userID, reason string) error {
	return db.Wrap("reset factors", s.Tx(ctx, func(tx *Store) error {
		if err := db.ExecOne(ctx, tx.Write,
			"UPDATE users SET epoch = epoch + 1, updated_at = ? WHERE id = ?", db.Millis(s.Now()), userID); err != nil {
			return err
		}
		removed, err := tx.Factors(ctx, userID)
		if err != nil {
			return err
		}
		for _, query := range []string{
			"DELETE FROM totp_secrets WHERE id = ?",
			"DELETE FROM recovery_codes WHERE user_id = ?",
			"DELETE FROM passkeys WHERE user_id = ?",
			"DELETE FROM remembered_devices WHERE user_id = ?",
			"DELETE FROM email_tokens WHERE user_id = ? AND purpose = '" + UndoFactors + "'", // the operator has acted
		} {
			if err := db.Exec(ctx, tx.Write, query, userID); err != nil {
				return err
			}
		}
		if err := tx.endSessions(ctx, userID); err != nil {
			return err
		}
		return tx.factorsChanged(ctx, audit.Event{Type: audit.UserFactorsReset, UserID: userID, Detail: map[string]any{
			"reason": reason, "totp": removed.TOTP, "passkeys": removed.Passkeys + removed.SecurityKeys,
			"recovery_codes": removed.RecoveryCodes,
		}})
	}))
}

// factorsChanged records a change of the factors of a user and queues a notice to the user, in the transaction of the
// change.
func (s *Store) factorsChanged(ctx context.Context, e audit.Event) error {
	err := s.queueNotice(ctx, MailFactorsChanged, e.UserID, map[string]string{MailValueChange: e.Type})
	if err != nil {
		return err
	}
	return s.Audit.Record(ctx, e)
}

// RememberedBrowser is a browser in which a user is not prompted for the second factor.
type RememberedBrowser struct {
	TokenHash []byte `gorm:"primaryKey"`
	UserID    string
	UserEpoch int64
	CreatedAt time.Time `gorm:"serializer:millis;autoCreateTime:false"`
	ExpiresAt time.Time `gorm:"serializer:millis"`

	SignInEpoch int64  `gorm:"-"` // of the user when the sign-in began; not stored
	SessionID   string `gorm:"-"` // that the sign-in started; not stored
}

var rememberedBrowserRow = db.NewRecord[RememberedBrowser]("remembered_devices")

// TableName implements schema.Tabler of gorm.
func (RememberedBrowser) TableName() string { return "remembered_devices" }

// CreateRememberedBrowser adds a remembered browser. Ending all sessions of the user ends it too, because that raises
// the epoch. It returns ErrNotFound when the session has ended, or the password changed since the sign-in began.
func (s *Store) CreateRememberedBrowser(ctx context.Context, d RememberedBrowser) error {
	d.CreatedAt = s.Now()
	return db.Wrap("create remembered browser", s.Tx(ctx, func(tx *Store) error {
		if err := rememberedBrowserRow.InsertIf(
			ctx, tx.Write, &d, s.unchangedUser(), d.UserID, d.UserEpoch, d.SignInEpoch,
		); err != nil {
			return err
		}
		err := tx.requireActiveSession(ctx, d.UserID, d.SessionID)
		if errors.Is(err, ErrSessionEnded) {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		return tx.Audit.Record(ctx, audit.Event{Type: audit.BrowserRemembered, UserID: d.UserID})
	}))
}

// IsRemembered reports whether one of the cookie hashes belongs to a remembered browser of the user in the current
// epoch.
func (s *Store) IsRemembered(ctx context.Context, u User, hashes ...[]byte) (bool, error) {
	for _, hash := range hashes {
		var n int64
		err := db.QueryRow(ctx, s.Write, []any{&n}, `SELECT count(*) FROM remembered_devices
			WHERE token_hash = ? AND user_id = ? AND user_epoch = ? AND expires_at > ?`,
			hash, u.ID, u.Epoch, db.Millis(s.Now()))
		if err != nil || n > 0 {
			return n > 0, db.Wrap("read remembered browser", err)
		}
	}
	return false, nil
}

// DeleteRememberedBrowsers ends all remembered browsers of a user, and returns how many there were.
func (s *Store) DeleteRememberedBrowsers(ctx context.Context, userID string) (n int64, err error) {
	return n, db.Wrap("delete remembered browsers", s.Tx(ctx, func(tx *Store) error {
		if n, err = tx.deleteRememberedBrowsers(ctx, userID); err != nil || n == 0 {
			return err
		}
		e := audit.Event{Type: audit.BrowsersRemoved, UserID: userID, Detail: map[string]any{"devices": n}}
		return tx.Audit.Record(ctx, e)
	}))
}

// deleteRememberedBrowsers runs in the transaction of a change of the factors: a browser was remembered for the old
// ones.
func (s *Store) deleteRememberedBrowsers(ctx context.Context, userID string) (int64, error) {
	return db.ExecCount(ctx, s.Write, "DELETE FROM remembered_devices WHERE user_id = ?", userID)
}
