package storage

import (
	"context"
	"errors"
	"strings"
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
			s.Start()
			defer func() { _ = s.Close(context.Background()) }() // without tables there is nothing to seal
			deadline, tick := time.After(time.Minute), time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for s.followed.cause.Load() == nil {
				select {
				case <-tick.C:
				case <-deadline:
					t.Fatal("no attempt to read the changes failed")
				}
			}
			s.followed.at.Store(nil)
			missing := map[string]string{SQLite: "no such table", Postgres: "does not exist"}[engine]
			if err := s.CheckChangesFollowed(); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), missing) {
				t.Errorf("%v, want the cause", err)
			}
			s.followed.beat()
			if err := s.CheckChangesFollowed(); err != nil {
				t.Error(err)
			}
		})
	}
}
