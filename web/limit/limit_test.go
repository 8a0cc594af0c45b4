package limit_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/config"
	"gatehouse/storage/storagetest"
	"gatehouse/web/limit"
)

var rates = map[string]config.Rate{
	"x":                       {Count: 3, Period: time.Minute},
	config.LimitClientFailure: {Count: 2, Period: time.Minute},
}

// patience is the time that a Redis on a busy machine may take for a command before a test counts it as failed.
const patience = 30 * time.Second

// open returns limits that count by the clock, also in Redis.
func open(t *testing.T, redisURL string, now func() time.Time, log *slog.Logger) *limit.Limits {
	t.Helper()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l, err := limit.New(limit.Options{Rates: rates, RedisURL: redisURL, Now: now, Log: log, RedisNow: now, RedisTimeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func take(l *limit.Limits, name, key string) config.Verdict {
	return l.Take(context.Background(), config.Count{Limit: name, Key: key})
}

func TestTheFourthOfThreeIsRefusedUntilOneIsBack(t *testing.T) {
	t.Parallel()
	c := storagetest.NewClock()
	l := open(t, "", c.Now, nil)
	for i := range 3 {
		if v := take(l, "x", "a"); v.Refused || v.Remaining != 2-i || v.Wait != []time.Duration{20, 40, 20}[i]*time.Second { // all are back; all are back; the next is there
			t.Errorf("event %d: %+v", i+1, v)
		}
	}
	v := take(l, "x", "a")
	if !v.Refused || v.Wait != 20*time.Second {
		t.Errorf("the fourth: %+v", v)
	}
	if policy, state := v.Fields(); policy != `"x";q=3;w=60` || state != `"x";r=0;t=20` {
		t.Errorf("%s %s", policy, state)
	}
	if take(l, "x", "b").Refused {
		t.Error("another key is refused")
	}
	if v := take(l, "unknown", "a"); v.Refused || v.Limit != "" {
		t.Errorf("a name without a rate: %+v", v)
	}
	c.Advance(20 * time.Second)
	if take(l, "x", "a").Refused {
		t.Error("refused after the wait")
	}
	if (*limit.Limits)(nil).Take(context.Background(), config.Count{Limit: "x", Key: "a"}).Refused {
		t.Error("limits that are off refuse")
	}
}

func TestTheWaitForFailuresDoublesAndEnds(t *testing.T) {
	t.Parallel()
	c := storagetest.NewClock()
	l := open(t, "", c.Now, nil)
	take(l, config.LimitClientFailure, "a")
	take(l, config.LimitClientFailure, "a")
	var waits []time.Duration
	for range 8 {
		v := take(l, config.LimitClientFailure, "a")
		if !v.Refused {
			t.Fatalf("not refused: %+v", v)
		}
		waits = append(waits, v.Wait)
	}
	// Two in a minute are allowed: a minute ahead, doubled each time, less what may be ahead and still be allowed.
	for i, want := range []time.Duration{90, 210, 450, 900, 900} {
		if waits[i] != want*time.Second {
			t.Errorf("waits are %v, want number %d to be %v", waits, i+1, want*time.Second)
		}
	}
	c.Advance(900*time.Second - time.Millisecond)
	if !take(l, config.LimitClientFailure, "a").Refused {
		t.Error("not refused although the wait is not over")
	}
	c.Advance(longEnough)
	if take(l, config.LimitClientFailure, "a").Refused {
		t.Error("refused for ever")
	}
}

const longEnough = 20 * time.Minute

// TestParallelCallersGetNoMore counts from 64 goroutines with a clock that stands still, in memory and in Redis:
// exactly as many events are allowed as the limit has, however long the machine takes.
func TestParallelCallersGetNoMore(t *testing.T) {
	t.Parallel()
	c := storagetest.NewClock()
	for name, r := range map[string]config.Rate{
		config.LimitClientFailure: {Count: 20, Period: time.Hour}, config.LimitTokenPerson: {Count: 6000, Period: time.Hour},
	} {
		for store, redisURL := range map[string]string{"memory": "", "redis": servertest.StartRedis(t).URL} {
			l, err := limit.New(limit.Options{
				Rates: map[string]config.Rate{name: r}, RedisURL: redisURL, Now: c.Now, Log: slog.New(slog.DiscardHandler),
				RedisNow: c.Now, RedisTimeout: patience,
			})
			if err != nil {
				t.Fatal(err)
			}
			var allowed atomic.Int64
			storagetest.Do(64, func(int) {
				for range 300 {
					if !take(l, name, "one").Refused {
						allowed.Add(1)
					}
				}
			})
			if s := l.Stats(); allowed.Load() != int64(r.Count) || s.Failures != 0 {
				t.Errorf("%s in %s: %d of 19200 events were allowed, want %d; %d failures of Redis", name, store, allowed.Load(), r.Count, s.Failures)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestRedisCountsByRedisClock leaves the clock to Redis, as processes with different clocks do.
func TestRedisCountsByRedisClock(t *testing.T) {
	t.Parallel()
	r := servertest.StartRedis(t)
	for i, ahead := range []time.Duration{0, 24 * time.Hour, -24 * time.Hour, 0} {
		c := storagetest.NewClock()
		c.Advance(ahead)
		l, err := limit.New(limit.Options{
			Rates: map[string]config.Rate{"x": {Count: 3, Period: 24 * time.Hour}}, RedisURL: r.URL, Now: c.Now,
			Log: slog.New(slog.DiscardHandler), RedisTimeout: patience,
		})
		storagetest.Must(t, err)
		if v := take(l, "x", "a"); v.Refused != (i == 3) {
			t.Errorf("event %d, by a process whose clock differs by %v: %+v", i+1, ahead, v)
		}
		storagetest.Must(t, l.Close())
	}
}

// TestAClockSetBackLocksNobodyOut: what lies in the future because the clock was set back is forgotten.
func TestAClockSetBackLocksNobodyOut(t *testing.T) {
	t.Parallel()
	c := storagetest.NewClock()
	l := open(t, "", c.Now, nil)
	for range 4 {
		take(l, "x", "a")
	}
	c.Advance(-24 * time.Hour)
	if v := take(l, "x", "a"); v.Refused || v.Remaining != 2 {
		t.Errorf("after a day back: %+v", v)
	}
}

func TestMemoryIsBoundedAndKeepsWhoIsRefused(t *testing.T) {
	t.Parallel()
	l := open(t, "", storagetest.NewClock().Now, nil)
	for range 4 {
		take(l, "x", "attacker")
	}
	for i := range 150_000 {
		take(l, "x", fmt.Sprint(i))
	}
	if n := l.Stats().Keys; n > 100_000 {
		t.Errorf("%d keys", n)
	}
	if !take(l, "x", "attacker").Refused {
		t.Error("made-up keys displaced one that was refused")
	}
}

func TestRedisKeysHideWhatIsCounted(t *testing.T) {
	t.Parallel()
	r := servertest.StartRedis(t)
	const address = "203.0.113.77"
	keys := func(key string) []string {
		l, err := limit.New(limit.Options{Rates: rates, RedisURL: r.URL, Key: []byte(key), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		storagetest.Must(t, err)
		defer func() { storagetest.Must(t, l.Close()) }()
		take(l, "x", address)
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
		t.Errorf("Redis has the keys %v, want one that cannot be computed from the address", first)
	}
	if same := keys("one key"); len(same) != 1 {
		t.Errorf("another process with the same key counts by itself: %v", same)
	}
	if both := keys("another key"); len(both) != 2 {
		t.Errorf("the key of the HMAC makes no difference: %v", both)
	}
}

func TestTheFirstThatRefusesEndsTheCounting(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]*limit.Limits{"memory": open(t, "", storagetest.NewClock().Now, nil), "redis": open(t, servertest.StartRedis(t).URL, storagetest.NewClock().Now, nil)} {
		for range 4 {
			take(l, "x", "wide")
		}
		v := l.Take(context.Background(), config.Count{Limit: "x", Key: "wide"}, config.Count{Limit: "x", Key: "narrow"})
		if !v.Refused {
			t.Errorf("%s: %+v", name, v)
		}
		if v := take(l, "x", "narrow"); v.Remaining != 2 {
			t.Errorf("%s: the narrow limit was counted too: %+v", name, v)
		}
		if s := l.Stats(); s.Refused["x"] != 2 || s.Allowed["x"] != 4 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestCheckCountsNothing(t *testing.T) {
	t.Parallel()
	clock := storagetest.NewClock()
	for name, l := range map[string]*limit.Limits{"memory": open(t, "", clock.Now, nil), "redis": open(t, servertest.StartRedis(t).URL, clock.Now, nil)} {
		check := func(key string) config.Verdict {
			return l.Check(context.Background(), config.Count{Limit: config.LimitClientFailure, Key: key})
		}
		for range 9 {
			if check("a").Refused {
				t.Errorf("%s: refused before anything was counted", name)
			}
		}
		for range 2 {
			if check("a").Refused || take(l, config.LimitClientFailure, "a").Refused {
				t.Errorf("%s: refused too early", name)
			}
		}
		first := check("a")
		if !first.Refused || first.Wait <= 0 {
			t.Errorf("%s: %+v", name, first)
		}
		for range 9 {
			if v := check("a"); v != first {
				t.Errorf("%s: checking changed %+v to %+v", name, first, v)
			}
		}
		if check("b").Refused {
			t.Errorf("%s: another key is refused", name)
		}
		if s := l.Stats(); s.Allowed[config.LimitClientFailure] != 2 || s.Refused[config.LimitClientFailure] != 10 {
			t.Errorf("%s: %+v", name, s)
		}
		if v := l.Check(context.Background(), config.Count{Limit: config.LimitClientFailure, Key: "b"}, config.Count{Limit: config.LimitClientFailure, Key: "a"}); !v.Refused {
			t.Errorf("%s: the second count was not checked", name)
		}
	}
}

// TestRedisIsSharedAndDecidesAsMemoryDoes counts in two processes' limits on one Redis, in parallel.
func TestRedisIsSharedAndDecidesAsMemoryDoes(t *testing.T) {
	t.Parallel()
	r, c := servertest.StartRedis(t), storagetest.NewClock()
	one, two := open(t, r.URL, c.Now, nil), open(t, r.URL, c.Now, nil)
	var allowed atomic.Int64
	var wait sync.WaitGroup
	for i := range 40 {
		l := one
		if i%2 == 0 {
			l = two
		}
		wait.Go(func() {
			if !take(l, "x", "a").Refused {
				allowed.Add(1)
			}
		})
	}
	wait.Wait()
	if allowed.Load() != 3 {
		t.Errorf("%d of 40 were allowed, want 3", allowed.Load())
	}
	memory := open(t, "", c.Now, nil)
	for i := range 12 {
		a, b := take(one, config.LimitClientFailure, "same"), take(memory, config.LimitClientFailure, "same")
		if a != b {
			t.Errorf("event %d: Redis says %+v, memory %+v", i+1, a, b)
		}
	}
	if s := one.Stats(); !s.Shared || s.Degraded || s.Failures > 0 {
		t.Errorf("%+v", s)
	}
}

// TestWithoutRedisEachProcessCountsByItself kills Redis and starts it again.
func TestWithoutRedisEachProcessCountsByItself(t *testing.T) {
	t.Parallel()
	r := servertest.StartRedis(t)
	var log lines
	l := open(t, r.URL, storagetest.NewClock().Now, slog.New(slog.NewTextHandler(&log, nil)))
	if l.Try(t.Context()); log.count("the rate limits are shared through Redis") != 1 || l.Stats().Degraded {
		t.Errorf("at start: %s", log.String())
	}
	take(l, "x", "a")
	r.Kill()
	if l.Try(t.Context()); !l.Stats().Degraded {
		t.Error("a Redis that is away at start is not noticed")
	}
	for i := range 3 {
		if take(l, "x", "a").Refused {
			t.Errorf("event %d was refused", i+1)
		}
	}
	if !take(l, "x", "a").Refused {
		t.Error("nothing limits while Redis is away")
	}
	if s := l.Stats(); !s.Degraded || s.Failures == 0 {
		t.Errorf("%+v", s)
	}
	if n := log.count("Redis does not answer"); n != 1 {
		t.Errorf("%d lines of the log tell of it:\n%s", n, log.String())
	}
	r.Start()
	deadline := time.Now().Add(20 * time.Second)
	for l.Stats().Degraded {
		if time.Now().After(deadline) {
			t.Fatal("Redis is back, and not used")
		}
		take(l, "x", "b")
	}
	if log.count("Redis answers again") != 1 {
		t.Errorf("the log does not tell that it is back:\n%s", log.String())
	}
}

type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lines) count(text string) int { return strings.Count(l.String(), text) }

func BenchmarkTake(b *testing.B) {
	l, err := limit.New(limit.Options{Rates: map[string]config.Rate{"x": {Count: 1_000_000, Period: time.Second}}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Take(context.Background(), config.Count{Limit: "x", Key: "192.0.2.1"}, config.Count{Limit: "x", Key: "gcAAAAAAAAAAAAAAAAAAAA"})
		}
	})
}
