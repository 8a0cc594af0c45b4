package main

import (
	"net/http"
	"regexp"
	"strconv"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestSilentConnectionsDoNotStopJobs keeps every connection to PostgreSQL open without forwarding a response
// again, like a firewall that dropped their state. New connections work.
func TestSilentConnectionsDoNotStopJobs(t *testing.T) {
	t.Parallel()
	needs(t, "TEST_POSTGRES_DSN")
	proxy := storagetest.NewProxy(t, storagetest.URL(t, storage.Postgres))
	admin := storagetest.FreeAddress(t)
	const pool = 4
	w := newWorld(t, proxy.URL, map[string]string{"GATEHOUSE_DATABASE_POOL": strconv.Itoa(pool), "GATEHOUSE_ADMIN_LISTEN": admin})
	server := serveChild(t, w.env)
	last := func(name string) float64 {
		t.Helper()
		_, text := get(t, "http://"+admin+"/metrics")
		m := regexp.MustCompile(`gatehouse_job_last_success_timestamp_seconds\{job="` + name + `"\} (\S+)`).FindStringSubmatch(text)
		if m == nil { // the jobs start after "listening"
			return 0
		}
		at, err := strconv.ParseFloat(m[1], 64)
		storagetest.Must(t, err)
		return at
	}
	proxy.Silence()
	// What succeeded before the silence does not count: two of the jobs succeed for up to 15 s after it.
	from := float64(time.Now().Unix()) + 20
	for _, name := range []string{"seal the audit log", "deliver logouts", "follow changes", "write the audit queue"} {
		storagetest.Eventually(t, name+" succeeds on new connections", func() bool { return last(name) > from })
	}
	ready(t, w.issuer, http.StatusOK)
	// Silent connections may still be idle in the pool. A request that gets one fails at its timeout and closes it, so
	// no more requests can fail than there were connections.
	var a response
	for range pool + 1 {
		if a = w.caller(t).serviceToken(); a.status == http.StatusOK {
			break
		}
		t.Logf("a token request got a silent connection: %s", a)
	}
	if a.status != http.StatusOK {
		t.Errorf("a token request on new connections: %s", a)
	}
	server.signal(9)
}
