package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/lograte"
	"gatehouse/storage/audit"
	"gatehouse/storage/reqevent"
)

// retryAfter is the maximum wait after a failure of a job that /readyz depends on.
const retryAfter = 5 * time.Second

// jobStatus is what /metrics and /readyz report about the jobs.
type jobStatus struct {
	failures    *prometheus.CounterVec
	lastSuccess *prometheus.GaugeVec
	maxAge      *prometheus.GaugeVec
	now         func() time.Time

	mu       sync.Mutex
	required map[string]requiredJob // the jobs that /readyz depends on
}

// requiredJob is a job that /readyz depends on.
type requiredJob struct {
	job
	lastSuccess time.Time // or the start of the process
}

func newJobStatus() *jobStatus {
	labels := []string{"job"}
	return &jobStatus{
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_job_failures_total", Help: "Failed runs of background jobs; each is retried.",
		}, labels),
		lastSuccess: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "gatehouse_job_last_success_timestamp_seconds",
			Help: "When a background job last succeeded in this process; the start of the process before the first time.",
		}, labels),
		maxAge: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "gatehouse_job_max_age_seconds",
			Help: "Age of the last success from which a background job counts as stalled.",
		}, labels),
		now: time.Now, required: map[string]requiredJob{},
	}
}

// begin creates the metric series of a job before its first run, so that alerts detect a job that never succeeds.
func (s *jobStatus) begin(j job) {
	s.failures.WithLabelValues(j.name).Add(0)
	s.maxAge.WithLabelValues(j.name).Set(j.maxAge().Seconds())
	s.succeeded(j)
}

func (s *jobStatus) succeeded(j job) {
	s.lastSuccess.WithLabelValues(j.name).SetToCurrentTime()
	s.recordAbleToRun(j)
}

// recordAbleToRun records that this process can run the job, whether or not another process runs it.
func (s *jobStatus) recordAbleToRun(j job) {
	if !j.ready {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.required[j.name] = requiredJob{j, s.now()}
}

// stalled returns an error that names the jobs that /readyz depends on and that have not succeeded for too long.
func (s *jobStatus) stalled() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for name, r := range s.required {
		if age := s.now().Sub(r.lastSuccess); age > r.maxAge() {
			errs = append(errs, fmt.Errorf("background job %q has not succeeded for %s", name, age.Round(time.Second)))
		}
	}
	return errors.Join(errs...)
}

// startJobs runs every job immediately and at its interval until ctx ends. The function that it returns waits until
// the jobs have ended, as long as its own context allows.
func (s *Server) startJobs(ctx context.Context) (wait func(limited context.Context) error) {
	var running sync.WaitGroup
	for _, j := range s.jobList() {
		s.jobs.begin(j)
		running.Go(func() { s.repeat(ctx, j) })
	}
	ended := make(chan struct{})
	go func() {
		running.Wait()
		close(ended)
	}()
	return func(limited context.Context) error {
		select {
		case <-ended:
			return nil
		default:
		}
		select {
		case <-ended:
			return nil
		case <-limited.Done():
			return errors.New("a background job did not end in time")
		}
	}
}

// repeat runs a job at its interval until ctx ends.
func (s *Server) repeat(ctx context.Context, j job) {
	var failures lograte.Limiter
	for {
		s.runJob(ctx, j, &failures)
		pause := j.interval
		if failures.Logged() && j.ready {
			pause = min(pause, retryAfter) // so that a process does not stay unready after recovery
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// runJob runs a job once, with a request event of its own: jobs run concurrently. A job that continues to fail is
// logged once a minute.
func (s *Server) runJob(ctx context.Context, j job, failures *lograte.Limiter) {
	event := *reqevent.FromContext(ctx)
	limited, cancel := context.WithTimeout(reqevent.NewContext(ctx, &event), j.limit)
	defer cancel()
	switch err := j.run(limited); {
	case err == nil:
		if failures.Reset() {
			s.log.InfoContext(ctx, "background job succeeds again", slog.String("job", j.name))
		}
		s.jobs.succeeded(j)
	case ctx.Err() == nil:
		s.jobs.failures.WithLabelValues(j.name).Inc()
		if errors.Is(err, audit.ErrSealLocked) { // another session is sealing, which does not make this process unready
			s.jobs.recordAbleToRun(j)
		}
		if failures.Allow() {
			s.log.ErrorContext(ctx, "background job failed, will retry", slog.String("job", j.name), slog.Any("error", err))
		}
	}
}
