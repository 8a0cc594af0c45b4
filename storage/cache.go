package storage

import (
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// cacheBytes bounds the clients in the cache, by an estimate of their memory.
const cacheBytes = 32 << 20

// cache contains what hot paths read repeatedly: clients with their secrets, scopes, resources, attributes, and
// whether groups or roles have requirements.
// followChanges drops changed records. An entry is stored only if nothing was dropped while it was loaded, and nothing
// is returned from the cache when the changes were last read over a second ago.
type cache struct {
	mu           sync.RWMutex
	drops        uint64    // incremented when anything is dropped
	generation   uint64    // incremented when everything is dropped
	lastRead     time.Time // when the last successful read of the changes began
	clients      map[string]*Client
	bytes        int64 // of clients
	scopes       map[string]Scope
	resources    map[string]Resource
	attributes   map[string]Attribute
	requirements *bool // whether a group or role has one; nil: not read

	hits, misses atomic.Uint64
}

func newCache() *cache {
	c := &cache{}
	c.drop(everything)
	return c
}

// drop removes the clients with these ids, and the complete cache if everything is among them.
func (c *cache) drop(ids ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked(ids)
}

func (c *cache) dropLocked(ids []string) {
	if len(ids) == 0 {
		return
	}
	c.drops++
	if slices.Contains(ids, everything) {
		c.generation++
		c.clients, c.bytes, c.scopes, c.resources = map[string]*Client{}, 0, nil, nil
		c.attributes, c.requirements = nil, nil
	}
	for _, id := range ids {
		c.remove(id)
	}
}

func (c *cache) remove(id string) {
	if v, ok := c.clients[id]; ok {
		c.bytes -= sizeOf(reflect.ValueOf(*v))
		delete(c.clients, id)
	}
}

// putClient stores a client and evicts others while the cache exceeds cacheBytes.
func (c *cache) putClient(v *Client) {
	size := sizeOf(reflect.ValueOf(*v))
	c.remove(v.ID)
	for other := range c.clients { // in random order
		if c.bytes+size <= cacheBytes {
			break
		}
		c.remove(other)
	}
	if c.bytes+size <= cacheBytes {
		c.clients[v.ID], c.bytes = v, c.bytes+size
	}
}

// sizeOf estimates the memory of a record.
func sizeOf(v reflect.Value) int64 {
	size := int64(v.Type().Size()) //nolint:gosec // the size of a type
	switch v.Kind() {
	case reflect.String:
		size += int64(v.Len())
	case reflect.Slice:
		for i := range v.Len() {
			size += sizeOf(v.Index(i))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			size += sizeOf(v.Elem())
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			break
		}
		for i := range v.NumField() {
			size += sizeOf(v.Field(i)) - int64(v.Field(i).Type().Size()) //nolint:gosec // the size of a type
		}
	}
	return size
}

// markRead records a successful read of the changes that began at the given time, and drops the changed records. After
// a gap it drops everything: the rows in between may have been deleted, or the database may be another one.
func (c *cache) markRead(ids []string, began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// The wall clock is compared too: only it counts the time during which this host was suspended.
	if !c.fresh(began) || began.Round(0).Sub(c.lastRead.Round(0)).Abs() > changesStale {
		ids = []string{everything}
	}
	c.dropLocked(ids)
	c.lastRead = began // also when the clock was set back
}

func (c *cache) fresh(now time.Time) bool {
	return !c.lastRead.IsZero() && now.Sub(c.lastRead).Abs() <= changesStale
}

// cached returns the cached value of get, or calls load and passes the result to put.
func cached[T any](s *Store, get func(c *cache) (T, bool), load func() (T, error), put func(c *cache, v T)) (T, error) {
	if s.InTx() {
		return load()
	}
	c := s.cache
	c.mu.RLock()
	v, ok := get(c)
	ok = ok && c.fresh(s.LocalNow())
	drops := c.drops
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
	if c.drops == drops && c.fresh(s.LocalNow()) {
		put(c, v)
	}
	c.mu.Unlock()
	return v, nil
}

// CacheGeneration returns a number that changes when everything is dropped from the caches: a scope, resource or key
// was changed, or a change may have been missed. fresh reports whether it can be relied on; otherwise read the
// database. A caller that stores something by it takes the generation before loading, so that a change in between is
// noticed.
func (s *Store) CacheGeneration() (generation uint64, fresh bool) {
	s.cache.mu.RLock()
	defer s.cache.mu.RUnlock()
	return s.cache.generation, s.cache.fresh(s.LocalNow())
}
