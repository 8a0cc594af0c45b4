package storage

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	revisionEvery = 250 * time.Millisecond
	revisionStale = time.Second
	cachedClients = 10_000 // about 20 MB at the very most
)

// cache holds what hot paths ask for again and again: clients with their secrets, scopes and resources. It is right as
// long as the revision has not moved, so an entry is kept only if the revision known before loading it still holds, and
// nothing is answered from it when the last good look at the revision is over a second old.
type cache struct {
	mu         sync.RWMutex
	generation uint64 // raised by every drop
	revision   int64
	looked     time.Time // when the last good look at the revision began
	clients    map[string]*Client
	scopes     map[string]Scope
	resources  map[string]Resource

	hits, misses atomic.Uint64
}

func newCache() *cache {
	c := &cache{}
	c.drop()
	return c
}

// drop forgets everything.
func (c *cache) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
}

func (c *cache) clear() {
	c.generation++
	c.clients, c.scopes, c.resources = map[string]*Client{}, nil, nil
}

// saw records a look at the revision that began at the given time.
func (c *cache) saw(revision int64, began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if revision != c.revision {
		c.clear()
		c.revision = revision
	}
	c.looked = began // also when the clock was set back
}

func (c *cache) fresh(now time.Time) bool {
	age := now.Sub(c.looked)
	return !c.looked.IsZero() && age <= revisionStale && age >= -revisionStale
}

// cached answers from the cache through get, or loads and offers the result to put.
func cached[T any](s *Store, get func(c *cache) (T, bool), load func() (T, error), put func(c *cache, v T)) (T, error) {
	if s.tx != nil {
		return load()
	}
	c := s.cache
	c.mu.RLock()
	v, ok := get(c)
	ok = ok && c.fresh(s.now())
	generation := c.generation
	c.mu.RUnlock()
	if ok {
		c.hits.Add(1)
		return v, nil
	}
	c.misses.Add(1)
	v, err := load()
	if err != nil {
		return v, err
	}
	c.mu.Lock()
	if c.generation == generation && c.fresh(s.now()) {
		put(c, v)
	}
	c.mu.Unlock()
	return v, nil
}

// Revision is the number that every change to a client, secret, scope, resource or key raises.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	var n int64
	err := queryRow(ctx, s.read, []any{&n}, "SELECT value FROM revision WHERE id = 1")
	return n, wrap("read the revision", err)
}

// RevisionSeen is the revision that this process last saw, and that its caches are of.
func (s *Store) RevisionSeen() int64 {
	s.cache.mu.RLock()
	defer s.cache.mu.RUnlock()
	return s.cache.revision
}

// Generation is a number that moves whenever the caches are dropped: at once after a change of this process, and when
// the revision was seen to move. fresh says whether it may be relied on; otherwise ask the database. Who keeps something
// of its own by it takes the generation before loading, so that a change in between is noticed.
func (s *Store) Generation() (generation uint64, fresh bool) {
	s.cache.mu.RLock()
	defer s.cache.mu.RUnlock()
	return s.cache.generation, s.cache.fresh(s.now())
}

// followRevision looks at the revision four times a second until ctx ends.
func (s *Store) followRevision(ctx context.Context) {
	tick := time.NewTicker(revisionEvery)
	defer tick.Stop()
	for {
		began := s.now()
		look, cancel := context.WithTimeout(ctx, revisionStale)
		if n, err := s.Revision(look); err == nil {
			s.cache.saw(n, began)
		}
		cancel()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
