package storage

import (
	"maps"
	"sync"
	"time"

	"gatehouse/storage/db"
)

// Stats is what the store has counted, and its state now.
type Stats struct {
	db.Stats

	Events     map[string]uint64 // audit events by type, since start
	Queue      int               // audit rows that wait to be written
	QueueLimit int
	Unwritten  uint64 // attempts to write a batch of audit rows that failed
	CacheHits  uint64
	CacheMiss  uint64
	Cached     int   // clients in the cache
	CacheBytes int64 // their estimated memory
	Sealed     int64

	DatabaseUp    bool          // whether the last contact with the database succeeded
	CleanupBehind time.Duration // by how much cleanup lags the clock
}

// counts are events by type.
type counts struct {
	mu sync.Mutex
	by map[string]uint64
}

func (c *counts) add(events ...string) {
	if len(events) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[string]uint64{}
	}
	for _, e := range events {
		c.by[e]++
	}
}

// Stats takes no time worth mentioning and asks the database nothing.
func (s *Store) Stats() Stats {
	out := Stats{
		Queue: len(s.batch.rows) + int(s.batch.held.Load()), QueueLimit: batchQueue, Unwritten: s.batch.failed.Load(), Stats: s.DB.Stats(),
		Events: map[string]uint64{}, CacheHits: s.cache.hits.Load(), CacheMiss: s.cache.misses.Load(), Sealed: s.sealed.Load(),
		DatabaseUp: !s.contact.current().failing, CleanupBehind: time.Duration(s.cleanupBehind.Load()),
	}
	s.counts.mu.Lock()
	for _, e := range eventTypes {
		out.Events[e] = 0
	}
	maps.Copy(out.Events, s.counts.by)
	s.counts.mu.Unlock()
	s.cache.mu.RLock()
	out.Cached, out.CacheBytes = len(s.cache.clients), s.cache.bytes
	s.cache.mu.RUnlock()
	return out
}
