// Package limit counts events against named rates, per key, by the generic cell rate algorithm: in the memory of one process
// or, shared by all, in Redis. What is counted, and what becomes of a request over the limit, is left to oauth and web.
package limit

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"gatehouse/config"
)

const (
	longest = 15 * time.Minute // that a limit which backs off makes anyone wait
	skew    = 5 * time.Second  // by which two clocks may differ, as those of a Redis and of the one that takes over from it
)

// Limits holds what was counted. A nil *Limits allows everything.
type Limits struct {
	rates  map[string]rate
	memory *memory
	shared *shared // nil without Redis

	allowed, refused map[string]*atomic.Uint64 // by limit
}

// rate is a limit as the algorithm sees it: an event every interval, and as many at once as the period has intervals.
type rate struct {
	config.Rate
	interval time.Duration
	most     time.Duration // how far ahead the next free moment may lie: the period, or longer where the wait doubles
}

// Options are what Limits are made of.
type Options struct {
	Rates    map[string]config.Rate
	RedisURL string // empty: each process counts by itself
	Key      []byte // of the HMAC that hides the counted keys in Redis; the same in every process
	Now      func() time.Time
	Log      *slog.Logger

	RedisNow     func() time.Time // clock of the counters in Redis; nil: the clock of Redis
	RedisTimeout time.Duration    // of one command; zero: 100 ms
}

// New returns limits. It fails when the Redis URL makes no sense; a Redis that is away is met later.
func New(o Options) (*Limits, error) {
	l := &Limits{rates: map[string]rate{}, memory: newMemory(o.Now), allowed: map[string]*atomic.Uint64{}, refused: map[string]*atomic.Uint64{}}
	for name, r := range o.Rates {
		if name == config.LimitSignInNames {
			continue // counted in the database
		}
		l.rates[name] = rate{Rate: r, interval: r.Period / time.Duration(r.Count), most: r.Period}
		if config.BacksOff(name) {
			l.rates[name] = rate{Rate: r, interval: r.Period / time.Duration(r.Count), most: r.Period + longest - r.Period/time.Duration(r.Count)}
		}
		l.allowed[name], l.refused[name] = &atomic.Uint64{}, &atomic.Uint64{}
	}
	if o.RedisURL != "" {
		var err error
		if l.shared, err = newShared(o); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// Take counts one event for each limit and key, up to the first that refuses. Give the wide limits first. A limit without a
// rate counts nothing. With Redis it asks once for all; when Redis does not answer this process counts by itself.
func (l *Limits) Take(ctx context.Context, counts ...config.Count) config.Verdict {
	return l.decide(ctx, false, counts)
}

// decide counts or, with peek, only reads the counts.
func (l *Limits) decide(ctx context.Context, peek bool, counts []config.Count) config.Verdict {
	if l == nil {
		return config.Verdict{}
	}
	var verdicts []config.Verdict
	var known [maxCounts]config.Count
	asked := known[:0]
	for _, c := range counts {
		if _, limited := l.rates[c.Limit]; limited {
			asked = append(asked, c)
		}
	}
	if len(asked) == 0 {
		return config.Verdict{}
	}
	if l.shared != nil {
		verdicts = l.shared.take(ctx, l.rates, peek, asked)
	}
	if verdicts == nil {
		var room [maxCounts]config.Verdict
		verdicts = room[:0]
		for _, c := range asked {
			v := l.memory.take(l.rates[c.Limit], peek, c)
			if verdicts = append(verdicts, v); v.Refused {
				break
			}
		}
	}
	return l.judge(peek, verdicts)
}

// Check returns the decision of Take without counting.
func (l *Limits) Check(ctx context.Context, counts ...config.Count) config.Verdict {
	return l.decide(ctx, true, counts)
}

// judge counts what was decided and picks the verdict that says most.
func (l *Limits) judge(peek bool, verdicts []config.Verdict) config.Verdict {
	least := verdicts[0]
	for _, v := range verdicts {
		if v.Refused {
			l.refused[v.Limit].Add(1)
			return v
		}
		if !peek {
			l.allowed[v.Limit].Add(1)
		}
		if v.Remaining < least.Remaining {
			least = v
		}
	}
	return least
}

// Stats is what was decided since start, by limit, and whether Redis is in use and answers.
type Stats struct {
	Allowed, Refused map[string]uint64
	Keys             int // in memory
	Shared, Degraded bool
	Failures         uint64 // of Redis
}

// Stats of nil Limits are empty.
func (l *Limits) Stats() Stats {
	out := Stats{Allowed: map[string]uint64{}, Refused: map[string]uint64{}}
	if l == nil {
		return out
	}
	for name := range l.rates {
		out.Allowed[name], out.Refused[name] = l.allowed[name].Load(), l.refused[name].Load()
	}
	out.Keys = l.memory.keys()
	if l.shared != nil {
		out.Shared, out.Degraded, out.Failures = true, l.shared.down.Load(), l.shared.failures.Load()
	}
	return out
}

// Try asks Redis, where there is one, so that the log tells at start whether it answers.
func (l *Limits) Try(ctx context.Context) {
	if l == nil || l.shared == nil {
		return
	}
	if err := l.shared.try(ctx); err != nil {
		l.shared.failed(ctx, err)
		return
	}
	l.shared.log.InfoContext(ctx, "the rate limits are shared through Redis")
}

// Close ends the connections to Redis.
func (l *Limits) Close() error {
	if l == nil || l.shared == nil {
		return nil
	}
	return l.shared.pool.Close()
}

// step is the algorithm. ahead is how far from now the next free moment lies; it returns that after the event, and whether
// the event is refused, which leaves it where it is or, where the wait doubles, moves it on.
func (r rate) step(ahead time.Duration) (after time.Duration, refused bool) {
	ahead = r.bounded(ahead)
	if ahead+r.interval <= r.Period {
		return ahead + r.interval, false
	}
	if r.most > r.Period {
		ahead = min(2*ahead, r.most)
	}
	return ahead, true
}

func (r rate) bounded(ahead time.Duration) time.Duration {
	if ahead < 0 || ahead > r.most+skew { // no count is that far ahead: the clock was set back
		return 0
	}
	return min(ahead, r.most)
}

func (r rate) verdict(limit string, after time.Duration, refused bool) config.Verdict {
	v := config.Verdict{Limit: limit, Rate: r.Rate, Refused: refused, Wait: after}
	if refused {
		v.Wait = max(after+r.interval-r.Period, 0)
		return v
	}
	if v.Remaining = int((r.Period - after) / r.interval); v.Remaining == 0 {
		v.Wait = max(after+r.interval-r.Period, 0)
	}
	return v
}
