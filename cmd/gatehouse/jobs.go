package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/storage"
)

// job is work that every process does repeatedly; its owner makes it safe to run in many processes at once. Each run
// has a time limit, so that a connection that no longer responds fails one run instead of ending the job.
type job struct {
	name  string
	every time.Duration
	limit time.Duration // of one run
	ready bool          // whether /readyz depends on it
	run   func(ctx context.Context) error
}

const (
	// shortLimit is for runs of a few statements.
	shortLimit = 10 * time.Second
	// retryAfter is the maximum wait after a failure of a job that /readyz depends on.
	retryAfter = 5 * time.Second
)

// maxAge returns the age of the last success from which a job counts as stalled.
func (j job) maxAge() time.Duration { return max(time.Minute, 3*j.every+j.limit) }

// progressed returns nil for a run with a backlog that its time limit ended.
func progressed(ctx context.Context, rows int64, err error) error {
	if rows > 0 && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil
	}
	return err
}

func (s *system) jobs(log *slog.Logger) []job {
	var told time.Time // when the log last had the head of the audit log
	jobs := []job{
		{"delete what has expired", time.Minute, 5 * time.Minute, false, func(ctx context.Context) error {
			n, err := s.store.DeleteExpired(ctx)
			return progressed(ctx, n, err)
		}},
		{"forget sealed successors", time.Hour, time.Hour, false, s.store.ClearSealedSuccessors},
		{"deliver logouts", time.Second, 5 * time.Minute, false, s.oauth.Deliver},
		{"advance signing keys", time.Hour, time.Minute, false, s.oauth.Keyring.RotateDue},
		{"seal the audit log", time.Second, shortLimit, true, func(ctx context.Context) error {
			n, err := s.store.SealAudit(ctx)
			return progressed(ctx, n, err)
		}},
		{"check the root key", time.Minute, shortLimit, true, func(ctx context.Context) error {
			err := s.store.CheckRootKey(ctx)
			if errors.Is(err, storage.ErrOtherKey) {
				return errors.New("the root key of the database was replaced, and this process has the old one; restart it with the new one")
			}
			return err
		}},
		{"follow changes", time.Second, shortLimit, true, func(context.Context) error { return s.store.CheckChangesFollowed() }},
		{"write the audit queue", time.Second, shortLimit, true, func(context.Context) error { return s.store.CheckAuditWritten() }},
		{"tell the head of the audit log", time.Minute, shortLimit, false, func(ctx context.Context) error {
			last, err := s.store.LastSeal(ctx)
			if err == nil && last.ID > 0 && time.Since(told) >= time.Hour {
				told = time.Now()
				log.InfoContext(ctx, "audit seal", slog.String("head", fmt.Sprint(last.ID, ":", last.Head())))
			}
			return err
		}},
	}
	if s.config.AuditRetention > 0 {
		jobs = append(jobs, job{"retire the audit log", time.Hour, 10 * time.Minute, false, func(ctx context.Context) error {
			now, err := s.store.CleanupTime(ctx)
			if err != nil {
				return err
			}
			n, err := s.store.RetireAudit(ctx, now.Add(-s.config.AuditRetention), func(int64, int64) {})
			if storage.IsDenied(err) {
				return errors.New("this database role may not delete audit rows, which is as it should be; run `gatehouse audit retire` as the owner of the schema")
			}
			return progressed(ctx, n, err)
		}})
	}
	return jobs
}

// work is what /metrics and /readyz report of the jobs.
type work struct {
	failures *prometheus.CounterVec
	finished *prometheus.GaugeVec
	oldest   *prometheus.GaugeVec
	now      func() time.Time

	mu       sync.Mutex
	required map[string]requirement // the jobs that /readyz depends on
}

// requirement is a job that /readyz depends on.
type requirement struct {
	job
	last time.Time // its last success, or the start of the process
}

func newWork() *work {
	return &work{
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gatehouse_job_failures_total", Help: "Background jobs that failed; they run again."}, []string{"job"}),
		finished: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "gatehouse_job_last_success_timestamp_seconds", Help: "When a background job last succeeded in this process; the start of the process before the first time."}, []string{"job"}),
		oldest:   prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "gatehouse_job_max_age_seconds", Help: "Age of the last success from which a background job counts as stalled."}, []string{"job"}),
		now:      time.Now, required: map[string]requirement{},
	}
}

// begin creates the metric series of a job before its first run, so that alerts detect a job that never succeeds.
func (w *work) begin(j job) {
	w.failures.WithLabelValues(j.name).Add(0)
	w.oldest.WithLabelValues(j.name).Set(j.maxAge().Seconds())
	w.succeeded(j)
}

func (w *work) succeeded(j job) {
	w.finished.WithLabelValues(j.name).SetToCurrentTime()
	w.markCapable(j)
}

// markCapable records that this process can do the job, whether or not another process does it.
func (w *work) markCapable(j job) {
	if !j.ready {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.required[j.name] = requirement{j, w.now()}
}

// stalled returns an error that names the jobs that /readyz depends on and that have not succeeded for too long.
func (w *work) stalled() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for name, r := range w.required {
		if age := w.now().Sub(r.last); age > r.maxAge() {
			errs = append(errs, fmt.Errorf("the background job %q has not succeeded for %s", name, age.Round(time.Second)))
		}
	}
	return errors.Join(errs...)
}

// startJobs runs every job immediately and at its interval until ctx ends. The function that it returns waits for
// that, as long as its own context allows.
func startJobs(ctx context.Context, s *system, log *slog.Logger) (wait func(limited context.Context) error) {
	var running sync.WaitGroup
	for _, j := range s.jobs(log) {
		var said time.Time
		s.work.begin(j)
		running.Go(func() {
			for {
				said = s.do(ctx, j, log, said)
				pause := j.every
				if !said.IsZero() && j.ready {
					pause = min(pause, retryAfter) // so that a process does not stay unready after recovery
				}
				select {
				case <-ctx.Done():
					return
				case <-time.After(pause):
				}
			}
		})
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
			return errors.New("a job did not end in time")
		}
	}
}

// failureEvery is how often the log hears of a job that goes on failing.
const failureEvery = time.Minute

// do runs a job once. said is when the log last heard that it fails, zero while it does not; do returns what that is now.
func (s *system) do(ctx context.Context, j job, log *slog.Logger, said time.Time) time.Time {
	limited, cancel := context.WithTimeout(ctx, j.limit)
	defer cancel()
	switch err := j.run(limited); {
	case err == nil:
		if !said.IsZero() {
			log.InfoContext(ctx, "a job succeeds again", slog.String("job", j.name))
		}
		said = time.Time{}
		s.work.succeeded(j)
	case ctx.Err() == nil:
		s.work.failures.WithLabelValues(j.name).Inc()
		if errors.Is(err, storage.ErrSealLocked) { // another session is sealing, which does not make this process unready
			s.work.markCapable(j)
		}
		if time.Since(said) < failureEvery {
			break
		}
		said = time.Now()
		log.ErrorContext(ctx, "a job failed; it runs again later", slog.String("job", j.name), slog.Any("error", err))
	}
	return said
}
