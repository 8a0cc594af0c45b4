package audit

import (
	"maps"
	"sync"
)

// Stats are the counters and the state of the log.
type Stats struct {
	Events       map[string]uint64 // by type, since start
	Queue        int               // rows that wait to be written
	QueueLimit   int
	FailedWrites uint64 // failed attempts to write a batch of rows
	Sealed       int64  // the last seal that this process has created
}

// counts are events by type.
type counts struct {
	mu     sync.Mutex
	byType map[string]uint64
}

func (c *counts) add(eventType string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byType == nil {
		c.byType = map[string]uint64{}
	}
	c.byType[eventType]++
}

// Stats returns the counters. It queries nothing.
func (l *Log) Stats() Stats {
	out := Stats{
		Events: map[string]uint64{}, Queue: l.batch.waiting(), QueueLimit: batchQueue,
		FailedWrites: l.batch.failed.Load(), Sealed: l.lastSeal.Load(),
	}
	for _, t := range types {
		out.Events[t] = 0
	}
	l.counts.mu.Lock()
	defer l.counts.mu.Unlock()
	maps.Copy(out.Events, l.counts.byType)
	return out
}
