package server

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// newRegistry returns a registry with every metric except those of requests, which package web adds.
func (s *Server) newRegistry() (*prometheus.Registry, error) {
	registry := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "gatehouse_build_info", Help: "Always 1; the version is a label.",
		ConstLabels: prometheus.Labels{"version": s.options.Version},
	})
	build.Set(1)
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build,
		stateCollector{s}, s.jobs.failures, s.jobs.lastSuccess, s.jobs.maxAge,
	} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return registry, nil
}

// stateCollector reads the counters of the store, the rate limits and the password queue when metrics are scraped.
type stateCollector struct{ server *Server }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("gatehouse_"+name, help, labels, nil)
}

var (
	eventsDesc = describe("audit_events_total",
		"Audit events by type: what was issued, rotated, revoked, refused and changed.", "event")
	queueDesc       = describe("audit_queue_rows", "Audit rows that are queued to be written.")
	queueLimitDesc  = describe("audit_queue_limit_rows", "Number of queued audit rows from which requests wait.")
	unwrittenDesc   = describe("audit_write_failures_total", "Failed writes of a batch of audit rows; each is retried.")
	sealDesc        = describe("audit_last_seal", "Number of the last seal by this process, 0 before the first.")
	statementsDesc  = describe("database_statements_total", "Statements that requests ran.")
	slowDesc        = describe("database_slow_statements_total", "Statements that took over a second.")
	connectionsDesc = describe("database_connections", "Connections to the database, by pool and state.", "pool", "state")
	maximumDesc     = describe("database_connections_limit", "Maximum number of connections of a pool.", "pool")
	waitsDesc       = describe("database_connection_waits_total", "Statements that waited for a connection.", "pool")
	waitedDesc      = describe("database_connection_wait_seconds_total", "Time spent waiting for connections.", "pool")
	upDesc          = describe("database_up",
		"Whether this process reached its database at the last attempt, one each second.")
	skewDesc   = describe("clock_skew_seconds", "This host's clock minus the database's. 0 with SQLite.")
	behindDesc = describe("cleanup_behind_seconds",
		"How far the deletion of expired rows lags the clock because the clock jumped ahead.")
	largeDesc      = describe("large_deletions_total", "Deletions of a large share of a table.")
	cacheDesc      = describe("cache_lookups_total", "Lookups in the caches of clients, scopes and resources.", "result")
	cachedDesc     = describe("cached_clients", "Clients in the cache.")
	cacheBytesDesc = describe("cache_bytes", "Estimated memory of the cached clients.")
	limitDesc      = describe("rate_limit_decisions_total", "Events counted by rate limits.", "limit", "decision")
	limitKeysDesc  = describe("rate_limit_keys", "Keys counted in the memory of this process.")
	redisDesc      = describe("redis_up",
		"Whether the rate limits are shared: 1 while Redis responds, 0 while each process counts on its own. "+
			"Absent without Redis.")
	redisErrorsDesc = describe("redis_failures_total", "Commands that Redis did not respond to.")
	mailDesc        = describe("mail_up",
		"Whether the mail server accepted the last email of this process, or refused only that email or its recipient. "+
			"Absent without a mail server.")
	oldServerDesc = describe("old_server_up",
		"Whether the old server, which checks passwords of users who have not moved yet, responded to the last call of "+
			"this process. Absent before the first call and without an old server.")
	passwordsDesc = describe("passwords_waiting", "Sign-ins that wait for their password to be checked.")
)

// Describe implements prometheus.Collector.
func (c stateCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c stateCollector) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	store, limits := c.server.Store.Stats(), c.server.limiter.Stats()
	for event, n := range store.Audit.Events {
		counter(eventsDesc, float64(n), event)
	}
	gauge(queueDesc, float64(store.Audit.Queue))
	gauge(queueLimitDesc, float64(store.Audit.QueueLimit))
	counter(unwrittenDesc, float64(store.Audit.FailedWrites))
	gauge(sealDesc, float64(store.Audit.Sealed))
	counter(statementsDesc, float64(store.Database.Statements))
	counter(slowDesc, float64(store.Database.Slow))
	for pool, s := range store.Database.Pools {
		gauge(connectionsDesc, float64(s.InUse), pool, "in_use")
		gauge(connectionsDesc, float64(s.Idle), pool, "idle")
		gauge(maximumDesc, float64(s.MaxOpenConnections), pool)
		counter(waitsDesc, float64(s.WaitCount), pool)
		counter(waitedDesc, s.WaitDuration.Seconds(), pool)
	}
	gauge(upDesc, oneIf(store.DatabaseUp))
	gauge(skewDesc, store.Database.ClockSkew.Seconds())
	gauge(behindDesc, store.CleanupBehind.Seconds())
	counter(largeDesc, float64(store.Database.LargeDeletions))
	counter(cacheDesc, float64(store.CacheHits), "hit")
	counter(cacheDesc, float64(store.CacheMisses), "miss")
	gauge(cachedDesc, float64(store.Cached))
	gauge(cacheBytesDesc, float64(store.CacheBytes))
	for name, n := range limits.Allowed {
		counter(limitDesc, float64(n), name, "allowed")
		counter(limitDesc, float64(limits.Refused[name]), name, "refused")
	}
	gauge(limitKeysDesc, float64(limits.Keys))
	if limits.Shared {
		gauge(redisDesc, oneIf(!limits.Degraded))
		counter(redisErrorsDesc, float64(limits.Failures))
	}
	if mails := c.server.mailServer; mails != nil {
		gauge(mailDesc, oneIf(mails.Up()))
	}
	if up, called := c.server.Users.OldServerUp(); called {
		gauge(oldServerDesc, oneIf(up))
	}
	gauge(passwordsDesc, float64(c.server.Users.QueueLength()))
}

func oneIf(condition bool) float64 {
	if condition {
		return 1
	}
	return 0
}
