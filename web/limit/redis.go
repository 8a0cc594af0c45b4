package limit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"gatehouse/config"
)

const (
	redisTimeout = 100 * time.Millisecond // of one command
	redisRest    = time.Second            // how long Redis is left alone after it failed
)

//go:embed take.lua
var takeScript string

// shared counts in Redis, by its clock. It holds no state but whether Redis answers.
type shared struct {
	pool     *redis.Pool
	timeout  time.Duration         // of one command
	now      func() time.Time      // counts by this clock instead of that of Redis when not nil
	scripts  map[int]*redis.Script // by their number of keys
	key      []byte
	log      *slog.Logger
	down     atomic.Bool
	retryAt  atomic.Int64 // Unix nanoseconds
	failures atomic.Uint64
}

// maxCounts is the most that one request is counted by.
const maxCounts = 4

func newShared(o Options) (*shared, error) {
	u, err := url.Parse(o.RedisURL)
	if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Host == "" {
		return nil, errors.New("GATEHOUSE_REDIS_URL is not a Redis URL; write redis://host:6379")
	}
	s := &shared{key: o.Key, log: o.Log, now: o.RedisNow, timeout: o.RedisTimeout, scripts: map[int]*redis.Script{}}
	if s.timeout == 0 {
		s.timeout = redisTimeout
	}
	for n := 1; n <= maxCounts; n++ {
		s.scripts[n] = redis.NewScript(n, takeScript)
	}
	s.pool = &redis.Pool{
		MaxIdle: 32, MaxActive: 64, Wait: true, IdleTimeout: 5 * time.Minute,
		DialContext: func(ctx context.Context) (redis.Conn, error) {
			return redis.DialURLContext(ctx, o.RedisURL,
				redis.DialConnectTimeout(s.timeout), redis.DialReadTimeout(s.timeout), redis.DialWriteTimeout(s.timeout))
		},
	}
	return s, nil
}

// take returns a verdict for each count up to the first that refuses, or nil when Redis does not answer. Of many requests
// one a second tries a Redis that is away; the others do not wait for it.
func (s *shared) take(ctx context.Context, rates map[string]rate, peek bool, counts []config.Count) []config.Verdict {
	if s.down.Load() {
		at := s.retryAt.Load()
		now := time.Now().UnixNano()
		if now < at || !s.retryAt.CompareAndSwap(at, now+int64(redisRest)) {
			return nil
		}
	}
	args := make([]any, 0, 4*len(counts)+2)
	for _, c := range counts {
		args = append(args, s.redisKey(c))
	}
	for _, c := range counts {
		r := rates[c.Limit]
		args = append(args, r.interval.Microseconds(), r.Period.Microseconds(), r.most.Microseconds())
	}
	mode := "count"
	if peek {
		mode = "peek"
	}
	args = append(args, mode)
	if s.now != nil {
		args = append(args, s.now().UnixMicro())
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*s.timeout) // a client that disconnects is not a failure of Redis
	defer cancel()
	answer, err := s.ask(limited, len(counts), args)
	if err != nil || len(answer) == 0 || len(answer)%2 != 0 {
		s.failed(ctx, err)
		return nil
	}
	if s.down.CompareAndSwap(true, false) {
		s.log.InfoContext(ctx, "Redis answers again; the rate limits are shared")
	}
	out := make([]config.Verdict, 0, len(counts))
	for i := 0; i < len(answer); i += 2 {
		c := counts[i/2]
		out = append(out, rates[c.Limit].verdict(c.Limit, time.Duration(answer[i])*time.Microsecond, answer[i+1] == 1))
	}
	return out
}

// redisKey returns the key in Redis. It is an HMAC, because IP addresses can be recovered from plain hashes by brute
// force.
func (s *shared) redisKey(c config.Count) string {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte(c.Key))
	return "gatehouse:limit:" + c.Limit + ":" + hex.EncodeToString(h.Sum(nil)[:16])
}

func (s *shared) ask(ctx context.Context, keys int, args []any) (answer []int64, err error) {
	conn, err := s.pool.GetContext(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return redis.Int64s(s.scripts[keys].DoContext(ctx, conn, args...))
}

func (s *shared) try(ctx context.Context) (err error) {
	limited, cancel := context.WithTimeout(ctx, 2*s.timeout)
	defer cancel()
	conn, err := s.pool.GetContext(limited)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	_, err = redis.DoContext(conn, limited, "PING")
	return err
}

func (s *shared) failed(ctx context.Context, err error) {
	s.failures.Add(1)
	s.retryAt.Store(time.Now().UnixNano() + int64(redisRest))
	if s.down.CompareAndSwap(false, true) {
		s.log.WarnContext(ctx, "Redis does not answer; until it does each process counts the rate limits by itself", slog.Any("error", err))
	}
}
