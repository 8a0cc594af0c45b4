package storage

import (
	"context"
	"errors"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// ScheduleDeletion sets when a user is deleted, unless the user signs in before, and ends every session, grant and
// token of the user. It returns ErrNotFound when there is no such user, and ErrSessionEnded.
func (s *Store) ScheduleDeletion(
	ctx context.Context, userID string, at time.Time, notice Mail, by AccountSession,
) error {
	return db.Wrap("schedule a deletion", s.Tx(ctx, func(tx *Store) error {
		if err := tx.requireSession(ctx, userID, by); err != nil {
			return err
		}
		if err := tx.endEverything(ctx, userID); err != nil {
			return err
		}
		if err := tx.keepResetLink(ctx, userID); err != nil {
			return err
		}
		if err := db.Exec(ctx, tx.Write, "UPDATE users SET deletion_at = ? WHERE id = ?", db.Millis(at), userID); err != nil {
			return err
		}
		if err := tx.QueueMail(ctx, notice); err != nil {
			return err
		}
		detail := map[string]any{"at": at.UTC().Format(time.RFC3339)}
		return tx.Audit.Record(ctx, audit.Event{Type: audit.UserDeletionScheduled, UserID: userID, Detail: detail})
	}))
}

// CancelDeletion keeps a user who signed in before the time of the deletion. It returns ErrNotFound when the user was
// deleted. It changes nothing when no deletion is scheduled.
func (s *Store) CancelDeletion(ctx context.Context, userID string) error {
	return s.changeUser(ctx, userID, audit.UserDeletionCancelled, nil,
		"UPDATE users SET deletion_at = NULL, updated_at = ? WHERE id = ? AND deletion_at IS NOT NULL",
		db.Millis(s.Now()), userID)
}

// DeleteUser removes a user with the password, sessions and consents. Grants and tokens of the user are then invalid.
// No other user can have the username for the time of retention. Audit rows have the id of the user only.
func (s *Store) DeleteUser(ctx context.Context, id string, retention time.Duration) error {
	return s.deleteUser(ctx, id, retention, false, "1 = 1")
}

// deleteUser removes a user who also matches a condition on the row, or returns ErrNotFound. With erase, the addresses
// of the user in the audit log are erased in the same transaction.
func (s *Store) deleteUser(
	ctx context.Context, id string, retention time.Duration, erase bool, where string, args ...any,
) error {
	return db.Wrap("delete user", s.Tx(ctx, func(tx *Store) error {
		u, err := tx.lockedUser(ctx, id)
		if err != nil {
			return err
		}
		if err := tx.queueUserLogouts(ctx, id); err != nil { // before the consents that refer to the clients are deleted
			return err
		}
		if err := tx.retireName(ctx, u.UsernameKey, id, s.Now().Add(retention)); err != nil {
			return err
		}
		if err := db.ExecOne(ctx, tx.Write, "DELETE FROM users WHERE id = ? AND "+where,
			append([]any{id}, args...)...); err != nil {
			return err
		}
		if erase {
			if _, err := tx.Audit.Erase(ctx, id); err != nil {
				return err
			}
		}
		return tx.Audit.Record(ctx, audit.Event{Type: audit.UserDeleted, UserID: id})
	}))
}

// DeleteDueUsers removes the users whose deletion is due, and erases their addresses from the audit log. It returns how
// many. Several processes may call it concurrently.
func (s *Store) DeleteDueUsers(ctx context.Context, retention time.Duration) (n int64, err error) {
	now, err := s.AdvanceCleanupTime(ctx)
	if err != nil {
		return 0, err
	}
	for {
		due, err := db.Select[string](ctx, s.Read,
			"SELECT id FROM users WHERE deletion_at <= ? ORDER BY deletion_at LIMIT 100", db.Millis(now))
		if err != nil || len(due) == 0 {
			return n, db.Wrap("read users to delete", err)
		}
		for _, id := range due {
			err := s.deleteDueUser(ctx, id, retention, db.Millis(now))
			if errors.Is(err, ErrNotFound) {
				continue // deleted by another process, or the user signed in
			}
			if err != nil {
				return n, err
			}
			n++
		}
	}
}

// deleteDueUser removes a user whose deletion is due. The addresses in the audit log are erased before, in batches: if
// that fails or the process ends, the user is still due, and the job repeats it. The transaction of the deletion erases
// those of events in the meantime.
func (s *Store) deleteDueUser(ctx context.Context, id string, retention time.Duration, now int64) error {
	const due = "deletion_at <= ?"
	if _, err := db.Take[User](ctx, s.Write, "id = ? AND "+due, id, now); err != nil {
		return err
	}
	if _, err := s.EraseAddresses(ctx, id); err != nil {
		return err
	}
	return s.deleteUser(ctx, id, retention, true, due, now)
}

// AcceptTerms stores that a user accepted a version of the terms. It returns ErrNotFound when there is no such user,
// or the user has already accepted it.
func (s *Store) AcceptTerms(ctx context.Context, userID, version string) error {
	e := audit.Event{Type: audit.UserTermsAccepted, UserID: userID, Detail: map[string]any{"version": version}}
	return db.Wrap("accept terms", s.Tx(ctx, func(tx *Store) error {
		err := db.ExecOne(ctx, tx.Write, "UPDATE users SET terms_version = ? WHERE id = ? AND terms_version <> ?", version,
			userID, version)
		if err != nil {
			return err
		}
		return tx.Audit.Record(ctx, e)
	}))
}
