package storage

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/storage/db"
)

const (
	// batchTimeout is how long one statement of a long scan may take.
	batchTimeout = 30 * time.Second
	// requestRetention includes the maximum by which AdvanceCleanupTime may be ahead.
	requestRetention = 2 * time.Hour
	// replayRetention is how long codes and grants are stored after they expired, to detect replays and reuse.
	replayRetention = 24 * time.Hour
	// RevokedRetention is how long the row of a revoked token or of what was used once is stored after it expired, so that
	// a process with a slow clock does not accept it again.
	RevokedRetention = 24 * time.Hour
	// mailRetention exceeds the time for which emails are retried and notices wait.
	mailRetention = noticeLifetime + 24*time.Hour
	// successorRetention is far longer than a retry window: without its sealed successor a retry counts as reuse.
	successorRetention = 24 * time.Hour
)

// expiry is a condition on the rows of a table that expire. All its question marks are the same time, that long
// before now.
type expiry struct {
	table, where string
	after        time.Duration
}

// expiries are the rows that DeleteExpired deletes. Ended sessions are stored as long as a grant is bound to them:
// their ended_at keeps it invalid.
var expiries = []expiry{
	{"authorization_requests", "expires_at < ?", requestRetention},
	{"authorization_codes", "expires_at < ?", replayRetention},
	{"revoked_tokens", "expires_at < ?", RevokedRetention},
	// The last grant of a client from a session is what queues the back-channel logout when the session ends, so it is
	// stored as long as the session.
	{"grants", `expires_at < ? AND NOT (
		EXISTS (SELECT 1 FROM clients WHERE clients.id = grants.client_id AND clients.backchannel_logout_uri <> '')
		AND EXISTS (SELECT 1 FROM browser_sessions WHERE browser_sessions.id = grants.session_id
			AND browser_sessions.ended_at IS NULL AND browser_sessions.expires_at >= ?)
		AND NOT EXISTS (SELECT 1 FROM grants later WHERE later.session_id = grants.session_id
			AND later.client_id = grants.client_id
			AND (later.expires_at, later.id) > (grants.expires_at, grants.id)))`, replayRetention},
	{
		"browser_sessions",
		"expires_at < ? AND NOT EXISTS (SELECT 1 FROM grants WHERE grants.session_id = browser_sessions.id)",
		replayRetention,
	},
	{"sign_in_attempts", "last_at < ?", 24 * time.Hour},
	{"used_once", "expires_at < ?", RevokedRetention},
	{"used_assertions", "expires_at < ?", RevokedRetention}, // rows of the previous version
	{"remembered_devices", "expires_at < ?", replayRetention},
	{"pending_sign_ins", "expires_at < ?", replayRetention},
	{"registration_tokens", "expires_at < ?", replayRetention},
	{"client_secrets", "expires_at < ?", replayRetention},
	{"passwords", "expires_at < ?", 0},
	{"signing_keys", "removed_at < ?", replayRetention},
	{"outages", "ended_at < ?", replayRetention},
	{"mail_pauses", "until < ?", 0},
	// Longer than any email is retried: of an installation that sends none any more.
	{"deliveries", isMail + " AND created_at < ?", mailRetention},
	{"email_tokens", "expires_at < ?", replayRetention},
	{"sign_ups", "expires_at < ?", 0},
	{"invitations", "expires_at < ?", replayRetention},
	{"retired_names", "until < ?", 0},
	{"deleted_clients", "deleted_at < ?", deletedClientRetention},
}

// DeleteExpired deletes expired rows, including dynamically registered clients that were not used for unusedTTL, in
// batches of 500 until none is left or ctx ends, and returns how many. Several processes may call it concurrently: on
// PostgreSQL they skip each other's rows. AdvanceCleanupTime decides what has expired; deleting a large share of a
// table logs a warning.
func (s *Store) DeleteExpired(ctx context.Context, unusedTTL time.Duration) (int64, error) {
	now, err := s.AdvanceCleanupTime(ctx)
	if err != nil {
		return 0, err
	}
	var total int64
	for _, x := range expiries {
		before := slices.Repeat([]any{db.Millis(now.Add(-x.after))}, strings.Count(x.where, "?"))
		if err := s.warnOfLargeDeletion(ctx, x.table, x.where, before...); err != nil {
			return total, db.Wrap("count expired "+x.table, err)
		}
		row := "rowid"
		if s.Engine() == Postgres {
			row = "ctid"
		}
		query := "DELETE FROM " + x.table + " WHERE " + s.SkipLocked(
			row, "SELECT "+row+" FROM "+x.table+" WHERE "+x.where+" LIMIT "+strconv.Itoa(db.BatchRows),
		)
		n, err := db.ExecBatches(ctx, s.Write, query, before...)
		total += n
		if err != nil {
			return total, db.Wrap("delete expired "+x.table, err)
		}
	}
	n, err := s.deleteUnusedClients(ctx, now, unusedTTL)
	total += n
	if err != nil {
		return total, err
	}
	if err := s.resetPostponedDeliveries(ctx); err != nil {
		return total, db.Wrap("reset postponed deliveries", err)
	}
	return total, db.Wrap("delete old changes", s.deleteChanges(ctx))
}

// ClearSealedSuccessors clears the sealed successors of rotations that are older than the longest retry window plus
// the longest request. It scans all grants in parts, from a random position, because an index would slow down every
// rotation. Call it rarely: a sealed successor cannot be opened without the token that it replaced.
func (s *Store) ClearSealedSuccessors(ctx context.Context) error {
	now, err := s.AdvanceCleanupTime(ctx)
	if err != nil {
		return err
	}
	before := db.Millis(now.Add(-successorRetention))
	size, part := "SELECT coalesce(max(rowid), 0) + 1 FROM grants", int64(2000)
	row, where := "rowid", "rowid >= ? AND rowid < ?"
	position := func(n int64) any { return n }
	if s.Engine() == Postgres {
		size, part = "SELECT pg_relation_size('grants') / current_setting('block_size')::bigint", 256
		row, where = "ctid", "ctid >= ?::tid AND ctid < ?::tid"
		position = func(block int64) any { return fmt.Sprintf("(%d,0)", block) }
	}
	query := "UPDATE grants SET successor_sealed = NULL WHERE " +
		s.SkipLocked(row, "SELECT "+row+" FROM grants WHERE "+where+" AND successor_sealed IS NOT NULL AND rotated_at < ?")
	var end int64
	if err := db.QueryRow(ctx, s.Read, []any{&end}, size); err != nil {
		return db.Wrap("clear sealed successors", err)
	}
	parts := (end + part - 1) / part
	for first, i := rand.Int64N(max(parts, 1)), int64(0); i < parts; i++ { //nolint:gosec // any position is suitable
		from, began := (first+i)%parts*part, time.Now()
		limited, cancel := context.WithTimeout(ctx, batchTimeout) // the scan may take long, one statement does not
		err := db.Exec(limited, s.Write, query, position(from), position(from+part), before)
		cancel()
		if err == nil && i < parts-1 {
			err = db.Throttle(ctx, began)
		}
		if err != nil {
			return db.Wrap("clear sealed successors", err)
		}
	}
	return nil
}

// maxCleanupStep is how far the time of deletion advances in one call of AdvanceCleanupTime.
const maxCleanupStep = time.Hour

// AdvanceCleanupTime returns the time before which expired rows are deleted. It is the time of the database's clock,
// but at most an hour later than the stored result of the previous call or, on the first call, than the last activity
// of any process. A temporarily wrong clock therefore deletes almost nothing; after a long stop, deletion catches up by
// an hour per call.
func (s *Store) AdvanceCleanupTime(ctx context.Context) (time.Time, error) {
	now, err := s.ReadClock(ctx)
	if err != nil {
		return time.Time{}, db.Wrap("read the database's clock", err)
	}
	at, step := db.Millis(now), maxCleanupStep.Milliseconds()
	var allowed int64
	err = db.QueryRow(ctx, s.Write, []any{&allowed}, `UPDATE liveness SET cleanup_at = CASE
			WHEN coalesce(cleanup_at, seen_at) + ? < ? THEN coalesce(cleanup_at, seen_at) + ? ELSE ? END
		WHERE id = 1 RETURNING cleanup_at`, step, at, step, at)
	if err != nil {
		return time.Time{}, db.Wrap("advance the time of deletion", err)
	}
	behind := time.Duration(at-allowed) * time.Millisecond
	switch before := time.Duration(s.cleanupBehind.Swap(int64(behind))); {
	case behind > 0 && before == 0:
		s.Log.WarnContext(ctx, "clock far ahead of the last cleanup; cleanup advances by an hour a minute",
			slog.Time("clock", now), slog.Time("deleting_before", db.FromMillis(allowed)))
	case behind == 0 && before > 0:
		s.Log.InfoContext(ctx, "cleanup has caught up with the clock")
	}
	return db.FromMillis(allowed), nil
}

// maxCountedDeletion is how many rows warnOfLargeDeletion counts at most.
const maxCountedDeletion = 10_000

// warnOfLargeDeletion logs and counts a deletion of a large share of a table before it happens: it may be caused by a
// wrong clock.
func (s *Store) warnOfLargeDeletion(ctx context.Context, table, due string, args ...any) error {
	count := func(from string, limit int64, args ...any) (n int64, err error) {
		err = db.QueryRow(
			ctx, s.Write, []any{&n}, "SELECT count(*) FROM (SELECT 1 FROM "+from+" LIMIT ?) counted", append(args, limit)...)
		return n, err
	}
	rows, err := count(table+" WHERE "+due, maxCountedDeletion, args...)
	if err != nil || rows < db.LargeDeletion {
		return err
	}
	total, err := count(table, rows*db.LargeDeletionShare)
	if err == nil {
		s.ReportDeletion(ctx, table, rows, total)
	}
	return err
}
