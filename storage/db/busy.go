package db

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"gorm.io/gorm"
)

// busyWait is how long a statement on SQLite waits for another process to finish writing, such as a command alongside
// a server.
const busyWait = 10 * time.Second

// busyRetrier is SQLite's writer. Its connection waits for the write of another process inside SQLite, which observes
// no deadline, so only for a second; busyRetrier retries until busyWait or the context ends. A statement that is busy
// has done nothing, and a transaction acquires the lock when it begins, so nothing inside one is ever busy.
type busyRetrier struct {
	*sql.DB

	file *databaseFile
}

// GetDBConn returns the pool to gorm.
func (p busyRetrier) GetDBConn() (*sql.DB, error) { return p.DB, nil }

func (p busyRetrier) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := p.file.check(); err != nil {
		return nil, err
	}
	res, err := retryBusy(ctx, func() (sql.Result, error) { return p.DB.ExecContext(ctx, query, args...) })
	if err == nil {
		err = p.file.check() // writes to an unlinked file must not be acknowledged
	}
	return res, err
}

func (p busyRetrier) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := p.file.check(); err != nil {
		return nil, err
	}
	return retryBusy(ctx, func() (*sql.Rows, error) { return p.DB.QueryContext(ctx, query, args...) })
}

// BeginTx begins a transaction on a connection that returns to the pool only after the transaction ended.
func (p busyRetrier) BeginTx(ctx context.Context, opts *sql.TxOptions) (gorm.ConnPool, error) {
	if err := p.file.check(); err != nil {
		return nil, err
	}
	return retryBusy(ctx, func() (gorm.ConnPool, error) {
		conn, err := p.Conn(ctx)
		if err != nil {
			return nil, err
		}
		tx, err := conn.BeginTx(ctx, opts)
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return &embeddedTx{tx, conn, p.file}, nil
	})
}

// embeddedTx is a transaction of SQLite. Such a transaction stays open when its commit fails, and the next statement
// on its connection would be part of it and be acknowledged without a commit.
type embeddedTx struct {
	*sql.Tx

	conn *sql.Conn
	file *databaseFile
}

var (
	_ gorm.ConnPoolBeginner = busyRetrier{}
	_ gorm.TxCommitter      = &embeddedTx{}
)

// Commit commits the transaction, or rolls it back if that fails or the database file was removed.
func (t *embeddedTx) Commit() error {
	if err := t.file.check(); err != nil {
		return errors.Join(err, t.Rollback())
	}
	err := t.Tx.Commit()
	if err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _ = t.conn.ExecContext(ctx, "ROLLBACK") // fails when no transaction is open
	}
	return errors.Join(err, t.conn.Close())
}

// Rollback rolls the transaction back.
func (t *embeddedTx) Rollback() error { return errors.Join(t.Tx.Rollback(), t.conn.Close()) }

// retryBusy retries a call while SQLite is busy, until busyWait or the context ends.
func retryBusy[T any](ctx context.Context, try func() (T, error)) (T, error) {
	for began := time.Now(); ; {
		got, err := try()
		if !isBusy(err) || ctx.Err() != nil || time.Since(began) >= busyWait {
			return got, err
		}
	}
}

// isBusy reports whether SQLite could not begin to write because another process does.
func isBusy(err error) bool { return sqliteCode(err) == sqliteBusy }
