package storage

import (
	"context"
	"slices"
	"strings"
	"time"

	"gatehouse/storage/db"
)

// AuditFilter chooses audit rows. Empty fields choose all.
type AuditFilter struct {
	Event                            string // a type, or all that begin with what stands before a final *
	Actor, ClientID, UserID, GrantID string
	RequestID, Token                 string
	Since, Until                     time.Time
	Limit                            int // of AuditEvents: at most this many, the newest; 0 means 100
}

// where returns the condition of the filter.
func (f AuditFilter) where() (string, []any) {
	conditions, args := []string{"1 = 1"}, []any{}
	add := func(condition string, values ...any) {
		conditions, args = append(conditions, condition), append(args, values...)
	}
	if prefix, ok := strings.CutSuffix(f.Event, "*"); ok {
		add("substr(event, 1, ?) = ?", len(prefix), prefix)
	} else if f.Event != "" {
		add("event = ?", f.Event)
	}
	for _, is := range [][2]string{
		{"actor", f.Actor}, {"client_id", f.ClientID}, {"user_id", f.UserID}, {"grant_id", f.GrantID}, {"request_id", f.RequestID}, {"token", f.Token},
	} {
		if is[1] != "" {
			add(is[0]+" = ?", is[1])
		}
	}
	if !f.Since.IsZero() {
		add("at >= ?", db.Millis(f.Since))
	}
	if !f.Until.IsZero() {
		add("at < ?", db.Millis(f.Until))
	}
	return strings.Join(conditions, " AND "), args
}

// AuditEvents returns the newest rows that pass the filter, newest first.
func (s *Store) AuditEvents(ctx context.Context, f AuditFilter) ([]AuditEvent, error) {
	if f.Limit == 0 {
		f.Limit = 100
	}
	where, args := f.where()
	out, err := db.ListLimit[AuditEvent](ctx, s.Read, f.Limit, "id DESC", where, args...)
	if err != nil {
		return nil, db.Wrap("list audit events", err)
	}
	for i := range out {
		s.readPersonal(&out[i])
	}
	return out, nil
}

// CountAuditEvents is how many rows pass the filter.
func (s *Store) CountAuditEvents(ctx context.Context, f AuditFilter) (n int64, err error) {
	where, args := f.where()
	err = db.QueryRow(ctx, s.Read, []any{&n}, "SELECT count(*) FROM audit_events WHERE "+where, args...)
	return n, db.Wrap("count audit events", err)
}

// EachAuditEvent calls fn with every row that passes the filter, oldest first, a thousand in memory at a time. Rows that
// come while it runs may be among them. It ends with the first error.
func (s *Store) EachAuditEvent(ctx context.Context, f AuditFilter, fn func(AuditEvent) error) error {
	where, args := f.where()
	id := "" // a UUIDv7: its order is that of time
	for {
		page, err := db.ListLimit[AuditEvent](ctx, s.Read, 1000, "id", where+" AND id > ?", append(slices.Clone(args), id)...)
		if err != nil {
			return db.Wrap("read audit events", err)
		}
		for i := range page {
			s.readPersonal(&page[i])
			if err := fn(page[i]); err != nil {
				return err
			}
		}
		if len(page) < 1000 {
			return nil
		}
		id = page[len(page)-1].ID
	}
}
