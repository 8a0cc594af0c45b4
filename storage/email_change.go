package storage

import (
	"context"
	"errors"
	"time"

	"gatehouse/keyed"
	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// VerifyEmail consumes a token that proves the address of its user. It returns a *RefusalError when the token cannot be
// used or the address is no longer the user's.
func (s *Store) VerifyEmail(ctx context.Context, hash []byte) (u User, err error) {
	return u, db.Wrap("verify an email address", s.Tx(ctx, func(tx *Store) error {
		t, err := tx.useEmailToken(ctx, VerifyEmail, hash)
		if err != nil {
			return err
		}
		if err := tx.verifyEmail(ctx, t); errors.Is(err, ErrNotFound) {
			return &RefusalError{Reason: "the address is no longer the user's", UserID: t.UserID}
		} else if err != nil {
			return err
		}
		u, err = db.Take[User](ctx, tx.Write, "id = ?", t.UserID)
		return err
	}))
}

// verifyEmail marks the address of a token as verified in the current transaction. It returns ErrNotFound when it is
// not the address of the user.
func (s *Store) verifyEmail(ctx context.Context, t EmailToken) error {
	now := db.Millis(s.Now())
	err := db.ExecOne(
		ctx, s.Write, `UPDATE users SET email_verified_at = ?, updated_at = ?
		WHERE id = ? AND email_key = ? AND email_verified_at IS NULL`, now, now, t.UserID, t.EmailKey,
	)
	if errors.Is(err, ErrNotFound) {
		_, err := db.Take[User](ctx, s.Write, "id = ? AND email_key = ?", t.UserID, t.EmailKey)
		return err // nil if it is verified already
	}
	if err != nil {
		return err
	}
	return s.Audit.Record(ctx, audit.Event{Type: audit.UserEmailVerified, UserID: t.UserID})
}

// EmailChange has what ChangeEmail stores in addition: the link that undoes it, in an email to the previous address.
type EmailChange struct {
	UndoHash      []byte
	UndoExpiresAt time.Time
	Notice        func(previous User) Mail
}

// ChangeEmail consumes a token that proves a new address, and replaces that of its user. An email to the previous
// address has a link that undoes it; until that expires, no other user can have the previous address. It returns a
// *RefusalError when the token cannot be used, and ErrConflict when another user has the address.
func (s *Store) ChangeEmail(ctx context.Context, hash []byte, c EmailChange) (u User, err error) {
	return u, db.Wrap("change an email address", s.Tx(ctx, func(tx *Store) error {
		t, err := tx.useEmailToken(ctx, ChangeEmail, hash)
		if err != nil {
			return err
		}
		previous, err := tx.lockedUser(ctx, t.UserID)
		if err != nil {
			return err
		}
		if err := tx.retireName(ctx, previous.EmailKey, previous.ID, c.UndoExpiresAt); err != nil {
			return err
		}
		if u, err = tx.setEmail(ctx, previous, t, true); err != nil {
			return err
		}
		if err := tx.deleteEmailTokens(ctx, u.ID); err != nil { // they were for the previous address
			return err
		}
		undo := EmailToken{
			UserID: u.ID, Purpose: UndoEmailChange, Slot: previous.EmailKey, Hash: c.UndoHash, Email: previous.Email,
			EmailKey: previous.EmailKey, CreatedAt: s.Now(), ExpiresAt: c.UndoExpiresAt,
		}
		if previous.EmailVerifiedAt != nil {
			undo.TriesLeft = 1 // the address was verified
		}
		if err := tx.insertEmailToken(ctx, undo); err != nil {
			return err
		}
		if err := tx.QueueMail(ctx, c.Notice(previous)); err != nil {
			return err
		}
		return tx.Audit.Record(ctx, audit.Event{Type: audit.UserEmailChanged, UserID: u.ID})
	}))
}

// UndoEmailChange consumes a token of an email to a previous address, and restores that address. Because the account
// may have been taken over, it ends every session, grant and token of the user, removes the password and the factors
// that were added within UndoWindow, and ends every other link but those that undo an earlier change. It returns a
// *RefusalError when the token cannot be used.
func (s *Store) UndoEmailChange(ctx context.Context, hash []byte) (u User, err error) {
	return u, db.Wrap("undo a change of an email address", s.Tx(ctx, func(tx *Store) error {
		t, err := tx.useEmailToken(ctx, UndoEmailChange, hash)
		if err != nil {
			return err
		}
		current, err := tx.lockedUser(ctx, t.UserID)
		if err != nil {
			return err
		}
		if u, err = tx.setEmail(ctx, current, t, t.TriesLeft > 0); err != nil {
			return err
		}
		if err := tx.endEverything(ctx, u.ID); err != nil {
			return err
		}
		if err := tx.removeRecentFactors(ctx, u.ID, "undone change of the email address"); err != nil {
			return err
		}
		if err := tx.deletePassword(ctx, u.ID); err != nil {
			return err
		}
		// An attacker with the account may have changed the address twice, and have the undo of the second change: the
		// undo of an earlier address or factor stays valid.
		if err := db.Exec(ctx, tx.Write, `DELETE FROM email_tokens WHERE user_id = ? AND hash <> ?
			AND (purpose NOT IN (`+undoPurposes+`) OR created_at >= ?)`, u.ID, hash, db.Millis(t.CreatedAt)); err != nil {
			return err
		}
		if err := db.Exec(ctx, tx.Write, "DELETE FROM pending_sign_ins WHERE user_id = ?", u.ID); err != nil {
			return err
		}
		return tx.Audit.Record(ctx, audit.Event{Type: audit.UserEmailChangeUndone, UserID: u.ID})
	}))
}

// setEmail gives a user the address of a token, in the current transaction. It returns ErrConflict when another user
// has it.
func (s *Store) setEmail(ctx context.Context, u User, t EmailToken, verified bool) (User, error) {
	now := s.Now()
	u.Email, u.EmailKey, u.EmailVerifiedAt, u.UpdatedAt = t.Email, t.EmailKey, nil, now
	if verified {
		u.EmailVerifiedAt = &now
	}
	if err := s.checkNamesFree(ctx, u.ID, u.EmailKey); err != nil {
		return u, err
	}
	columns := []string{"email", "email_key", "email_verified_at", "updated_at"}
	if err := db.Update(ctx, s.Write, &u, columns, "id = ?", u.ID); err != nil {
		return u, err
	}
	return u, s.setUserTerms(ctx, &u)
}

// lockedUser returns a user whose row is locked in the current transaction.
func (s *Store) lockedUser(ctx context.Context, id string) (User, error) {
	if err := db.Lock(ctx, s.Write, "users", id); err != nil {
		return User{}, err
	}
	return db.Take[User](ctx, s.Write, "id = ?", id)
}

// RetiredName is a name that only its previous user may have, until a time.
type RetiredName struct {
	NameMAC []byte `gorm:"column:name_mac;primaryKey"`
	UserID  string
	Until   time.Time `gorm:"serializer:millis"`
}

// retiredNamePurpose is the purpose of the key of the HMACs of retired names.
const retiredNamePurpose = "retired-names"

func (s *Store) nameMAC(key string) []byte { return keyed.MAC(s.Vault.Key(retiredNamePurpose), key) }

// retireName reserves a normalized username or address for its user until a time, in the current transaction. It never
// shortens a reservation.
func (s *Store) retireName(ctx context.Context, key, userID string, until time.Time) error {
	if !until.After(s.Now()) {
		return nil
	}
	return db.Exec(ctx, s.Write, `INSERT INTO retired_names (name_mac, user_id, until) VALUES (?, ?, ?)
		ON CONFLICT (name_mac) DO UPDATE SET user_id = excluded.user_id,
			until = CASE WHEN retired_names.until > excluded.until THEN retired_names.until ELSE excluded.until END`,
		s.nameMAC(key), userID, db.Millis(until))
}

// IsRetiredName reports whether a normalized username or address is reserved, also for its previous user.
func (s *Store) IsRetiredName(ctx context.Context, key string) (bool, error) {
	_, err := db.Take[RetiredName](ctx, s.Write, "name_mac = ? AND until > ?", s.nameMAC(key), db.Millis(s.Now()))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, db.Wrap("check a name", err)
}

// checkNamesFree returns ErrConflict when a normalized username or address is reserved for another user.
func (s *Store) checkNamesFree(ctx context.Context, userID string, keys ...string) error {
	for _, key := range keys {
		_, err := db.Take[RetiredName](ctx, s.Write, "name_mac = ? AND until > ? AND user_id <> ?", s.nameMAC(key),
			db.Millis(s.Now()), userID)
		if err == nil {
			return ErrConflict
		}
		if !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}
