// Package storagetest runs a test on both engines: a SQLite file in a temporary directory and a schema of its own in a
// real PostgreSQL. It decides nothing about storage; whatever passes here passes on what production uses.
package storagetest

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/vault"
)

// UnusedClientTTL is the default of GATEHOUSE_REGISTRATION_UNUSED_TTL.
const UnusedClientTTL = 90 * 24 * time.Hour

// Key is the root key of every test store.
var Key = sha256.Sum256([]byte("a root key for tests"))

// Each runs fn as a subtest on each engine, in parallel, with the URL of an empty database of its own. Without
// TEST_POSTGRES_DSN the PostgreSQL half is skipped, and fails when CI is set.
func Each(t *testing.T, fn func(t *testing.T, url string)) {
	t.Helper()
	for _, engine := range Engines(t) {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			fn(t, URL(t, engine))
		})
	}
}

// OnPostgres runs fn with the URL of an empty PostgreSQL database, or skips the test without TEST_POSTGRES_DSN.
func OnPostgres(t *testing.T, fn func(t *testing.T, url string)) {
	t.Helper()
	if !slices.Contains(Engines(t), storage.Postgres) {
		t.Skip("TEST_POSTGRES_DSN is not set")
	}
	fn(t, URL(t, storage.Postgres))
}

// Engines lists the engines this run can test.
func Engines(t testing.TB) []string {
	t.Helper()
	if os.Getenv("TEST_POSTGRES_DSN") != "" {
		return []string{storage.SQLite, storage.Postgres}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("TEST_POSTGRES_DSN is not set: in CI every test runs on both engines; `make test` starts a PostgreSQL")
	}
	t.Log("TEST_POSTGRES_DSN is not set: SQLite only; `make test` runs both engines")
	return []string{storage.SQLite}
}

// URL creates an empty database on the engine and returns its URL. It is deleted after the test.
func URL(t testing.TB, engine string) string {
	t.Helper()
	if engine == storage.SQLite {
		return "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db")
	}
	if os.Getenv("TEST_POSTGRES_DSN") == "" {
		Engines(t) // fails in CI
		t.Skip("needs PostgreSQL: TEST_POSTGRES_DSN is not set")
	}
	dsn, err := schemaURL(createSchema(t))
	Must(t, err)
	return dsn
}

// Open opens a migrated store with the tests' root key and production's pools (but fewer connections), and starts its
// background work.
func Open(t testing.TB, url string, clock *Clock) *storage.Store {
	t.Helper()
	return OpenPool(t, url, clock, 4)
}

// OpenPool does the same as Open with a maximum number of connections.
func OpenPool(t testing.TB, url string, clock *Clock, pool int) *storage.Store {
	t.Helper()
	ctx := context.Background()
	isMigrated := copyTemplate(t, url) || takeSchema(t, url)
	s, err := storage.Open(ctx, storage.Options{URL: url, Pool: pool, Now: clock.Now, DatabaseNow: clock.Database})
	if err != nil {
		t.Fatal(err)
	}
	Cleanup(t, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	if !isMigrated { // parsing the migrations was a tenth of the processor time of the protocol tests
		_, err = s.Migrate(ctx)
		Must(t, err)
	}
	root, err := vault.NewRootKey(Key[:])
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Vault.UseRootKey(ctx, root); err != nil {
		t.Fatal(err)
	}
	s.Start()
	return s
}

// Cleanup does the same as t.Cleanup and releases the memory that f refers to. Package testing refers to f and the test
// until all parallel tests have ended, which was more than 5 MB for each server.
func Cleanup(t testing.TB, f func()) {
	t.Cleanup(func() {
		defer func() { f = nil }()
		f()
	})
}

// copyTemplate creates the SQLite file of url, unless it exists, as a copy of a migrated database, and reports whether
// it did. Applying the migrations to each was an eighth of the processor time of the protocol tests.
func copyTemplate(t testing.TB, url string) bool {
	t.Helper()
	path, ok := strings.CutPrefix(url, "sqlite:")
	if !ok {
		return false
	}
	if _, err := os.Stat(path); err == nil {
		return false
	}
	b, err := template()
	Must(t, err)
	Must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	Must(t, os.WriteFile(path, b, 0o600))
	return true
}

// template returns the content of an empty migrated SQLite database.
var template = sync.OnceValues(func() (b []byte, err error) {
	dir, err := os.MkdirTemp("", "gatehouse-template-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "gatehouse.db")
	ctx := context.Background()
	s, err := storage.Open(ctx, storage.Options{URL: "sqlite:" + path, Pool: 1})
	if err != nil {
		return nil, err
	}
	_, err = s.Migrate(ctx)
	// Closing the last connection writes the write-ahead log into the file.
	if err := errors.Join(err, s.Close(ctx)); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// OpenUnmigrated opens a store as production does, without migrating it, beginning background work or a root key.
func OpenUnmigrated(t testing.TB, url string) *storage.Store {
	t.Helper()
	s, err := storage.Open(context.Background(), storage.Options{URL: url})
	Must(t, err)
	t.Cleanup(func() { Must(t, s.Close(context.Background())) })
	return s
}

// WithParameters returns the URL of a database with more parameters, given as names and values.
func WithParameters(t testing.TB, dsn string, parameters ...string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	Must(t, err)
	q := u.Query()
	for i := 0; i < len(parameters); i += 2 {
		q.Set(parameters[i], parameters[i+1])
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// Concurrently runs fn in n goroutines that begin together and returns when all are done.
func Concurrently(n int, fn func(i int)) {
	var wait sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wait.Go(func() {
			<-start
			fn(i)
		})
	}
	close(start)
	wait.Wait()
}

// CreateDocumentClient stores a public client as if its document had just been fetched, which is impossible for a host
// that does not exist.
func CreateDocumentClient(t testing.TB, s *storage.Store, c *storage.Client) {
	t.Helper()
	now := s.Now()
	c.Epoch, c.CreatedAt, c.UpdatedAt, c.DocumentHash = 1, now, now, []byte{1}
	c.AuthMethod, c.SubjectType, c.RequirePKCE, c.RefreshRotation = storage.AuthNone, storage.SubjectPublic, true, true
	c.GrantTypes = storage.Strings{"authorization_code"}
	Must(t, s.CreateDocumentClient(t.Context(), c, storage.ClientDocument{
		ClientID: c.ID, FetchedAt: now, ExpiresAt: now.Add(time.Hour),
	}))
}

// Event returns an audit event for tests that are not about it.
func Event(name string) audit.Event { return audit.Event{Type: "test." + name} }

// Must fails the test on an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(fmt.Errorf("unexpected error: %w", err))
	}
}

// Dump returns every row of every table, one per line after the name of its table: what an attacker with the database
// could read.
func Dump(t testing.TB, s *storage.Store, dsn string) string {
	t.Helper()
	db := connect(t, s, dsn)
	var b strings.Builder
	for _, table := range tables(t, s, db) {
		for _, row := range queryAll(t, db, `SELECT * FROM "`+table+`"`) {
			b.WriteString(table + ": " + row + "\n")
		}
	}
	return b.String()
}

// AddColumns adds a column to every table, as a later version does.
func AddColumns(t testing.TB, s *storage.Store, dsn string) {
	t.Helper()
	for _, table := range tables(t, s, connect(t, s, dsn)) {
		Exec(t, s, dsn, `ALTER TABLE "`+table+`" ADD COLUMN of_a_later_version TEXT`)
	}
}

// Exec changes the database without the store, as another program does.
func Exec(t testing.TB, s *storage.Store, dsn string, statements ...string) {
	t.Helper()
	db := connect(t, s, dsn)
	for _, statement := range statements {
		_, err := db.ExecContext(context.Background(), statement)
		Must(t, err)
	}
}

// ResetCleanupTime makes cleanup follow a clock that a test has advanced by more than an hour, as it eventually would.
func ResetCleanupTime(t testing.TB, s *storage.Store, dsn string) {
	t.Helper()
	Exec(t, s, dsn, "UPDATE liveness SET cleanup_at = NULL, seen_at = NULL")
}

// Count returns the number that a query returns, without the store.
func Count(t testing.TB, s *storage.Store, dsn, query string) (n int64) {
	t.Helper()
	Must(t, connect(t, s, dsn).QueryRowContext(context.Background(), query).Scan(&n))
	return n
}

// Lock prevents other sessions from changing a table, on SQLite the whole database, until release.
func Lock(t testing.TB, s *storage.Store, dsn, table string) (release func()) {
	t.Helper()
	conn, err := connect(t, s, dsn).Conn(context.Background())
	Must(t, err)
	statements := []string{"BEGIN", `LOCK TABLE "` + table + `" IN ACCESS EXCLUSIVE MODE`}
	if s.Engine() == storage.SQLite {
		statements = []string{"BEGIN IMMEDIATE"}
	}
	for _, statement := range statements {
		_, err := conn.ExecContext(context.Background(), statement)
		Must(t, err)
	}
	return func() {
		t.Helper()
		_, err := conn.ExecContext(context.Background(), "ROLLBACK")
		Must(t, err)
		Must(t, conn.Close())
	}
}

// LockRow runs a statement that locks rows in PostgreSQL, which stay locked until release.
func LockRow(t testing.TB, s *storage.Store, dsn, statement string) (release func()) {
	t.Helper()
	tx, err := connect(t, s, dsn).BeginTx(context.Background(), nil)
	Must(t, err)
	_, err = tx.ExecContext(context.Background(), statement)
	Must(t, err)
	return func() {
		t.Helper()
		Must(t, tx.Rollback())
	}
}

// ExecError executes one statement without the store and returns its error.
func ExecError(t testing.TB, s *storage.Store, dsn, statement string) error {
	t.Helper()
	_, err := connect(t, s, dsn).ExecContext(context.Background(), statement)
	return err
}

// connect opens a separate connection until the test ends.
func connect(t testing.TB, s *storage.Store, dsn string) *sql.DB {
	t.Helper()
	var db *sql.DB
	if s.Engine() == storage.SQLite {
		var err error
		db, err = sql.Open("sqlite", strings.TrimPrefix(dsn, "sqlite:"))
		Must(t, err)
	} else {
		config, err := pgx.ParseConfig(dsn)
		Must(t, err)
		config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol // PgBouncer may be between
		db = stdlib.OpenDB(*config)
	}
	t.Cleanup(func() { Must(t, db.Close()) })
	return db
}

func tables(t testing.TB, s *storage.Store, db *sql.DB) []string {
	t.Helper()
	query := "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1"
	if s.Engine() == storage.SQLite {
		query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1"
	}
	names := queryAll(t, db, query)
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	return names
}

func queryAll(t testing.TB, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.QueryContext(context.Background(), query)
	Must(t, err)
	defer func() { Must(t, rows.Close()) }()
	columns, err := rows.Columns()
	Must(t, err)
	var out []string
	for rows.Next() {
		values := make([]sql.RawBytes, len(columns))
		dest := make([]any, len(columns))
		for i := range values {
			dest[i] = &values[i]
		}
		Must(t, rows.Scan(dest...))
		line := ""
		for _, v := range values {
			line += string(v) + " "
		}
		out = append(out, line)
	}
	Must(t, rows.Err())
	return out
}
