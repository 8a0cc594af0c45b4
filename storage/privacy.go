package storage

import (
	"context"
	"strconv"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// seal seals the session's address and user agent for storing.
func (b *BrowserSession) seal(s *Store) (err error) {
	b.PersonalKey, b.Personal, err = s.Audit.SealAddress(b.ID, b.Address, b.UserAgent)
	return err
}

// open fills in the session's address and user agent, unless they were erased or cannot be read.
func (b *BrowserSession) open(s *Store) {
	b.Address, b.UserAgent = s.Audit.OpenAddress(b.ID, b.PersonalKey, b.Personal)
}

// EraseAddresses makes the addresses and user agents in a user's audit rows and browser sessions permanently
// unreadable. It returns the number of rows and sessions.
func (s *Store) EraseAddresses(ctx context.Context, userID string) (int64, error) {
	rows, err := s.Audit.Erase(ctx, userID)
	if err != nil {
		return rows, err
	}
	due := "SELECT id FROM browser_sessions WHERE user_id = ? AND personal_key IS NOT NULL LIMIT " +
		strconv.Itoa(db.BatchRows)
	query := "UPDATE browser_sessions SET personal = NULL, personal_key = NULL WHERE " + s.SkipLocked("id", due)
	sessions, err := db.ExecBatches(ctx, s.Write, query, userID)
	if err != nil {
		return rows, db.Wrap("erase personal data", err)
	}
	if rows+sessions == 0 {
		return 0, nil
	}
	detail := map[string]any{"rows": rows, "sessions": sessions}
	return rows + sessions, s.Audit.Record(ctx, audit.Event{Type: audit.AuditErased, UserID: userID, Detail: detail})
}
