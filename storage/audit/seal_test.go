package audit_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/reqevent"
	"gatehouse/storage/storagetest"
	"gatehouse/storage/vault"
)

// withRequest returns the context of a request.
func withRequest(ctx context.Context) context.Context {
	return reqevent.NewContext(ctx, &reqevent.Event{
		Actor: "user:alice", Address: "192.0.2.77", UserAgent: "Browser/77", RequestID: "the-request",
	})
}

// sealedLog returns a log with three seals of four rows each.
func sealedLog(t *testing.T, url string) (*storage.Store, *storagetest.Clock) {
	t.Helper()
	clock := storagetest.NewClock()
	s := storagetest.Open(t, url, clock)
	for i := range 3 {
		for j := range 4 {
			e := audit.Event{Type: "test.sealed", UserID: "alice", Detail: map[string]any{"n": 4*i + j}}
			storagetest.Must(t, s.Audit.Record(withRequest(t.Context()), e))
		}
		n, err := s.Audit.SealRows(t.Context())
		if err != nil || n < 4 {
			t.Fatalf("SealRows = %d, %v, want at least 4", n, err)
		}
		clock.Advance(time.Second)
	}
	return s, clock
}

// sealRows seals the rows that have no seal.
func sealRows(t *testing.T, s *storage.Store) {
	t.Helper()
	_, err := s.Audit.SealRows(t.Context())
	storagetest.Must(t, err)
}

// verify returns the report on the log, with a seal that was stored elsewhere or the zero value.
func verify(t *testing.T, s *storage.Store, known audit.Seal) audit.Report {
	t.Helper()
	report, err := s.Audit.Verify(t.Context(), known, func(int64, int64) {})
	storagetest.Must(t, err)
	return report
}

// TestManyProcessesSealOneChain lets four processes write and seal rows concurrently, and checks that every row is in
// one seal.
func TestManyProcessesSealOneChain(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		clock := storagetest.NewClock()
		stores := make([]*storage.Store, 4)
		for i := range stores {
			stores[i] = storagetest.Open(t, url, clock)
		}
		var written sync.WaitGroup
		wrote := make(chan struct{}, 240)
		for _, s := range stores {
			written.Go(func() {
				for range 60 {
					if err := s.Audit.Record(withRequest(t.Context()), storagetest.Event("written")); err != nil {
						t.Errorf("Record = %v, want no error", err)
					}
					wrote <- struct{}{}
				}
			})
		}
		var sealing sync.WaitGroup
		for _, s := range stores {
			sealing.Go(func() {
				for range wrote {
					if _, err := s.Audit.SealRows(t.Context()); err != nil {
						t.Errorf("SealRows = %v, want no error", err)
					}
				}
			})
		}
		written.Wait()
		close(wrote)
		sealing.Wait()
		sealRows(t, stores[0])
		if r := verify(t, stores[0], audit.Seal{}); r.Count != 0 || r.Unsealed != 0 || r.Rows < 240 {
			t.Errorf("Verify = %+v, want no problem, no unsealed row and at least 240 rows", r)
		}
	})
}

// TestBlockedSealingFails checks that the job reports a session that keeps the last seal locked, which prevents all
// sealing.
func TestBlockedSealingFails(t *testing.T) {
	t.Parallel()
	// SQLite does not lock single rows.
	storagetest.OnPostgres(t, func(t *testing.T, dsn string) {
		s, clock := sealedLog(t, dsn)
		storagetest.Must(t, s.Audit.Record(t.Context(), storagetest.Event("waits")))
		release := storagetest.LockRow(t, s, dsn, "SELECT 1 FROM audit_seals WHERE id = (SELECT max(id) FROM audit_seals) "+
			"FOR UPDATE")
		if n, err := s.Audit.SealRows(t.Context()); n != 0 || err != nil {
			t.Errorf("SealRows during a short lock = %d, %v, want 0 and no error", n, err)
		}
		clock.Advance(2 * time.Minute)
		if _, err := s.Audit.SealRows(t.Context()); err == nil || !strings.Contains(err.Error(), "wait for a seal") {
			t.Errorf("SealRows during a lock of two minutes = %v, want an error about rows that wait for a seal", err)
		}
		release()
		if n, err := s.Audit.SealRows(t.Context()); n == 0 || err != nil {
			t.Errorf("SealRows after the lock = %d, %v, want some rows", n, err)
		}
	})
}

// TestMissingMasterSecretIsNotReplaced deletes the secret that the keys of the audit log are derived from. Another one
// would make the log and its addresses unreadable.
func TestMissingMasterSecretIsNotReplaced(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, dsn string) {
		s, clock := sealedLog(t, dsn)
		storagetest.Exec(t, s, dsn, "CREATE TABLE copy AS SELECT * FROM secrets WHERE id = 'master'",
			"DELETE FROM secrets WHERE id = 'master'")
		reopened, err := storage.Open(t.Context(), storage.Options{URL: dsn, Pool: 2, Now: clock.Now})
		storagetest.Must(t, err)
		root, err := vault.NewRootKey(storagetest.Key[:])
		storagetest.Must(t, err)
		err = reopened.Vault.UseRootKey(t.Context(), root)
		if err == nil || !strings.Contains(err.Error(), `"master" is missing`) {
			t.Errorf("UseRootKey without the master secret = %v, want an error with %q", err, `"master" is missing`)
		}
		storagetest.Exec(t, s, dsn, "INSERT INTO secrets SELECT * FROM copy", "DROP TABLE copy")
		storagetest.Must(t, reopened.Vault.UseRootKey(t.Context(), root))
		storagetest.Must(t, reopened.Close(t.Context()))
	})
}
