package db_test

import (
	"context"
	"net"
	"net/url"
	"testing"
	"time"

	"gatehouse/storage/db"
	"gatehouse/storage/storagetest"
)

// setting returns a setting of PostgreSQL on any connection.
func setting(ctx context.Context, d *db.DB, name string) (value string, err error) {
	err = db.QueryRow(ctx, d.Write, []any{&value}, "SELECT current_setting(?)", name)
	return value, err
}

// wantSettings fails the test unless PostgreSQL has these settings on a connection.
func wantSettings(t *testing.T, d *db.DB, when string, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got, err := setting(t.Context(), d, name); err != nil || got != value {
			t.Errorf("%s: %s = %q, %v, want %q", when, name, got, err, value)
		}
	}
}

func TestConnectionsHaveTimeLimits(t *testing.T) {
	t.Parallel()
	storagetest.OnPostgres(t, func(t *testing.T, dsn string) {
		wantSettings(t, open(t, db.Options{URL: dsn}), "by default", map[string]string{
			"lock_timeout": "20s", "idle_in_transaction_session_timeout": "30s", "statement_timeout": "2min",
			"enable_seqscan": "off",
		})
		own := storagetest.WithParameters(t, dsn, "lock_timeout", "3s", "statement_timeout", "0",
			"options", "-cidle_in_transaction_session_timeout=7s")
		wantSettings(t, open(t, db.Options{URL: own}), "with limits in the URL", map[string]string{
			"lock_timeout": "3s", "idle_in_transaction_session_timeout": "7s", "statement_timeout": "0",
		})
	})
}

// TestCommandsHaveNoStatementLimit is needed because `audit erase`, and `audit list` and `audit export` with a filter,
// read the complete audit log in one statement, which takes minutes when it is long.
func TestCommandsHaveNoStatementLimit(t *testing.T) {
	t.Parallel()
	storagetest.OnPostgres(t, func(t *testing.T, dsn string) {
		wantSettings(t, open(t, db.Options{URL: dsn, NoStatementTimeout: true}), "of a command", map[string]string{
			"lock_timeout": "20s", "idle_in_transaction_session_timeout": "30s", "statement_timeout": "0",
		})
	})
}

// TestUnresponsiveFirstHostIsSkipped connects to a first host that neither accepts nor refuses the connection.
func TestUnresponsiveFirstHostIsSkipped(t *testing.T) {
	t.Parallel()
	storagetest.OnPostgres(t, func(t *testing.T, dsn string) {
		// The kernel accepts the connection, but no process responds.
		silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		storagetest.Must(t, err)
		t.Cleanup(func() { _ = silent.Close() })
		u, err := url.Parse(dsn)
		storagetest.Must(t, err)
		u.Host = silent.Addr().String() + "," + u.Host
		open(t, db.Options{URL: u.String()})
	})
}

// TestMigrationWaitsForAnother also checks that the lock ends with the transaction of its owner.
func TestMigrationWaitsForAnother(t *testing.T) {
	t.Parallel()
	storagetest.OnPostgres(t, func(t *testing.T, dsn string) {
		owner, waiter := storagetest.OpenUnmigrated(t, dsn), open(t, db.Options{URL: dsn})
		// The lock of goose and of the previous version.
		release := storagetest.LockRow(t, owner, dsn, "SELECT pg_advisory_xact_lock(4097083626)")
		limited, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if _, err := waiter.Migrate(limited); err == nil {
			t.Error("a migration began while another process had the lock")
		}
		release()
		_, err := waiter.Migrate(t.Context())
		storagetest.Must(t, err)
	})
}
