package ratelimit

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

const (
	maxWait      = 15 * time.Minute // of a limit with backoff
	maxClockSkew = 5 * time.Second  // between two clocks, such as those of a Redis server and its replacement
)

// Limiter counts events. A nil *Limiter refuses nothing.
type Limiter struct {
	rates  map[string]rate
	memory *memory
	redis  *redisCounters // nil without Redis

	allowed, refused map[string]*atomic.Uint64 // by limit
}

// rate is a Rate as the algorithm uses it: it allows one event per interval, and a burst of as many as the period has
// intervals.
type rate struct {
	Rate
	interval time.Duration
	maxAhead time.Duration // how far ahead the next allowed time may be: the period, or more for a limit with backoff
}

// Options are the settings of a Limiter.
type Options struct {
	Rates    map[string]Rate // nil: New returns nil
	RedisURL string          // empty: each process counts on its own
	Key      []byte          // of the HMAC that hides the counted keys in Redis; the same in every process
	Now      func() time.Time
	Log      *slog.Logger

	RedisNow     func() time.Time // clock of the counters in Redis; nil: the clock of Redis
	RedisTimeout time.Duration    // of one command; zero: 100 ms
}

// New returns a Limiter for these rates, which is nil without rates. It returns an error if the Redis URL is invalid,
// but not if Redis is unreachable.
func New(o Options) (*Limiter, error) {
	if o.Rates == nil {
		return nil, nil
	}
	l := &Limiter{
		rates: map[string]rate{}, memory: newMemory(o.Now),
		allowed: map[string]*atomic.Uint64{}, refused: map[string]*atomic.Uint64{},
	}
	for name, r := range o.Rates {
		if name == SignInNames {
			continue // counted in the database
		}
		interval := r.Period / time.Duration(r.Count)
		l.rates[name] = rate{Rate: r, interval: interval, maxAhead: r.Period}
		if hasBackoff(name) {
			l.rates[name] = rate{Rate: r, interval: interval, maxAhead: r.Period + maxWait - interval}
		}
		l.allowed[name], l.refused[name] = &atomic.Uint64{}, &atomic.Uint64{}
	}
	if o.RedisURL != "" {
		var err error
		if l.redis, err = newRedisCounters(o); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// Count is one event to be counted: by which limit, and the key that it is counted for.
type Count struct{ Limit, Key string }

// Decision reports whether events are within their limits. It describes the limit that refuses or, if none does, the
// one with the fewest events remaining.
type Decision struct {
	Refused   bool
	Limit     string // empty if no limit applied
	Rate      Rate   // of that limit
	Remaining int    // events that are allowed now
	// Wait is the time until the next event is allowed or, if one is allowed now, until all are.
	Wait time.Duration
}

// HeaderFields returns the values of the header fields RateLimit-Policy and RateLimit
// (draft-ietf-httpapi-ratelimit-headers).
func (d Decision) HeaderFields() (policy, state string) {
	return fmt.Sprintf(`"%s";q=%d;w=%d`, d.Limit, d.Rate.Count, seconds(d.Rate.Period)),
		fmt.Sprintf(`"%s";r=%d;t=%d`, d.Limit, d.Remaining, seconds(d.Wait))
}

// NearLimit reports whether less than a tenth of the limit remains, so that a response should carry HeaderFields.
func (d Decision) NearLimit() bool {
	return d.Refused || d.Limit != "" && d.Remaining*10 < d.Rate.Count
}

func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// Count counts one event for each limit and key, up to the first limit that refuses, so the widest limit should be
// first. A limit without a rate counts nothing. With Redis it sends one command for all of them; while Redis is
// unreachable this process counts on its own.
func (l *Limiter) Count(ctx context.Context, counts ...Count) Decision {
	return l.decide(ctx, false, counts)
}

// Check returns the decision that Count would return, without counting.
func (l *Limiter) Check(ctx context.Context, counts ...Count) Decision {
	return l.decide(ctx, true, counts)
}

// decide counts or, with peek, only reads the counters.
func (l *Limiter) decide(ctx context.Context, peek bool, counts []Count) Decision {
	if l == nil {
		return Decision{}
	}
	var decisions []Decision
	var limitedArray [maxCounts]Count // arrays on the stack: this runs several times per request
	limited := limitedArray[:0]
	for _, c := range counts {
		if _, ok := l.rates[c.Limit]; ok {
			limited = append(limited, c)
		}
	}
	if len(limited) == 0 {
		return Decision{}
	}
	if l.redis != nil {
		decisions = l.redis.decide(ctx, l.rates, peek, limited)
	}
	if decisions == nil {
		var decisionArray [maxCounts]Decision
		decisions = decisionArray[:0]
		for _, c := range limited {
			d := l.memory.decide(l.rates[c.Limit], peek, c)
			if decisions = append(decisions, d); d.Refused {
				break
			}
		}
	}
	return l.recordAndSelect(peek, decisions)
}

// recordAndSelect updates the statistics and returns the decision that refuses or, if none does, the one with the
// fewest events remaining.
func (l *Limiter) recordAndSelect(peek bool, decisions []Decision) Decision {
	least := decisions[0]
	for _, d := range decisions {
		if d.Refused {
			l.refused[d.Limit].Add(1)
			return d
		}
		if !peek {
			l.allowed[d.Limit].Add(1)
		}
		if d.Remaining < least.Remaining {
			least = d
		}
	}
	return least
}

// Stats has the number of decisions since start by limit, and the state of Redis.
type Stats struct {
	Allowed, Refused map[string]uint64
	Keys             int    // in memory
	Shared           bool   // Redis is configured
	Degraded         bool   // Redis is unreachable
	Failures         uint64 // of Redis
}

// Stats returns the statistics, which are empty for a nil Limiter.
func (l *Limiter) Stats() Stats {
	stats := Stats{Allowed: map[string]uint64{}, Refused: map[string]uint64{}}
	if l == nil {
		return stats
	}
	for name := range l.rates {
		stats.Allowed[name], stats.Refused[name] = l.allowed[name].Load(), l.refused[name].Load()
	}
	stats.Keys = l.memory.keys()
	if l.redis != nil {
		stats.Shared, stats.Degraded, stats.Failures = true, l.redis.down.Load(), l.redis.failures.Load()
	}
	return stats
}

// PingRedis logs at start whether Redis is reachable. Without Redis it does nothing.
func (l *Limiter) PingRedis(ctx context.Context) {
	if l == nil || l.redis == nil {
		return
	}
	if err := l.redis.ping(ctx); err != nil {
		l.redis.markDown(ctx, err)
		return
	}
	l.redis.log.InfoContext(ctx, "sharing rate limits through Redis")
}

// Close closes the connections to Redis.
func (l *Limiter) Close() error {
	if l == nil || l.redis == nil {
		return nil
	}
	return l.redis.pool.Close()
}

// countOne applies the algorithm to one event. ahead is the time from now until the next allowed time; countOne returns
// that time after the event and whether the event is refused. A refused event changes nothing except for a limit with
// backoff, where it increases the wait. count.lua does the same.
func (r rate) countOne(ahead time.Duration) (after time.Duration, refused bool) {
	ahead = r.clamp(ahead)
	if ahead+r.interval <= r.Period {
		return ahead + r.interval, false
	}
	if r.maxAhead > r.Period {
		ahead = min(2*ahead, r.maxAhead)
	}
	return ahead, true
}

// clamp limits ahead to its range. A time further ahead than any count can reach means that the clock was set back.
func (r rate) clamp(ahead time.Duration) time.Duration {
	if ahead < 0 || ahead > r.maxAhead+maxClockSkew {
		return 0
	}
	return min(ahead, r.maxAhead)
}

func (r rate) decision(limit string, after time.Duration, refused bool) Decision {
	d := Decision{Limit: limit, Rate: r.Rate, Refused: refused, Wait: after}
	if refused {
		d.Wait = max(after+r.interval-r.Period, 0)
		return d
	}
	if d.Remaining = int((r.Period - after) / r.interval); d.Remaining == 0 {
		d.Wait = max(after+r.interval-r.Period, 0)
	}
	return d
}
