package storage_test

import (
	"context"
	"fmt"
	"testing"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// throughPgBouncer runs a test in each pool mode, on an empty database.
func throughPgBouncer(t *testing.T, fn func(t *testing.T, b *storagetest.PgBouncer)) {
	t.Helper()
	for _, mode := range storagetest.PoolModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			fn(t, storagetest.StartPgBouncer(t, mode))
		})
	}
}

// TestPgBouncerNeedsNoSetting uses many connections concurrently, so that in transaction mode consecutive statements
// are executed by different servers.
func TestPgBouncerNeedsNoSetting(t *testing.T) {
	t.Parallel()
	throughPgBouncer(t, func(t *testing.T, b *storagetest.PgBouncer) {
		w := newWorld(t, b.URL)
		stores := []*storage.Store{w.Store, follower(t, b.URL, w.clock), follower(t, b.URL, w.clock)}
		storagetest.Concurrently(12, func(i int) {
			ctx, s := context.Background(), stores[i%len(stores)]
			for n := range 20 {
				id := fmt.Sprint("client", i, ".", n)
				c := *w.client
				c.ID, c.Secrets = id, []storage.ClientSecret{{ID: "s" + id, ClientID: id, Hash: []byte("hash"), CreatedAt: w.clock.Now()}}
				if err := s.CreateClient(ctx, &c, nil); err != nil {
					t.Error(err)
					return
				}
				if err := s.RevokeClientTokens(ctx, id); err != nil {
					t.Error(err)
				}
				if got, err := s.Client(ctx, id); err != nil || got.Epoch != 2 || len(got.Secrets) != 1 {
					t.Errorf("%+v, %v", got, err)
				}
				if err := s.ApplyChanges(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	})
}

// TestSettingsAreNotLeftOnSharedConnections reads the settings as another client of PgBouncer, which shares the
// connections.
func TestSettingsAreNotLeftOnSharedConnections(t *testing.T) {
	t.Parallel()
	throughPgBouncer(t, func(t *testing.T, b *storagetest.PgBouncer) {
		w := newWorld(t, b.URL)
		inTx := ""
		storagetest.Must(t, w.Tx(t.Context(), func(tx *storage.Store) (err error) {
			inTx, err = tx.Setting(t.Context(), "lock_timeout")
			return err
		}))
		if inTx != "20s" {
			t.Errorf("lock_timeout in a transaction is %s", inTx)
		}
		for range 8 {
			for name, want := range map[string]string{
				"lock_timeout": "0", "statement_timeout": "0", "idle_in_transaction_session_timeout": "0", "enable_seqscan": "on", "jit": "on",
			} {
				if got, err := w.Setting(t.Context(), name); err != nil || got != want {
					t.Errorf("%s is %s, want %s, %v", name, got, want, err)
				}
			}
		}
	})
}

// TestConcurrentMigrationsThroughPgBouncer migrates from several processes through a pooler, where session locks do
// not work.
func TestConcurrentMigrationsThroughPgBouncer(t *testing.T) {
	t.Parallel()
	throughPgBouncer(t, func(t *testing.T, b *storagetest.PgBouncer) {
		stores := make([]*storage.Store, 6)
		for i := range stores {
			s, err := storage.Open(t.Context(), storage.Options{URL: b.URL, Pool: 1})
			storagetest.Must(t, err)
			t.Cleanup(func() { storagetest.Must(t, s.Close(context.Background())) })
			stores[i] = s
		}
		applied := make([]int, len(stores))
		storagetest.Concurrently(len(stores), func(i int) {
			files, err := stores[i].Migrate(context.Background())
			if err != nil {
				t.Errorf("process %d: %v", i, err)
			}
			applied[i] = len(files)
		})
		total := 0
		for _, n := range applied {
			total += n
		}
		all, err := stores[0].Migrations(t.Context())
		storagetest.Must(t, err)
		if total != len(all) {
			t.Errorf("%d migrations were applied, there are %d: %v", total, len(all), applied)
		}
	})
}
