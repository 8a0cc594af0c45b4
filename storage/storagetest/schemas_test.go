package storagetest_test

import (
	"database/sql"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// openServer returns connections to the PostgreSQL server.
func openServer(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", os.Getenv("TEST_POSTGRES_DSN"))
	storagetest.Must(t, err)
	t.Cleanup(func() { storagetest.Must(t, db.Close()) })
	return db
}

// TestSpareSchemaHasRowsOfMigrationsAlone compares the schema of a test that has ended, which changed every table that
// has rows and others, with the reference schema.
func TestSpareSchemaHasRowsOfMigrationsAlone(t *testing.T) {
	t.Parallel()
	for name, statement := range map[string]string{
		"few rows":  "INSERT INTO revoked_tokens VALUES ('x', 1, 2)",
		"many rows": "INSERT INTO revoked_tokens SELECT repeat('x', 200) || i, 1, 2 FROM generate_series(1, 10000) i",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storagetest.OnPostgres(t, func(t *testing.T, url string) { compareSpareSchema(t, url, statement) })
		})
	}
}

func compareSpareSchema(t *testing.T, url, statement string) {
	t.Helper()
	reference, err := storagetest.ReferenceSchema()
	storagetest.Must(t, err)
	// Until it is compared, no other process may take the spare schema.
	admin := openServer(t)
	lock, err := admin.Conn(t.Context())
	storagetest.Must(t, err)
	defer func() { storagetest.Must(t, lock.Close()) }()
	var name string
	earlier := &sql.DB{}
	t.Run("earlier test", func(t *testing.T) {
		own := storagetest.URL(t, storage.Postgres)
		s := storagetest.Open(t, own, storagetest.NewClock())
		u := storage.User{ID: "u", Username: "alice", CreatedAt: s.Now(), UpdatedAt: s.Now()}
		storagetest.Must(t, s.CreateUser(t.Context(), &u, "x", nil))
		storagetest.Exec(t, s, own, "DELETE FROM scopes", "UPDATE liveness SET seen_at = 1",
			"DELETE FROM migration_checksums", "UPDATE audit_seals SET row_count = 9",
			"INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)",
			statement)
		earlier, err = sql.Open("pgx", own)
		storagetest.Must(t, err)
		storagetest.Must(t, earlier.QueryRowContext(t.Context(), countUsers).Scan(new(int)))
		storagetest.Must(t, earlier.QueryRowContext(t.Context(), "SELECT current_schema()").Scan(&name))
		_, err = lock.ExecContext(t.Context(), "SELECT pg_advisory_lock($1)", int64(storagetest.SchemaLock))
		storagetest.Must(t, err)
	})
	defer func() { storagetest.Must(t, earlier.Close()) }()
	s := storagetest.OpenUnmigrated(t, url)
	spare := strings.Replace(reference, "reference", "spare", 1) + "_" + name
	rows := func(schema string) []string {
		dump := storagetest.Dump(t, s, storagetest.WithParameters(t, url, "search_path", schema))
		return append(slices.Sorted(strings.Lines(dump)), nextVersion(t, admin, schema))
	}
	want := rows(reference)
	if diff := cmp.Diff(want, rows(spare)); diff != "" || len(want) < 30 {
		t.Errorf("%d rows of the reference schema, and the spare schema (-reference +spare):\n%s", len(want), diff)
	}
	if err := earlier.QueryRowContext(t.Context(), countUsers).Scan(new(int)); err == nil {
		t.Error("a connection of the earlier test finds the tables")
	}
}

// nextVersion returns the position of the only sequence.
func nextVersion(t *testing.T, db *sql.DB, schema string) (position string) {
	t.Helper()
	query := "SELECT last_value || ' ' || is_called FROM " + schema + ".goose_db_version_id_seq"
	storagetest.Must(t, db.QueryRowContext(t.Context(), query).Scan(&position))
	return position
}

const countUsers = "SELECT count(*) FROM users"

// TestChangedStructureIsDetected prevents that a schema with another structure becomes a spare one.
func TestChangedStructureIsDetected(t *testing.T) {
	t.Parallel()
	storagetest.OnPostgres(t, func(t *testing.T, url string) {
		s := storagetest.Open(t, url, storagetest.NewClock())
		storagetest.Exec(t, s, url, "UPDATE liveness SET seen_at = 1", "ANALYZE") // is no such change
		reference, err := storagetest.ReferenceSchema()
		storagetest.Must(t, err)
		db, err := sql.Open("pgx", url)
		storagetest.Must(t, err)
		defer func() { storagetest.Must(t, db.Close()) }()
		for _, statement := range []string{
			"SELECT 1",
			"ALTER TABLE users ADD COLUMN later TEXT", "ALTER TABLE users DROP COLUMN email",
			"ALTER TABLE users ALTER COLUMN disabled_at SET NOT NULL", "ALTER TABLE users ALTER COLUMN email SET DEFAULT 'x'",
			"ALTER TABLE users ADD CHECK (id <> '')", "ALTER TABLE passwords DROP CONSTRAINT passwords_pkey",
			"ALTER TABLE passwords DISABLE TRIGGER ALL", "ALTER TABLE users ENABLE ROW LEVEL SECURITY",
			"ALTER TABLE users RENAME TO additional", "DROP TABLE passwords", "CREATE TABLE additional (x INT)",
			"DROP INDEX revoked_tokens_expires", "CREATE INDEX additional ON users (created_at)",
			"CREATE VIEW additional AS SELECT 1", "CREATE SEQUENCE additional", "CREATE TYPE additional AS ENUM ('x')",
			"CREATE RULE additional AS ON DELETE TO users DO INSTEAD NOTHING",
			"CREATE FUNCTION additional() RETURNS INT LANGUAGE sql AS 'SELECT 1'",
			"GRANT SELECT ON users TO PUBLIC", "GRANT SELECT (id) ON users TO PUBLIC",
			"DO $$ BEGIN EXECUTE 'GRANT USAGE ON SCHEMA ' || current_schema() || ' TO PUBLIC'; END $$",
			"ALTER TABLE users OWNER TO pg_monitor", "ALTER TABLE users SET (fillfactor = 50)",
		} {
			tx, err := db.BeginTx(t.Context(), nil)
			storagetest.Must(t, err)
			_, err = tx.ExecContext(t.Context(), statement)
			storagetest.Must(t, err)
			var schema string
			storagetest.Must(t, tx.QueryRowContext(t.Context(), "SELECT current_schema()").Scan(&schema))
			var equal bool
			storagetest.Must(t, tx.QueryRowContext(t.Context(), storagetest.CompareStructure, schema, reference).Scan(&equal))
			if want := statement == "SELECT 1"; equal != want {
				t.Errorf("after %s the structure is equal: got %t, want %t", statement, equal, want)
			}
			storagetest.Must(t, tx.Rollback())
		}
	})
}
