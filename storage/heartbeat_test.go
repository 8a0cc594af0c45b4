package storage_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestUnreadChangesAreReportedWithTheirCause reads changes from a database without tables.
func TestUnreadChangesAreReportedWithTheirCause(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		s := storagetest.OpenUnmigrated(t, url)
		ctx, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() { s.FollowChanges(ctx) })
		defer func() {
			cancel()
			wait.Wait()
		}()
		cause := map[string]string{storage.SQLite: "no such table", storage.Postgres: "does not exist"}[s.Engine()]
		storagetest.Eventually(t, fmt.Sprintf("CheckChangesFollowed returns the cause %q", cause), func() bool {
			err := s.CheckChangesFollowed()
			return errors.Is(err, storage.ErrUnavailable) && strings.Contains(err.Error(), cause)
		})
		s.RecordChangesFollowed()
		if err := s.CheckChangesFollowed(); err != nil {
			t.Errorf("CheckChangesFollowed after a success = %v, want no error", err)
		}
	})
}
