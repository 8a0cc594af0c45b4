package storage_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"

	"gatehouse/storage"
	"gatehouse/storage/db"
	"gatehouse/storage/storagetest"
)

// forbiddenStatements are statements that would change the history, the schema or the secrets.
var forbiddenStatements = []string{
	"DELETE FROM audit_events", "UPDATE audit_events SET detail = 'x'",
	"UPDATE audit_events SET personal_key = NULL", "TRUNCATE audit_events",
	"ALTER TABLE audit_events DISABLE TRIGGER ALL",
	"DELETE FROM audit_seals", "UPDATE audit_seals SET mac = ''",
	"CREATE TABLE mine (x INT)", "DROP TABLE clients",
	"DELETE FROM secrets", "UPDATE secrets SET sealed = ''",
	"INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)",
	"INSERT INTO migration_checksums (version, sha256) VALUES (9999, '')",
	"UPDATE migration_checksums SET sha256 = ''", "DELETE FROM migration_checksums",
}

func TestRuntimeRoleIsRefusedOnSQLite(t *testing.T) {
	t.Parallel()
	s := storagetest.Open(t, storagetest.URL(t, storage.SQLite), storagetest.NewClock())
	if err := s.GrantRuntimeRole(t.Context(), "runtime"); err == nil {
		t.Error("GrantRuntimeRole on SQLite, which has no roles, returned no error")
	}
}

// TestRuntimeRoleCannotRewriteHistory runs on PostgreSQL with a separate role.
func TestRuntimeRoleCannotRewriteHistory(t *testing.T) {
	t.Parallel()
	storagetest.OnPostgres(t, func(t *testing.T, dsn string) {
		owner := storagetest.Open(t, dsn, storagetest.NewClock())
		role := "runtime_" + uuid.NewString()[:8]
		storagetest.Exec(t, owner, dsn, `CREATE ROLE "`+role+`" LOGIN`)
		t.Cleanup(func() { storagetest.Exec(t, owner, dsn, `DROP OWNED BY "`+role+`"`, `DROP ROLE "`+role+`"`) })
		if err := owner.GrantRuntimeRole(t.Context(), `x"; DROP TABLE clients; --`); err == nil {
			t.Error("GrantRuntimeRole with an invalid name of a role returned no error")
		}
		storagetest.Must(t, owner.GrantRuntimeRole(t.Context(), role))
		u, err := url.Parse(dsn)
		storagetest.Must(t, err)
		u.User = url.User(role)
		s, err := storage.Open(t.Context(), storage.Options{URL: u.String(), Pool: 2})
		storagetest.Must(t, err)
		defer func() { storagetest.Must(t, s.Close(t.Context())) }()
		wantServing(t, s)
		for _, statement := range forbiddenStatements {
			if err := storagetest.ExecError(t, s, u.String(), statement); !db.IsDenied(err) {
				t.Errorf("%s = %v, want it denied", statement, err)
			}
		}
		if _, err := s.Audit.Retire(t.Context(), time.Now().Add(time.Hour), func(int64, int64) {}); !db.IsDenied(err) {
			t.Errorf("Retire = %v, want it denied", err)
		}
		// As after an upgrade without --grant-to.
		for _, table := range []string{"changes", "liveness", "outages"} {
			storagetest.Exec(t, owner, dsn, `REVOKE ALL ON `+table+` FROM "`+role+`"`)
			if _, err := s.RequireSchema(t.Context()); !db.IsDenied(err) {
				t.Errorf("RequireSchema without privileges on %s = %v, want it denied", table, err)
			}
			storagetest.Must(t, owner.GrantRuntimeRole(t.Context(), role))
		}
		if _, err := s.RequireSchema(t.Context()); err != nil {
			t.Errorf("RequireSchema with every privilege = %v, want no error", err)
		}
	})
}

// wantServing fails the test unless the store can do what a server does.
func wantServing(t *testing.T, s *storage.Store) {
	t.Helper()
	if ahead, err := s.RequireSchema(t.Context()); ahead || err != nil {
		t.Errorf("RequireSchema = %t, %v, want false and no error", ahead, err)
	}
	storagetest.Must(t, s.Vault.UseRootKey(t.Context(), rootKey(t, "")))
	storagetest.Must(t, s.Audit.Record(t.Context(), storagetest.Event("by_the_role")))
	if n, err := s.Audit.SealRows(t.Context()); n == 0 || err != nil {
		t.Errorf("SealRows = %d, %v, want some rows", n, err)
	}
	if _, err := s.DeleteExpired(t.Context(), storagetest.UnusedClientTTL); err != nil {
		t.Errorf("DeleteExpired = %v, want no error", err)
	}
}
