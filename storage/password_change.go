package storage

import (
	"context"
	"errors"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// PasswordChange is a new password that a user chose.
type PasswordChange struct {
	UserID   string
	Previous string // the hash that the user proved; empty when the user had no password
	Hash     string
	// By is the session of ChangePassword, which stays.
	By AccountSession
	// EndEverything also ends that session, the grants with offline_access and every token, after a takeover.
	EndEverything bool
	// RemoveFactors also removes the factors that were added within UndoWindow. It needs EndEverything.
	RemoveFactors bool
	Notice        Mail
}

// ChangePassword replaces the password of a user who proved the previous one. It ends the user's other sessions and
// their grants without offline_access. It returns ErrConflict when the password was changed concurrently, and
// ErrSessionEnded.
func (s *Store) ChangePassword(ctx context.Context, c PasswordChange) error {
	return db.Wrap("change password", s.Tx(ctx, func(tx *Store) error {
		if err := tx.requireSession(ctx, c.UserID, c.By); err != nil {
			return err
		}
		stored, err := tx.Password(ctx, c.UserID)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if stored.Hash != c.Previous {
			return ErrConflict
		}
		return tx.replacePassword(ctx, c, audit.UserPasswordChanged)
	}))
}

// ResetPassword consumes a token that was sent to the user, and replaces the password as ChangePassword does. It signs
// no user in. The token proves the address that it was sent to, which becomes verified. It returns a *RefusalError when
// the token cannot be used.
func (s *Store) ResetPassword(ctx context.Context, token []byte, c PasswordChange) error {
	return db.Wrap("reset password", s.Tx(ctx, func(tx *Store) error {
		t, err := tx.useEmailToken(ctx, ResetPassword, token)
		if err != nil {
			return err
		}
		if t.UserID != c.UserID {
			return &RefusalError{Reason: "the token is another user's", UserID: t.UserID}
		}
		if err := tx.verifyEmail(ctx, t); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		return tx.replacePassword(ctx, c, audit.UserPasswordReset)
	}))
}

// replacePassword stores a new password in the current transaction, and ends what the change ends.
func (s *Store) replacePassword(ctx context.Context, c PasswordChange, event string) error {
	if err := s.raiseSignInEpoch(ctx, c.UserID); err != nil {
		return err
	}
	if c.EndEverything {
		if err := s.endEverything(ctx, c.UserID); err != nil {
			return err
		}
		if c.RemoveFactors {
			if err := s.removeRecentFactors(ctx, c.UserID, "password reset"); err != nil {
				return err
			}
		}
	} else if err := s.endOtherSessions(ctx, c.UserID, c.By.ID); err != nil {
		return err
	}
	if err := s.endEmailTokens(ctx, c, event == audit.UserPasswordChanged); err != nil {
		return err
	}
	// The previous password began these sign-ins and is what those devices are trusted with.
	if err := db.Exec(ctx, s.Write, "DELETE FROM pending_sign_ins WHERE user_id = ?", c.UserID); err != nil {
		return err
	}
	if _, err := s.deleteRememberedBrowsers(ctx, c.UserID); err != nil {
		return err
	}
	if err := s.storePassword(ctx, c.UserID, c.Hash); err != nil {
		return err
	}
	if err := s.QueueMail(ctx, c.Notice); err != nil {
		return err
	}
	e := audit.Event{Type: event, UserID: c.UserID}
	if c.EndEverything {
		e.Detail = map[string]any{"ended": "everything"}
	}
	return s.Audit.Record(ctx, e)
}

// endEmailTokens ends the tokens that a new password ends, in the current transaction.
func (s *Store) endEmailTokens(ctx context.Context, c PasswordChange, bySession bool) error {
	if !bySession {
		return s.deleteEmailTokens(ctx, c.UserID)
	}
	if c.EndEverything {
		if err := s.keepResetLink(ctx, c.UserID); err != nil {
			return err
		}
	}
	return s.deleteEmailTokensBySession(ctx, c.UserID)
}

// raiseSignInEpoch makes what began before fail: sign-ins with the password that are still being verified, and requests
// of sessions that this transaction ends. It must be the first statement of the change, which locks the user, so that
// what was committed before is ended and what comes later is refused. It returns ErrNotFound when there is no such
// user.
func (s *Store) raiseSignInEpoch(ctx context.Context, userID string) error {
	return db.ExecOne(ctx, s.Write, "UPDATE users SET sign_in_epoch = sign_in_epoch + 1, updated_at = ? WHERE id = ?",
		db.Millis(s.Now()), userID)
}

func (s *Store) storePassword(ctx context.Context, userID, hash string) error {
	return db.Exec(ctx, s.Write, `INSERT INTO passwords (user_id, hash, changed_at) VALUES (?, ?, ?)
		ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, changed_at = excluded.changed_at, kind = '',
			expires_at = NULL`,
		userID, hash, db.Millis(s.Now()))
}

// deletePassword removes the password of a user, in the current transaction, who must then reset it: an attacker who
// has it could otherwise sign in again before the user has changed it.
func (s *Store) deletePassword(ctx context.Context, userID string) error {
	return db.Exec(ctx, s.Write, "DELETE FROM passwords WHERE user_id = ?", userID)
}

// endEverything ends every session, grant and token of a user in the current transaction, and returns ErrNotFound when
// there is no such user.
func (s *Store) endEverything(ctx context.Context, userID string) error {
	if err := db.ExecOne(ctx, s.Write, "UPDATE users SET epoch = epoch + 1, updated_at = ? WHERE id = ?",
		db.Millis(s.Now()), userID); err != nil {
		return err
	}
	return s.endSessions(ctx, userID)
}

// endOtherSessions ends the sessions of a user except one, with the grants bound to them that have no offline_access,
// and queues the logouts of the clients that were used in them, in the current transaction.
func (s *Store) endOtherSessions(ctx context.Context, userID, except string) error {
	if err := s.queueLogouts(ctx, `grants.session_id IN (SELECT id FROM browser_sessions
		WHERE user_id = ? AND id <> ? AND ended_at IS NULL)`, userID, except); err != nil {
		return err
	}
	return db.Exec(ctx, s.Write,
		"UPDATE browser_sessions SET ended_at = ? WHERE user_id = ? AND id <> ? AND ended_at IS NULL",
		db.Millis(s.Now()), userID, except)
}
