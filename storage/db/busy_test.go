package db_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestServerWaitsForWritingCommand lets a command write for longer than a connection of the running server waits inside
// SQLite. No statement of the server fails because of that, and none waits past its own deadline.
func TestServerWaitsForWritingCommand(t *testing.T) {
	t.Parallel()
	url := storagetest.URL(t, storage.SQLite)
	s := storagetest.Open(t, url, storagetest.NewClock())
	release := storagetest.Lock(t, s, url, "audit_events")
	limited, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Audit.Record(limited, storagetest.Event("limited")); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Record past its deadline = %v, want ErrUnavailable", err)
	}
	waits := func() int64 { return s.DB.Stats().Pools["write"].WaitCount }
	before := waits()
	const writers = 3
	ended := make(chan error, writers)
	go func() { ended <- s.Audit.Record(t.Context(), storagetest.Event("alone")) }()
	go func() {
		ended <- s.Tx(t.Context(), func(tx *storage.Store) error {
			return tx.Audit.Record(t.Context(), storagetest.Event("together"))
		})
	}()
	go func() {
		_, err := s.EraseAddresses(t.Context(), "unknown")
		ended <- err
	}()
	// There is one connection for writes: all but the first writer wait for it, and the first one does when it retries.
	storagetest.Eventually(t, "a writer retries", func() bool { return waits() >= before+writers })
	select {
	case err := <-ended:
		t.Errorf("a statement returned %v while another process writes, want it to wait", err)
		ended <- nil
	default:
	}
	release()
	for range writers {
		storagetest.Must(t, <-ended)
	}
	n := storagetest.Count(t, s, url, "SELECT count(*) FROM audit_events WHERE event IN ('test.alone', 'test.together')")
	if n != 2 {
		t.Errorf("%d audit rows, want 2", n)
	}
}
