package ratelimit_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/ratelimit"
	"gatehouse/ratelimit/redistest"
	"gatehouse/storage/storagetest"
)

var rates = map[string]ratelimit.Rate{
	"x":                     {Count: 3, Period: time.Minute},
	ratelimit.ClientFailure: {Count: 2, Period: time.Minute},
}

// redisTimeout is the time that Redis on a loaded host may take for a command before a test counts it as failed.
const redisTimeout = 30 * time.Second

// open returns a Limiter that counts by the clock, also in Redis.
func open(t *testing.T, redisURL string, now func() time.Time, log *slog.Logger) *ratelimit.Limiter {
	t.Helper()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l, err := ratelimit.New(ratelimit.Options{
		Rates: rates, RedisURL: redisURL, Now: now, Log: log, RedisNow: now, RedisTimeout: redisTimeout,
	})
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

// openBoth returns a Limiter in memory and one in Redis.
func openBoth(t *testing.T, now func() time.Time) map[string]*ratelimit.Limiter {
	t.Helper()
	return map[string]*ratelimit.Limiter{
		"memory": open(t, "", now, nil),
		"redis":  open(t, redistest.Start(t).URL, now, nil),
	}
}

func count(l *ratelimit.Limiter, limit, key string) ratelimit.Decision {
	return l.Count(context.Background(), ratelimit.Count{Limit: limit, Key: key})
}

func TestLimitRefusesAboveCountAndRecovers(t *testing.T) {
	t.Parallel()
	c := storagetest.NewClock()
	l := open(t, "", c.Now, nil)
	// The wait is until all are allowed or, once none is, until the next one is.
	for i, wait := range []time.Duration{20 * time.Second, 40 * time.Second, 20 * time.Second} {
		if d := count(l, "x", "a"); d.Refused || d.Remaining != 2-i || d.Wait != wait {
			t.Errorf("event %d of 3: %+v, want allowed with %d remaining and a wait of %v", i+1, d, 2-i, wait)
		}
	}
	d := count(l, "x", "a")
	if !d.Refused || d.Wait != 20*time.Second {
		t.Errorf("event 4 of 3: %+v, want refused with a wait of 20s", d)
	}
	if policy, state := d.HeaderFields(); policy != `"x";q=3;w=60` || state != `"x";r=0;t=20` {
		t.Errorf(`HeaderFields() = %s, %s, want "x";q=3;w=60 and "x";r=0;t=20`, policy, state)
	}
	if d := count(l, "x", "b"); d.Refused {
		t.Errorf("another key: %+v, want allowed", d)
	}
	if d := count(l, "unknown", "a"); d != (ratelimit.Decision{}) {
		t.Errorf("a limit without a rate: %+v, want the zero decision", d)
	}
	c.Advance(20 * time.Second)
	if d := count(l, "x", "a"); d.Refused {
		t.Errorf("after the wait: %+v, want allowed", d)
	}
}

func TestNilLimiterRefusesNothing(t *testing.T) {
	t.Parallel()
	l, err := ratelimit.New(ratelimit.Options{})
	if l != nil || err != nil {
		t.Fatalf("New without rates = %v, %v, want nil, nil", l, err)
	}
	c := ratelimit.Count{Limit: ratelimit.ClientFailure, Key: "a"}
	if d := l.Count(t.Context(), c); d != (ratelimit.Decision{}) {
		t.Errorf("Count = %+v, want the zero decision", d)
	}
	if d := l.Check(t.Context(), c); d != (ratelimit.Decision{}) {
		t.Errorf("Check = %+v, want the zero decision", d)
	}
	if s := l.Stats(); s.Allowed == nil || len(s.Allowed) > 0 || s.Shared {
		t.Errorf("Stats() = %+v, want empty", s)
	}
	l.PingRedis(t.Context())
	if err := l.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
}

func TestBackoffIsExponentialAndEnds(t *testing.T) {
	t.Parallel()
	c := storagetest.NewClock()
	l := open(t, "", c.Now, nil)
	count(l, ratelimit.ClientFailure, "a")
	count(l, ratelimit.ClientFailure, "a")
	// Two per minute are allowed: ahead starts at a minute and doubles, and the wait is ahead less 30 seconds.
	for i, want := range []time.Duration{90, 210, 450, 900, 900, 900, 900, 900} {
		if d := count(l, ratelimit.ClientFailure, "a"); !d.Refused || d.Wait != want*time.Second {
			t.Fatalf("refused event %d: %+v, want refused with a wait of %v", i+1, d, want*time.Second)
		}
	}
	c.Advance(900*time.Second - time.Millisecond)
	if d := count(l, ratelimit.ClientFailure, "a"); !d.Refused {
		t.Errorf("1 ms before the end of the wait: %+v, want refused", d)
	}
	c.Advance(20 * time.Minute)
	if d := count(l, ratelimit.ClientFailure, "a"); d.Refused {
		t.Errorf("20 minutes later: %+v, want allowed", d)
	}
}

// TestConcurrentCallersShareOneLimit counts from 64 goroutines with a clock that stands still, in memory and in Redis:
// exactly as many events are allowed as the limit has, however long the host takes.
func TestConcurrentCallersShareOneLimit(t *testing.T) {
	t.Parallel()
	c := storagetest.NewClock()
	for name, r := range map[string]ratelimit.Rate{
		ratelimit.ClientFailure: {Count: 20, Period: time.Hour}, ratelimit.TokenUser: {Count: 6000, Period: time.Hour},
	} {
		for store, redisURL := range map[string]string{"memory": "", "redis": redistest.Start(t).URL} {
			l, err := ratelimit.New(ratelimit.Options{
				Rates: map[string]ratelimit.Rate{name: r}, RedisURL: redisURL, Now: c.Now, Log: slog.New(slog.DiscardHandler),
				RedisNow: c.Now, RedisTimeout: redisTimeout,
			})
			if err != nil {
				t.Fatal(err)
			}
			var allowed atomic.Int64
			storagetest.Concurrently(64, func(int) {
				for range 300 {
					if !count(l, name, "one").Refused {
						allowed.Add(1)
					}
				}
			})
			if s := l.Stats(); allowed.Load() != int64(r.Count) || s.Failures != 0 {
				t.Errorf("%s in %s: %d of 19200 events were allowed with %d failures of Redis, want %d and none",
					name, store, allowed.Load(), s.Failures, r.Count)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestClockSetBackClearsCounts(t *testing.T) {
	t.Parallel()
	c := storagetest.NewClock()
	l := open(t, "", c.Now, nil)
	for range 4 {
		count(l, "x", "a")
	}
	c.Advance(-24 * time.Hour)
	if d := count(l, "x", "a"); d.Refused || d.Remaining != 2 {
		t.Errorf("after the clock was set back by a day: %+v, want allowed with 2 remaining", d)
	}
}

func TestMemoryIsBoundedAndRetainsRefusedKeys(t *testing.T) {
	t.Parallel()
	l := open(t, "", storagetest.NewClock().Now, nil)
	for range 4 {
		count(l, "x", "attacker")
	}
	for i := range 150_000 {
		count(l, "x", fmt.Sprint(i))
	}
	if n := l.Stats().Keys; n > 100_000 {
		t.Errorf("%d keys are stored after 150000 were counted, want at most 100000", n)
	}
	if d := count(l, "x", "attacker"); !d.Refused {
		t.Errorf("a refused key after 150000 others: %+v, want refused", d)
	}
}

func TestCountStopsAtFirstRefusal(t *testing.T) {
	t.Parallel()
	for name, l := range openBoth(t, storagetest.NewClock().Now) {
		for range 4 {
			count(l, "x", "wide")
		}
		d := l.Count(
			context.Background(),
			ratelimit.Count{Limit: "x", Key: "wide"},
			ratelimit.Count{Limit: "x", Key: "narrow"},
		)
		if !d.Refused {
			t.Errorf("%s: %+v, want refused by the first count", name, d)
		}
		if d := count(l, "x", "narrow"); d.Remaining != 2 {
			t.Errorf("%s: %+v, want 2 remaining: the second count must not have been counted", name, d)
		}
		if s := l.Stats(); s.Refused["x"] != 2 || s.Allowed["x"] != 4 {
			t.Errorf("%s: Stats() = %+v, want 2 refused and 4 allowed", name, s)
		}
	}
}

func TestCheckCountsNothing(t *testing.T) {
	t.Parallel()
	for name, l := range openBoth(t, storagetest.NewClock().Now) {
		check := func(keys ...string) ratelimit.Decision {
			var counts []ratelimit.Count
			for _, key := range keys {
				counts = append(counts, ratelimit.Count{Limit: ratelimit.ClientFailure, Key: key})
			}
			return l.Check(context.Background(), counts...)
		}
		for range 9 {
			if d := check("a"); d.Refused {
				t.Errorf("%s: Check before any Count: %+v, want allowed", name, d)
			}
		}
		for i := range 2 {
			if check("a").Refused || count(l, ratelimit.ClientFailure, "a").Refused {
				t.Errorf("%s: event %d of 2 is refused", name, i+1)
			}
		}
		first := check("a")
		if !first.Refused || first.Wait <= 0 {
			t.Errorf("%s: Check after 2 of 2: %+v, want refused with a wait", name, first)
		}
		for range 9 {
			if d := check("a"); d != first {
				t.Errorf("%s: repeated Check = %+v, want %+v", name, d, first)
			}
		}
		if d := check("b"); d.Refused {
			t.Errorf("%s: Check of another key: %+v, want allowed", name, d)
		}
		if s := l.Stats(); s.Allowed[ratelimit.ClientFailure] != 2 || s.Refused[ratelimit.ClientFailure] != 10 {
			t.Errorf("%s: Stats() = %+v, want 2 allowed and 10 refused", name, s)
		}
		if d := check("b", "a"); !d.Refused {
			t.Errorf("%s: Check of an allowed and a refused key: %+v, want refused", name, d)
		}
	}
}

func BenchmarkCount(b *testing.B) {
	l, err := ratelimit.New(ratelimit.Options{
		Rates: map[string]ratelimit.Rate{"x": {Count: 1_000_000, Period: time.Second}}, Now: time.Now,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Count(
				context.Background(),
				ratelimit.Count{Limit: "x", Key: "192.0.2.1"},
				ratelimit.Count{Limit: "x", Key: "gcAAAAAAAAAAAAAAAAAAAA"},
			)
		}
	})
}
