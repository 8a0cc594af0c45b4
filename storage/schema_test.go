package storage_test

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm/schema"

	"gatehouse/migrations"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/db"
	"gatehouse/storage/storagetest"
	"gatehouse/storage/vault"
)

// records are the structs of the tables.
var records = []any{
	&storage.Client{}, &storage.ClientSecret{}, &storage.User{}, &storage.Password{}, &storage.BrowserSession{},
	&storage.SignInAttempt{}, &storage.Scope{}, &storage.Resource{}, &storage.Consent{}, &storage.Grant{},
	&storage.AuthorizationRequest{}, &storage.AuthorizationCode{}, &storage.RevokedToken{}, &storage.SigningKey{},
	&audit.Row{}, &storage.UsedOnce{}, &storage.RegistrationToken{}, &storage.Delivery{}, &vault.Secret{},
	&audit.Seal{}, &storage.Outage{}, &storage.Group{}, &storage.GroupMember{}, &storage.ClientDocument{},
	&storage.DeletedClient{}, &storage.Role{}, &storage.RoleUser{}, &storage.RoleGroup{}, &storage.RoleClient{},
	&storage.Attribute{}, &storage.UserAttribute{}, &storage.Passkey{}, &storage.TOTPSecret{}, &storage.RecoveryCode{},
	&storage.RememberedBrowser{}, &storage.PendingSignIn{}, &storage.MailPause{}, &storage.ExternalID{},
	&storage.EmailToken{},
	&storage.SignUp{}, &storage.Invitation{}, &storage.RetiredName{},
}

// column has the properties of a column that both engines must have in common.
type column struct {
	Type    string
	NotNull bool
	Key     bool
}

func sqliteSchema(t *testing.T, s *storage.Store) map[string]map[string]column {
	t.Helper()
	out := map[string]map[string]column{}
	tables, err := db.Select[string](t.Context(), s.Read, `SELECT name FROM sqlite_master WHERE type = 'table'
		AND name NOT LIKE 'sqlite_%' AND name NOT IN ('goose_db_version', 'migration_checksums')`)
	storagetest.Must(t, err)
	names := map[string]string{"BLOB": "bytes", "BIGINT": "integer", "BOOLEAN": "boolean", "TEXT": "text"}
	for _, table := range tables {
		type info struct {
			Name    string
			Type    string
			Notnull bool
			Pk      int
		}
		const query = `SELECT name, type, "notnull", pk FROM pragma_table_info(?)`
		columns, err := db.Select[info](t.Context(), s.Read, query, table)
		storagetest.Must(t, err)
		out[table] = map[string]column{}
		for _, c := range columns {
			out[table][c.Name] = column{names[c.Type], c.Notnull, c.Pk > 0}
		}
	}
	return out
}

func postgresSchema(t *testing.T, s *storage.Store) map[string]map[string]column {
	t.Helper()
	type attribute struct {
		Table, Name, Type string
		NotNull, Key      bool
	}
	columns, err := db.Select[attribute](t.Context(), s.Read, `SELECT c.relname AS table, a.attname AS name,
		format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null,
		EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY (i.indkey)) AS key
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
		WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
		AND c.relname NOT IN ('goose_db_version', 'migration_checksums')`)
	storagetest.Must(t, err)
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
func indexes(t *testing.T, s *storage.Store) []string {
	t.Helper()
	query := `SELECT m.tbl_name || ' ' || m.sql FROM sqlite_master m WHERE m.type = 'index' AND m.sql IS NOT NULL`
	if s.Engine() == storage.Postgres {
		query = `SELECT tablename || ' ' || indexdef FROM pg_indexes WHERE schemaname = current_schema()
			AND tablename <> 'goose_db_version' AND indexname NOT LIKE '%_pkey'`
	}
	out, err := db.Select[string](t.Context(), s.Read, query)
	storagetest.Must(t, err)
	for i, def := range out {
		table, rest, _ := strings.Cut(def, " ")
		_, columns, _ := strings.Cut(rest, "(")
		// PostgreSQL writes NOT IN as a comparison with an array.
		columns = strings.NewReplacer(
			"(", "", ")", "", "::text", "", "<> ALL", "NOT IN", "ARRAY[", "", "]", "", "[]", "").Replace(columns)
		columns = strings.Join(strings.Fields(columns), " ")
		out[i] = fmt.Sprintf("%s (%s) unique=%t", table, columns, strings.Contains(rest, "UNIQUE"))
	}
	slices.Sort(out)
	return out
}

func TestMigrationsExistInBothDialects(t *testing.T) {
	t.Parallel()
	names := func(dir string) []string {
		entries, err := fs.ReadDir(migrations.FS, dir)
		storagetest.Must(t, err)
		var out []string
		for _, e := range entries {
			out = append(out, e.Name())
		}
		return out
	}
	if diff := cmp.Diff(names("postgres"), names("sqlite")); diff != "" {
		t.Errorf("names of the migrations (-postgres +sqlite):\n%s", diff)
	}
}

func TestBothSchemasAreEqual(t *testing.T) {
	t.Parallel()
	pg := openMigrated(t, storage.Options{URL: storagetest.URL(t, storage.Postgres)})
	lite := openMigrated(t, storage.Options{URL: storagetest.URL(t, storage.SQLite)})
	if diff := cmp.Diff(postgresSchema(t, pg), sqliteSchema(t, lite)); diff != "" {
		t.Errorf("tables and columns (-postgres +sqlite):\n%s", diff)
	}
	if diff := cmp.Diff(indexes(t, pg), indexes(t, lite)); diff != "" {
		t.Errorf("indexes (-postgres +sqlite):\n%s", diff)
	}
}

func TestEveryFieldHasItsColumn(t *testing.T) {
	t.Parallel()
	have := sqliteSchema(t, openMigrated(t, storage.Options{URL: storagetest.URL(t, storage.SQLite)}))
	for _, table := range []string{"installation", "changes", "liveness"} {
		delete(have, table) // written and read without a record
	}
	delete(have, "used_assertions") // only the previous version uses it
	for _, record := range records {
		sch, err := schema.Parse(record, &sync.Map{}, schema.NamingStrategy{})
		storagetest.Must(t, err)
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
