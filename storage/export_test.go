package storage

import (
	"context"
	"strconv"
	"time"

	"github.com/google/uuid"

	"gatehouse/storage/db"
)

// RecordOutage adds an outage, as a process does after its end.
func (s *Store) RecordOutage(ctx context.Context, from, to time.Time) error {
	return db.Insert(ctx, s.Write, &Outage{ID: uuid.NewString(), StartedAt: from, EndedAt: to})
}

// ResetCleanupTime calls storagetest.ResetCleanupTime.
func (s *Store) ResetCleanupTime(ctx context.Context) error {
	return db.Exec(ctx, s.Write, "UPDATE liveness SET cleanup_at = NULL, seen_at = NULL")
}

// Fill makes SQLite find its disk full: the file may not grow any more. free lifts the limit.
func (s *Store) Fill(ctx context.Context) (free func() error, err error) {
	var pages int64
	if err := db.QueryRow(ctx, s.Write, []any{&pages}, "PRAGMA page_count"); err != nil {
		return nil, err
	}
	limit := func(n int64) error {
		var got int64
		return db.QueryRow(ctx, s.Write, []any{&got}, "PRAGMA max_page_count = "+strconv.FormatInt(n, 10))
	}
	return func() error { return limit(1 << 30) }, limit(pages)
}

// Freeze makes SQLite find its file read-only. thaw undoes it.
func (s *Store) Freeze(ctx context.Context) (thaw func() error, err error) {
	set := func(value string) error { return db.Exec(ctx, s.Write, "PRAGMA query_only = "+value) }
	return func() error { return set("0") }, set("1")
}

// Setting returns a setting of PostgreSQL on any connection.
func (s *Store) Setting(ctx context.Context, name string) (value string, err error) {
	err = db.QueryRow(ctx, s.Write, []any{&value}, "SELECT current_setting(?)", name)
	return value, err
}

// Execute executes one statement.
func (s *Store) Execute(ctx context.Context, query string) error { return db.Exec(ctx, s.Write, query) }
