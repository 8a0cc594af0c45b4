package main

import (
	"net/http"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestSilentConnectionsDoNotStopJobs leaves every connection to PostgreSQL open and forwards no more responses, like a
// firewall that dropped their state. New connections work.
func TestSilentConnectionsDoNotStopJobs(t *testing.T) {
	t.Parallel()
	requireEnv(t, "TEST_POSTGRES_DSN")
	proxy := storagetest.NewProxy(t, storagetest.URL(t, storage.Postgres))
	admin := storagetest.FreeAddress(t)
	const pool = 4
	f := newFixture(t, proxy.URL, map[string]string{
		"GATEHOUSE_DATABASE_POOL": strconv.Itoa(pool), "GATEHOUSE_ADMIN_LISTEN": admin,
	})
	server := serveChild(t, f.env)
	lastSuccess := func(job string) float64 {
		t.Helper()
		_, metrics := get(t, "http://"+admin+"/metrics")
		sample := regexp.MustCompile(`gatehouse_job_last_success_timestamp_seconds\{job="` + job + `"\} (\S+)`)
		m := sample.FindStringSubmatch(metrics)
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
		storagetest.Eventually(t, name+" succeeds on new connections", func() bool { return lastSuccess(name) > from })
	}
	waitForReadyz(t, f.issuer, http.StatusOK)
	// Silent connections may still be idle in the pool. A request that gets one fails at its timeout and closes it, so
	// no more requests can fail than there were connections.
	var a response
	for range pool + 1 {
		if a = f.caller(t).serviceToken(); a.status == http.StatusOK {
			break
		}
		t.Logf("a token request got a silent connection: %s", a)
	}
	if a.status != http.StatusOK {
		t.Errorf("token request on new connections: %s, want 200", a)
	}
	server.signal(syscall.SIGKILL)
}
