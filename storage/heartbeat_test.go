package storage

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestUnreadChangesAreReportedWithTheirCause reads changes from a database without tables.
func TestUnreadChangesAreReportedWithTheirCause(t *testing.T) {
	t.Parallel()
	for _, engine := range engines(t) {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s, err := Open(t.Context(), Options{URL: testURL(t, engine), Pool: 2})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var wait sync.WaitGroup
			wait.Go(func() { s.followChanges(ctx) })
			defer func() {
				cancel()
				wait.Wait()
				_ = s.ClosePools()
			}()
			deadline, tick := time.After(time.Minute), time.NewTicker(time.Millisecond)
			defer tick.Stop()
			missing := map[string]string{SQLite: "no such table", Postgres: "does not exist"}[engine]
			for err := s.CheckChangesFollowed(); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), missing); err = s.CheckChangesFollowed() {
				select {
				case <-tick.C:
				case <-deadline:
					t.Fatalf("%v, want the cause %q", err, missing)
				}
			}
			s.followed.Beat()
			if err := s.CheckChangesFollowed(); err != nil {
				t.Error(err)
			}
		})
	}
}
