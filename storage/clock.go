package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

const (
	// MaxClockSkew is the maximum difference between the clocks of a process and the database before CheckClock fails.
	MaxClockSkew = 30 * time.Second
	// maxReadingError is the largest error of a reading of the database's clock that is still used.
	maxReadingError = time.Second
	// maxCleanupStep is how far the time of deletion advances in one call of CleanupTime.
	maxCleanupStep = time.Hour
)

// clock is the time that all processes of one database share. On PostgreSQL it is the database's time, carried forward
// from the last reading by this machine's monotonic clock: a wrong clock on this machine, or a step of it, does not
// change the time. SQLite has no clock, so it uses this machine's.
type clock struct {
	local    func() time.Time
	database func() time.Time // replaces the database's clock in tests
	reading  atomic.Pointer[clockReading]
	skew     atomic.Int64 // this machine's clock minus the database's, in nanoseconds, at the last reading
	behind   atomic.Int64 // by how much CleanupTime lags, in nanoseconds
}

// clockReading is the same time on both clocks.
type clockReading struct {
	local, database time.Time
	uncertainty     time.Duration // maximum error of database: half of the round trip
}

func (c *clock) now() time.Time {
	local := c.local()
	if r := c.reading.Load(); r != nil {
		return r.database.Add(local.Sub(r.local))
	}
	return local
}

// observe processes a reading of the database's clock between two times of this machine. It ignores a reading that
// agrees with the current one within the uncertainty of both and is not more precise, so that the time does not
// jitter.
func (c *clock) observe(before, database, after time.Time) {
	half := after.Sub(before) / 2
	if half < 0 || half > maxReadingError {
		return
	}
	local := before.Add(half)
	c.skew.Store(int64(local.Round(0).Sub(database))) // Round removes the monotonic reading: the wall clock is compared
	if r := c.reading.Load(); r != nil {
		difference := database.Sub(r.database.Add(local.Sub(r.local)))
		if difference.Abs() <= half+r.uncertainty && half >= r.uncertainty {
			return
		}
	}
	c.reading.Store(&clockReading{local, database, half})
}

// readClock reads the database's clock and, on PostgreSQL, sets the time of this process by it.
func (s *Store) readClock(ctx context.Context) (time.Time, error) {
	if s.engine != Postgres {
		return s.clock.local(), nil
	}
	before := s.clock.local()
	var micros int64
	if err := queryRow(ctx, s.write, []any{&micros}, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"); err != nil {
		return time.Time{}, err
	}
	at := time.UnixMicro(micros).UTC()
	if s.clock.database != nil {
		at = s.clock.database()
	}
	s.clock.observe(before, at, s.clock.local())
	return at, nil
}

// ErrClockSkew is returned by CheckClock.
var ErrClockSkew = errors.New("the clock of this machine differs from the database's")

// CheckClock returns ErrClockSkew when this machine's clock differed from the database's by more than MaxClockSkew at
// the last reading. It queries nothing. On SQLite it always returns nil.
func (s *Store) CheckClock() error {
	if skew := time.Duration(s.clock.skew.Load()); skew.Abs() > MaxClockSkew {
		return fmt.Errorf("%w by %s", ErrClockSkew, skew.Round(time.Millisecond))
	}
	return nil
}

// CleanupTime returns the time before which expired rows are deleted. It is the time of the database's clock, but at
// most an hour later than the stored result of the previous call or, on the first call, than the last activity of any
// process. A temporarily wrong clock therefore deletes almost nothing; after a long stop, deletion catches up by an
// hour per call.
func (s *Store) CleanupTime(ctx context.Context) (time.Time, error) {
	now, err := s.readClock(ctx)
	if err != nil {
		return time.Time{}, wrap("read the database's clock", err)
	}
	at, step := toMillis(now), maxCleanupStep.Milliseconds()
	var allowed int64
	err = queryRow(ctx, s.write, []any{&allowed}, `UPDATE liveness SET cleanup_at = CASE
			WHEN coalesce(cleanup_at, seen_at) + ? < ? THEN coalesce(cleanup_at, seen_at) + ? ELSE ? END
		WHERE id = 1 RETURNING cleanup_at`, step, at, step, at)
	if err != nil {
		return time.Time{}, wrap("advance the time of deletion", err)
	}
	behind := time.Duration(at-allowed) * time.Millisecond
	switch before := time.Duration(s.clock.behind.Swap(int64(behind))); {
	case behind > 0 && before == 0:
		s.log.WarnContext(ctx, "clock far ahead of the last cleanup; cleanup advances by an hour a minute",
			slog.Time("clock", now), slog.Time("deleting_before", fromMillis(allowed)))
	case behind == 0 && before > 0:
		s.log.InfoContext(ctx, "cleanup has caught up with the clock")
	}
	return fromMillis(allowed), nil
}

// A deletion is large when it has at least this many rows and a tenth of the table.
const (
	largeDeletion      = 1000
	largeDeletionShare = 10
	largeDeletionCount = 10_000 // more are not counted
)

// warnOfLargeDeletion logs and counts a deletion of a large share of a table before it happens: it may be caused by a
// wrong clock.
func (s *Store) warnOfLargeDeletion(ctx context.Context, table, due string, args ...any) error {
	count := func(from string, limit int64, args ...any) (n int64, err error) {
		err = queryRow(ctx, s.write, []any{&n}, "SELECT count(*) FROM (SELECT 1 FROM "+from+" LIMIT ?) counted", append(args, limit)...)
		return n, err
	}
	rows, err := count(table+" WHERE "+due, largeDeletionCount, args...)
	if err != nil || rows < largeDeletion {
		return err
	}
	total, err := count(table, rows*largeDeletionShare)
	if err == nil {
		s.reportDeletion(ctx, table, rows, total)
	}
	return err
}

// reportDeletion logs and counts a deletion if it is a large share of the table.
func (s *Store) reportDeletion(ctx context.Context, table string, rows, total int64) {
	if rows < largeDeletion || rows*largeDeletionShare <= total {
		return
	}
	s.largeDeletions.Add(1)
	s.log.WarnContext(ctx, "deleting a large share of a table; check the clocks", slog.String("table", table),
		slog.Int64("expired_rows_at_least", rows), slog.Int64("rows", total))
}
