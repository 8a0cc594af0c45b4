package storage_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/db"
	"gatehouse/storage/storagetest"
)

// openMigrated opens a migrated store without background work and a root key.
func openMigrated(t *testing.T, o storage.Options) *storage.Store {
	t.Helper()
	o.Pool = 2
	s, err := storage.Open(t.Context(), o)
	storagetest.Must(t, err)
	t.Cleanup(func() { storagetest.Must(t, s.Close(context.Background())) })
	_, err = s.Migrate(t.Context())
	storagetest.Must(t, err)
	return s
}

// TestStoreUsesDatabaseTime reads the clock of PostgreSQL.
func TestStoreUsesDatabaseTime(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{20 * time.Minute, -20 * time.Minute, 100 * 24 * time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			t.Parallel()
			storagetest.Each(t, func(t *testing.T, url string) {
				host := func() time.Time { return time.Now().Add(ahead) }
				s := openMigrated(t, storage.Options{URL: url, Now: host})
				isCorrect, err := time.Since(s.Now()).Abs() < 2*time.Minute, s.CheckClock()
				if s.Engine() == storage.SQLite {
					if isCorrect || err != nil {
						t.Errorf("Now = %s, CheckClock = %v, want the time of this host and no error", s.Now(), err)
					}
					return
				}
				if !isCorrect {
					t.Errorf("Now = %s, want the time of the database, %s", s.Now(), time.Now())
				}
				if !errors.Is(err, db.ErrClockSkew) {
					t.Errorf("CheckClock with a host ahead by %s = %v, want ErrClockSkew", ahead, err)
				}
				at, err := s.AdvanceCleanupTime(t.Context())
				if err != nil || time.Since(at).Abs() > 2*time.Minute {
					t.Errorf("AdvanceCleanupTime = %s, %v, want the time of the database, %s", at, err, time.Now())
				}
			})
		})
	}
}

func TestCleanupTimeAdvancesByAnHourAtMost(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		clock := storagetest.NewClock()
		s := openMigrated(t, storage.Options{URL: url, Now: clock.Now, DatabaseNow: clock.Database})
		want := func(when string, lag time.Duration) {
			t.Helper()
			at, err := s.AdvanceCleanupTime(context.Background())
			if behind := s.Stats().CleanupBehind; err != nil || clock.Now().Sub(at) != lag || behind != lag {
				t.Errorf("%s: AdvanceCleanupTime at %s = %s, %v, CleanupBehind = %s, want a lag of %s",
					when, clock.Now(), at, err, behind, lag)
			}
		}
		want("at first", 0)
		clock.Advance(time.Minute)
		want("a minute later", 0)
		clock.Advance(100 * 24 * time.Hour)
		want("after a jump of the clock", 100*24*time.Hour-time.Hour)
		clock.Advance(-100*24*time.Hour + 4*time.Second)
		want("after the clock was corrected", 0)
		clock.Advance(3 * time.Hour)
		want("after a pause of three hours", 2*time.Hour)
		want("in the next run", time.Hour)
		want("in the third run", 0)
	})
}

// TestLargeDeletionIsReported lets nine of ten rows expire together, as an incorrect clock would.
func TestLargeDeletionIsReported(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		s := openMigrated(t, storage.Options{URL: url})
		add := func(n int, expires time.Time) {
			t.Helper()
			rows := make([]storage.RevokedToken, n)
			for i := range rows {
				id := fmt.Sprint(expires.UnixNano(), " ", i)
				rows[i] = storage.RevokedToken{JTI: id, RevokedAt: expires, ExpiresAt: expires}
			}
			storagetest.Must(t, db.InsertMissing(t.Context(), s.Write, rows))
		}
		wantDeleted := func(rows int64, reports uint64) {
			t.Helper()
			n, err := s.DeleteExpired(t.Context(), storagetest.UnusedClientTTL)
			if got := s.Stats().Database.LargeDeletions; n != rows || err != nil || got != reports {
				t.Fatalf("DeleteExpired = %d, %v with %d reports, want %d with %d", n, err, got, rows, reports)
			}
		}
		expired := func() time.Time { return time.Now().Add(-48 * time.Hour) }
		add(db.LargeDeletion-1, expired())
		wantDeleted(db.LargeDeletion-1, 0)
		add(db.LargeDeletion, expired())
		add(db.LargeDeletion, time.Now())
		wantDeleted(db.LargeDeletion, 1)
		add(9*db.LargeDeletion, time.Now())
		add(db.LargeDeletion, expired())
		wantDeleted(db.LargeDeletion, 1)
	})
}
