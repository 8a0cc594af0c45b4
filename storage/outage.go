package storage

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"gatehouse/storage/db"
)

const (
	checkInterval = time.Second
	checkTimeout  = 5 * time.Second
	// checksPerLivenessWrite is the number of checks per write of the time to the database.
	checksPerLivenessWrite = 5
	// restartGap is the minimum time without a write of any process that the next start counts as an outage.
	restartGap = 15 * time.Second
)

// Outage is a time in which a process could not use the database, so that responses of committed changes were lost.
type Outage struct {
	ID        string
	StartedAt time.Time `gorm:"serializer:millis"`
	EndedAt   time.Time `gorm:"serializer:millis"`
}

// health is the state of this process's connection to the database.
type health struct {
	mu    sync.Mutex // locked during an attempt
	count int        // successes
	state atomic.Pointer[healthState]
}

type healthState struct {
	last    time.Time // when the last success began; zero before the first
	failing bool      // a later attempt failed
}

// current returns the state of the connection.
func (c *health) current() healthState {
	if state := c.state.Load(); state != nil {
		return *state
	}
	return healthState{}
}

// watchDatabase reads the database's clock every second and writes the time to the database every five, until ctx
// ends.
func (s *Store) watchDatabase(ctx context.Context) {
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	for {
		limited, cancel := context.WithTimeout(ctx, checkTimeout)
		_ = s.checkDatabase(limited) // recorded as an outage; other database calls report the cause
		cancel()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// checkDatabase checks whether the database can be used. The first success after a failure records the outage.
func (s *Store) checkDatabase(ctx context.Context) error {
	c := &s.health
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.current()
	_, err := s.ReadClock(ctx)
	began := s.Now()
	if err == nil && (before.failing || c.count%checksPerLivenessWrite == 0) {
		err = s.writeLiveness(ctx, before, began)
	}
	switch {
	case err == nil:
		c.count++
		c.state.Store(&healthState{last: began})
		if before.failing {
			s.Log.InfoContext(ctx, "database available again", slog.Float64("after_s", began.Sub(before.last).Seconds()))
		}
	case db.IsDenied(err), errors.Is(ctx.Err(), context.Canceled): // no outage: a missing privilege, or the process stops
	case !before.failing && !before.last.IsZero():
		s.Log.WarnContext(ctx, "database unavailable", slog.Any("error", err))
		c.state.Store(&healthState{last: before.last, failing: true})
	}
	return err
}

// writeLiveness stores in the database that it can be used now, and the outage that ends with it. After a start, the
// outage is the time since the last write of any process.
func (s *Store) writeLiveness(ctx context.Context, before healthState, now time.Time) error {
	if !before.last.IsZero() && !before.failing {
		return db.Exec(ctx, s.Write, "UPDATE liveness SET seen_at = ? WHERE id = 1", db.Millis(now))
	}
	return s.Tx(ctx, func(tx *Store) error {
		from := before.last
		if from.IsZero() {
			var seen *time.Time
			if err := db.QueryRow(ctx, tx.Write, []any{db.ScanNullTime(&seen)},
				"SELECT seen_at FROM liveness WHERE id = 1"); err != nil {
				return err
			}
			if seen != nil && now.Sub(*seen) > restartGap {
				from = *seen
			}
		}
		if err := db.Exec(ctx, tx.Write, "UPDATE liveness SET seen_at = ? WHERE id = 1", db.Millis(now)); err != nil {
			return err
		}
		if from.IsZero() || !from.Before(now) {
			return nil
		}
		return db.Insert(ctx, tx.Write, &Outage{ID: uuid.NewString(), StartedAt: from, EndedAt: now})
	})
}

// outageBetween returns how long a process could not use the database between two times. Overlapping outages of
// several processes count once.
func (s *Store) outageBetween(ctx context.Context, from, to time.Time) (time.Duration, error) {
	if s.health.current().last.IsZero() { // a request came before the first check of this process
		if err := s.checkDatabase(ctx); err != nil {
			return 0, err
		}
	}
	outages, err := db.List[Outage](
		ctx, s.Write, "started_at", "ended_at > ? AND started_at < ?", db.Millis(from), db.Millis(to),
	)
	if err != nil {
		return 0, err
	}
	if c := s.health.current(); c.failing {
		outages = append(outages, Outage{StartedAt: c.last, EndedAt: to})
		slices.SortFunc(outages, func(a, b Outage) int { return a.StartedAt.Compare(b.StartedAt) })
	}
	var total time.Duration
	for _, o := range outages {
		start, end := o.StartedAt, o.EndedAt
		if start.Before(from) {
			start = from
		}
		if end.After(to) {
			end = to
		}
		if end.After(start) {
			total += end.Sub(start)
			from = end
		}
	}
	return total, nil
}
