package storage

import (
	"context"
	"strconv"
	"strings"
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

// FollowChanges reads the changes until the context ends, as Start does, but without the time that Start allows for the
// first success.
func (s *Store) FollowChanges(ctx context.Context) { s.followChanges(ctx) }

// RecordChangesFollowed records a successful read of the changes.
func (s *Store) RecordChangesFollowed() { s.followed.Beat() }

// SimulateFullDisk prevents SQLite's file from growing until free is called.
func (s *Store) SimulateFullDisk(ctx context.Context) (free func() error, err error) {
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

// SimulateReadOnlyDisk makes SQLite refuse every write until restore is called.
func (s *Store) SimulateReadOnlyDisk(ctx context.Context) (restore func() error, err error) {
	set := func(value string) error { return db.Exec(ctx, s.Write, "PRAGMA query_only = "+value) }
	return func() error { return set("0") }, set("1")
}

// Execute executes one statement.
func (s *Store) Execute(ctx context.Context, query string) error { return db.Exec(ctx, s.Write, query) }

// ExportedColumns returns the columns of a table that the export of a user has; none: the table is not in it.
func ExportedColumns(table string) []string {
	for _, e := range exported {
		if e.table == table {
			return strings.FieldsFunc(e.columns, func(r rune) bool { return strings.ContainsRune(", \n\t", r) })
		}
	}
	return nil
}
