package ratelimit

import (
	"context"
	_ "embed"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"gatehouse/keyed"
)

const (
	redisTimeout = 100 * time.Millisecond // of one command
	redisRetry   = time.Second            // between attempts while Redis is unreachable
)

//go:embed count.lua
var countScript string

// redisCounters counts in Redis, by the clock of Redis. It has no state of its own except whether Redis is reachable.
type redisCounters struct {
	pool     *redis.Pool
	timeout  time.Duration         // of one command
	now      func() time.Time      // the clock to count by; nil: the clock of Redis
	scripts  map[int]*redis.Script // by number of keys
	key      []byte
	log      *slog.Logger
	down     atomic.Bool
	retryAt  atomic.Int64 // Unix nanoseconds
	failures atomic.Uint64
}

// maxCounts is the maximum number of counts in one call.
const maxCounts = 4

func newRedisCounters(o Options) (*redisCounters, error) {
	u, err := url.Parse(o.RedisURL)
	if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Host == "" {
		return nil, errors.New("GATEHOUSE_REDIS_URL is not a Redis URL; write redis://host:6379")
	}
	r := &redisCounters{key: o.Key, log: o.Log, now: o.RedisNow, timeout: o.RedisTimeout, scripts: map[int]*redis.Script{}}
	if r.timeout == 0 {
		r.timeout = redisTimeout
	}
	for n := 1; n <= maxCounts; n++ {
		r.scripts[n] = redis.NewScript(n, countScript)
	}
	r.pool = &redis.Pool{
		MaxIdle: 32, MaxActive: 64, Wait: true, IdleTimeout: 5 * time.Minute,
		DialContext: func(ctx context.Context) (redis.Conn, error) {
			return redis.DialURLContext(ctx, o.RedisURL,
				redis.DialConnectTimeout(r.timeout), redis.DialReadTimeout(r.timeout), redis.DialWriteTimeout(r.timeout))
		},
	}
	return r, nil
}

// decide returns a decision for each count up to the first that is refused, or nil if Redis is unreachable. While it
// is unreachable, one request per second retries it; the others do not wait for it.
func (r *redisCounters) decide(ctx context.Context, rates map[string]rate, peek bool, counts []Count) []Decision {
	if r.down.Load() {
		at := r.retryAt.Load()
		now := time.Now().UnixNano()
		if now < at || !r.retryAt.CompareAndSwap(at, now+int64(redisRetry)) {
			return nil
		}
	}
	// A client that disconnects is not a failure of Redis.
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*r.timeout)
	defer cancel()
	reply, err := r.runScript(limited, len(counts), r.scriptArgs(rates, peek, counts))
	if err != nil || len(reply) == 0 || len(reply)%2 != 0 {
		r.markDown(ctx, err)
		return nil
	}
	if r.down.CompareAndSwap(true, false) {
		r.log.InfoContext(ctx, "Redis reachable again, sharing rate limits")
	}
	decisions := make([]Decision, 0, len(counts))
	for i := 0; i < len(reply); i += 2 {
		limit := counts[i/2].Limit
		after := time.Duration(reply[i]) * time.Microsecond
		decisions = append(decisions, rates[limit].decision(limit, after, reply[i+1] == 1))
	}
	return decisions
}

// scriptArgs returns the keys and arguments of count.lua.
func (r *redisCounters) scriptArgs(rates map[string]rate, peek bool, counts []Count) []any {
	args := make([]any, 0, 4*len(counts)+2)
	for _, c := range counts {
		args = append(args, r.redisKey(c))
	}
	for _, c := range counts {
		l := rates[c.Limit]
		args = append(args, l.interval.Microseconds(), l.Period.Microseconds(), l.maxAhead.Microseconds())
	}
	mode := "count"
	if peek {
		mode = "peek"
	}
	args = append(args, mode)
	if r.now != nil {
		args = append(args, r.now().UnixMicro())
	}
	return args
}

// redisKey returns the key in Redis. It is an HMAC, because IP addresses can be recovered from plain hashes by brute
// force.
func (r *redisCounters) redisKey(c Count) string {
	return "gatehouse:limit:" + c.Limit + ":" + hex.EncodeToString(keyed.MAC(r.key, c.Key)[:16])
}

func (r *redisCounters) runScript(ctx context.Context, keys int, args []any) (reply []int64, err error) {
	conn, err := r.pool.GetContext(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return redis.Int64s(r.scripts[keys].DoContext(ctx, conn, args...))
}

func (r *redisCounters) ping(ctx context.Context) (err error) {
	limited, cancel := context.WithTimeout(ctx, 2*r.timeout)
	defer cancel()
	conn, err := r.pool.GetContext(limited)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	_, err = redis.DoContext(conn, limited, "PING")
	return err
}

func (r *redisCounters) markDown(ctx context.Context, err error) {
	r.failures.Add(1)
	r.retryAt.Store(time.Now().UnixNano() + int64(redisRetry))
	if r.down.CompareAndSwap(false, true) {
		r.log.WarnContext(ctx, "Redis unreachable, counting rate limits per process", slog.Any("error", err))
	}
}
