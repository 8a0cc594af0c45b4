package storage_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
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

func (w *fixture) another(t *testing.T, id string) *storage.Client {
	t.Helper()
	c := *w.client
	c.ID, c.Secrets = id, nil
	storagetest.Must(t, w.CreateClient(t.Context(), &c, nil))
	return &c
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
		w := newFixture(t, url)
		w.another(t, "gc2")
		processes := []*storage.Store{follower(t, url, w.clock), follower(t, url, w.clock), follower(t, url, w.clock)}
		all := func(what string, want map[string]bool) {
			t.Helper()
			for i, p := range processes {
				storagetest.Must(t, p.ApplyChanges(t.Context()))
				for id, cached := range want {
					if got := cachedClient(t, p, id); got != cached {
						t.Errorf("%s: process %d has client %s cached: %t, want %t", what, i, id, got, cached)
					}
				}
			}
		}
		first := processes[0]
		all("at first", map[string]bool{"gc1": false, "gc2": false})
		w.another(t, "gc3")
		all("after a registration", map[string]bool{"gc1": true, "gc2": true})
		storagetest.Must(t, first.DisableClient(t.Context(), "gc1"))
		all("after a change", map[string]bool{"gc1": false, "gc2": true})
		storagetest.Must(t, first.AddClientSecret(t.Context(), &storage.ClientSecret{ID: "s2", ClientID: "gc2", Hash: make([]byte, 32), CreatedAt: w.clock.Now()}, time.Hour))
		all("after a new secret", map[string]bool{"gc1": true, "gc2": false})
		storagetest.Must(t, first.CreateScope(t.Context(), storage.Scope{Name: "x", CreatedAt: w.clock.Now()}))
		all("after a new scope", map[string]bool{"gc1": false, "gc2": false})
		generation, _ := first.CacheGeneration()
		storagetest.Must(t, first.DeleteClient(t.Context(), "gc3"))
		all("after another client was deleted", map[string]bool{"gc1": true, "gc2": true})
		if now, _ := first.CacheGeneration(); now != generation {
			t.Error("a client was deleted: the signing keys are read again")
		}
	})
}

// TestOpenTransactionDelaysNoOtherChange stops a process within a change. Only changes of the same record wait, and
// the record is dropped from the caches at the commit, after changes that began later.
func TestOpenTransactionDelaysNoOtherChange(t *testing.T) {
	t.Parallel()
	url := storagetest.URL(t, storage.Postgres)
	w := newFixture(t, url)
	w.another(t, "gc2")
	storagetest.Must(t, w.CreateResource(t.Context(), storage.Resource{Identifier: "https://a.example", CreatedAt: w.clock.Now()}))
	storagetest.Must(t, w.CreateResource(t.Context(), storage.Resource{Identifier: "https://b.example", CreatedAt: w.clock.Now()}))
	other, reader := follower(t, url, w.clock), follower(t, url, w.clock)
	open, commit := make(chan struct{}), make(chan struct{})
	var stopped sync.WaitGroup
	var err error
	stopped.Go(func() {
		err = w.Tx(context.Background(), func(tx *storage.Store) error {
			if err := tx.DisableClient(context.Background(), "gc1"); err != nil {
				return err
			}
			if err := tx.UpdateResource(context.Background(), "https://a.example", func(*storage.Resource) error { return nil }); err != nil {
				return err
			}
			close(open)
			<-commit
			return nil
		})
	})
	<-open
	limited, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for what, change := range map[string]func() error{
		"disable a client": func() error { return other.DisableClient(limited, "gc2") },
		"rotate a secret": func() error {
			return other.AddClientSecret(limited, &storage.ClientSecret{ID: "s2", ClientID: "gc2", Hash: make([]byte, 32), CreatedAt: w.clock.Now()}, 0)
		},
		"rotate keys": func() error {
			return other.RotateSigningKeys(limited, func([]storage.SigningKey) (add, changed []storage.SigningKey, err error) {
				return []storage.SigningKey{{ID: "k1", Algorithm: "ES256", Sealed: []byte("sealed"), CreatedAt: w.clock.Now(), ActiveAt: w.clock.Now()}}, nil, nil
			})
		},
		"add a scope": func() error {
			return other.CreateScope(limited, storage.Scope{Name: "x", CreatedAt: w.clock.Now()})
		},
		"update a resource": func() error {
			return other.UpdateResource(limited, "https://b.example", func(*storage.Resource) error { return nil })
		},
	} {
		if err := change(); err != nil {
			t.Errorf("%s while another process's transaction is open: %v", what, err)
		}
	}
	storagetest.Must(t, reader.ApplyChanges(t.Context()))
	cachedClient(t, reader, "gc1")
	cachedClient(t, reader, "gc2")
	storagetest.Must(t, reader.ApplyChanges(t.Context()))
	if !cachedClient(t, reader, "gc1") || !cachedClient(t, reader, "gc2") {
		t.Error("clients are not cached while a transaction is open")
	}
	close(commit)
	stopped.Wait()
	storagetest.Must(t, err)
	storagetest.Must(t, reader.ApplyChanges(t.Context()))
	if c, err := reader.Client(t.Context(), "gc1"); err != nil || c.DisabledAt == nil {
		t.Errorf("a change that committed late was missed: %+v, %v", c, err)
	}
}

// TestNoChangeIsMissed changes clients in several processes while others read them. A read after the commit of a
// change must return the change.
func TestNoChangeIsMissed(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		w := newFixture(t, url)
		const clients, changes = 4, 30
		for i := range clients {
			w.another(t, fmt.Sprint("c", i))
		}
		reader := follower(t, url, w.clock)
		storagetest.Concurrently(clients, func(i int) {
			id := fmt.Sprint("c", i)
			writer := w.Store
			for n := range changes {
				if err := writer.RevokeClientTokens(context.Background(), id); err != nil {
					t.Error(err)
					return
				}
				if err := reader.ApplyChanges(context.Background()); err != nil {
					t.Error(err)
					return
				}
				for other := range clients {
					c, err := reader.Client(context.Background(), fmt.Sprint("c", other))
					if err != nil || other == i && c.Epoch != int64(n+2) {
						t.Errorf("client %s after %d changes: %+v, %v", id, n+1, c, err)
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
		w := newFixture(t, url)
		reader := follower(t, url, w.clock)
		cachedClient(t, reader, "gc1")
		storagetest.Must(t, w.DisableClient(t.Context(), "gc1"))
		storagetest.Exec(t, w.Store, url, "DELETE FROM changes")
		w.clock.Advance(1500 * time.Millisecond)
		storagetest.Must(t, reader.ApplyChanges(t.Context()))
		if c, err := reader.Client(t.Context(), "gc1"); err != nil || c.DisabledAt == nil {
			t.Errorf("%+v, %v", c, err)
		}
	})
}

// TestOldChangesAreDeleted also checks that the positions continue afterwards.
func TestOldChangesAreDeleted(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		w := newFixture(t, url)
		for range 3 {
			storagetest.Must(t, w.RevokeClientTokens(t.Context(), "gc1"))
		}
		count := func() int64 { return storagetest.Count(t, w.Store, url, "SELECT count(*) FROM changes") }
		before := count()
		_, err := w.DeleteExpired(t.Context())
		storagetest.Must(t, err)
		if count() != before {
			t.Errorf("%d new rows, %d after deleting old ones", before, count())
		}
		reader := follower(t, url, w.clock)
		storagetest.Exec(t, w.Store, url, "UPDATE changes SET at = at - 25 * 3600 * 1000")
		_, err = w.DeleteExpired(t.Context())
		storagetest.Must(t, err)
		if n := count(); n > 1 {
			t.Errorf("%d rows of yesterday are left", n)
		}
		cachedClient(t, reader, "gc1")
		storagetest.Must(t, w.RevokeClientTokens(t.Context(), "gc1"))
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
	w := newFixture(t, url)
	storagetest.Exec(t, w.Store, url, "INSERT INTO changes VALUES (1000000000000, '*', 0)")
	reader := follower(t, url, w.clock)
	cachedClient(t, reader, "gc1")
	storagetest.Must(t, reader.ApplyChanges(t.Context()))
	if !cachedClient(t, reader, "gc1") {
		t.Error("the cache is emptied at every read")
	}
}

// TestClientCacheIsBoundedInBytes caches large clients, as self-registered clients can be.
func TestClientCacheIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		w := newFixture(t, url)
		const clients, size, bound = 1500, 40 << 10, 32 << 20
		storagetest.Must(t, w.Tx(t.Context(), func(tx *storage.Store) error {
			for i := range clients {
				c := *w.client
				c.ID, c.Secrets, c.JWKS = fmt.Sprint("large", i), nil, strings.Repeat("x", size)
				if err := tx.CreateClient(t.Context(), &c, nil); err != nil {
					return err
				}
			}
			return nil
		}))
		reader := follower(t, url, w.clock)
		for i := range clients {
			_, err := reader.Client(t.Context(), fmt.Sprint("large", i))
			storagetest.Must(t, err)
		}
		stats := reader.Stats()
		if stats.CacheBytes > bound || stats.Cached*size > bound || stats.Cached*size < bound/2 {
			t.Errorf("%d clients of %d bytes are cached, counted as %d bytes; the bound is %d", stats.Cached, size, stats.CacheBytes, bound)
		}
		storagetest.Must(t, w.CreateScope(t.Context(), storage.Scope{Name: "x", CreatedAt: w.clock.Now()}))
		storagetest.Must(t, reader.ApplyChanges(t.Context()))
		if stats := reader.Stats(); stats.Cached != 0 || stats.CacheBytes != 0 {
			t.Errorf("%d clients, %d bytes after everything was dropped", stats.Cached, stats.CacheBytes)
		}
		for range 3 { // what is dropped and stored again counts once
			cachedClient(t, reader, "gc1")
			storagetest.Must(t, w.RevokeClientTokens(t.Context(), "gc1"))
			storagetest.Must(t, reader.ApplyChanges(t.Context()))
		}
		if stats := reader.Stats(); stats.Cached != 0 || stats.CacheBytes != 0 {
			t.Errorf("%d clients, %d bytes", stats.Cached, stats.CacheBytes)
		}
	})
}
