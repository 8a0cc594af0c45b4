package ratelimit

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMemoryTruncatesLongKeys covers keys that a client chooses, such as the client_id that it claims.
func TestMemoryTruncatesLongKeys(t *testing.T) {
	hourly := rate{Rate: Rate{Count: 1, Period: time.Hour}, interval: time.Hour, maxAhead: time.Hour}
	m := newMemory(time.Now)
	before := heap()
	const keys, size = 1000, 64 << 10
	for i := range keys {
		m.decide(hourly, false, Count{Limit: "x", Key: fmt.Sprint(i, strings.Repeat("k", size))})
	}
	if after := heap(); after > before+keys*size/4 {
		t.Errorf("%d keys of %d bytes use %d bytes, want at most %d", keys, size, after-before, keys*size/4)
	}
	for i := range m.shards {
		for c := range m.shards[i].next {
			if len(c.Key) > maxKey {
				t.Fatalf("a stored key has %d bytes, want at most %d", len(c.Key), maxKey)
			}
		}
	}
	runtime.KeepAlive(m)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
