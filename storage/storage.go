// Package storage has the records of Gatehouse as plain structs and every query on them, on PostgreSQL and embedded
// SQLite, behind one concrete Store. It decides what is single use, what is still active and what belongs in one
// transaction, and owns the caches. HTTP, OAuth and the meaning of a token are left to other packages.
package storage

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
	"gatehouse/storage/vault"
)

// The outcomes of storing and reading. An error of the database is ErrUnavailable; an error that a callback returns
// stays as it is.
var (
	ErrNotFound    = db.ErrNotFound
	ErrConflict    = db.ErrConflict
	ErrUnavailable = db.ErrUnavailable
	ErrBusy        = db.ErrBusy
	// ErrConsumed is returned when something single use was used before.
	ErrConsumed error = db.Outcome("already used")
	// ErrReused is returned when a refresh token that was replaced is presented again; its grant is then revoked.
	ErrReused error = db.Outcome("refresh token reused")
)

// The two engines.
const (
	SQLite   = db.SQLite
	Postgres = db.Postgres
)

// Options specify how to open a Store.
type Options = db.Options

// Strings is a list of values without spaces, one text column with spaces between them.
type Strings = db.Strings

// Store is the database with its records. Inside Tx it is the transaction. A Store is safe for concurrent use, except
// one that is a transaction.
type Store struct {
	*db.DB

	Audit *audit.Log
	Vault *vault.Vault

	changed *[]string // ids of clients, or everything, that the transaction changed; nil outside a transaction
	*shared
}

type shared struct {
	cache *cache

	changesMu sync.Mutex     // serializes reads of the changes
	position  changePosition // of the last read

	followed db.Heartbeat // of followChanges

	mailEnabled atomic.Bool // whether QueueMail queues
	mailDelayed atomic.Bool // whether the mail server did not respond to the last check

	health        health
	cleanupBehind atomic.Int64 // by how much AdvanceCleanupTime lags the clock, in nanoseconds

	stop context.CancelFunc
	wait sync.WaitGroup
}

// recordTables have records that are each created in one transaction with an audit row.
var recordTables = []string{"clients", "users", "consents", "grants", "signing_keys"}

// Open connects to the database. It neither creates nor migrates the schema. Background work begins with Start.
func Open(ctx context.Context, o Options) (*Store, error) {
	d, err := db.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	v := vault.New(d, append(audit.InUse, "SELECT 1 FROM browser_sessions WHERE personal IS NOT NULL LIMIT 1")...)
	return &Store{DB: d, Vault: v, Audit: audit.New(d, v, recordTables...), shared: &shared{cache: newCache()}}, nil
}

// Start begins the background work: following the changes of other processes and the database's clock, and
// writing batched audit rows. Close ends it.
func (s *Store) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.followed.Beat()
	s.wait.Go(func() { s.followChanges(ctx) })
	s.wait.Go(func() { s.watchDatabase(ctx) })
	s.Audit.Start(ctx)
}

// Close writes what is still queued, seals it if this process seals, waiting no longer than ctx allows, and closes the
// connections.
func (s *Store) Close(ctx context.Context) error {
	err := s.Audit.Close(ctx)
	if s.stop != nil {
		if err == nil {
			_, err = s.Audit.SealRows(ctx)
			if errors.Is(err, ErrUnavailable) && ctx.Err() == nil {
				// The connection was lost earlier and used last: other idle ones may be lost too.
				s.CloseIdle()
				_, err = s.Audit.SealRows(ctx)
			}
		}
		s.stop()
		s.stop = nil
	}
	s.wait.Wait()
	return errors.Join(err, s.ClosePools())
}

// Tx runs fn in one transaction, as db.DB.Tx does: fn must use only the store that it is passed. The records that it
// changed are dropped from the caches of every process.
func (s *Store) Tx(ctx context.Context, fn func(tx *Store) error) error {
	if s.InTx() {
		return fn(s)
	}
	var changed []string
	err := s.DB.Tx(ctx, func(d *db.DB) error {
		tx := &Store{DB: d, Audit: s.Audit.WithTx(d), Vault: s.Vault.WithTx(d), changed: &changed, shared: s.shared}
		if err := fn(tx); err != nil {
			return err
		}
		return db.Wrap("record changes", tx.recordChanges(ctx))
	})
	// Also after a failed commit: its outcome may be unknown, and an empty cache is always correct.
	s.cache.drop(changed...)
	return err
}

// RequireSchema does the same as db.DB.RequireSchema, and checks that the role has privileges on the newest tables:
// otherwise IsDenied reports true for the error.
func (s *Store) RequireSchema(ctx context.Context) (ahead bool, err error) {
	ahead, err = s.DB.RequireSchema(ctx)
	if err == nil && s.Engine() == Postgres {
		err = s.checkGranted(ctx)
	}
	return ahead, err
}

// Backup calls db.DB.Backup, and records the backup unless the database is read-only.
func (s *Store) Backup(ctx context.Context, path string) error {
	if err := s.DB.Backup(ctx, path); err != nil || s.ReadOnly() {
		return err
	}
	detail := map[string]any{"file": filepath.Base(path)}
	return s.Audit.Record(ctx, audit.Event{Type: audit.BackupMade, Detail: detail})
}

// CheckChangesFollowed returns ErrUnavailable when this process has not read the changes of other processes for a
// while and therefore bypasses its caches.
func (s *Store) CheckChangesFollowed() error { return s.followed.Check("read the changes") }

// Stats are the counters of the store and its state.
type Stats struct {
	Database db.Stats
	Audit    audit.Stats

	CacheHits   uint64
	CacheMisses uint64
	Cached      int   // clients in the cache
	CacheBytes  int64 // their estimated memory

	DatabaseUp    bool          // whether the last check of the database succeeded
	CleanupBehind time.Duration // by how much cleanup lags the clock
}

// Stats returns the counters. It queries nothing.
func (s *Store) Stats() Stats {
	out := Stats{
		Database: s.DB.Stats(), Audit: s.Audit.Stats(), CacheHits: s.cache.hits.Load(), CacheMisses: s.cache.misses.Load(),
		DatabaseUp: !s.health.current().failing, CleanupBehind: time.Duration(s.cleanupBehind.Load()),
	}
	s.cache.mu.RLock()
	defer s.cache.mu.RUnlock()
	out.Cached, out.CacheBytes = len(s.cache.clients), s.cache.bytes
	return out
}
