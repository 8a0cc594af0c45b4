package storage_test

import (
	"sync"
	"testing"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
	"gatehouse/storage/vault"
)

// TestCloseSealsAfterLostConnections loses every connection of a process just before it stops.
func TestCloseSealsAfterLostConnections(t *testing.T) {
	t.Parallel()
	// SQLite has no connections to lose
	storagetest.OnPostgres(t, func(t *testing.T, url string) {
		other := storagetest.Open(t, url, storagetest.NewClock())
		proxy := storagetest.NewProxy(t, url)
		s, err := storage.Open(t.Context(), storage.Options{URL: proxy.URL, Pool: 4})
		storagetest.Must(t, err)
		root, err := vault.NewRootKey(storagetest.Key[:])
		storagetest.Must(t, err)
		storagetest.Must(t, s.Vault.UseRootKey(t.Context(), root))
		s.Start()
		var writes sync.WaitGroup
		for range 4 {
			writes.Go(func() {
				if err := s.Audit.Record(t.Context(), storagetest.Event("before_the_loss")); err != nil {
					t.Errorf("Record = %v, want nil", err)
				}
			})
		}
		writes.Wait()
		proxy.Down()
		proxy.Up()
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("Close after every connection was lost = %v, want nil", err)
		}
		sealed, err := other.Audit.SealRows(t.Context())
		storagetest.Must(t, err)
		if sealed != 0 {
			t.Errorf("%d rows were left to seal, want 0", sealed)
		}
	})
}

// TestBackgroundWorkIsHealthyAtStart checks before the first tick of the background work, as the first run of a job
// may.
func TestBackgroundWorkIsHealthyAtStart(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		s := storagetest.OpenUnmigrated(t, url)
		_, err := s.Migrate(t.Context())
		storagetest.Must(t, err)
		root, err := vault.NewRootKey(storagetest.Key[:])
		storagetest.Must(t, err)
		storagetest.Must(t, s.Vault.UseRootKey(t.Context(), root))
		s.Start()
		if err := s.Audit.CheckWritten(); err != nil {
			t.Errorf("CheckWritten right after Start = %v, want nil", err)
		}
		if err := s.CheckChangesFollowed(); err != nil {
			t.Errorf("CheckChangesFollowed right after Start = %v, want nil", err)
		}
	})
}
