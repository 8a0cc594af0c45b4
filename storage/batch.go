package storage

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
	batchQueue = 8192
	batchRows  = 500
	batchEvery = 100 * time.Millisecond
	batchWait  = time.Second
)

// batch writes audit rows of plain issues in groups. Its queue is bounded: when the database cannot keep up, callers
// wait and then fail rather than memory growing or records getting lost in silence.
type batch struct {
	store *Store
	rows  chan AuditEvent
	quit  chan struct{} // closed when no more rows come
	done  chan struct{} // closed when all are written
	once  sync.Once
	alive bool

	failed   atomic.Uint64 // attempts
	held     atomic.Int64  // rows that left the queue and are not written yet
	failures lograte.Limiter
	wrote    db.Heartbeat
}

func newBatch(s *Store) *batch {
	return &batch{store: s, rows: make(chan AuditEvent, batchQueue), quit: make(chan struct{}), done: make(chan struct{})}
}

func (b *batch) start(ctx context.Context) {
	b.alive = true
	go b.run(ctx)
}

func (b *batch) add(ctx context.Context, row AuditEvent) error {
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
		return ErrBusy
	}
}

// run collects rows for a short while or until a group is full, writes them, and keeps them until that succeeds.
func (b *batch) run(ctx context.Context) {
	defer close(b.done)
	tick := time.NewTicker(batchEvery)
	defer tick.Stop()
	pending := make([]AuditEvent, 0, batchRows)
	for {
		var rows <-chan AuditEvent
		if len(pending) < batchRows {
			rows = b.rows
		}
		select {
		case row := <-rows:
			pending = append(pending, row)
			b.held.Store(int64(len(pending)))
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

// drain writes everything that is left.
func (b *batch) drain(ctx context.Context, pending []AuditEvent) {
	for ctx.Err() == nil {
		for len(pending) < batchRows && len(b.rows) > 0 {
			pending = append(pending, <-b.rows)
			b.held.Store(int64(len(pending)))
		}
		if len(pending) == 0 {
			return
		}
		if rest := b.flush(ctx, pending); len(rest) > 0 {
			select {
			case <-time.After(batchEvery):
			case <-ctx.Done():
			}
		} else {
			pending = rest
		}
	}
}

// flush writes rows, skipping any that an attempt with an unknown outcome wrote before, and returns those that are still to be written: none, or all when the database failed.
func (b *batch) flush(ctx context.Context, rows []AuditEvent) []AuditEvent {
	if len(rows) == 0 {
		b.wrote.Beat()
		return rows
	}
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := b.insert(limited, rows...)
	if err != nil && len(rows) > 0 && refusedData(err) {
		rows, err = b.insertEach(limited, rows)
	}
	b.held.Store(int64(len(rows)))
	if err != nil {
		if ctx.Err() == nil {
			b.failed.Add(1)
		}
		if ctx.Err() == nil && b.failures.Allow() {
			b.store.Log.ErrorContext(ctx, "cannot write audit rows, will try again", slog.Int("rows", len(rows)), slog.Any("error", err))
		}
		if ctx.Err() == nil {
			select {
			case <-time.After(batchEvery):
			case <-ctx.Done():
			}
		}
		return rows
	}
	if b.failures.Reset() {
		b.store.Log.InfoContext(ctx, "audit rows are written again")
	}
	b.held.Store(0)
	b.wrote.Beat()
	return rows[:0]
}

func (b *batch) insert(ctx context.Context, rows ...AuditEvent) error {
	return auditRow.InsertMissing(ctx, b.store.Write, rows)
}

// insertEach writes rows one by one and drops those that the database refuses, so that one of them cannot keep back all
// others for ever. It returns the rows that are still to be written.
func (b *batch) insertEach(ctx context.Context, rows []AuditEvent) ([]AuditEvent, error) {
	for i, row := range rows {
		switch err := b.insert(ctx, row); {
		case err == nil:
		case refusedData(err):
			b.store.Log.ErrorContext(ctx, "the database refuses an audit row, which is lost", slog.String("event", row.Event), slog.String("request_id", row.RequestID), slog.Any("error", err))
		default:
			return rows[i:], err
		}
	}
	return rows[:0], nil
}

// refusedData reports whether the database refused what it was given (SQLSTATE classes 22 and 23), which no further
// attempt will change.
func refusedData(err error) bool {
	code := db.SQLState(err)
	return strings.HasPrefix(code, "22") || strings.HasPrefix(code, "23")
}

// close writes what is queued, for no longer than ctx allows.
func (b *batch) close(ctx context.Context) error {
	b.once.Do(func() { close(b.quit) })
	if !b.alive {
		return nil
	}
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d audit rows were not written and are lost: %w", int(b.held.Load())+len(b.rows), ctx.Err())
	}
}
