// Package storage keeps what Gatehouse knows: plain records and every query on them, on PostgreSQL and on embedded
// SQLite, behind one concrete Store. It decides what is single use, what is still alive and what belongs in one
// transaction, writes the audit trail, and holds the caches. HTTP, OAuth and the meaning of a token are left to others.
package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gorm.io/gorm"
)

var (
	// ErrNotFound is returned when no live record has the given name.
	ErrNotFound = errors.New("not found")
	// ErrConflict is returned when a record with the same unique name exists.
	ErrConflict = errors.New("already exists")
	// ErrConsumed is returned, with the record, when something single use was used before.
	ErrConsumed = errors.New("already used")
	// ErrReused is returned when a refresh token that was replaced is presented again; its grant is revoked by then.
	ErrReused = errors.New("refresh token reused")
	// ErrNoEvent is returned by a changing method that was given no audit event.
	ErrNoEvent = errors.New("a change without an audit event")
	// ErrUnavailable is returned when the database could not do what it was asked: it is away, full or failing.
	ErrUnavailable = errors.New("the database failed")
	// ErrBusy is returned when a bounded queue stayed full.
	ErrBusy = errors.New("too busy")
)

// The two engines.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// Options say how to open a Store.
type Options struct {
	URL  string           // sqlite:PATH or postgres://…
	Pool int              // most connections, 0 for four per core
	Now  func() time.Time // this machine's clock, time.Now when nil
	// DatabaseNow replaces the clock of PostgreSQL in tests.
	DatabaseNow func() time.Time
	Log         *slog.Logger // for background errors, discarded when nil
	// Command sets no time limit for statements: an operator waits for one that reads the whole audit log, and can stop it.
	Command bool
	// ReadOnlyAllowed opens an embedded database that is not writable read-only: see ReadOnly.
	ReadOnlyAllowed bool
}

// Store is the database. Inside Tx it is the transaction. A Store is safe for use by many goroutines, except one that
// is a transaction.
type Store struct {
	write *gorm.DB // every change, and every read that decides one
	read  *gorm.DB // other reads: SQLite's reader pool, elsewhere the same as write
	tx    *txState // nil outside a transaction
	*shared
}

type shared struct {
	engine   string
	file     *databaseFile // nil on PostgreSQL
	pg       *postgresURL  // nil on SQLite
	readOnly bool
	now      func() time.Time // the time that all processes share
	clock    clock
	log      *slog.Logger
	pools    []*sql.DB
	cache    *cache

	catchUp  sync.Mutex     // serializes reads of the changes
	position changePosition // of the last read
	batch    *batch
	roots    []RootKey // the root key and, while it is being replaced, the previous one
	keys     map[string][]byte
	counts   counts
	slow     atomic.Uint64
	asked    atomic.Uint64
	sealed   atomic.Int64 // the last seal that this process has read

	followed heartbeat // of followChanges

	contact        contact
	largeDeletions atomic.Uint64

	stop context.CancelFunc
	wait sync.WaitGroup
}

// txState is what a transaction owes when it commits.
type txState struct {
	changed []string // ids of clients, or everything
	events  []string
}

// Open connects to the database. It neither creates nor migrates the schema. Background work begins with Start.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{shared: &shared{clock: clock{local: o.Now, database: o.DatabaseNow}, log: o.Log}}
	s.now = s.clock.now
	s.cache = newCache()
	s.batch = newBatch(s)
	if err := s.connect(ctx, o); err != nil {
		return nil, errors.Join(err, s.closePools())
	}
	if _, err := s.readClock(ctx); err != nil {
		return nil, errors.Join(wrap("read the database's clock", err), s.closePools())
	}
	return s, nil
}

// Engine is SQLite or Postgres.
func (s *Store) Engine() string { return s.engine }

// Now returns the time that all processes of the database share: on PostgreSQL that of the database's clock, on SQLite
// that of this machine.
func (s *Store) Now() time.Time { return s.now() }

// Ping checks that the database responds and that an embedded one still has its file. It does not block writers.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.file.check(); err != nil {
		return err
	}
	var n int64
	return queryRow(ctx, s.read, []any{&n}, "SELECT 1")
}

// Start begins the background work: following the changes of other processes and the database's clock, and
// writing batched audit rows. Close ends it.
func (s *Store) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.followed.beat()
	s.batch.wrote.beat()
	s.wait.Go(func() { s.followChanges(ctx) })
	s.wait.Go(func() { s.watchDatabase(ctx) })
	s.batch.start(ctx)
}

// Close writes what is still queued, seals it if this process seals, waiting no longer than ctx allows, and closes the
// connections.
func (s *Store) Close(ctx context.Context) error {
	err := s.batch.close(ctx)
	if s.stop != nil {
		if err == nil {
			_, err = s.SealAudit(ctx)
		}
		s.stop()
		s.stop = nil
	}
	s.wait.Wait()
	return errors.Join(err, s.closePools())
}

func (s *Store) closePools() error {
	var errs []error
	for _, p := range s.pools {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// Tx runs fn in one transaction, which commits when fn returns nil. fn must use only the store it is given: with
// SQLite's single writer any other waits for the transaction it is called from. A transaction that PostgreSQL gave up
// as a deadlock or serialization failure is run again, so fn must be safe to repeat. Tx returns the error of fn, or
// ErrUnavailable when the transaction cannot begin or commit.
func (s *Store) Tx(ctx context.Context, fn func(tx *Store) error) error {
	if s.tx != nil {
		return fn(s)
	}
	for attempt := 1; ; attempt++ {
		err := s.once(ctx, fn)
		if attempt >= 3 || !retryable(err) {
			return err
		}
	}
}

func (s *Store) once(ctx context.Context, fn func(tx *Store) error) error {
	state := &txState{}
	var refused error // returned by fn
	err := s.write.WithContext(ctx).Transaction(func(db *gorm.DB) error {
		tx := &Store{write: db, read: db, tx: state, shared: s.shared}
		if refused = fn(tx); refused != nil {
			return refused
		}
		return tx.recordChanges(ctx)
	})
	if refused == nil {
		err = wrap("begin or commit a transaction", err)
	}
	if err == nil {
		err = s.file.check() // what was written to a file without a name must not be acknowledged
	}
	if err == nil {
		s.counts.add(state.events...)
	}
	// Also after a failed commit: its outcome may be unknown, and an empty cache is always correct.
	s.cache.drop(state.changed...)
	return err
}

func retryable(err error) bool {
	code := sqlState(err)
	return code == "40001" || code == "40P01"
}

// insert adds one record.
func (s *Store) insert(ctx context.Context, record any) error {
	err := s.write.WithContext(ctx).Create(record).Error
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return ErrConflict
	}
	return err
}

// take reads the one record that the condition names, from db.
func take[T any](ctx context.Context, db *gorm.DB, where string, args ...any) (T, error) {
	var out []T
	if err := db.WithContext(ctx).Where(where, args...).Limit(1).Find(&out).Error; err != nil {
		return *new(T), err
	}
	if len(out) == 0 {
		return *new(T), ErrNotFound
	}
	return out[0], nil
}

// list reads the records that the condition names in the given order.
func list[T any](ctx context.Context, db *gorm.DB, order, where string, args ...any) ([]T, error) {
	out := []T{}
	err := db.WithContext(ctx).Where(where, args...).Order(order).Find(&out).Error
	return out, err
}

// wrap gives a storage error its operation; the sentinels stay visible to errors.Is, and whatever is not one of them is
// ErrUnavailable.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []error{ErrNotFound, ErrConflict, ErrConsumed, ErrReused, ErrOtherBrowser, ErrConsentWithdrawn, ErrNoEvent, ErrBusy, ErrUnavailable} {
		if errors.Is(err, known) {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
	return fmt.Errorf("%s: %w: %w", op, ErrUnavailable, err)
}
