package audit

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/lograte"
	"gatehouse/storage/db"
)

const (
	batchQueue    = 8192
	batchRows     = 500
	batchInterval = 100 * time.Millisecond
	batchWait     = time.Second
)

// batch writes rows of frequent events in groups. Its queue is bounded: when the database cannot keep up, callers wait
// and then fail, so that neither memory grows nor rows are lost silently.
type batch struct {
	log     *Log
	rows    chan Row
	quit    chan struct{} // closed when no more rows come
	done    chan struct{} // closed when all are written
	once    sync.Once
	started bool

	failed    atomic.Uint64 // attempts
	unwritten atomic.Int64  // rows that left the queue and are not written yet
	failures  lograte.Limiter
	written   db.Heartbeat
}

func newBatch(l *Log) *batch {
	return &batch{log: l, rows: make(chan Row, batchQueue), quit: make(chan struct{}), done: make(chan struct{})}
}

func (b *batch) start(ctx context.Context) {
	b.written.Beat() // nothing is queued yet, and a job may check before the first tick
	b.started = true
	go b.run(ctx)
}

func (b *batch) add(ctx context.Context, row Row) error {
	select {
	case b.rows <- row:
		return nil
	default:
	}
	wait, cancel := context.WithTimeout(ctx, batchWait)
	defer cancel()
	select {
	case b.rows <- row:
		return nil
	case <-wait.Done():
		return db.ErrBusy
	}
}

// run collects rows for a short time or until a group is full, and retries to write them until that succeeds.
func (b *batch) run(ctx context.Context) {
	defer close(b.done)
	tick := time.NewTicker(batchInterval)
	defer tick.Stop()
	pending := make([]Row, 0, batchRows)
	for {
		var rows <-chan Row
		if len(pending) < batchRows {
			rows = b.rows
		}
		select {
		case row := <-rows:
			pending = append(pending, row)
			b.unwritten.Store(int64(len(pending)))
			if len(pending) < batchRows {
				continue
			}
		case <-tick.C:
		case <-b.quit:
			b.drain(ctx, pending)
			return
		case <-ctx.Done():
			return
		}
		pending = b.flush(ctx, pending)
	}
}

// drain writes all remaining rows.
func (b *batch) drain(ctx context.Context, pending []Row) {
	for ctx.Err() == nil {
		for len(pending) < batchRows && len(b.rows) > 0 {
			pending = append(pending, <-b.rows)
			b.unwritten.Store(int64(len(pending)))
		}
		if len(pending) == 0 {
			return
		}
		if rest := b.flush(ctx, pending); len(rest) > 0 {
			select {
			case <-time.After(batchInterval):
			case <-ctx.Done():
			}
		} else {
			pending = rest
		}
	}
}

// flush writes rows, without those that an attempt with an unknown outcome wrote before. It returns the rows that are
// still to be written: none, or all when the database failed.
func (b *batch) flush(ctx context.Context, rows []Row) []Row {
	if len(rows) == 0 {
		b.written.Beat()
		return rows
	}
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := b.insert(limited, rows...)
	if err != nil && len(rows) > 0 && refusedData(err) {
		rows, err = b.insertEach(limited, rows)
	}
	b.unwritten.Store(int64(len(rows)))
	if err != nil && ctx.Err() != nil {
		return rows
	}
	if err != nil {
		b.failed.Add(1)
		if b.failures.Allow() {
			b.log.db.Log.ErrorContext(ctx, "cannot write audit rows, will retry",
				slog.Int("rows", len(rows)), slog.Any("error", err))
		}
		select {
		case <-time.After(batchInterval):
		case <-ctx.Done():
		}
		return rows
	}
	if b.failures.Reset() {
		b.log.db.Log.InfoContext(ctx, "writing audit rows again")
	}
	b.unwritten.Store(0)
	b.written.Beat()
	return rows[:0]
}

func (b *batch) insert(ctx context.Context, rows ...Row) error {
	return rowRecord.InsertMissing(ctx, b.log.db.Write, rows)
}

// insertEach writes rows one by one and drops those that the database refuses, so that one of them does not block all
// others indefinitely. It returns the rows that are still to be written.
func (b *batch) insertEach(ctx context.Context, rows []Row) ([]Row, error) {
	for i, row := range rows {
		switch err := b.insert(ctx, row); {
		case err == nil:
		case refusedData(err):
			b.log.db.Log.ErrorContext(ctx, "audit row refused by the database and lost", slog.String("event", row.Event),
				slog.String("request_id", row.RequestID), slog.Any("error", err))
		default:
			return rows[i:], err
		}
	}
	return rows[:0], nil
}

// refusedData reports whether the database refused the values (SQLSTATE classes 22 and 23), so that a retry cannot
// succeed.
func refusedData(err error) bool {
	code := db.SQLState(err)
	return strings.HasPrefix(code, "22") || strings.HasPrefix(code, "23")
}

// waiting returns how many rows are not written yet.
func (b *batch) waiting() int { return len(b.rows) + int(b.unwritten.Load()) }

// close writes what is queued, for no longer than ctx allows.
func (b *batch) close(ctx context.Context) error {
	b.once.Do(func() { close(b.quit) })
	if !b.started {
		return nil
	}
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d audit rows were not written and are lost: %w", b.waiting(), ctx.Err())
	}
}
