package storage

import (
	"database/sql"
	"maps"
	"sync"
	"time"
)

// Stats is what the store has counted, and its state now.
type Stats struct {
	Events     map[string]uint64 // audit events by type, since start
	Queue      int               // audit rows that wait to be written
	QueueLimit int
	Unwritten  uint64 // attempts to write a batch of audit rows that failed
	Slow       uint64 // statements of more than a second
	Statements uint64 // of requests
	Pools      map[string]sql.DBStats
	CacheHits  uint64
	CacheMiss  uint64
	Cached     int   // clients in the cache
	CacheBytes int64 // their estimated memory
	Sealed     int64

	DatabaseUp     bool          // whether the last contact with the database succeeded
	ClockSkew      time.Duration // this machine's clock minus the database's; 0 on SQLite
	CleanupBehind  time.Duration // by how much cleanup lags the clock
	LargeDeletions uint64        // deletions of a large share of a table
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
		Queue: len(s.batch.rows) + int(s.batch.held.Load()), QueueLimit: batchQueue, Unwritten: s.batch.failed.Load(), Slow: s.slow.Load(), Statements: s.asked.Load(),
		Events: map[string]uint64{}, Pools: map[string]sql.DBStats{}, CacheHits: s.cache.hits.Load(), CacheMiss: s.cache.misses.Load(), Sealed: s.sealed.Load(),
		DatabaseUp: !s.contact.current().failing, ClockSkew: time.Duration(s.clock.skew.Load()), CleanupBehind: time.Duration(s.clock.behind.Load()), LargeDeletions: s.largeDeletions.Load(),
	}
	s.counts.mu.Lock()
	for _, e := range eventTypes {
		out.Events[e] = 0
	}
	maps.Copy(out.Events, s.counts.by)
	s.counts.mu.Unlock()
	names := []string{"write", "read"}
	for i, p := range s.pools {
		out.Pools[names[i]] = p.Stats()
	}
	s.cache.mu.RLock()
	out.Cached, out.CacheBytes = len(s.cache.clients), s.cache.bytes
	s.cache.mu.RUnlock()
	return out
}
