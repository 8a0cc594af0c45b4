package db

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/pressly/goose/v3/lock"
)

const (
	migrationWait   = 5 * time.Minute // for another process that migrates
	migrationRetry  = 250 * time.Millisecond
	migrationBeat   = 5 * time.Second // below the time that a transaction may be idle
	migrationLockID = lock.DefaultLockID
)

var errMigrating = errors.New("another process has been migrating the database for five minutes")

// migrationLock makes concurrent migrations wait for each other, also through a pooler: the lock belongs to a
// transaction, not to a session. It implements lock.Locker.
type migrationLock struct {
	limits string // the statements that set them

	tx   *sql.Tx
	stop context.CancelFunc
	done chan struct{}
}

// Lock acquires the lock. It polls, because CREATE INDEX CONCURRENTLY would wait for a waiting statement.
func (l *migrationLock) Lock(ctx context.Context, db *sql.DB) error {
	limited, cancel := context.WithTimeoutCause(ctx, migrationWait, errMigrating)
	defer cancel()
	for {
		tx, err := db.BeginTx(context.WithoutCancel(ctx), nil) // the transaction continues after this call
		if err != nil {
			return err
		}
		var locked bool
		_, err = tx.ExecContext(limited, l.limits)
		if err != nil {
			return errors.Join(err, tx.Rollback())
		}
		err = tx.QueryRowContext(limited, "SELECT pg_try_advisory_xact_lock($1)", migrationLockID).Scan(&locked)
		if err == nil && locked {
			// A statement without parameters closes the portal of the one above. Its open snapshot would block CREATE
			// INDEX CONCURRENTLY.
			if _, err := tx.ExecContext(limited, "SELECT 1"); err != nil {
				return errors.Join(err, tx.Rollback())
			}
			l.preventIdle(tx)
			return nil
		}
		if err := errors.Join(err, tx.Rollback()); err != nil {
			return err
		}
		select {
		case <-time.After(migrationRetry):
		case <-limited.Done():
			return context.Cause(limited)
		}
	}
}

// preventIdle executes statements so that the transaction is not idle for too long.
func (l *migrationLock) preventIdle(tx *sql.Tx) {
	ctx, cancel := context.WithCancel(context.Background())
	l.tx, l.stop, l.done = tx, cancel, make(chan struct{})
	go func() {
		defer close(l.done)
		beat := time.NewTicker(migrationBeat)
		defer beat.Stop()
		for {
			select {
			case <-beat.C:
				_, _ = tx.ExecContext(context.Background(), "SELECT 1") // Unlock reports errors
			case <-ctx.Done():
				return
			}
		}
	}()
}

// Unlock releases the lock.
func (l *migrationLock) Unlock(context.Context, *sql.DB) error {
	l.stop()
	<-l.done
	return l.tx.Rollback()
}
