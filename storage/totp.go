package storage

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// TOTPSecret is the secret of a user's TOTP authenticator (RFC 6238). A user has one at most.
type TOTPSecret struct {
	ID          string // of the user
	Sealed      []byte // the secret, sealed under the root key
	Algorithm   string // of the HMAC: SHA1, SHA256 or SHA512
	Digits      int64
	Period      int64     // of a step, in seconds
	ConfirmedAt time.Time `gorm:"serializer:millis"`
	// SecondFactorSince is since when the user has had a second factor without interruption.
	SecondFactorSince time.Time `gorm:"serializer:millis"`

	Secret []byte `gorm:"-" json:"-"` // in clear
}

// TableName implements schema.Tabler of gorm.
func (TOTPSecret) TableName() string { return "totp_secrets" }

const totpPurpose = "totp"

// TOTP returns the secret of a user's TOTP authenticator, or ErrNotFound.
func (s *Store) TOTP(ctx context.Context, userID string) (TOTPSecret, error) {
	t, err := db.Take[TOTPSecret](ctx, s.Write, "id = ?", userID)
	if err == nil {
		if t.Secret, err = s.Vault.Open(totpPurpose, t.ID, t.Sealed); err != nil {
			err = fmt.Errorf("open the TOTP secret of user %s: %w", userID, err)
		}
	}
	return t, db.Wrap("read TOTP secret", err)
}

// SetTOTP stores the secret of a TOTP authenticator of which the user has confirmed a code, in place of another. It
// ends the remembered browsers.
func (s *Store) SetTOTP(ctx context.Context, t TOTPSecret) error {
	_, err := s.SetTOTPInSession(ctx, t, nil, FactorAddition{})
	return err
}

// SetTOTPInSession does the same and raises the acr of the session in which the user confirmed the code, unless raise
// is nil. It reports whether the session was raised: not if it has changed since it was read. It returns
// ErrSessionEnded.
func (s *Store) SetTOTPInSession(
	ctx context.Context, t TOTPSecret, raise *RaisedSession, a FactorAddition,
) (raised bool, err error) {
	return raised, db.Wrap("set TOTP secret", s.Tx(ctx, func(tx *Store) error {
		err := tx.requireSession(ctx, t.ID, a.AccountSession)
		if err != nil {
			return err
		}
		err = db.Lock(ctx, tx.Write, "installation", 1) // so that no rekey misses it
		if err != nil {
			return err
		}
		if t.Sealed, err = tx.Vault.Seal(ctx, totpPurpose, t.ID, t.Secret); err != nil {
			return err
		}
		t.ConfirmedAt = s.Now()
		if t.SecondFactorSince, err = tx.secondFactorSince(ctx, t.ID, t.ConfirmedAt); err != nil {
			return err
		}
		replaced, err := db.ExecCount(ctx, tx.Write, "DELETE FROM totp_secrets WHERE id = ?", t.ID)
		if err != nil {
			return err
		}
		if err := db.Insert(ctx, tx.Write, &t); err != nil {
			return err
		}
		if _, err := tx.deleteRememberedBrowsers(ctx, t.ID); err != nil {
			return err
		}
		e := audit.Event{Type: audit.UserTOTPSet, UserID: t.ID, Detail: map[string]any{"replaced": replaced > 0}}
		if raise != nil {
			if raised, err = tx.raiseSession(ctx, t.ID, raise); err != nil {
				return err
			}
			e.Detail["session_raised"] = raised
		}
		return tx.factorAdded(ctx, e, a)
	}))
}

// DeleteTOTP removes the TOTP authenticator of a user, and the recovery codes unless another second factor is left. It
// returns ErrNotFound when there is none, and ErrSessionEnded.
func (s *Store) DeleteTOTP(ctx context.Context, userID string, by AccountSession) error {
	return db.Wrap("delete TOTP secret", s.Tx(ctx, func(tx *Store) error {
		if err := tx.requireSession(ctx, userID, by); err != nil {
			return err
		}
		if err := db.ExecOne(ctx, tx.Write, "DELETE FROM totp_secrets WHERE id = ?", userID); err != nil {
			return err
		}
		if err := tx.deleteUnneededFactors(ctx, userID); err != nil {
			return err
		}
		return tx.factorsChanged(ctx, audit.Event{Type: audit.UserTOTPRemoved, UserID: userID})
	}))
}

// deleteUnneededFactors removes what replaces a second factor when no second factor is left, and ends the remembered
// devices.
func (s *Store) deleteUnneededFactors(ctx context.Context, userID string) error {
	if _, err := s.deleteRememberedBrowsers(ctx, userID); err != nil {
		return err
	}
	f, err := s.Factors(ctx, userID)
	if err != nil || f.HasSecondFactor() {
		return err
	}
	return db.Exec(ctx, s.Write, "DELETE FROM recovery_codes WHERE user_id = ?", userID)
}

// UseTOTPStep consumes the time step of a code of a user, until expires. It returns ErrConsumed when a code of the step
// was used before (RFC 6238 §5.2).
func (s *Store) UseTOTPStep(ctx context.Context, userID string, step int64, expires time.Time) error {
	return s.UseOnce(ctx, UseOfTOTPStep, userID, fmt.Sprint(step), expires)
}

// RecoveryCode replaces the second factor of a user once.
type RecoveryCode struct {
	UserID    string     `gorm:"primaryKey"`
	Hash      []byte     `gorm:"primaryKey"`
	CreatedAt time.Time  `gorm:"serializer:millis;autoCreateTime:false"`
	UsedAt    *time.Time `gorm:"serializer:millis"`
}

// SetRecoveryCodes replaces the recovery codes of a user, used and unused. It returns ErrSessionEnded.
func (s *Store) SetRecoveryCodes(ctx context.Context, userID string, hashes [][]byte, a FactorAddition) error {
	return db.Wrap("set recovery codes", s.Tx(ctx, func(tx *Store) error {
		if err := tx.requireSession(ctx, userID, a.AccountSession); err != nil { // locks: two sets must not both be valid
			return err
		}
		replaced, err := tx.replaceRecoveryCodes(ctx, userID, hashes)
		if err != nil {
			return err
		}
		change := audit.RecoveryCodesCreated
		if replaced {
			change += inPlace
		}
		return tx.queueAddition(ctx, userID, change, a)
	}))
}

// replaceRecoveryCodes replaces the recovery codes of a user whose row is locked, in the current transaction, and
// reports whether there were unused ones.
func (s *Store) replaceRecoveryCodes(ctx context.Context, userID string, hashes [][]byte) (replaced bool, err error) {
	unused, err := db.ExecCount(ctx, s.Write, "DELETE FROM recovery_codes WHERE user_id = ? AND used_at IS NULL", userID)
	if err != nil {
		return false, err
	}
	if err := db.Exec(ctx, s.Write, "DELETE FROM recovery_codes WHERE user_id = ?", userID); err != nil {
		return false, err
	}
	for _, hash := range hashes {
		row := RecoveryCode{UserID: userID, Hash: bytes.Clone(hash), CreatedAt: s.Now()}
		if err := db.Insert(ctx, s.Write, &row); err != nil {
			return false, err
		}
	}
	return unused > 0, s.Audit.Record(ctx, audit.Event{
		Type: audit.RecoveryCodesCreated, UserID: userID, Detail: map[string]any{"codes": len(hashes)},
	})
}

// UseRecoveryCode consumes a recovery code of a user and returns how many are left. It returns ErrNotFound when there
// is no such code or it was used. Of several concurrent uses, one succeeds.
func (s *Store) UseRecoveryCode(ctx context.Context, userID string, hash []byte) (left int64, err error) {
	return left, db.Wrap("use recovery code", s.Tx(ctx, func(tx *Store) error {
		if err := db.ExecOne(ctx, tx.Write,
			"UPDATE recovery_codes SET used_at = ? WHERE user_id = ? AND hash = ? AND used_at IS NULL",
			db.Millis(s.Now()), userID, hash); err != nil {
			return err
		}
		if err := db.QueryRow(ctx, tx.Write, []any{&left},
			"SELECT count(*) FROM recovery_codes WHERE user_id = ? AND used_at IS NULL", userID); err != nil {
			return err
		}
		e := audit.Event{Type: audit.RecoveryCodeUsed, UserID: userID, Detail: map[string]any{"left": left}}
		return tx.factorsChanged(ctx, e)
	}))
}

// CountFactorAttempt counts an attempt to enter a code before the code is checked, so that no more concurrent attempts
// pass than the limit allows. It returns the time until which attempts are refused, or nil when this one may proceed.
// ClearSignInFailures deletes the count after a correct code.
func (s *Store) CountFactorAttempt(ctx context.Context, c SignInCount) (retryAt *time.Time, err error) {
	err = s.Tx(ctx, func(tx *Store) error {
		// The row is locked until the end of the transaction: on PostgreSQL the insert waits for a concurrent one.
		if err := db.Exec(ctx, tx.Write, `INSERT INTO sign_in_attempts (account, network, failures, last_at)
			VALUES (?, ?, 0, ?) ON CONFLICT (account, network) DO UPDATE SET failures = sign_in_attempts.failures`,
			c.Account, c.Subnet, db.Millis(s.Now())); err != nil {
			return err
		}
		if retryAt, err = tx.SignInBlockedUntil(ctx, c); err != nil || retryAt != nil {
			return err
		}
		_, _, err := tx.countSignInFailure(ctx, c)
		return err
	})
	return retryAt, db.Wrap("count an attempt", err)
}
