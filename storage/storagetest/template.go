package storagetest

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"gatehouse/migrations"
	"gatehouse/storage"
)

// Applying the migrations to every database was a large part of the processor time of the tests, so most are copied
// from a migrated one.

// copies has the URLs of the databases that were copied from a migrated one.
var copies sync.Map

// MigratedURL does the same as URL, but the database has the current schema when it is opened with Open.
func MigratedURL(t testing.TB, engine string) string {
	t.Helper()
	if engine == storage.SQLite {
		return URL(t, engine)
	}
	dsn := postgresDSN(t)
	template, err := postgresTemplate()
	Must(t, err)
	u := createDatabase(t, dsn, " TEMPLATE "+template+" STRATEGY file_copy")
	copies.Store(u, true)
	return u
}

// createDatabase creates a PostgreSQL database and returns its URL. It is deleted after the test.
func createDatabase(t testing.TB, dsn, options string) string {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	Must(t, err)
	name := newDatabaseName()
	_, err = db.ExecContext(t.Context(), "CREATE DATABASE "+name+options)
	Must(t, err)
	t.Cleanup(func() {
		if _, err := db.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
		Must(t, db.Close())
	})
	return withDatabase(dsn, name)
}

func newDatabaseName() string { return "t_" + strings.ReplaceAll(uuid.NewString()[:13], "-", "_") }

// withDatabase returns the URL with another name of a database.
func withDatabase(dsn, name string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		return dsn
	}
	u.Path = "/" + name
	return u.String()
}

// postgresTemplate returns the name of a migrated database. It creates it unless an earlier test process did: its name
// has the hash of the migrations. It is never deleted, because other test processes may be copying it.
var postgresTemplate = sync.OnceValues(func() (name string, err error) {
	hash := sha256.New()
	err = fs.WalkDir(migrations.FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(migrations.FS, path)
		fmt.Fprintf(hash, "%s %d %s", path, len(b), b)
		return err
	})
	if err != nil {
		return "", err
	}
	name = fmt.Sprintf("gatehouse_template_%x", hash.Sum(nil)[:8])
	ctx, dsn := context.Background(), os.Getenv("TEST_POSTGRES_DSN")
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	exists := false
	row := db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)", name)
	if err := row.Scan(&exists); err != nil {
		return "", err
	}
	if !exists {
		if err := createTemplate(ctx, db, dsn, name); err != nil {
			return "", fmt.Errorf("create a template database: %w", err)
		}
	}
	return name, nil
})

// createTemplate creates a migrated database and gives it its name when it is complete. If another process was faster,
// it deletes its own.
func createTemplate(ctx context.Context, db *sql.DB, dsn, name string) error {
	own := newDatabaseName()
	if _, err := db.ExecContext(ctx, "CREATE DATABASE "+own); err != nil {
		return err
	}
	if err := migrate(ctx, withDatabase(dsn, own)); err != nil {
		return err
	}
	// Without connections, as a copy requires: those of autovacuum too.
	if _, err := db.ExecContext(ctx, "ALTER DATABASE "+own+" ALLOW_CONNECTIONS false"); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "ALTER DATABASE "+own+" RENAME TO "+name); err == nil {
		return nil
	}
	_, err := db.ExecContext(ctx, "DROP DATABASE "+own+" WITH (FORCE)")
	return err
}

// migrate applies the migrations to a database.
func migrate(ctx context.Context, url string) error {
	s, err := storage.Open(ctx, storage.Options{URL: url, Pool: 2})
	if err != nil {
		return err
	}
	_, err = s.Migrate(ctx)
	return errors.Join(err, s.Close(ctx)) // of SQLite: closing the last connection writes the log into the file
}

// copyTemplate creates the SQLite file of url, unless it exists, as a copy of a migrated database.
func copyTemplate(t testing.TB, url string) {
	t.Helper()
	path, ok := strings.CutPrefix(url, "sqlite:")
	if !ok {
		return
	}
	if _, err := os.Stat(path); err == nil {
		return
	}
	b, err := sqliteTemplate()
	Must(t, err)
	Must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	Must(t, os.WriteFile(path, b, 0o600))
	copies.Store(url, true)
}

// sqliteTemplate returns the content of an empty migrated SQLite database.
var sqliteTemplate = sync.OnceValues(func() (b []byte, err error) {
	dir, err := os.MkdirTemp("", "gatehouse-template-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "gatehouse.db")
	if err := migrate(context.Background(), "sqlite:"+path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})
