package storage

import (
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// Stats are the counters of the store and its state.
type Stats struct {
	Database db.Stats
	Audit    audit.Stats

	CacheHits   uint64
	CacheMisses uint64
	Cached      int   // clients in the cache
	CacheBytes  int64 // their estimated memory

	DatabaseUp    bool          // whether the last check of the database succeeded
	CleanupBehind time.Duration // by how much cleanup lags the clock
}

// Stats returns the counters. It queries nothing.
func (s *Store) Stats() Stats {
	out := Stats{
		Database: s.DB.Stats(), Audit: s.Audit.Stats(), CacheHits: s.cache.hits.Load(), CacheMisses: s.cache.misses.Load(),
		DatabaseUp: !s.health.current().failing, CleanupBehind: time.Duration(s.cleanupBehind.Load()),
	}
	s.cache.mu.RLock()
	defer s.cache.mu.RUnlock()
	out.Cached, out.CacheBytes = len(s.cache.clients), s.cache.bytes
	return out
}
