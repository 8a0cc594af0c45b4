// Package limit counts events against named rates, per key, in the memory of one process. What is counted, and what
// becomes of a request over the limit, is left to web.
package limit

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"gatehouse/config"
)

// maxKeys and maxKey bound the memory: about 30 MB at the very most.
const (
	maxKeys = 100_000
	maxKey  = 160 // bytes
)

// Limits holds a bucket per name and key. A nil *Limits allows everything.
type Limits struct {
	rates map[string]config.Rate
	now   func() time.Time

	mu      sync.Mutex
	buckets map[bucket]*rate.Limiter
}

type bucket struct{ name, key string }

// New returns limits with the given rates; now is the clock.
func New(rates map[string]config.Rate, now func() time.Time) *Limits {
	return &Limits{rates: rates, now: now, buckets: map[bucket]*rate.Limiter{}}
}

// Take counts one event and reports whether it is within the limit, and if not, when the next one will be. A name
// without a rate is not limited.
func (l *Limits) Take(name, key string) (ok bool, retryAfter time.Duration) {
	if l == nil {
		return true, 0
	}
	r, limited := l.rates[name]
	if !limited {
		return true, 0
	}
	if len(key) > maxKey {
		key = key[:maxKey]
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[bucket{name, key}]
	if b == nil {
		if len(l.buckets) >= maxKeys {
			l.makeRoom(now)
		}
		b = rate.NewLimiter(rate.Limit(float64(r.Count)/r.Period.Seconds()), r.Count)
		l.buckets[bucket{name, key}] = b
	}
	if b.AllowN(now, 1) {
		return true, 0
	}
	missing := 1 - b.TokensAt(now)
	return false, time.Duration(missing / float64(b.Limit()) * float64(time.Second))
}

// makeRoom forgets the keys that are back to a full bucket, and if none is, any thousand.
func (l *Limits) makeRoom(now time.Time) {
	for k, b := range l.buckets {
		if b.TokensAt(now) >= float64(b.Burst()) {
			delete(l.buckets, k)
		}
	}
	for k := range l.buckets {
		if len(l.buckets) <= maxKeys-1000 {
			return
		}
		delete(l.buckets, k)
	}
}
