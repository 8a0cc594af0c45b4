package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/config"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestHangingJobEndsAtItsTimeLimit runs a job that waits as long as it may, as on a connection that no longer answers.
func TestHangingJobEndsAtItsTimeLimit(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := &system{work: newWork()}
	began := time.Now()
	var offset atomic.Int64
	s.work.now = func() time.Time { return began.Add(time.Duration(offset.Load())) }
	var result error
	j := job{name: "hang", every: time.Second, limit: time.Millisecond, ready: true, run: func(ctx context.Context) error {
		if result != nil {
			return result
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	s.work.begin(j)
	said := s.do(t.Context(), j, slog.New(slog.NewTextHandler(&log, nil)), time.Time{})
	if said.IsZero() || !strings.Contains(log.String(), "context deadline exceeded") || !strings.Contains(log.String(), "job=hang") {
		t.Errorf("the log of a job that hangs is %q", log.String())
	}
	if err := s.work.stalled(); err != nil {
		t.Errorf("after one failure: %v", err)
	}
	offset.Store(int64(j.maxAge() + time.Second))
	if err := s.work.stalled(); err == nil || !strings.Contains(err.Error(), `"hang"`) {
		t.Errorf("without a success for %s: %v, want an error that names the job", j.maxAge(), err)
	}
	result = fmt.Errorf("rows wait: %w", storage.ErrSealLocked)
	s.do(t.Context(), j, slog.New(slog.DiscardHandler), said)
	if err := s.work.stalled(); err != nil {
		t.Errorf("because another session holds the seal, this process is not ready: %v", err)
	}
	if err := progressed(t.Context(), 1, errors.New("another")); err == nil {
		t.Error("an error before the limit is none")
	}
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	if progressed(late, 0, late.Err()) == nil || progressed(late, 1, late.Err()) != nil {
		t.Error("a run that its limit ended must be a failure without progress, and none with it")
	}
}

// TestStalledJobMakesProcessUnreadyButAlive: a load balancer sends requests elsewhere, and no supervisor restarts the
// process.
func TestStalledJobMakesProcessUnreadyButAlive(t *testing.T) {
	t.Parallel()
	cfg, _, err := config.Load(func(name string) string {
		return map[string]string{"GATEHOUSE_DATABASE_URL": "sqlite:" + t.TempDir() + "/gatehouse.db", "GATEHOUSE_LISTEN": "127.0.0.1:0"}[name]
	}, nil)
	storagetest.Must(t, err)
	log := slog.New(slog.DiscardHandler)
	s, err := openSystem(t.Context(), cfg, log, false, func(string) {})
	storagetest.Must(t, err)
	g, err := openGates(t.Context(), cfg, log, cfg.Listen)
	storagetest.Must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended, listening := make(chan error, 1), make(chan string, 1)
	go func() {
		ended <- s.serve(ctx, log, g, serveOptions{getenv: func(string) string { return "" }, ready: func(a net.Addr) { listening <- "http://" + a.String() }})
	}()
	url := <-listening
	ready(t, url, http.StatusOK)
	stuck := job{name: "stuck", every: time.Hour, limit: time.Minute, ready: true}
	s.work.begin(stuck)
	ready(t, url, http.StatusOK)
	s.work.mu.Lock()
	s.work.required[stuck.name] = requirement{stuck, time.Now().Add(-4 * time.Hour)}
	s.work.mu.Unlock()
	ready(t, url, http.StatusServiceUnavailable)
	if status, _ := get(t, url+"/healthz"); status != http.StatusOK {
		t.Errorf("/healthz with a stalled job: %d, want 200", status)
	}
	s.work.succeeded(stuck)
	ready(t, url, http.StatusOK)
	stop()
	storagetest.Must(t, <-ended)
}

// TestSilentConnectionsDoNotStopJobs keeps every connection to PostgreSQL open without ever forwarding an answer
// again, as a firewall does that forgot them. New connections work.
func TestSilentConnectionsDoNotStopJobs(t *testing.T) {
	t.Parallel()
	needs(t, "TEST_POSTGRES_DSN")
	line := newSlowLine(t, storagetest.URL(t, storage.Postgres))
	admin := freeAddress(t)
	const pool = 4
	w := newWorld(t, line.url, map[string]string{"GATEHOUSE_DATABASE_POOL": strconv.Itoa(pool), "GATEHOUSE_ADMIN_LISTEN": admin})
	server := serveChild(t, w.env)
	last := func(name string) float64 {
		t.Helper()
		_, text := get(t, "http://"+admin+"/metrics")
		m := regexp.MustCompile(`gatehouse_job_last_success_timestamp_seconds\{job="` + name + `"\} (\S+)`).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("no time of the last success of %q in\n%s", name, text)
		}
		at, err := strconv.ParseFloat(m[1], 64)
		storagetest.Must(t, err)
		return at
	}
	line.silence()
	// What was answered before the silence does not count: two of the jobs succeed for up to 15 s after it.
	from := float64(time.Now().Unix()) + 20
	for _, name := range []string{"seal the audit log", "deliver logouts", "follow changes", "write the audit queue"} {
		eventually(t, name+" succeeds on new connections", func() bool { return last(name) > from })
	}
	ready(t, w.issuer, http.StatusOK)
	// Silent connections may still be idle in the pool. A request that gets one fails at its timeout and closes it, so
	// no more requests can fail than there were connections.
	var a answer
	for range pool + 1 {
		if a = w.caller(t).machine(); a.status == http.StatusOK {
			break
		}
		t.Logf("a token request got a silent connection: %s", a)
	}
	if a.status != http.StatusOK {
		t.Errorf("a token request on new connections: %s", a)
	}
	server.signal(9)
}
