package storage_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/db"
	"gatehouse/storage/storagetest"
)

func TestConnectionsHaveTimeLimits(t *testing.T) {
	t.Parallel()
	storagetest.OnPostgres(t, func(t *testing.T, db string) {
		for own, want := range map[string]map[string]string{
			"": {"lock_timeout": "20s", "idle_in_transaction_session_timeout": "30s", "statement_timeout": "2min", "enable_seqscan": "off"},
			"lock_timeout=3s statement_timeout=0 options=-cidle_in_transaction_session_timeout=7s": {"lock_timeout": "3s", "idle_in_transaction_session_timeout": "7s", "statement_timeout": "0"},
		} {
			dsn := db
			for _, parameter := range strings.Fields(own) {
				name, value, _ := strings.Cut(parameter, "=")
				dsn = storagetest.WithParameters(t, dsn, name, value)
			}
			s := storagetest.OpenUnmigrated(t, dsn)
			for name, value := range want {
				if got, err := s.Setting(t.Context(), name); err != nil || got != value {
					t.Errorf("with %q in the URL %s is %q, want %q, %v", own, name, got, value, err)
				}
			}
		}
	})
}

// TestCommandsHaveNoStatementLimit: `audit erase`, and `audit list` and `audit export` with a filter, read the whole
// audit log in one statement, which takes minutes when it is long.
func TestCommandsHaveNoStatementLimit(t *testing.T) {
	t.Parallel()
	storagetest.OnPostgres(t, func(t *testing.T, db string) {
		s, err := storage.Open(t.Context(), storage.Options{URL: db, NoStatementTimeout: true})
		storagetest.Must(t, err)
		t.Cleanup(func() { storagetest.Must(t, s.Close(context.Background())) })
		for name, want := range map[string]string{"lock_timeout": "20s", "idle_in_transaction_session_timeout": "30s", "statement_timeout": "0"} {
			if got, err := s.Setting(t.Context(), name); err != nil || got != want {
				t.Errorf("%s is %q, want %q, %v", name, got, want, err)
			}
		}
	})
}

// TestUnresponsiveFirstHostIsSkipped connects to a first host that neither accepts nor refuses the connection.
func TestUnresponsiveFirstHostIsSkipped(t *testing.T) {
	t.Parallel()
	storagetest.OnPostgres(t, func(t *testing.T, db string) {
		silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // the kernel accepts, but no process responds
		storagetest.Must(t, err)
		t.Cleanup(func() { _ = silent.Close() })
		u, err := url.Parse(db)
		storagetest.Must(t, err)
		u.Host = silent.Addr().String() + "," + u.Host
		s, err := storage.Open(t.Context(), storage.Options{URL: u.String()})
		storagetest.Must(t, err)
		storagetest.Must(t, s.Close(t.Context()))
	})
}

// TestIdleTransactionIsTerminated stops a process within a change. PostgreSQL ends its transaction, and a change of
// the same record that waits for it succeeds.
func TestIdleTransactionIsTerminated(t *testing.T) {
	t.Parallel()
	storagetest.OnPostgres(t, func(t *testing.T, db string) {
		w := newWorld(t, storagetest.WithParameters(t, db, "idle_in_transaction_session_timeout", "500"))
		other := follower(t, db, w.clock)
		err := w.Tx(t.Context(), func(tx *storage.Store) error {
			storagetest.Must(t, tx.RevokeClientTokens(t.Context(), "gc1"))
			// The transaction continues after the other change.
			return other.DisableClient(t.Context(), "gc1")
		})
		if err == nil {
			t.Error("a transaction that PostgreSQL ended was committed")
		}
		c, err := other.Client(t.Context(), "gc1")
		if err != nil || c.DisabledAt == nil || c.Epoch != 2 { // disabling increments it, and the other change is rolled back
			t.Errorf("%+v, %v", c, err)
		}
	})
}

// TestWaitForLockIsBounded waits for the lock of an open transaction. The error is a temporary one.
func TestWaitForLockIsBounded(t *testing.T) {
	t.Parallel()
	storagetest.OnPostgres(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		other := follower(t, storagetest.WithParameters(t, url, "lock_timeout", "300"), w.clock)
		storagetest.Must(t, w.Tx(t.Context(), func(tx *storage.Store) error {
			storagetest.Must(t, tx.RevokeClientTokens(t.Context(), "gc1"))
			err := other.DisableClient(context.WithoutCancel(t.Context()), "gc1")
			if !errors.Is(err, storage.ErrUnavailable) || !db.IsUnavailable(err) || db.Remedy(err) == "" {
				t.Errorf("%v; unavailable %t, remedy %q", err, db.IsUnavailable(err), db.Remedy(err))
			}
			return nil
		}))
	})
}

// TestMigrationWaitsForAnother also checks that the lock ends with the transaction of its holder.
func TestMigrationWaitsForAnother(t *testing.T) {
	t.Parallel()
	storagetest.OnPostgres(t, func(t *testing.T, url string) {
		holder, waiter := storagetest.OpenUnmigrated(t, url), storagetest.OpenUnmigrated(t, url)
		release := storagetest.LockRow(t, holder, url, "SELECT pg_advisory_xact_lock(4097083626)") // of goose and the previous version
		limited, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if _, err := waiter.Migrate(limited); err == nil {
			t.Error("two processes migrate concurrently")
		}
		release()
		_, err := waiter.Migrate(t.Context())
		storagetest.Must(t, err)
	})
}
