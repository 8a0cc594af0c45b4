package db_test

import (
	"context"
	"testing"

	"gatehouse/storage/db"
	"gatehouse/storage/storagetest"
)

// TestSettingsAreNotLeftOnSharedConnections reads the settings as another client of PgBouncer, which shares the
// connections.
func TestSettingsAreNotLeftOnSharedConnections(t *testing.T) {
	t.Parallel()
	storagetest.ThroughPgBouncer(t, func(t *testing.T, b *storagetest.PgBouncer) {
		d := newMigratedDB(t, b.URL)
		inTx := ""
		storagetest.Must(t, d.Tx(t.Context(), func(tx *db.DB) (err error) {
			inTx, err = setting(t.Context(), tx, "lock_timeout")
			return err
		}))
		if inTx != "20s" {
			t.Errorf("lock_timeout in a transaction = %s, want 20s", inTx)
		}
		for range 8 {
			wantSettings(t, d, "after a transaction", map[string]string{
				"lock_timeout": "0", "statement_timeout": "0", "idle_in_transaction_session_timeout": "0",
				"enable_seqscan": "on", "jit": "on",
			})
		}
	})
}

// TestConcurrentMigrationsThroughPgBouncer migrates from several processes through a pooler, where session locks do
// not work.
func TestConcurrentMigrationsThroughPgBouncer(t *testing.T) {
	t.Parallel()
	storagetest.ThroughPgBouncer(t, func(t *testing.T, b *storagetest.PgBouncer) {
		processes := make([]*db.DB, 6)
		for i := range processes {
			processes[i] = open(t, db.Options{URL: b.URL, Pool: 1})
		}
		applied := make([]int, len(processes))
		storagetest.Concurrently(len(processes), func(i int) {
			files, err := processes[i].Migrate(context.Background())
			if err != nil {
				t.Errorf("process %d: Migrate = %v, want no error", i, err)
			}
			applied[i] = len(files)
		})
		total := 0
		for _, n := range applied {
			total += n
		}
		all, err := processes[0].Migrations(t.Context())
		storagetest.Must(t, err)
		if total != len(all) {
			t.Errorf("the processes applied %v migrations, want %d in total", applied, len(all))
		}
	})
}
