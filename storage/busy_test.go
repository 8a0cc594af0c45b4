package storage_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestServerWaitsForWritingCommand: while a server runs, a command may write for longer than SQLite itself waits. No
// statement of the server fails by that, and none waits past its own deadline.
func TestServerWaitsForWritingCommand(t *testing.T) {
	t.Parallel()
	url := storagetest.URL(t, storage.SQLite)
	s := storagetest.Open(t, url, storagetest.NewClock())
	release := storagetest.Lock(t, s, url, "audit_events")
	limited, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Audit.Record(limited, storagetest.Event("hurried")); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("past its deadline: %v", err)
	}
	ended := make(chan error, 3)
	go func() { ended <- s.Audit.Record(t.Context(), storagetest.Event("alone")) }()
	go func() {
		ended <- s.Tx(t.Context(), func(tx *storage.Store) error { return tx.Audit.Record(t.Context(), storagetest.Event("together")) })
	}()
	go func() {
		_, err := s.EraseAddresses(t.Context(), "nobody")
		ended <- err
	}()
	<-time.After(1500 * time.Millisecond) // longer than busy_timeout
	select {
	case err := <-ended:
		t.Errorf("done while another process writes: %v", err)
		ended <- nil
	default:
	}
	release()
	for range 3 {
		storagetest.Must(t, <-ended)
	}
	if n := storagetest.Count(t, s, url, "SELECT count(*) FROM audit_events WHERE event IN ('test.alone', 'test.together')"); n != 2 {
		t.Errorf("%d rows", n)
	}
}

// TestFailedCommitLeavesNoTransactionOpen checks that later writes do not become part of the failed transaction.
func TestFailedCommitLeavesNoTransactionOpen(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		storagetest.Exec(t, w.Store, url, "CREATE TABLE absent (id BIGINT PRIMARY KEY)",
			"CREATE TABLE broken (id BIGINT REFERENCES absent (id) DEFERRABLE INITIALLY DEFERRED)")
		err := w.Tx(t.Context(), func(tx *storage.Store) error {
			storagetest.Must(t, tx.DisableClient(t.Context(), "gc1"))
			return tx.Execute(t.Context(), "INSERT INTO broken VALUES (1)")
		})
		if !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("failed commit: %v", err)
		}
		storagetest.Must(t, w.Audit.Record(t.Context(), storagetest.Event("alone")))
		storagetest.Must(t, w.RevokeClientTokens(t.Context(), "gc1"))
		if n := storagetest.Count(t, w.Store, url, "SELECT count(*) FROM audit_events WHERE event IN ('client.disabled', 'test.alone', 'client.tokens_revoked')"); n != 2 {
			t.Errorf("%d rows, want 2", n)
		}
		if c, err := w.Client(t.Context(), "gc1"); err != nil || c.DisabledAt != nil || c.Epoch != 2 {
			t.Errorf("%+v, %v", c, err)
		}
	})
}
