package storage

import (
	"context"
	"log/slog"
	"time"

	"gatehouse/storage/db"
)

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
