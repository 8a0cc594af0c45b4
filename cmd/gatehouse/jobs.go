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

// job is work that every process does again and again; its owner makes it safe to do at once in many.
type job struct {
	name  string
	every time.Duration
	run   func(ctx context.Context) error
}

func (s *system) jobs(log *slog.Logger) []job {
	var told time.Time // when the log last had the head of the audit log
	jobs := []job{
		{"delete what has expired", time.Minute, func(ctx context.Context) error {
			_, err := s.store.DeleteExpired(ctx)
			return err
		}},
		{"forget sealed successors", time.Hour, func(ctx context.Context) error {
			return s.store.ForgetSuccessors(ctx, s.config.RefreshGrace+s.config.RequestTimeout)
		}},
		{"deliver logouts", time.Second, s.oauth.Deliver},
		{"advance signing keys", time.Hour, s.oauth.AdvanceKeys},
		{"seal the audit log", time.Second, func(ctx context.Context) error {
			_, err := s.store.SealAudit(ctx)
			return err
		}},
		{"check the root key", time.Minute, func(ctx context.Context) error {
			err := s.store.CheckRootKey(ctx)
			if errors.Is(err, storage.ErrOtherKey) {
				return errors.New("the root key of the database was replaced, and this process has the old one; restart it with the new one")
			}
			return err
		}},
		{"tell the head of the audit log", time.Minute, func(ctx context.Context) error {
			last, err := s.store.LastSeal(ctx)
			if err == nil && last.ID > 0 && time.Since(told) >= time.Hour {
				told = time.Now()
				log.InfoContext(ctx, "audit seal", slog.String("head", fmt.Sprint(last.ID, ":", last.Head())))
			}
			return err
		}},
	}
	if s.config.AuditRetention > 0 {
		jobs = append(jobs, job{"retire the audit log", time.Hour, func(ctx context.Context) error {
			_, err := s.store.RetireAudit(ctx, s.store.Now().Add(-s.config.AuditRetention), func(int64, int64) {})
			if storage.Denied(err) {
				return errors.New("this database role may not delete audit rows, which is as it should be; run `gatehouse audit retire` as the owner of the schema")
			}
			return err
		}})
	}
	return jobs
}

// work is what /metrics tells of the jobs.
type work struct {
	failures *prometheus.CounterVec
	finished *prometheus.GaugeVec
}

func newWork() *work {
	return &work{
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gatehouse_job_failures_total", Help: "Background jobs that failed; they run again."}, []string{"job"}),
		finished: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "gatehouse_job_last_success_timestamp_seconds", Help: "When a background job last succeeded in this process."}, []string{"job"}),
	}
}

// startJobs runs every job now and then at its interval until ctx ends. The function that it returns waits for that, as
// long as its own context allows.
func startJobs(ctx context.Context, s *system, log *slog.Logger) (wait func(limited context.Context) error) {
	var running sync.WaitGroup
	for _, j := range s.jobs(log) {
		var said time.Time
		s.work.failures.WithLabelValues(j.name).Add(0) // there before the first, or no alert sees that one
		running.Go(func() {
			tick := time.NewTicker(j.every)
			defer tick.Stop()
			for {
				said = s.do(ctx, j, log, said)
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
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
	switch err := j.run(ctx); {
	case err == nil:
		if !said.IsZero() {
			log.InfoContext(ctx, "a job succeeds again", slog.String("job", j.name))
		}
		said = time.Time{}
		s.work.finished.WithLabelValues(j.name).SetToCurrentTime()
	case ctx.Err() == nil:
		s.work.failures.WithLabelValues(j.name).Inc()
		if time.Since(said) < failureEvery {
			break
		}
		said = time.Now()
		log.ErrorContext(ctx, "a job failed; it runs again later", slog.String("job", j.name), slog.Any("error", err))
	}
	return said
}
