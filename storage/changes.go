package storage

import (
	"context"
	"slices"
	"strings"
	"time"

	"gatehouse/storage/db"
)

const (
	changesInterval = 250 * time.Millisecond
	changesStale    = time.Second
	// changesRetention exceeds the longest transaction plus the largest clock skew. A process that has read nothing
	// for a second drops everything anyway.
	changesRetention = 24 * time.Hour

	// everything denotes all clients, scopes, resources and keys.
	everything = "*"
)

// recordClientChange makes the transaction record a change to a client when it commits, which drops the client from the
// caches of every process.
func (s *Store) recordClientChange(id string) { *s.changed = append(*s.changed, id) }

// recordSharedChange makes the transaction record a change to what all clients share, which empties the caches of every
// process.
func (s *Store) recordSharedChange() { s.recordClientChange(everything) }

// recordChanges adds the rows of a transaction's changes.
func (s *Store) recordChanges(ctx context.Context) error {
	ids := *s.changed
	if slices.Contains(ids, everything) {
		ids = []string{everything}
	}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		var err error
		if s.Engine() == Postgres {
			// A row with the same position can only come from the dump of another cluster.
			err = db.Exec(ctx, s.Write, `INSERT INTO changes (position, client_id, at)
				VALUES (pg_current_xact_id()::text::bigint, ?, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
				ON CONFLICT (position, client_id) DO UPDATE SET at = excluded.at`, id)
		} else {
			err = db.Exec(ctx, s.Write,
				"INSERT INTO changes (position, client_id, at) SELECT coalesce(max(position), 0) + 1, ?, ? FROM changes",
				id, db.Millis(s.Now()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// changePosition is how far the changes were read: the visible snapshot, and the server that it belongs to.
type changePosition struct{ snapshot, server string }

// readChanges returns the ids of the clients that were changed since a position, and the new position. Both come from
// one statement, which reads one state of the database. PostgreSQL does not commit transactions in the order of their
// ids, so the new rows are those that the previous snapshot could not see. Rows with the id of a transaction that has
// not begun come from the dump of another cluster and are ignored.
func (s *Store) readChanges(ctx context.Context, from changePosition) (ids []string, to changePosition, err error) {
	query := `SELECT coalesce(max(position), ?), '', coalesce(group_concat(DISTINCT client_id), '')
		FROM changes WHERE position > ?`
	if s.Engine() == Postgres {
		query = `SELECT pg_current_snapshot()::text, extract(epoch FROM pg_postmaster_start_time())::text, coalesce((
			SELECT string_agg(DISTINCT client_id, ',') FROM changes
			WHERE position >= pg_snapshot_xmin(?::text::pg_snapshot)::text::bigint
			AND position < pg_snapshot_xmax(pg_current_snapshot())::text::bigint
			AND NOT pg_visible_in_snapshot(position::text::xid8, ?::text::pg_snapshot)), '')`
	}
	var changed string
	if from.snapshot == "" { // first read
		from.snapshot = map[string]string{Postgres: "1:1:", SQLite: "0"}[s.Engine()]
	}
	err = db.QueryRow(ctx, s.Read, []any{&to.snapshot, &to.server, &changed}, query, from.snapshot, from.snapshot)
	return strings.FieldsFunc(changed, func(r rune) bool { return r == ',' }), to, db.Wrap("read the changes", err)
}

// ApplyChanges reads the changes of other processes since the last read and drops the changed records from the
// caches. A background task calls it four times a second.
func (s *Store) ApplyChanges(ctx context.Context) error {
	s.changesMu.Lock()
	defer s.changesMu.Unlock()
	began, before := s.LocalNow(), s.position
	ids, now, err := s.readChanges(ctx, before)
	if err != nil {
		return err
	}
	// Another server may have lost transactions, and use their ids again.
	if s.position = now; now.server != before.server {
		ids = []string{everything}
	}
	s.cache.markRead(ids, began)
	return nil
}

// followChanges catches up four times a second until ctx ends.
func (s *Store) followChanges(ctx context.Context) {
	tick := time.NewTicker(changesInterval)
	defer tick.Stop()
	for {
		limited, cancel := context.WithTimeout(ctx, changesStale)
		if err := s.ApplyChanges(limited); err != nil { // without success for a second the caches are bypassed
			s.followed.Miss(err)
		} else {
			s.followed.Beat()
		}
		cancel()
		s.WatchFile(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// deleteChanges deletes the rows that every process has read.
func (s *Store) deleteChanges(ctx context.Context) error {
	retained := changesRetention.Milliseconds()
	if s.Engine() == Postgres { // clock_timestamp() changes within a statement, so that no index can be used
		return db.Exec(
			ctx, s.Write,
			"DELETE FROM changes WHERE at < (extract(epoch FROM statement_timestamp()) * 1000)::bigint - ?::bigint", retained,
		)
	}
	// The last row is not deleted: it has the position that the next one follows.
	return db.Exec(
		ctx, s.Write, "DELETE FROM changes WHERE at < ? AND position < (SELECT max(position) FROM changes)",
		db.Millis(s.Now())-retained,
	)
}
