package db

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
)

// clock is the time that all processes of one database share. On PostgreSQL it is the database's time, carried forward
// from the last reading by this host's monotonic clock: a wrong clock on this host, or a step of it, does not
// change the time. SQLite has no clock, so it uses this host's.
type clock struct {
	local    func() time.Time
	database func() time.Time // replaces the database's clock in tests
	reading  atomic.Pointer[clockReading]
	skew     atomic.Int64 // this host's clock minus the database's, in nanoseconds, at the last reading
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

// observe processes a reading of the database's clock between two times of this host. It ignores a reading that
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

// ReadClock reads the database's clock and, on PostgreSQL, sets the time of this process by it.
func (d *DB) ReadClock(ctx context.Context) (time.Time, error) {
	if d.engine != Postgres {
		return d.clock.local(), nil
	}
	before := d.clock.local()
	var micros int64
	const query = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
	if err := QueryRow(ctx, d.Write, []any{&micros}, query); err != nil {
		return time.Time{}, err
	}
	at := time.UnixMicro(micros).UTC()
	if d.clock.database != nil {
		at = d.clock.database()
	}
	d.clock.observe(before, at, d.clock.local())
	return at, nil
}

// ErrClockSkew is returned by CheckClock.
var ErrClockSkew = errors.New("the clock of this host differs from the database's")

// CheckClock returns ErrClockSkew when this host's clock differed from the database's by more than MaxClockSkew at
// the last reading. It queries nothing. On SQLite it always returns nil.
func (d *DB) CheckClock() error {
	if skew := time.Duration(d.clock.skew.Load()); skew.Abs() > MaxClockSkew {
		return fmt.Errorf("%w by %s", ErrClockSkew, skew.Round(time.Millisecond))
	}
	return nil
}

// A deletion is large when it has at least LargeDeletion rows and more than one row in LargeDeletionShare of the
// table.
const (
	LargeDeletion      = 1000
	LargeDeletionShare = 10
)

// ReportDeletion logs and counts a deletion if it is a large share of the table: a wrong clock may be the cause.
func (d *DB) ReportDeletion(ctx context.Context, table string, rows, total int64) {
	if rows < LargeDeletion || rows*LargeDeletionShare <= total {
		return
	}
	d.largeDeletions.Add(1)
	d.Log.WarnContext(ctx, "deleting a large share of a table; check the clocks", slog.String("table", table),
		slog.Int64("expired_rows_at_least", rows), slog.Int64("rows", total))
}
