package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// job is work that every process does again and again; its owner makes it safe to do at once in many.
type job struct {
	name  string
	every time.Duration
	run   func(ctx context.Context) error
}

func (s *system) jobs() []job {
	return []job{
		{"delete what has expired", time.Minute, func(ctx context.Context) error {
			_, err := s.store.DeleteExpired(ctx)
			return err
		}},
		{"forget sealed successors", time.Hour, func(ctx context.Context) error {
			return s.store.ForgetSuccessors(ctx, s.config.RefreshGrace)
		}},
		{"deliver logouts", time.Second, s.oauth.Deliver},
		{"advance signing keys", time.Hour, s.oauth.AdvanceKeys},
	}
}

// startJobs runs every job now and then at its interval until ctx ends. The function that it returns waits for that, as
// long as its own context allows.
func startJobs(ctx context.Context, s *system, log *slog.Logger) (wait func(limited context.Context) error) {
	var running sync.WaitGroup
	for _, j := range s.jobs() {
		running.Go(func() {
			tick := time.NewTicker(j.every)
			defer tick.Stop()
			for {
				if err := j.run(ctx); err != nil && ctx.Err() == nil {
					log.ErrorContext(ctx, "a job failed; it runs again later", slog.String("job", j.name), slog.Any("error", err))
				}
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
