package storage

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"gatehouse/storage/db"
)

// manualClock is a clock that tests set.
type manualClock struct{ at time.Time }

func (m *manualClock) now() time.Time { return m.at }

// TestStoreUsesTheDatabaseTime reads the clock of PostgreSQL.
func TestStoreUsesTheDatabaseTime(t *testing.T) {
	t.Parallel()
	for _, engine := range engines(t) {
		for _, ahead := range []time.Duration{20 * time.Minute, -20 * time.Minute, 100 * 24 * time.Hour} {
			t.Run(fmt.Sprint(engine, ahead), func(t *testing.T) {
				t.Parallel()
				s, err := Open(t.Context(), Options{URL: testURL(t, engine), Pool: 2, Now: func() time.Time { return time.Now().Add(ahead) }})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = s.ClosePools() })
				if _, err := s.Migrate(t.Context()); err != nil {
					t.Fatal(err)
				}
				off, err := time.Since(s.Now()).Abs() < 2*time.Minute, s.CheckClock()
				if engine == SQLite {
					if off || err != nil {
						t.Errorf("SQLite does not use the clock of this host: %s, %v", s.Now(), err)
					}
					return
				}
				if !off {
					t.Errorf("the time is %s", s.Now())
				}
				if !errors.Is(err, db.ErrClockSkew) {
					t.Errorf("a clock that is wrong by %s: %v", ahead, err)
				}
				at, err := s.AdvanceCleanupTime(t.Context())
				if err != nil || time.Since(at).Abs() > 2*time.Minute {
					t.Errorf("rows are deleted by %s (%v)", at, err)
				}
			})
		}
	}
}

func TestCleanupTimeAdvancesByAnHourAtMost(t *testing.T) {
	t.Parallel()
	for _, engine := range engines(t) {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			host := &manualClock{at: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
			s, err := Open(t.Context(), Options{URL: testURL(t, engine), Pool: 2, Now: host.now, DatabaseNow: host.now})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.ClosePools() })
			if _, err := s.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := func(what string, lag time.Duration) {
				t.Helper()
				at, err := s.AdvanceCleanupTime(context.Background())
				if err != nil || host.at.Sub(at) != lag || s.Stats().CleanupBehind != lag {
					t.Errorf("%s: rows are deleted by %s (%v), the clock is %s, behind by %s", what, at, err, host.at, s.Stats().CleanupBehind)
				}
			}
			want("at first", 0)
			host.at = host.at.Add(time.Minute)
			want("a minute later", 0)
			host.at = host.at.Add(100 * 24 * time.Hour)
			want("a clock that jumped", 100*24*time.Hour-time.Hour)
			host.at = host.at.Add(-100*24*time.Hour + 4*time.Second)
			want("a clock that was set right", 0)
			host.at = host.at.Add(3 * time.Hour)
			want("after a long stop", 2*time.Hour)
			want("the next time", time.Hour)
			want("the third time", 0)
		})
	}
}

// TestLargeDeletionIsReported lets nine of ten rows expire together, as a wrong clock would.
func TestLargeDeletionIsReported(t *testing.T) {
	t.Parallel()
	for _, engine := range engines(t) {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := migrated(t, engine)
			ctx := t.Context()
			add := func(n int, expires time.Time) {
				t.Helper()
				rows := make([]RevokedToken, n)
				for i := range rows {
					rows[i] = RevokedToken{JTI: fmt.Sprint(expires.UnixNano(), " ", i), RevokedAt: expires, ExpiresAt: expires}
				}
				if err := db.InsertMissing(ctx, s.Write, rows); err != nil {
					t.Fatal(err)
				}
			}
			expired := func() time.Time { return time.Now().Add(-48 * time.Hour) }
			add(db.LargeDeletion-1, expired())
			if n, err := s.DeleteExpired(ctx); n != db.LargeDeletion-1 || err != nil || s.Stats().Database.LargeDeletions != 0 {
				t.Fatalf("%d rows, %v, %d reports", n, err, s.Stats().Database.LargeDeletions)
			}
			add(db.LargeDeletion, expired())
			add(db.LargeDeletion, time.Now())
			if n, err := s.DeleteExpired(ctx); n != db.LargeDeletion || err != nil || s.Stats().Database.LargeDeletions != 1 {
				t.Fatalf("%d rows, %v, %d reports", n, err, s.Stats().Database.LargeDeletions)
			}
			add(9*db.LargeDeletion, time.Now())
			add(db.LargeDeletion, expired())
			if n, err := s.DeleteExpired(ctx); n != db.LargeDeletion || err != nil || s.Stats().Database.LargeDeletions != 1 {
				t.Fatalf("%d rows, %v, %d reports", n, err, s.Stats().Database.LargeDeletions)
			}
		})
	}
}
