package storage_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/db"
	"gatehouse/storage/storagetest"
)

// TestTransactionUsesOnlyItsStore would wait indefinitely for SQLite's one writer if a method inside a transaction used
// the store outside. It runs with production's pools.
func TestTransactionUsesOnlyItsStore(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		storagetest.Concurrently(8, func(int) {
			err := f.Tx(ctx, func(tx *storage.Store) error {
				if _, err := tx.Client(ctx, f.client.ID); err != nil {
					return err
				}
				if _, err := tx.CreateMissingScopes(ctx, []string{"read", "new"}); err != nil {
					return err
				}
				err := tx.UpdateClient(ctx, f.client.ID, func(*storage.Client) (update storage.ClientUpdate, err error) {
					return update, nil
				})
				if err != nil {
					return err
				}
				if err := tx.SetPassword(ctx, f.user.ID, "hash"); err != nil {
					return err
				}
				return tx.Audit.Record(ctx, storagetest.Event("inside"))
			})
			if err != nil {
				t.Errorf("Tx = %v, want no error", err)
			}
		})
	})
}

func TestFailedTransactionLeavesNothing(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		rows := func() int64 { return storagetest.Count(t, f.Store, url, "SELECT count(*) FROM changes") }
		before := rows()
		failure := errors.New("the transaction fails")
		err := f.Tx(t.Context(), func(tx *storage.Store) error {
			storagetest.Must(t, tx.CreateScope(t.Context(), storage.Scope{Name: "x", CreatedAt: f.clock.Now()}))
			return failure
		})
		if !errors.Is(err, failure) {
			t.Errorf("Tx = %v, want the error of the function", err)
		}
		func() {
			defer func() { _ = recover() }()
			_ = f.Tx(t.Context(), func(tx *storage.Store) error {
				storagetest.Must(t, tx.CreateScope(t.Context(), storage.Scope{Name: "y", CreatedAt: f.clock.Now()}))
				panic("in a transaction")
			})
		}()
		scopes, err := f.Scopes(t.Context())
		storagetest.Must(t, err)
		if _, found := scopes["y"]; found || scopes["x"].Name != "" || rows() != before {
			t.Errorf("after failed transactions the scopes are %v and %d changes are stored, want no new scope and %d changes",
				scopes, rows(), before)
		}
	})
}

// TestFailedCommitLeavesNoTransactionOpen checks that later writes do not become part of the failed transaction.
func TestFailedCommitLeavesNoTransactionOpen(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		storagetest.Exec(t, f.Store, url, "CREATE TABLE absent (id BIGINT PRIMARY KEY)",
			"CREATE TABLE broken (id BIGINT REFERENCES absent (id) DEFERRABLE INITIALLY DEFERRED)")
		err := f.Tx(t.Context(), func(tx *storage.Store) error {
			storagetest.Must(t, tx.DisableClient(t.Context(), "gc1"))
			return tx.Execute(t.Context(), "INSERT INTO broken VALUES (1)")
		})
		if !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("Tx with a failing commit = %v, want ErrUnavailable", err)
		}
		storagetest.Must(t, f.Audit.Record(t.Context(), storagetest.Event("alone")))
		storagetest.Must(t, f.RevokeClientTokens(t.Context(), "gc1"))
		n := storagetest.Count(t, f.Store, url, "SELECT count(*) FROM audit_events WHERE event IN "+
			"('client.disabled', 'test.alone', 'client.tokens_revoked')")
		if n != 2 {
			t.Errorf("%d audit rows, want the 2 of the later changes", n)
		}
		if c, err := f.Client(t.Context(), "gc1"); err != nil || c.DisabledAt != nil || c.Epoch != 2 {
			t.Errorf("Client = %+v, %v, want it enabled with epoch 2", c, err)
		}
	})
}

// TestIdleTransactionIsTerminated stops a process within a change. PostgreSQL ends its transaction, and a change of
// the same record that waits for it succeeds.
func TestIdleTransactionIsTerminated(t *testing.T) {
	t.Parallel()
	storagetest.OnPostgres(t, func(t *testing.T, dsn string) {
		f := newFixture(t, storagetest.WithParameters(t, dsn, "idle_in_transaction_session_timeout", "500"))
		other := follower(t, dsn, f.clock)
		err := f.Tx(t.Context(), func(tx *storage.Store) error {
			storagetest.Must(t, tx.RevokeClientTokens(t.Context(), "gc1"))
			// The transaction continues after the other change.
			return other.DisableClient(t.Context(), "gc1")
		})
		if err == nil {
			t.Error("a transaction that PostgreSQL ended was committed")
		}
		c, err := other.Client(t.Context(), "gc1")
		// Disabling increments the epoch, and the first change is rolled back.
		if err != nil || c.DisabledAt == nil || c.Epoch != 2 {
			t.Errorf("Client = %+v, %v, want it disabled with epoch 2", c, err)
		}
	})
}

// TestWaitForLockIsBounded waits for the lock of an open transaction. The error is a temporary one.
func TestWaitForLockIsBounded(t *testing.T) {
	t.Parallel()
	storagetest.OnPostgres(t, func(t *testing.T, dsn string) {
		f := newFixture(t, dsn)
		other := follower(t, storagetest.WithParameters(t, dsn, "lock_timeout", "300"), f.clock)
		storagetest.Must(t, f.Tx(t.Context(), func(tx *storage.Store) error {
			storagetest.Must(t, tx.RevokeClientTokens(t.Context(), "gc1"))
			err := other.DisableClient(context.WithoutCancel(t.Context()), "gc1")
			if !errors.Is(err, storage.ErrUnavailable) || !db.IsUnavailable(err) || db.Remedy(err) == "" {
				t.Errorf("DisableClient = %v, unavailable %t, remedy %q, want ErrUnavailable, true and a remedy",
					err, db.IsUnavailable(err), db.Remedy(err))
			}
			return nil
		}))
	})
}
