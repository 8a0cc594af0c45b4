package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gatehouse/lograte"
	"gatehouse/storage/db"
	"gatehouse/storage/vault"
)

// job is work that every process does repeatedly; its owner makes it safe to run in many processes concurrently. Each
// run has a time limit, so that a connection that no longer responds fails one run instead of ending the job.
type job struct {
	name     string
	interval time.Duration
	limit    time.Duration // of one run
	ready    bool          // whether /readyz depends on it
	run      func(ctx context.Context) error
}

// shortLimit is for runs of a few statements.
const shortLimit = 10 * time.Second

// maxAge returns the age of the last success from which a job counts as stalled.
func (j job) maxAge() time.Duration { return max(time.Minute, 3*j.interval+j.limit) }

// jobList returns every job of this process.
func (s *Server) jobList() []job {
	jobs := []job{
		{"index records for searches", 24 * time.Hour, time.Hour, false, s.Store.IndexRecords},
		{"delete users", time.Minute, 5 * time.Minute, false, s.deleteUsers},
		{"delete expired rows", time.Minute, 5 * time.Minute, false, s.deleteExpired},
		{"clear sealed successors", time.Hour, time.Hour, false, s.Store.ClearSealedSuccessors},
		{"deliver logouts", time.Second, 5 * time.Minute, false, s.Notify.Send},
		{"advance signing keys", time.Hour, time.Minute, false, s.OAuth.Keyring.RotateDue},
		{"seal the audit log", time.Second, shortLimit, true, s.sealAudit},
		{"check the root key", time.Minute, shortLimit, true, s.checkRootKey},
		{"follow changes", time.Second, shortLimit, true, func(context.Context) error {
			return s.Store.CheckChangesFollowed()
		}},
		{"write the audit queue", time.Second, shortLimit, true, func(context.Context) error {
			return s.Store.Audit.CheckWritten()
		}},
		{"log the head of the audit log", time.Minute, shortLimit, false, s.auditHeadLogger()},
	}
	if s.Mail != nil {
		jobs = append(jobs, job{"send emails", time.Second, 5 * time.Minute, false, s.Mail.Send})
	}
	if s.Config.AuditRetention > 0 {
		jobs = append(jobs, job{"retire the audit log", time.Hour, 10 * time.Minute, false, s.retireAudit})
	}
	return jobs
}

func (s *Server) deleteExpired(ctx context.Context) error {
	n, err := s.Store.DeleteExpired(ctx, s.Config.RegistrationUnusedTTL)
	return ignoreTimeout(ctx, n, err)
}

// deleteUsers deletes the users who deleted their account, after the grace period.
func (s *Server) deleteUsers(ctx context.Context) error {
	n, err := s.Users.DeleteDue(ctx)
	return ignoreTimeout(ctx, n, err)
}

func (s *Server) sealAudit(ctx context.Context) error {
	n, err := s.Store.Audit.SealRows(ctx)
	return ignoreTimeout(ctx, n, err)
}

func (s *Server) checkRootKey(ctx context.Context) error {
	err := s.Store.Vault.CheckRootKey(ctx)
	if errors.Is(err, vault.ErrOtherKey) {
		return errors.New("the root key of the database was replaced, and this process has the old one; " +
			"restart it with the new one")
	}
	return err
}

// auditHeadLogger returns a job that logs the last seal of the audit log once an hour, for `gatehouse audit verify
// --head`.
func (s *Server) auditHeadLogger() func(ctx context.Context) error {
	hourly := lograte.Limiter{Interval: time.Hour}
	return func(ctx context.Context) error {
		last, err := s.Store.Audit.LastSeal(ctx)
		if err == nil && last.ID > 0 && hourly.Allow() {
			s.log.InfoContext(ctx, "audit seal", slog.String("head", fmt.Sprint(last.ID, ":", last.Head())))
		}
		return err
	}
}

func (s *Server) retireAudit(ctx context.Context) error {
	now, err := s.Store.AdvanceCleanupTime(ctx)
	if err != nil {
		return err
	}
	n, err := s.Store.Audit.Retire(ctx, now.Add(-s.Config.AuditRetention), func(int64, int64) {})
	if db.IsDenied(err) {
		return errors.New("this database role may not delete audit rows, as intended; " +
			"run `gatehouse audit retire` as the owner of the schema")
	}
	return ignoreTimeout(ctx, n, err)
}

// ignoreTimeout returns nil for a run that its time limit ended while it worked through a backlog.
func ignoreTimeout(ctx context.Context, rows int64, err error) error {
	if rows > 0 && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil
	}
	return err
}
