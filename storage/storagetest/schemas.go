package storagetest

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"gatehouse/migrations"
	"gatehouse/storage"
)

// Migrating a schema and dropping it takes PostgreSQL 300 ms of processor time, emptying its tables 20 ms. So the
// schema of a test that has ended becomes a spare schema if its structure is still that of the migrations. Its tables
// then have the rows of the migrations alone. The next test that opens a store in its own schema, still empty, gets the
// spare one under that name. To a connection of the earlier test it looks dropped: no schema has the earlier name.
//
// All processes with the same migrations share the spare schemas of a server, which remain there for the next run, and
// a reference schema, with which the structure is compared and from which the rows are copied.

// schemaLock is the key of the advisory lock of those who take a spare schema or create the reference schema.
const schemaLock = 0x6761746574657374

// server returns the connections with which this process creates, empties and drops schemas.
var server = sync.OnceValues(func() (*sql.DB, error) { return sql.Open("pgx", os.Getenv("TEST_POSTGRES_DSN")) })

// schemaVersion identifies the migrations in the names of spare and reference schemas.
var schemaVersion = sync.OnceValues(func() (string, error) {
	hash := sha256.New()
	files, err := fs.Glob(migrations.FS, "postgres/*.sql")
	for _, file := range files {
		b, readErr := fs.ReadFile(migrations.FS, file)
		err = errors.Join(err, readErr)
		_, _ = fmt.Fprintf(hash, "%s %d %s", file, len(b), b) // a hash returns no error
	}
	return hex.EncodeToString(hash.Sum(nil)[:6]), err
})

// createSchema creates an empty schema until the test ends and returns its name.
func createSchema(t testing.TB) string {
	t.Helper()
	db, err := server()
	Must(t, err)
	name := "t_" + strings.ReplaceAll(uuid.NewString(), "-", "")[:12]
	if _, err := db.ExecContext(t.Context(), "CREATE SCHEMA "+name); err != nil {
		t.Fatalf("create a schema for the test: %v", err)
	}
	t.Cleanup(func() {
		reusable, err := reuseSchema(context.Background(), db, name)
		if err != nil {
			t.Logf("the test's schema cannot be used again: %v", err)
		}
		if reusable {
			return
		}
		if _, err := db.ExecContext(context.Background(), "DROP SCHEMA "+name+" CASCADE"); err != nil {
			t.Errorf("drop the test's schema: %v", err)
		}
	})
	return name
}

// takeSchema replaces the schema of a URL, if that has no tables, by a spare one, and reports whether it did.
func takeSchema(t testing.TB, dsn string) bool {
	t.Helper()
	u, err := url.Parse(dsn)
	Must(t, err)
	name := u.Query().Get("search_path")
	if u.Scheme == storage.SQLite || name == "" {
		return false
	}
	version, err := schemaVersion()
	Must(t, err)
	db, err := server()
	Must(t, err)
	ctx := context.Background() // a test may open a store in its cleanup
	tx, err := db.BeginTx(ctx, nil)
	Must(t, err)
	defer func() { _ = tx.Rollback() }() // has no effect after Commit
	_, err = tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", int64(schemaLock))
	Must(t, err)
	var spare string
	err = tx.QueryRowContext(ctx, `SELECT spare.nspname FROM pg_namespace spare, pg_namespace n
		WHERE starts_with(spare.nspname::text, $1) AND n.nspname = $2
		AND NOT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid) LIMIT 1`,
		"spare_"+version, name).Scan(&spare)
	if errors.Is(err, sql.ErrNoRows) {
		return false
	}
	Must(t, err)
	_, err = tx.ExecContext(ctx, "DROP SCHEMA "+name+"; ALTER SCHEMA "+spare+" RENAME TO "+name)
	Must(t, err)
	Must(t, tx.Commit())
	return true
}

// reuseSchema makes a schema with the structure of the migrations a spare one, and reports whether it has that.
func reuseSchema(ctx context.Context, db *sql.DB, name string) (reusable bool, err error) {
	reference, err := referenceSchema()
	if err != nil {
		return false, err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }() // has no effect after Commit
	var equal bool
	if err := tx.QueryRowContext(ctx, compareStructure, name, reference).Scan(&equal); err != nil || !equal {
		return false, err
	}
	empty := strings.NewReplacer("SCHEMA", name, "REFERENCE", reference).Replace(emptyTables)
	rename := "ALTER SCHEMA " + name + " RENAME TO " + strings.Replace(reference, "reference", "spare", 1) + "_" + name
	if _, err := tx.ExecContext(ctx, empty+";"+rename); err != nil {
		return false, err
	}
	return true, tx.Commit()
}

// referenceSchema returns the name of the reference schema, which it creates if the server has none.
var referenceSchema = sync.OnceValues(func() (name string, err error) {
	version, err := schemaVersion()
	if err != nil {
		return "", err
	}
	db, err := server()
	if err != nil {
		return "", err
	}
	ctx := context.Background()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, tx.Commit()) }()
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", int64(schemaLock)); err != nil {
		return "", err
	}
	name = "reference_" + version
	var exists bool
	err = tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", name).Scan(&exists)
	if err != nil || exists {
		return name, err
	}
	incomplete := "new_" + name
	if _, err := db.ExecContext(ctx, dropOthers+"; CREATE SCHEMA "+incomplete); err != nil {
		return "", err
	}
	if err := migrateSchema(ctx, incomplete); err != nil {
		return "", err
	}
	_, err = tx.ExecContext(ctx, "ALTER SCHEMA "+incomplete+" RENAME TO "+name)
	return name, err
})

func migrateSchema(ctx context.Context, name string) error {
	dsn, err := schemaURL(name)
	if err != nil {
		return err
	}
	s, err := storage.Open(ctx, storage.Options{URL: dsn, Pool: 1})
	if err != nil {
		return err
	}
	_, err = s.Migrate(ctx)
	return errors.Join(err, s.Close(ctx))
}

// schemaURL returns the URL of a schema of the server.
func schemaURL(name string) (string, error) {
	u, err := url.Parse(os.Getenv("TEST_POSTGRES_DSN"))
	if err != nil {
		return "", fmt.Errorf("TEST_POSTGRES_DSN is not a postgres:// URL: %w", err)
	}
	q := u.Query()
	q.Set("search_path", name)
	u.RawQuery = q.Encode()
	return u.String(), nil
}
