package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// waitForReadyz waits until /readyz responds with the status.
func waitForReadyz(t *testing.T, issuer string, want int) {
	t.Helper()
	storagetest.Eventually(t, fmt.Sprint("/readyz responds with ", want), func() bool {
		res, err := http.Get(issuer + "/readyz")
		if err != nil {
			return false
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		return res.StatusCode == want
	})
}

// TestDatabaseOutageRecovers stops PostgreSQL before the start, and under load.
func TestDatabaseOutageRecovers(t *testing.T) {
	t.Parallel()
	requireEnv(t, "TEST_POSTGRES_DSN")
	pg := startPostgres(t)
	server := runThroughOutages(t, pg, pg.url+"&application_name=gatehouse")
	s := storagetest.Open(t, pg.url, storagetest.NewClock())
	const open = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gatehouse'"
	if n := storagetest.Count(t, s, pg.url, open); n > 6 || n == 0 {
		t.Errorf("%d connections are open, want 1 to 6, the size of the pool", n)
	}
	server.terminate(t)
}

// TestDatabaseOutageBehindPgBouncerRecovers runs through PgBouncer, which accepts connections during the outage and
// reports its own errors.
func TestDatabaseOutageBehindPgBouncerRecovers(t *testing.T) {
	t.Parallel()
	requireEnv(t, "TEST_POSTGRES_DSN")
	pg := startPostgres(t)
	// By default PgBouncer queues statements for two minutes.
	bouncer := storagetest.PgBouncerFor(t, "transaction", pg.url, "query_wait_timeout = 2")
	runThroughOutages(t, pg, bouncer.URL).terminate(t)
}

// runThroughOutages starts a server while its database is stopped, then stops the database again under load. It returns
// the server, which must have recovered each time.
func runThroughOutages(t *testing.T, pg *postgresServer, db string) *child {
	t.Helper()
	f := newFixture(t, db, map[string]string{"GATEHOUSE_DATABASE_POOL": "6"})
	server := startWithoutDatabase(t, f, pg)
	load := &refreshLoad{callers: make([]*caller, 8), tokens: make([]string, 8)}
	for i := range load.callers {
		load.callers[i] = f.caller(t)
		load.callers[i].exchange(load.callers[i].signIn(t))
	}
	stop := make(chan struct{})
	wait := runLoad(len(load.callers), stop, func(i int) { load.refresh(t, i) })
	increasedBy := func(n *atomic.Int64, by int64) func() bool {
		from := n.Load()
		return func() bool { return n.Load() >= from+by }
	}
	storagetest.Eventually(t, "50 refreshes succeeded", increasedBy(&load.succeeded, 50))
	for range rounds(1, 5) {
		load.outage.Store(true)
		pg.run(t, "down")
		storagetest.Eventually(t, "50 responses were 503", increasedBy(&load.unavailable, 50))
		waitForReadyz(t, f.issuer, http.StatusServiceUnavailable)
		pg.run(t, "up")
		waitForReadyz(t, f.issuer, http.StatusOK)
		storagetest.Eventually(t, "200 refreshes succeeded after the outage", increasedBy(&load.succeeded, 200))
		load.outage.Store(false)
	}
	close(stop)
	wait()
	if n := strings.Count(server.stderr.String(), `"msg":"listening"`); n != 1 {
		t.Errorf("the process logged %d times that it listens, want once", n)
	}
	return server
}

// startWithoutDatabase starts a server while its database is stopped, then starts the database.
func startWithoutDatabase(t *testing.T, f *fixture, pg *postgresServer) *child {
	t.Helper()
	pg.run(t, "down")
	server := startChild(t, f.env, "serve")
	server.stderr.waitFor(t, "database unavailable, retrying", server.ended)
	waitForReadyz(t, f.issuer, http.StatusServiceUnavailable)
	if status, body := get(t, f.issuer+"/healthz"); status != http.StatusOK {
		t.Errorf("GET /healthz without a database: %d %s, want 200", status, body)
	}
	a := f.caller(t).serviceToken()
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("token request without a database: %s, Retry-After %q, want 503 with Retry-After",
			a, a.header.Get("Retry-After"))
	}
	pg.run(t, "up")
	server.stderr.waitFor(t, `"msg":"listening"`, server.ended)
	waitForReadyz(t, f.issuer, http.StatusOK)
	return server
}

// refreshLoad is callers that refresh tokens, and counts of their responses.
type refreshLoad struct {
	callers                []*caller
	tokens                 []string // the last refresh token of each caller
	outage                 atomic.Bool
	succeeded, unavailable atomic.Int64
}

// refresh refreshes the token of a caller. Without a token it requests one first.
func (l *refreshLoad) refresh(t *testing.T, i int) {
	c := l.callers[i]
	if l.tokens[i] == "" {
		if code, err := c.requestCode(); err == nil {
			l.tokens[i] = c.exchange(code).text("refresh_token")
		}
	}
	a := c.refresh(l.tokens[i])
	switch {
	case a.err != nil:
		t.Errorf("a refresh got no response: %v", a.err)
	case a.status == http.StatusOK:
		l.tokens[i] = a.text("refresh_token")
		l.succeeded.Add(1)
	case a.status == http.StatusServiceUnavailable:
		l.unavailable.Add(1)
		if !l.outage.Load() {
			t.Errorf("refresh while the database is available: %s, want 200", a)
		}
	default:
		// A rotation whose response was lost is retried: the window does not end while the database is unavailable.
		if l.tokens[i] != "" || a.text("error") != "invalid_request" {
			t.Errorf("refresh: %s, want 200, 503, or invalid_request without a token", a)
		}
		l.tokens[i] = ""
	}
}

// TestSlowDatabaseShedsLoad delays every response of PostgreSQL.
func TestSlowDatabaseShedsLoad(t *testing.T) {
	t.Parallel()
	requireEnv(t, "TEST_POSTGRES_DSN")
	db := storagetest.URL(t, storage.Postgres)
	proxy := storagetest.NewProxy(t, db)
	f := newFixture(t, proxy.URL, map[string]string{
		"GATEHOUSE_DATABASE_POOL": "4", "GATEHOUSE_REQUEST_TIMEOUT": "3s", "GATEHOUSE_MAX_REQUESTS": "16",
	})
	server := serveChild(t, f.env)
	tokens := make([]string, 64)
	callers := make([]*caller, len(tokens))
	first := f.caller(t)
	for i := range callers {
		callers[i] = f.caller(t)
		tokens[i] = first.serviceToken().text("access_token")
	}
	proxy.Delay(800 * time.Millisecond)
	var shed, timedOut, active atomic.Int64
	storagetest.Concurrently(len(callers), func(i int) {
		for range 3 {
			switch a := callers[i].introspect(tokens[i]); {
			case a.err != nil:
				t.Errorf("an introspection got no response: %v", a.err)
			case a.status == http.StatusOK && a.body["active"] == true:
				active.Add(1)
			case a.status != http.StatusServiceUnavailable:
				t.Errorf("introspection on a slow database: %s, want an active token or 503", a)
			case strings.Contains(a.text("error_description"), "requests in progress"):
				shed.Add(1)
			default:
				timedOut.Add(1)
			}
		}
	})
	if shed.Load() == 0 || active.Load()+timedOut.Load() == 0 {
		t.Errorf("%d introspections were shed, %d timed out, %d succeeded, want some shed and others not",
			shed.Load(), timedOut.Load(), active.Load())
	}
	proxy.Delay(0)
	isActive := func() bool { return first.introspect(tokens[0]).body["active"] == true }
	storagetest.Eventually(t, "an introspection succeeds without the delay", isActive)
	for i := range 20 {
		if a := first.introspect(tokens[i]); a.body["active"] != true {
			t.Errorf("introspection without the delay: %s, want an active token", a)
		}
	}
	server.terminate(t)
}
