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
	j := job{name: "hang", interval: time.Second, limit: time.Millisecond, ready: true, run: func(ctx context.Context) error {
		if result != nil {
			return result
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	s.jobs.begin(j)
	var failures lograte.Limiter
	s.runJob(t.Context(), j, &failures)
	if !failures.Logged() || !strings.Contains(log.String(), "context deadline exceeded") || !strings.Contains(log.String(), "job=hang") {
		t.Errorf("the log of a job that hangs is %q", log.String())
	}
	if err := s.jobs.stalled(); err != nil {
		t.Errorf("after one failure: %v", err)
	}
	offset.Store(int64(j.maxAge() + time.Second))
	if err := s.jobs.stalled(); err == nil || !strings.Contains(err.Error(), `"hang"`) {
		t.Errorf("without a success for %s: %v, want an error that names the job", j.maxAge(), err)
	}
	result = fmt.Errorf("rows wait: %w", audit.ErrSealLocked)
	s.runJob(t.Context(), j, &failures)
	if err := s.jobs.stalled(); err != nil {
		t.Errorf("because another session holds the seal, this process is not ready: %v", err)
	}
	if err := ignoreTimeout(t.Context(), 1, errors.New("another")); err == nil {
		t.Error("an error before the limit is none")
	}
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	if ignoreTimeout(late, 0, late.Err()) == nil || ignoreTimeout(late, 1, late.Err()) != nil {
		t.Error("a run that its limit ended must be a failure without progress, and none with it")
	}
}

// TestStalledJobMakesProcessUnreadyButHealthy: a load balancer sends requests elsewhere, and no supervisor restarts the
// process.
func TestStalledJobMakesProcessUnreadyButHealthy(t *testing.T) {
	t.Parallel()
	cfg, _, err := config.Load(func(name string) string {
		return map[string]string{"GATEHOUSE_DATABASE_URL": "sqlite:" + t.TempDir() + "/gatehouse.db", "GATEHOUSE_LISTEN": "127.0.0.1:0"}[name]
	}, nil)
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
	wantStatus(t, url+"/readyz", http.StatusOK)
	stuck := job{name: "stuck", interval: time.Hour, limit: time.Minute, ready: true}
	s.jobs.begin(stuck)
	wantStatus(t, url+"/readyz", http.StatusOK)
	s.jobs.mu.Lock()
	s.jobs.required[stuck.name] = requiredJob{stuck, time.Now().Add(-4 * time.Hour)}
	s.jobs.mu.Unlock()
	wantStatus(t, url+"/readyz", http.StatusServiceUnavailable)
	wantStatus(t, url+"/healthz", http.StatusOK)
	s.jobs.succeeded(stuck)
	wantStatus(t, url+"/readyz", http.StatusOK)
	stop()
	storagetest.Must(t, <-ended)
}

// wantStatus waits until a GET responds with the status.
func wantStatus(t *testing.T, url string, want int) {
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
