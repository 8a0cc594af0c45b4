package ratelimit_test

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"gatehouse/ratelimit"
	"gatehouse/ratelimit/redistest"
	"gatehouse/storage/storagetest"
)

// TestRedisCountsByRedisClock leaves the clock to Redis, as processes with different clocks do.
func TestRedisCountsByRedisClock(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	for i, ahead := range []time.Duration{0, 24 * time.Hour, -24 * time.Hour, 0} {
		c := storagetest.NewClock()
		c.Advance(ahead)
		l, err := ratelimit.New(ratelimit.Options{
			Rates: map[string]ratelimit.Rate{"x": {Count: 3, Period: 24 * time.Hour}}, RedisURL: r.URL, Now: c.Now,
			Log: slog.New(slog.DiscardHandler), RedisTimeout: redisTimeout,
		})
		storagetest.Must(t, err)
		if d, want := count(l, "x", "a"), i == 3; d.Refused != want {
			t.Errorf("event %d, by a process whose clock differs by %v: %+v, want refused: %t", i+1, ahead, d, want)
		}
		storagetest.Must(t, l.Close())
	}
}

func TestRedisKeysHideCountedKey(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	const address = "203.0.113.77"
	keys := func(key string) []string {
		l, err := ratelimit.New(ratelimit.Options{
			Rates: rates, RedisURL: r.URL, Key: []byte(key), Now: time.Now, Log: slog.New(slog.DiscardHandler),
		})
		storagetest.Must(t, err)
		defer func() { storagetest.Must(t, l.Close()) }()
		count(l, "x", address)
		conn, err := redis.DialURL(r.URL)
		storagetest.Must(t, err)
		defer func() { storagetest.Must(t, conn.Close()) }()
		found, err := redis.Strings(conn.Do("KEYS", "gatehouse:limit:*"))
		storagetest.Must(t, err)
		return found
	}
	first := keys("one key")
	sum := sha256.Sum256([]byte(address))
	if len(first) != 1 || strings.Contains(first[0], address) || strings.Contains(first[0], hex.EncodeToString(sum[:16])) {
		t.Errorf("Redis has the keys %v, want one that cannot be computed from %s", first, address)
	}
	if same := keys("one key"); len(same) != 1 {
		t.Errorf("Redis has the keys %v after a second process counted with the same HMAC key, want 1 key", same)
	}
	if both := keys("another key"); len(both) != 2 {
		t.Errorf("Redis has the keys %v after a process counted with another HMAC key, want 2 keys", both)
	}
}

// TestRedisIsSharedAndDecidesAsMemoryDoes counts in the Limiters of two processes on one Redis, concurrently.
func TestRedisIsSharedAndDecidesAsMemoryDoes(t *testing.T) {
	t.Parallel()
	r, c := redistest.Start(t), storagetest.NewClock()
	first, second := open(t, r.URL, c.Now, nil), open(t, r.URL, c.Now, nil)
	var allowed atomic.Int64
	var wait sync.WaitGroup
	for i := range 40 {
		l := first
		if i%2 == 0 {
			l = second
		}
		wait.Go(func() {
			if !count(l, "x", "a").Refused {
				allowed.Add(1)
			}
		})
	}
	wait.Wait()
	if allowed.Load() != 3 {
		t.Errorf("%d of 40 events were allowed, want 3", allowed.Load())
	}
	memory := open(t, "", c.Now, nil)
	for i := range 12 {
		a, b := count(first, ratelimit.ClientFailure, "same"), count(memory, ratelimit.ClientFailure, "same")
		if a != b {
			t.Errorf("event %d: Redis decides %+v, memory %+v, want equal", i+1, a, b)
		}
	}
	if s := first.Stats(); !s.Shared || s.Degraded || s.Failures > 0 {
		t.Errorf("Stats() = %+v, want shared, not degraded and no failures", s)
	}
}

// TestProcessCountsAloneWithoutRedis kills Redis and starts it again.
func TestProcessCountsAloneWithoutRedis(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	var log lockedBuffer
	l := open(t, r.URL, storagetest.NewClock().Now, slog.New(slog.NewTextHandler(&log, nil)))
	if l.PingRedis(t.Context()); log.count("sharing rate limits through Redis") != 1 || l.Stats().Degraded {
		t.Errorf("with Redis at start: the log is %q and Stats() = %+v, want one message and not degraded",
			log.String(), l.Stats())
	}
	count(l, "x", "a")
	r.Kill()
	if l.PingRedis(t.Context()); !l.Stats().Degraded {
		t.Error("without Redis at start, Degraded = false, want true")
	}
	for i := range 3 {
		if d := count(l, "x", "a"); d.Refused {
			t.Errorf("event %d without Redis: %+v, want allowed", i+1, d)
		}
	}
	if d := count(l, "x", "a"); !d.Refused {
		t.Errorf("event 4 without Redis: %+v, want refused", d)
	}
	if s := l.Stats(); !s.Degraded || s.Failures == 0 {
		t.Errorf("Stats() = %+v, want degraded with failures", s)
	}
	if n := log.count("Redis unreachable"); n != 1 {
		t.Errorf("the log reports the failure %d times, want once:\n%s", n, log.String())
	}
	r.Restart()
	storagetest.Eventually(t, "Redis is used after its restart", func() bool {
		count(l, "x", "b")
		return !l.Stats().Degraded
	})
	if log.count("Redis reachable again") != 1 {
		t.Errorf("the log does not report once that Redis is reachable:\n%s", log.String())
	}
}

func TestNewRefusesInvalidRedisURL(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"http://127.0.0.1", "redis://", "redis://%zz", "127.0.0.1:6379"} {
		if _, err := ratelimit.New(ratelimit.Options{Rates: rates, RedisURL: url, Now: time.Now}); err == nil {
			t.Errorf("New with the Redis URL %q returned no error", url)
		}
	}
}

// lockedBuffer is a log destination for concurrent writers.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedBuffer) count(text string) int { return strings.Count(l.String(), text) }
