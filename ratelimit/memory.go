package ratelimit

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"
)

// The bounds of the counters in memory, at most about 30 MB.
const (
	shards  = 64
	maxKeys = 100_000
	maxKey  = 160 // bytes
)

// memory has the counters of this process, in shards with a lock each.
type memory struct {
	now    func() time.Time
	seed   maphash.Seed
	shards [shards]shard
}

type shard struct {
	mu   sync.Mutex
	next map[Count]time.Time // the next allowed time
}

func newMemory(now func() time.Time) *memory {
	m := &memory{now: now, seed: maphash.MakeSeed()}
	for i := range m.shards {
		m.shards[i].next = map[Count]time.Time{}
	}
	return m
}

// decide counts one event or, with peek, only reads its counter.
func (m *memory) decide(r rate, peek bool, c Count) Decision {
	if len(c.Key) > maxKey {
		c.Key = strings.Clone(c.Key[:maxKey]) // so that the map does not retain the complete input
	}
	s := &m.shards[maphash.Comparable(m.seed, c)%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	now := m.now() // under the lock, otherwise it may be before the time that another goroutine has just written
	next, found := s.next[c]
	if peek {
		ahead := time.Duration(0)
		if found {
			ahead = r.clamp(next.Sub(now))
		}
		return r.decision(c.Limit, ahead, ahead+r.interval > r.Period)
	}
	if !found {
		next = now
		if len(s.next) >= maxKeys/shards {
			s.evict(now)
		}
	}
	after, refused := r.countOne(next.Sub(now))
	s.next[c] = now.Add(after)
	return r.decision(c.Limit, after, refused)
}

// evict examines sixteen keys, which a map iterates in random order, and deletes those with nothing counted or, if
// there are none, the one with the lowest count. An attacker who invents keys therefore evicts the keys invented
// before, not a key that is being refused.
func (s *shard) evict(now time.Time) {
	var lowest Count
	var lowestNext time.Time
	examined, deleted := 0, false
	for c, next := range s.next {
		if !next.After(now) {
			delete(s.next, c)
			deleted = true
		} else if lowestNext.IsZero() || next.Before(lowestNext) {
			lowest, lowestNext = c, next
		}
		if examined++; examined == 16 {
			break
		}
	}
	if !deleted {
		delete(s.next, lowest)
	}
}

func (m *memory) keys() (n int) {
	for i := range m.shards {
		m.shards[i].mu.Lock()
		n += len(m.shards[i].next)
		m.shards[i].mu.Unlock()
	}
	return n
}
