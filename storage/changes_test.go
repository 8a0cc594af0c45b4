package storage_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// follower is a process whose changes are read only when the test calls ApplyChanges.
func follower(t *testing.T, url string, clock *storagetest.Clock) *storage.Store {
	t.Helper()
	s, err := storage.Open(t.Context(), storage.Options{URL: url, Pool: 4, Now: clock.Now})
	storagetest.Must(t, err)
	t.Cleanup(func() { storagetest.Must(t, s.Close(context.Background())) })
	storagetest.Must(t, s.ApplyChanges(t.Context()))
	return s
}

// addClient creates a client like the one of the fixture, without a secret.
func (f *fixture) addClient(t *testing.T, id string) *storage.Client {
	t.Helper()
	c := *f.client
	c.ID, c.Secrets = id, nil
	storagetest.Must(t, f.CreateClient(t.Context(), &c, nil))
	return &c
}

// addSecret adds a secret to the client gc2.
func addSecret(ctx context.Context, s *storage.Store, overlap time.Duration) error {
	secret := storage.ClientSecret{ID: "s2", ClientID: "gc2", Hash: make([]byte, 32), CreatedAt: s.Now()}
	return s.AddClientSecret(ctx, &secret, overlap)
}

// cachedClient reads a client and reports whether it came from the cache.
func cachedClient(t *testing.T, s *storage.Store, id string) bool {
	t.Helper()
	before := s.Stats().CacheHits
	_, err := s.Client(t.Context(), id)
	storagetest.Must(t, err)
	return s.Stats().CacheHits > before
}

func TestChangeOfOneClientLeavesOthersCached(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		f.addClient(t, "gc2")
		processes := []*storage.Store{follower(t, url, f.clock), follower(t, url, f.clock), follower(t, url, f.clock)}
		wantCached := func(when string, want map[string]bool) {
			t.Helper()
			for i, p := range processes {
				storagetest.Must(t, p.ApplyChanges(t.Context()))
				for id, cached := range want {
					if got := cachedClient(t, p, id); got != cached {
						t.Errorf("%s: process %d has client %s cached = %t, want %t", when, i, id, got, cached)
					}
				}
			}
		}
		first := processes[0]
		wantCached("at first", map[string]bool{"gc1": false, "gc2": false})
		f.addClient(t, "gc3")
		wantCached("after a registration", map[string]bool{"gc1": true, "gc2": true})
		storagetest.Must(t, first.DisableClient(t.Context(), "gc1"))
		wantCached("after a change", map[string]bool{"gc1": false, "gc2": true})
		storagetest.Must(t, addSecret(t.Context(), first, time.Hour))
		wantCached("after a new secret", map[string]bool{"gc1": true, "gc2": false})
		storagetest.Must(t, first.CreateScope(t.Context(), storage.Scope{Name: "x", CreatedAt: f.clock.Now()}))
		wantCached("after a new scope", map[string]bool{"gc1": false, "gc2": false})
		generation, _ := first.CacheGeneration()
		storagetest.Must(t, first.DeleteClient(t.Context(), "gc3"))
		wantCached("after another client was deleted", map[string]bool{"gc1": true, "gc2": true})
		if now, _ := first.CacheGeneration(); now != generation {
			t.Errorf("CacheGeneration after a client was deleted = %d, want %d: nothing else is read again", now, generation)
		}
	})
}

// TestOpenTransactionDelaysNoOtherChange stops a process within a change. Only changes of the same record wait, and
// the record is dropped from the caches at the commit, after changes that began later.
func TestOpenTransactionDelaysNoOtherChange(t *testing.T) {
	t.Parallel()
	url := storagetest.URL(t, storage.Postgres)
	f := newFixture(t, url)
	f.addClient(t, "gc2")
	for _, id := range []string{"https://a.example", "https://b.example"} {
		storagetest.Must(t, f.CreateResource(t.Context(), storage.Resource{Identifier: id, CreatedAt: f.clock.Now()}))
	}
	other, reader := follower(t, url, f.clock), follower(t, url, f.clock)
	commit := openTransaction(t, f.Store)
	changeOtherRecords(t, other)
	storagetest.Must(t, reader.ApplyChanges(t.Context()))
	cachedClient(t, reader, "gc1")
	cachedClient(t, reader, "gc2")
	storagetest.Must(t, reader.ApplyChanges(t.Context()))
	if !cachedClient(t, reader, "gc1") || !cachedClient(t, reader, "gc2") {
		t.Error("clients are not cached while a transaction is open")
	}
	storagetest.Must(t, commit())
	storagetest.Must(t, reader.ApplyChanges(t.Context()))
	if c, err := reader.Client(t.Context(), "gc1"); err != nil || c.DisabledAt == nil {
		t.Errorf("Client after the late commit = %+v, %v, want it disabled", c, err)
	}
}

// openTransaction changes the client gc1 and the resource https://a.example in a transaction, which stays open until
// commit is called. commit returns its error.
func openTransaction(t *testing.T, s *storage.Store) (commit func() error) {
	t.Helper()
	changed, commits, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ctx := context.Background()
		ended <- s.Tx(ctx, func(tx *storage.Store) error {
			if err := tx.DisableClient(ctx, "gc1"); err != nil {
				return err
			}
			err := tx.UpdateResource(ctx, "https://a.example", func(*storage.Resource) error { return nil })
			if err != nil {
				return err
			}
			close(changed)
			<-commits
			return nil
		})
	}()
	select {
	case <-changed:
	case err := <-ended:
		t.Fatalf("the transaction ended early: %v", err)
	}
	return func() error {
		close(commits)
		return <-ended
	}
}

// changeOtherRecords changes records of every kind that openTransaction does not.
func changeOtherRecords(t *testing.T, s *storage.Store) {
	t.Helper()
	limited, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for what, change := range map[string]func() error{
		"disable a client": func() error { return s.DisableClient(limited, "gc2") },
		"rotate a secret":  func() error { return addSecret(limited, s, 0) },
		"rotate keys": func() error {
			return s.RotateSigningKeys(limited, func([]storage.SigningKey) (add, changed []storage.SigningKey, err error) {
				now := s.Now()
				add = []storage.SigningKey{
					{ID: "k1", Algorithm: "ES256", Sealed: []byte("sealed"), CreatedAt: now, ActiveAt: now},
				}
				return add, nil, nil
			})
		},
		"add a scope": func() error { return s.CreateScope(limited, storage.Scope{Name: "x", CreatedAt: s.Now()}) },
		"update a resource": func() error {
			return s.UpdateResource(limited, "https://b.example", func(*storage.Resource) error { return nil })
		},
	} {
		if err := change(); err != nil {
			t.Errorf("%s while another process's transaction is open: %v, want no error", what, err)
		}
	}
}

// TestNoChangeIsMissed changes clients in several processes while others read them. A read after the commit of a
// change must return the change.
func TestNoChangeIsMissed(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		const clients, changes = 4, 30
		for i := range clients {
			f.addClient(t, fmt.Sprint("c", i))
		}
		reader := follower(t, url, f.clock)
		storagetest.Concurrently(clients, func(i int) {
			id := fmt.Sprint("c", i)
			writer := f.Store
			for n := range changes {
				if err := writer.RevokeClientTokens(context.Background(), id); err != nil {
					t.Errorf("RevokeClientTokens = %v, want no error", err)
					return
				}
				if err := reader.ApplyChanges(context.Background()); err != nil {
					t.Errorf("ApplyChanges = %v, want no error", err)
					return
				}
				for other := range clients {
					c, err := reader.Client(context.Background(), fmt.Sprint("c", other))
					if err != nil || other == i && c.Epoch != int64(n+2) {
						t.Errorf("Client(%s) after %d changes = %+v, %v, want epoch %d", id, n+1, c, err, n+2)
						return
					}
				}
			}
		})
	})
}

// TestGapInReadingDropsCompleteCache checks a process that could not read the changes for over a second: their rows
// may have been deleted.
func TestGapInReadingDropsCompleteCache(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		reader := follower(t, url, f.clock)
		cachedClient(t, reader, "gc1")
		storagetest.Must(t, f.DisableClient(t.Context(), "gc1"))
		storagetest.Exec(t, f.Store, url, "DELETE FROM changes")
		f.clock.Advance(1500 * time.Millisecond)
		storagetest.Must(t, reader.ApplyChanges(t.Context()))
		if c, err := reader.Client(t.Context(), "gc1"); err != nil || c.DisabledAt == nil {
			t.Errorf("Client after a gap in reading = %+v, %v, want it disabled", c, err)
		}
	})
}

// TestOldChangesAreDeleted also checks that the positions continue afterwards.
func TestOldChangesAreDeleted(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		for range 3 {
			storagetest.Must(t, f.RevokeClientTokens(t.Context(), "gc1"))
		}
		count := func() int64 { return storagetest.Count(t, f.Store, url, "SELECT count(*) FROM changes") }
		before := count()
		_, err := f.DeleteExpired(t.Context(), storagetest.UnusedClientTTL)
		storagetest.Must(t, err)
		if count() != before {
			t.Errorf("%d changes are stored after old ones were deleted, want all %d new ones", count(), before)
		}
		reader := follower(t, url, f.clock)
		storagetest.Exec(t, f.Store, url, "UPDATE changes SET at = at - 25 * 3600 * 1000")
		_, err = f.DeleteExpired(t.Context(), storagetest.UnusedClientTTL)
		storagetest.Must(t, err)
		if n := count(); n > 1 {
			t.Errorf("%d changes of yesterday are stored after the cleanup, want at most 1", n)
		}
		cachedClient(t, reader, "gc1")
		storagetest.Must(t, f.RevokeClientTokens(t.Context(), "gc1"))
		storagetest.Must(t, reader.ApplyChanges(t.Context()))
		if cachedClient(t, reader, "gc1") {
			t.Error("a change after the deletion was missed")
		}
	})
}

// TestRowsOfAnotherClusterDropNothing adds rows of a restored dump, with ids of transactions that have not begun here.
func TestRowsOfAnotherClusterDropNothing(t *testing.T) {
	t.Parallel()
	url := storagetest.URL(t, storage.Postgres)
	f := newFixture(t, url)
	storagetest.Exec(t, f.Store, url, "INSERT INTO changes VALUES (1000000000000, '*', 0)")
	reader := follower(t, url, f.clock)
	cachedClient(t, reader, "gc1")
	storagetest.Must(t, reader.ApplyChanges(t.Context()))
	if !cachedClient(t, reader, "gc1") {
		t.Error("a read of the changes dropped the client from the cache because of a row of another cluster")
	}
}

// TestClientCacheIsBoundedInBytes caches large clients, as self-registered clients can be.
func TestClientCacheIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		const clients, size, bound = 1500, 40 << 10, 32 << 20
		storagetest.Must(t, f.Tx(t.Context(), func(tx *storage.Store) error {
			for i := range clients {
				c := *f.client
				c.ID, c.Secrets, c.JWKS = fmt.Sprint("large", i), nil, strings.Repeat("x", size)
				if err := tx.CreateClient(t.Context(), &c, nil); err != nil {
					return err
				}
			}
			return nil
		}))
		reader := follower(t, url, f.clock)
		for i := range clients {
			_, err := reader.Client(t.Context(), fmt.Sprint("large", i))
			storagetest.Must(t, err)
		}
		stats := reader.Stats()
		if stats.CacheBytes > bound || stats.Cached*size > bound || stats.Cached*size < bound/2 {
			t.Errorf("%d clients of %d bytes are cached, counted as %d bytes, want at most %d bytes and at least half of that",
				stats.Cached, size, stats.CacheBytes, bound)
		}
		storagetest.Must(t, f.CreateScope(t.Context(), storage.Scope{Name: "x", CreatedAt: f.clock.Now()}))
		storagetest.Must(t, reader.ApplyChanges(t.Context()))
		if stats := reader.Stats(); stats.Cached != 0 || stats.CacheBytes != 0 {
			t.Errorf("%d clients, %d bytes are cached after everything was dropped, want 0", stats.Cached, stats.CacheBytes)
		}
		for range 3 { // what is dropped and stored again counts once
			cachedClient(t, reader, "gc1")
			storagetest.Must(t, f.RevokeClientTokens(t.Context(), "gc1"))
			storagetest.Must(t, reader.ApplyChanges(t.Context()))
		}
		if stats := reader.Stats(); stats.Cached != 0 || stats.CacheBytes != 0 {
			t.Errorf("%d clients, %d bytes are cached after repeated drops, want 0", stats.Cached, stats.CacheBytes)
		}
	})
}
