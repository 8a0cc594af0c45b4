package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// ready waits until a server is ready, or is not.
func ready(t *testing.T, issuer string, want int) {
	t.Helper()
	storagetest.Eventually(t, fmt.Sprint("/readyz is ", want), func() bool {
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
	needs(t, "TEST_POSTGRES_DSN")
	pg := ownPostgres(t)
	server := goesAndComesBack(t, pg, pg.url+"&application_name=gatehouse")
	s := storagetest.Open(t, pg.url, storagetest.NewClock())
	if n := storagetest.Count(t, s, pg.url, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gatehouse'"); n > 6 || n == 0 {
		t.Errorf("%d connections are open, the pool has 6", n)
	}
	server.signal(syscall.SIGTERM)
	if code := server.wait(t); code != exitOK {
		t.Errorf("it ended with %d", code)
	}
}

// TestDatabaseOutageBehindPgBouncerRecovers: PgBouncer accepts connections all the while, and reports errors of its
// own.
func TestDatabaseOutageBehindPgBouncerRecovers(t *testing.T) {
	t.Parallel()
	needs(t, "TEST_POSTGRES_DSN")
	pg := ownPostgres(t)
	// Otherwise it holds statements back for two minutes.
	server := goesAndComesBack(t, pg, storagetest.PgBouncerFor(t, "transaction", pg.url, "query_wait_timeout = 2").URL)
	server.signal(syscall.SIGTERM)
	if code := server.wait(t); code != exitOK {
		t.Errorf("it ended with %d", code)
	}
}

func goesAndComesBack(t *testing.T, pg *postgresServer, db string) *child {
	t.Helper()
	w := newWorld(t, db, map[string]string{"GATEHOUSE_DATABASE_POOL": "6"})
	pg.run(t, "down")
	server := startChild(t, w.env, "serve")
	server.stderr.waitFor(t, "database unavailable, retrying", server.ended)
	ready(t, w.issuer, http.StatusServiceUnavailable)
	if status, body := get(t, w.issuer+"/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: %d %s", status, body)
	}
	if a := w.caller(t).serviceToken(); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("a token request before the database is there: %s", a)
	}
	pg.run(t, "up")
	server.stderr.waitFor(t, `"msg":"listening"`, server.ended)
	ready(t, w.issuer, http.StatusOK)

	journals, callers := make([]journal, 8), make([]*caller, 8)
	for i := range callers {
		callers[i] = w.caller(t)
		callers[i].exchange(callers[i].signIn(t))
	}
	var away, failed, worked atomic.Int64
	stop := make(chan struct{})
	done := load(len(callers), stop, func(i int) {
		c := callers[i]
		if j := &journals[i]; j.refresh == "" {
			if code, err := c.code(); err == nil {
				j.refresh = c.exchange(code).text("refresh_token")
			}
		}
		a := c.refresh(journals[i].refresh)
		switch {
		case a.err != nil:
			t.Errorf("no response: %v", a.err)
		case a.status == http.StatusOK:
			journals[i].refresh = a.text("refresh_token")
			worked.Add(1)
		case a.status == http.StatusServiceUnavailable:
			failed.Add(1)
			if away.Load() == 0 {
				t.Errorf("503 although the database is there: %s", a)
			}
		default:
			// A rotation whose response was lost is retried: the window does not end while the database is
			// unavailable.
			if journals[i].refresh != "" || a.text("error") != "invalid_request" {
				t.Errorf("%s", a)
			}
			journals[i].refresh = ""
		}
	})
	more := func(n *atomic.Int64, by int64) func() bool {
		from := n.Load()
		return func() bool { return n.Load() >= from+by }
	}
	storagetest.Eventually(t, "it works", more(&worked, 50))
	for range rounds(1, 5) {
		away.Store(1)
		pg.run(t, "down")
		storagetest.Eventually(t, "it responds 503", more(&failed, 50))
		ready(t, w.issuer, http.StatusServiceUnavailable)
		pg.run(t, "up")
		ready(t, w.issuer, http.StatusOK)
		storagetest.Eventually(t, "it works again", more(&worked, 200))
		away.Store(0)
	}
	close(stop)
	done()
	if n := strings.Count(server.stderr.String(), `"msg":"listening"`); n != 1 {
		t.Errorf("it was started %d times", n)
	}
	return server
}

// TestSlowDatabaseShedsLoad puts a line between Gatehouse and PostgreSQL that holds everything back.
func TestSlowDatabaseShedsLoad(t *testing.T) {
	t.Parallel()
	needs(t, "TEST_POSTGRES_DSN")
	db := storagetest.URL(t, storage.Postgres)
	proxy := storagetest.NewProxy(t, db)
	w := newWorld(t, proxy.URL, map[string]string{"GATEHOUSE_DATABASE_POOL": "4", "GATEHOUSE_REQUEST_TIMEOUT": "3s", "GATEHOUSE_MAX_REQUESTS": "16"})
	server := serveChild(t, w.env)
	tokens := make([]string, 64)
	callers := make([]*caller, len(tokens))
	first := w.caller(t)
	for i := range callers {
		callers[i] = w.caller(t)
		tokens[i] = first.serviceToken().text("access_token")
	}
	proxy.Delay(800 * time.Millisecond)
	var shed, slow, good atomic.Int64
	storagetest.Concurrently(len(callers), func(i int) {
		for range 3 {
			switch a := callers[i].introspect(tokens[i]); {
			case a.err != nil:
				t.Errorf("no response: %v", a.err)
			case a.status == http.StatusOK && a.body["active"] == true:
				good.Add(1)
			case a.status == http.StatusServiceUnavailable && strings.Contains(a.text("error_description"), "requests in progress"):
				shed.Add(1)
			case a.status == http.StatusServiceUnavailable:
				slow.Add(1)
			default:
				t.Errorf("%s", a)
			}
		}
	})
	if shed.Load() == 0 || good.Load()+slow.Load() == 0 {
		t.Errorf("shed %d, too slow %d, served %d", shed.Load(), slow.Load(), good.Load())
	}
	proxy.Delay(0)
	storagetest.Eventually(t, "it responds as before", func() bool {
		return first.introspect(tokens[0]).body["active"] == true
	})
	for i := range 20 {
		if a := first.introspect(tokens[i]); a.body["active"] != true {
			t.Errorf("after the slow time: %s", a)
		}
	}
	server.signal(syscall.SIGTERM)
	if code := server.wait(t); code != exitOK {
		t.Errorf("it ended with %d:\n%s", code, server.stderr.tail())
	}
}
