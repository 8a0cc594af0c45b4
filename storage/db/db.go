// Package db is the connection to the database: two engines, their pools, transactions, statements, column types, the
// migration runner and backups. It decides how a statement reaches PostgreSQL or embedded SQLite and what a failure of
// the database means; which tables exist, and what is in them, is left to its callers.
package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"gorm.io/gorm"
)

// Outcome is an error that a caller decides about, as opposed to a fault of the database.
type Outcome string

// Error implements error.
func (o Outcome) Error() string { return string(o) }

// The outcomes of statements.
var (
	// ErrNotFound is returned when no row matches.
	ErrNotFound error = Outcome("not found")
	// ErrConflict is returned when a row with the same unique key exists.
	ErrConflict error = Outcome("already exists")
	// ErrUnavailable is returned when the database is unreachable, full or failing.
	ErrUnavailable error = Outcome("the database failed")
	// ErrBusy is returned when a bounded queue stayed full.
	ErrBusy error = Outcome("too busy")
)

// Wrap adds the operation to an error. An Outcome stays visible to errors.Is; every other error becomes
// ErrUnavailable.
func Wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	if errors.As(err, new(Outcome)) {
		return fmt.Errorf("%s: %w", op, err)
	}
	return fmt.Errorf("%s: %w: %w", op, ErrUnavailable, err)
}

// The two engines.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// Options specify how to open a DB.
type Options struct {
	URL  string           // sqlite:PATH or postgres://…
	Pool int              // most connections, 0 for four per core
	Now  func() time.Time // the clock of this host, time.Now when nil
	// DatabaseNow replaces the clock of PostgreSQL in tests.
	DatabaseNow func() time.Time
	Log         *slog.Logger // for background errors, discarded when nil
	// NoStatementTimeout sets no time limit for statements: an operator waits for one that reads the whole audit log, and
	// can stop it.
	NoStatementTimeout bool
	// ReadOnlyAllowed opens an embedded database that is not writable read-only: see ReadOnly.
	ReadOnlyAllowed bool
}

// DB is the database or, inside Tx, the transaction. It is safe for concurrent use, except a transaction.
type DB struct {
	Write Conn // for every change, and every read that decides one
	Read  Conn // for other reads: SQLite's reader pool, elsewhere the same as Write
	tx    *transaction
	*shared
}

// Conn executes statements, through the functions of this package.
type Conn struct{ gorm *gorm.DB }

type shared struct {
	Log *slog.Logger // for background errors

	engine   string
	file     *databaseFile // nil on PostgreSQL
	pg       *postgresURL  // nil on SQLite
	readOnly bool
	clock    clock
	pools    []*sql.DB

	slowStatements    atomic.Uint64
	requestStatements atomic.Uint64
	largeDeletions    atomic.Uint64
}

// transaction is the state of one attempt of a transaction.
type transaction struct{ onCommit []func() }

// Open connects to the database. It neither creates nor migrates the schema.
func Open(ctx context.Context, o Options) (*DB, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	d := &DB{shared: &shared{clock: clock{local: o.Now, database: o.DatabaseNow}, Log: o.Log}}
	if err := d.connect(ctx, o); err != nil {
		return nil, errors.Join(err, d.ClosePools())
	}
	if _, err := d.ReadClock(ctx); err != nil {
		return nil, errors.Join(Wrap("read the database's clock", err), d.ClosePools())
	}
	return d, nil
}

// Engine returns SQLite or Postgres.
func (d *DB) Engine() string { return d.engine }

// Now returns the time that all processes of the database share: on PostgreSQL that of the database's clock, on SQLite
// that of this host.
func (d *DB) Now() time.Time { return d.clock.now() }

// LocalNow returns the time of this host, for measuring how long something took.
func (d *DB) LocalNow() time.Time { return d.clock.local() }

// Ping checks that the database responds and that an embedded one still has its file. It does not block writers.
func (d *DB) Ping(ctx context.Context) error {
	if err := d.file.check(); err != nil {
		return err
	}
	var n int64
	return QueryRow(ctx, d.Read, []any{&n}, "SELECT 1")
}

// CloseIdle closes the connections that are idle, now and from now on, so that the next statement gets a new one.
func (d *DB) CloseIdle() {
	for _, p := range d.pools {
		p.SetMaxIdleConns(0)
	}
}

// ClosePools closes the connections.
func (d *DB) ClosePools() error {
	var errs []error
	for _, p := range d.pools {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// Tx runs fn in one transaction, which commits when fn returns nil. fn must use only the DB that it is passed: with
// SQLite's single writer, any other waits for the transaction that it is called from. A transaction that PostgreSQL
// ended because of a deadlock or serialization failure is run again, so fn must be safe to repeat. Tx returns the
// error of fn, or ErrUnavailable when the transaction cannot begin or commit. Within a transaction, Tx only calls fn.
func (d *DB) Tx(ctx context.Context, fn func(tx *DB) error) error {
	if d.InTx() {
		return fn(d)
	}
	for attempt := 1; ; attempt++ {
		err := d.attempt(ctx, fn)
		if attempt >= 3 || !retryable(err) {
			return err
		}
	}
}

// InTx reports whether d is a transaction.
func (d *DB) InTx() bool { return d.tx != nil }

// OnCommit calls fn as soon as the transaction is committed, or immediately when d is not a transaction.
func (d *DB) OnCommit(fn func()) {
	if d.tx == nil {
		fn()
		return
	}
	d.tx.onCommit = append(d.tx.onCommit, fn)
}

func (d *DB) attempt(ctx context.Context, fn func(tx *DB) error) error {
	state := &transaction{}
	var failed error // returned by fn
	err := d.Write.gorm.WithContext(ctx).Transaction(func(g *gorm.DB) error {
		failed = fn(&DB{Write: Conn{g}, Read: Conn{g}, tx: state, shared: d.shared})
		return failed
	})
	if failed == nil {
		err = Wrap("begin or commit a transaction", err)
	}
	if err == nil {
		err = d.file.check() // what was written to an unlinked file must not be acknowledged
	}
	if err == nil {
		for _, fn := range state.onCommit {
			fn()
		}
	}
	return err
}

func retryable(err error) bool {
	code := SQLState(err)
	return code == "40001" || code == "40P01"
}

// Snapshot runs fn in a read-only transaction that sees one state of the database.
func (d *DB) Snapshot(ctx context.Context, fn func(snapshot Conn) error) error {
	var options []*sql.TxOptions
	if d.engine == Postgres {
		options = append(options, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	}
	return d.Read.gorm.WithContext(ctx).Transaction(func(g *gorm.DB) error { return fn(Conn{g}) }, options...)
}

// Stats are the counters and the state of the connections.
type Stats struct {
	Slow           uint64 // statements of more than a second
	Statements     uint64 // of requests
	Pools          map[string]sql.DBStats
	ClockSkew      time.Duration // the clock of this host minus the database's; 0 on SQLite
	LargeDeletions uint64        // deletions of a large share of a table
}

// Stats returns the counters. It queries nothing.
func (d *DB) Stats() Stats {
	out := Stats{
		Slow: d.slowStatements.Load(), Statements: d.requestStatements.Load(), LargeDeletions: d.largeDeletions.Load(),
		Pools: map[string]sql.DBStats{}, ClockSkew: time.Duration(d.clock.skew.Load()),
	}
	names := []string{"write", "read"}
	for i, p := range d.pools {
		out.Pools[names[i]] = p.Stats()
	}
	return out
}
