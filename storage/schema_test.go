package storage

import (
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm/schema"

	"gatehouse/migrations"
	"gatehouse/storage/audit"
	"gatehouse/storage/db"
	"gatehouse/storage/vault"
)

// records are the structs that stand for tables.
var records = []any{
	&Client{}, &ClientSecret{}, &User{}, &Password{}, &BrowserSession{}, &SignInAttempt{}, &Scope{}, &Resource{},
	&Consent{}, &Grant{}, &AuthorizationRequest{}, &AuthorizationCode{}, &RevokedToken{}, &SigningKey{}, &audit.Row{},
	&UsedAssertion{}, &RegistrationToken{}, &Delivery{}, &vault.Secret{}, &audit.Seal{}, &Outage{},
}

func testURL(t *testing.T, engine string) string {
	t.Helper()
	if engine == SQLite {
		return "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db")
	}
	dsn := os.Getenv("TEST_POSTGRES_DSN")
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	name := "t_schema_" + strings.ToLower(strings.ReplaceAll(t.Name(), "/", "_"))
	if _, err := db.ExecContext(t.Context(), `DROP SCHEMA IF EXISTS "`+name+`" CASCADE; CREATE SCHEMA "`+name+`"`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = db.Exec(`DROP SCHEMA "` + name + `" CASCADE`)
		_ = db.Close()
	})
	sep := "?"
	if strings.Contains(dsn, "?") {
		sep = "&"
	}
	return dsn + sep + "search_path=" + name
}

func engines(t *testing.T) []string {
	t.Helper()
	if os.Getenv("TEST_POSTGRES_DSN") == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("TEST_POSTGRES_DSN is not set")
		}
		return []string{SQLite}
	}
	return []string{SQLite, Postgres}
}

func migrated(t *testing.T, engine string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{URL: testURL(t, engine), Pool: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.ClosePools(); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// column is what both engines must agree on.
type column struct {
	Type    string
	NotNull bool
	Key     bool
}

func sqliteSchema(t *testing.T, s *Store) map[string]map[string]column {
	t.Helper()
	out := map[string]map[string]column{}
	tables, err := db.Select[string](t.Context(), s.Read, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT IN ('goose_db_version', 'migration_checksums')")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{"BLOB": "bytes", "BIGINT": "integer", "BOOLEAN": "boolean", "TEXT": "text"}
	for _, table := range tables {
		type info struct {
			Name    string
			Type    string
			Notnull bool
			Pk      int
		}
		columns, err := db.Select[info](t.Context(), s.Read, "SELECT name, type, \"notnull\", pk FROM pragma_table_info(?)", table)
		if err != nil {
			t.Fatal(err)
		}
		out[table] = map[string]column{}
		for _, c := range columns {
			out[table][c.Name] = column{names[c.Type], c.Notnull, c.Pk > 0}
		}
	}
	return out
}

func postgresSchema(t *testing.T, s *Store) map[string]map[string]column {
	t.Helper()
	type attribute struct {
		Table, Name, Type string
		NotNull, Key      bool
	}
	columns, err := db.Select[attribute](t.Context(), s.Read, `SELECT c.relname AS table, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null,
		EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY (i.indkey)) AS key
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
		WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
		AND c.relname NOT IN ('goose_db_version', 'migration_checksums')`)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{"bytea": "bytes", "bigint": "integer", "boolean": "boolean", "text": "text"}
	out := map[string]map[string]column{}
	for _, c := range columns {
		if out[c.Table] == nil {
			out[c.Table] = map[string]column{}
		}
		out[c.Table][c.Name] = column{names[c.Type], c.NotNull, c.Key}
	}
	return out
}

// indexes lists every index as "table(columns) unique".
func indexes(t *testing.T, s *Store) []string {
	t.Helper()
	query := `SELECT m.tbl_name || ' ' || m.sql FROM sqlite_master m WHERE m.type = 'index' AND m.sql IS NOT NULL`
	if s.Engine() == Postgres {
		query = `SELECT tablename || ' ' || indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename <> 'goose_db_version'
			AND indexname NOT LIKE '%_pkey'`
	}
	out, err := db.Select[string](t.Context(), s.Read, query)
	if err != nil {
		t.Fatal(err)
	}
	for i, def := range out {
		table, rest, _ := strings.Cut(def, " ")
		_, columns, _ := strings.Cut(rest, "(")
		columns = strings.NewReplacer("(", "", ")", "").Replace(columns)
		out[i] = fmt.Sprintf("%s (%s) unique=%t", table, strings.Join(strings.Fields(columns), " "), strings.Contains(rest, "UNIQUE"))
	}
	slices.Sort(out)
	return out
}

func TestMigrationsExistInBothDialects(t *testing.T) {
	t.Parallel()
	names := func(dir string) []string {
		entries, err := fs.ReadDir(migrations.FS, dir)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, e := range entries {
			out = append(out, e.Name())
		}
		return out
	}
	if diff := cmp.Diff(names("postgres"), names("sqlite")); diff != "" {
		t.Errorf("the timelines differ (-postgres +sqlite):\n%s", diff)
	}
}

func TestBothSchemasAreEqual(t *testing.T) {
	t.Parallel()
	if len(engines(t)) < 2 {
		t.Skip("TEST_POSTGRES_DSN is not set: only SQLite is tested")
	}
	lite, pg := migrated(t, SQLite), migrated(t, Postgres)
	if diff := cmp.Diff(postgresSchema(t, pg), sqliteSchema(t, lite)); diff != "" {
		t.Errorf("tables and columns differ (-postgres +sqlite):\n%s", diff)
	}
	if diff := cmp.Diff(indexes(t, pg), indexes(t, lite)); diff != "" {
		t.Errorf("indexes differ (-postgres +sqlite):\n%s", diff)
	}
}

func TestEveryFieldHasItsColumn(t *testing.T) {
	t.Parallel()
	have := sqliteSchema(t, migrated(t, SQLite))
	delete(have, "installation") // read by hand
	delete(have, "changes")      // written and read by hand
	delete(have, "liveness")     // likewise
	for _, record := range records {
		sch, err := schema.Parse(record, &sync.Map{}, schema.NamingStrategy{})
		if err != nil {
			t.Fatal(err)
		}
		columns, ok := have[sch.Table]
		if !ok {
			t.Errorf("%T has no table %s", record, sch.Table)
			continue
		}
		for _, f := range sch.Fields {
			if f.DBName == "" {
				continue
			}
			if _, ok := columns[f.DBName]; !ok {
				t.Errorf("%s.%s has no column %s", sch.Name, f.Name, f.DBName)
			}
			delete(columns, f.DBName)
		}
		for name := range columns {
			t.Errorf("column %s.%s has no field", sch.Table, name)
		}
		delete(have, sch.Table)
	}
	for table := range have {
		t.Errorf("table %s has no record", table)
	}
}
