package limit

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"gatehouse/config"
)

// The memory is bounded, to about 30 MB at the very most.
const (
	shards  = 64
	maxKeys = 100_000
	maxKey  = 160 // bytes
)

// memory counts in this process, in shards of which each has its own lock.
type memory struct {
	now    func() time.Time
	seed   maphash.Seed
	shards [shards]shard
}

type shard struct {
	mu   sync.Mutex
	free map[config.Count]time.Time // the next free moment
}

func newMemory(now func() time.Time) *memory {
	m := &memory{now: now, seed: maphash.MakeSeed()}
	for i := range m.shards {
		m.shards[i].free = map[config.Count]time.Time{}
	}
	return m
}

func (m *memory) take(r rate, peek bool, c config.Count) config.Verdict {
	if len(c.Key) > maxKey {
		c.Key = strings.Clone(c.Key[:maxKey]) // so that the map does not retain the complete input
	}
	s := &m.shards[maphash.Comparable(m.seed, c)%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	now := m.now() // under the lock, or it may lie before what another has just written
	next, known := s.free[c]
	if peek {
		ahead := time.Duration(0)
		if known {
			ahead = r.bounded(next.Sub(now))
		}
		return r.verdict(c.Limit, ahead, ahead+r.interval > r.Period)
	}
	if !known {
		next = now
		if len(s.free) >= maxKeys/shards {
			s.makeRoom(now)
		}
	}
	after, refused := r.step(next.Sub(now))
	s.free[c] = now.Add(after)
	return r.verdict(c.Limit, after, refused)
}

// makeRoom looks at sixteen keys, which a map gives in random order, and forgets those with nothing counted or, if there are
// none, the one with the least: whoever makes up keys displaces those before it and not one that is refused.
func (s *shard) makeRoom(now time.Time) {
	var least config.Count
	var at time.Time
	seen, forgot := 0, false
	for c, next := range s.free {
		if !next.After(now) {
			delete(s.free, c)
			forgot = true
		} else if at.IsZero() || next.Before(at) {
			least, at = c, next
		}
		if seen++; seen == 16 {
			break
		}
	}
	if !forgot {
		delete(s.free, least)
	}
}

func (m *memory) keys() (n int) {
	for i := range m.shards {
		m.shards[i].mu.Lock()
		n += len(m.shards[i].free)
		m.shards[i].mu.Unlock()
	}
	return n
}
