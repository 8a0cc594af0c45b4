package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/config"
	"gatehouse/lograte"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// TestHangingJobEndsAtItsTimeLimit runs a job that waits for its context, as on a connection that no longer responds.
func TestHangingJobEndsAtItsTimeLimit(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := &Server{jobs: newJobStatus(), log: slog.New(slog.NewTextHandler(&log, nil))}
	began := time.Now()
	var offset atomic.Int64
	s.jobs.now = func() time.Time { return began.Add(time.Duration(offset.Load())) }
	var result error
	run := func(ctx context.Context) error {
		if result != nil {
			return result
		}
		<-ctx.Done()
		return ctx.Err()
	}
	j := job{name: "hang", interval: time.Second, limit: time.Millisecond, ready: true, run: run}
	s.jobs.begin(j)
	var failures lograte.Limiter
	s.runJob(t.Context(), j, &failures)
	for _, want := range []string{"context deadline exceeded", "job=hang"} {
		if !failures.Logged() || !strings.Contains(log.String(), want) {
			t.Errorf("log after a job reached its limit = %q, want an error with %q", log.String(), want)
		}
	}
	if err := s.jobs.stalled(); err != nil {
		t.Errorf("stalled after one failure = %v, want nil", err)
	}
	offset.Store(int64(j.maxAge() + time.Second))
	if err := s.jobs.stalled(); err == nil || !strings.Contains(err.Error(), `"hang"`) {
		t.Errorf("stalled without a success for %s = %v, want an error with the name of the job", j.maxAge(), err)
	}
	result = fmt.Errorf("rows are not sealed: %w", audit.ErrSealLocked)
	s.runJob(t.Context(), j, &failures)
	if err := s.jobs.stalled(); err != nil {
		t.Errorf("stalled while another session has the lock of the seal = %v, want nil", err)
	}
}

func TestTimeoutIsIgnoredOnlyAfterProgress(t *testing.T) {
	t.Parallel()
	if err := ignoreTimeout(t.Context(), 1, errors.New("another")); err == nil {
		t.Error("ignoreTimeout ignored an error before the limit")
	}
	ended, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	if ignoreTimeout(ended, 0, ended.Err()) == nil {
		t.Error("ignoreTimeout ignored a timeout without progress")
	}
	if err := ignoreTimeout(ended, 1, ended.Err()); err != nil {
		t.Errorf("ignoreTimeout after progress = %v, want nil", err)
	}
}

// TestStalledJobMakesProcessUnreadyButHealthy checks that a load balancer stops sending requests, while no supervisor
// restarts the process.
func TestStalledJobMakesProcessUnreadyButHealthy(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"GATEHOUSE_DATABASE_URL": "sqlite:" + t.TempDir() + "/gatehouse.db", "GATEHOUSE_LISTEN": "127.0.0.1:0",
	}
	cfg, _, err := config.Load(func(name string) string { return env[name] }, nil)
	storagetest.Must(t, err)
	s, err := Open(t.Context(), Options{Config: cfg, Log: slog.New(slog.DiscardHandler)})
	storagetest.Must(t, err)
	listeners, err := Listen(t.Context(), cfg, s.log, cfg.Listen)
	storagetest.Must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended, listening := make(chan error, 1), make(chan string, 1)
	go func() {
		ended <- s.Serve(ctx, listeners, ServeOptions{
			Getenv: func(string) string { return "" }, Ready: func(a net.Addr) { listening <- "http://" + a.String() },
		})
	}()
	url := <-listening
	waitForStatus(t, url+"/readyz", http.StatusOK)
	stalled := job{name: "stalled", interval: time.Hour, limit: time.Minute, ready: true}
	s.jobs.begin(stalled)
	waitForStatus(t, url+"/readyz", http.StatusOK)
	s.jobs.mu.Lock()
	s.jobs.required[stalled.name] = requiredJob{stalled, time.Now().Add(-4 * time.Hour)}
	s.jobs.mu.Unlock()
	waitForStatus(t, url+"/readyz", http.StatusServiceUnavailable)
	waitForStatus(t, url+"/healthz", http.StatusOK)
	s.jobs.succeeded(stalled)
	waitForStatus(t, url+"/readyz", http.StatusOK)
	stop()
	storagetest.Must(t, <-ended)
}

// waitForStatus waits until a GET responds with the status.
func waitForStatus(t *testing.T, url string, want int) {
	t.Helper()
	storagetest.Eventually(t, fmt.Sprintf("GET %s responds %d", url, want), func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		storagetest.Must(t, err)
		res, err := http.DefaultClient.Do(req)
		storagetest.Must(t, err)
		storagetest.Must(t, res.Body.Close())
		return res.StatusCode == want
	})
}
