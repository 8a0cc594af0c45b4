package storage

import (
	"context"
	"errors"

	"gatehouse/storage/db"
)

// AccountSession is the session in which a user changes their account, and the user when the request began. The zero
// value is for the operator: nothing is compared.
type AccountSession struct {
	User User
	ID   string
}

// ErrSessionEnded is returned for a change of an account whose session ended, or whose password changed, since the
// request began. Nothing was changed.
var ErrSessionEnded error = db.Outcome("the session has ended")

// requireSession locks the user of a change in the current transaction, and returns ErrSessionEnded unless the session
// of the change is still active: a request of an attacker must not outlast what ended the session. The row of the
// session is locked, too: what ends it either was committed before, or waits for the change.
func (s *Store) requireSession(ctx context.Context, userID string, by AccountSession) error {
	u, err := s.lockedUser(ctx, userID)
	if err != nil || by.User.ID == "" && by.ID == "" {
		return err
	}
	if by.User.ID != userID || u.Epoch != by.User.Epoch || u.SignInEpoch != by.User.SignInEpoch || u.DisabledAt != nil {
		return ErrSessionEnded
	}
	return s.requireActiveSession(ctx, userID, by.ID)
}

// requireActiveSession locks a user, and then the row of an active session of theirs, in the current transaction, or
// returns ErrSessionEnded. Every transaction locks the user before the sessions, and both before the links in emails:
// on PostgreSQL two of them could otherwise wait for each other. A caller that changes the user has locked the user
// before, because the lock here is only that of a foreign key.
func (s *Store) requireActiveSession(ctx context.Context, userID, id string) error {
	query := "SELECT 1 FROM browser_sessions WHERE id = ? AND user_id = ? AND ended_at IS NULL"
	if s.Engine() == Postgres { // SQLite has one writer
		query = `SELECT 1 FROM browser_sessions WHERE id = ? AND ended_at IS NULL
			AND user_id = (SELECT id FROM users WHERE id = ? FOR KEY SHARE) FOR SHARE`
	}
	var one int
	err := db.QueryRow(ctx, s.Write, []any{&one}, query, id, userID)
	if errors.Is(err, ErrNotFound) {
		err = ErrSessionEnded
	}
	return err
}

// EndAccountSession ends a session that the user chose on the page of sessions, as EndSession does. Unless it is the
// current one, it may be an attacker's: the remembered browsers, one of which would need no second factor at the next
// sign-in, and an unused link to change the address end, too, even when the session has ended already, such as by the
// attacker's sign-out. It returns ErrSessionEnded when the current session has ended, and ErrNotFound when the user has
// no such session.
func (s *Store) EndAccountSession(ctx context.Context, userID, id, current string) error {
	if id == current {
		return s.EndSession(ctx, userID, id)
	}
	return db.Wrap("end session", s.Tx(ctx, func(tx *Store) error {
		// First, the user is locked: of two sessions that end each other, one does.
		if err := db.Lock(ctx, tx.Write, "users", userID); err != nil {
			return err
		}
		if err := tx.requireActiveSession(ctx, userID, current); err != nil {
			return err
		}
		err := tx.EndSession(ctx, userID, id)
		if errors.Is(err, ErrNotFound) {
			_, err = db.Take[BrowserSession](ctx, tx.Write, "id = ? AND user_id = ?", id, userID)
		}
		if err != nil {
			return err
		}
		if _, err := tx.DeleteRememberedBrowsers(ctx, userID); err != nil {
			return err
		}
		return tx.deleteEmailChanges(ctx, userID)
	}))
}

// deleteEmailChanges ends the link to change the address of a user, in the current transaction.
func (s *Store) deleteEmailChanges(ctx context.Context, userID string) error {
	return db.Exec(ctx, s.Write, "DELETE FROM email_tokens WHERE user_id = ? AND purpose = ?", userID, ChangeEmail)
}
