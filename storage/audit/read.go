package audit

import (
	"context"
	"slices"
	"strings"
	"time"

	"gatehouse/storage/db"
)

// Filter selects rows. An empty field selects all.
type Filter struct {
	Event                            string // a type, or a prefix of types and *
	Actor, ClientID, UserID, GrantID string
	RequestID, Token                 string
	Since, Until                     time.Time
	Limit                            int // of Rows: at most this many, the newest; 0 means 100
}

// where returns the condition of the filter.
func (f Filter) where() (string, []any) {
	conditions, args := []string{"1 = 1"}, []any{}
	add := func(condition string, values ...any) {
		conditions, args = append(conditions, condition), append(args, values...)
	}
	if prefix, ok := strings.CutSuffix(f.Event, "*"); ok {
		add("substr(event, 1, ?) = ?", len(prefix), prefix)
	} else if f.Event != "" {
		add("event = ?", f.Event)
	}
	for _, c := range []struct{ column, value string }{
		{"actor", f.Actor}, {"client_id", f.ClientID}, {"user_id", f.UserID}, {"grant_id", f.GrantID},
		{"request_id", f.RequestID}, {"token", f.Token},
	} {
		if c.value != "" {
			add(c.column+" = ?", c.value)
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

// Rows returns the newest rows that match the filter, newest first.
func (l *Log) Rows(ctx context.Context, f Filter) ([]Row, error) {
	if f.Limit == 0 {
		f.Limit = 100
	}
	where, args := f.where()
	out, err := db.ListLimit[Row](ctx, l.db.Read, f.Limit, "id DESC", where, args...)
	if err != nil {
		return nil, db.Wrap("list audit events", err)
	}
	for i := range out {
		l.openAddress(&out[i])
	}
	return out, nil
}

// CountRows returns how many rows match the filter.
func (l *Log) CountRows(ctx context.Context, f Filter) (n int64, err error) {
	where, args := f.where()
	err = db.QueryRow(ctx, l.db.Read, []any{&n}, "SELECT count(*) FROM audit_events WHERE "+where, args...)
	return n, db.Wrap("count audit events", err)
}

// EachRow calls fn with every row that matches the filter, oldest first, with a thousand in memory at a time. It may
// include rows that are added concurrently. It ends with the first error.
func (l *Log) EachRow(ctx context.Context, f Filter, fn func(Row) error) error {
	where, args := f.where()
	id := "" // a UUIDv7: its order is that of time
	for {
		page, err := db.ListLimit[Row](ctx, l.db.Read, 1000, "id", where+" AND id > ?", append(slices.Clone(args), id)...)
		if err != nil {
			return db.Wrap("read audit events", err)
		}
		for i := range page {
			l.openAddress(&page[i])
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

// RecordExport records that the operator exported the rows that match the filter.
func (l *Log) RecordExport(ctx context.Context, f Filter, rows int64) error {
	return l.Record(ctx, Event{
		Type: AuditExported, ClientID: f.ClientID, UserID: f.UserID, Detail: map[string]any{"rows": rows},
	})
}

// accountCondition is that of the index audit_events_account, word for word, so that both engines use it.
const accountCondition = `user_id <> '' AND event NOT IN ('access_token.issued', 'code.issued', 'code.redeemed',
	'refresh_token.rotated')`

// maxStatements is how many statements about the events of a page are read: there is one for each event, unless a user
// sends a form several times.
const maxStatements = 1000

// Statements returns the newest events in which a user stated, in a time, whether they caused events of their account.
func (l *Log) Statements(ctx context.Context, userID string, from, until time.Time) ([]Row, error) {
	out, err := db.ListLimit[Row](ctx, l.db.Read, maxStatements, "at DESC, id DESC",
		accountCondition+" AND user_id = ? AND at >= ? AND at < ? AND event IN (?, ?)",
		userID, db.Millis(from), db.Millis(until), ActivityConfirmed, ActivityReported)
	return out, db.Wrap("list statements about events", err)
}

// AccountRow returns an event of a user's account without its address, or db.ErrNotFound.
func (l *Log) AccountRow(ctx context.Context, userID, id string) (Row, error) {
	row, err := db.Take[Row](ctx, l.db.Read, accountCondition+" AND user_id = ? AND id = ?", userID, id)
	return row, db.Wrap("read an event of an account", err)
}

// Cursor is the position of an event in chronological order. Events of the same millisecond are in the order of their
// ids.
type Cursor struct {
	At time.Time
	ID string
}

// AccountRows returns the newest events of a user's account, newest first, without those of tokens. before is the last
// row of the previous page, or zero.
func (l *Log) AccountRows(ctx context.Context, userID string, before Cursor, limit int) ([]Row, error) {
	where, args := accountCondition+" AND user_id = ?", []any{userID}
	if at := db.Millis(before.At); !before.At.IsZero() {
		where, args = where+" AND at <= ? AND (at < ? OR id < ?)", append(args, at, at, before.ID)
	}
	out, err := db.ListLimit[Row](ctx, l.db.Read, limit, "at DESC, id DESC", where, args...)
	if err != nil {
		return nil, db.Wrap("list events of an account", err)
	}
	for i := range out {
		l.openAddress(&out[i])
	}
	return out, nil
}
