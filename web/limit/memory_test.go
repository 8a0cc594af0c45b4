package limit

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"gatehouse/config"
)

// TestLongKeysAreNotRetained: a client chooses what it is counted by, such as the client_id that it claims.
func TestLongKeysAreNotRetained(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	m := newMemory(time.Now)
	before := heap()
	const keys, size = 1000, 64 << 10
	for i := range keys {
		m.take(rate{Rate: config.Rate{Count: 1, Period: time.Hour}, interval: time.Hour, most: time.Hour}, false, config.Count{Limit: "x", Key: fmt.Sprint(i, strings.Repeat("k", size))})
	}
	if after := heap(); after > before+keys*size/4 {
		t.Errorf("%d keys of %d bytes take %d bytes", keys, size, after-before)
	}
	runtime.KeepAlive(m)
}
