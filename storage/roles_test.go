package storage_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"

	"gatehouse/storage"
	"gatehouse/storage/db"
	"gatehouse/storage/storagetest"
	"gatehouse/storage/vault"
)

// TestRuntimeRoleCannotRewriteHistory runs on PostgreSQL with a role of its own.
func TestRuntimeRoleCannotRewriteHistory(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, dsn string) {
		owner := storagetest.Open(t, dsn, storagetest.NewClock())
		role := "runtime_" + uuid.NewString()[:8]
		if owner.Engine() == storage.SQLite {
			if err := owner.GrantRuntimeRole(t.Context(), role); err == nil {
				t.Error("SQLite has roles now")
			}
			return
		}
		storagetest.Exec(t, owner, dsn, `CREATE ROLE "`+role+`" LOGIN`)
		t.Cleanup(func() { storagetest.Exec(t, owner, dsn, `DROP OWNED BY "`+role+`"`, `DROP ROLE "`+role+`"`) })
		if err := owner.GrantRuntimeRole(t.Context(), `x"; DROP TABLE clients; --`); err == nil {
			t.Error("that is no role")
		}
		storagetest.Must(t, owner.GrantRuntimeRole(t.Context(), role))
		u, err := url.Parse(dsn)
		storagetest.Must(t, err)
		u.User = url.User(role)
		s, err := storage.Open(t.Context(), storage.Options{URL: u.String(), Pool: 2})
		storagetest.Must(t, err)
		defer func() { storagetest.Must(t, s.Close(t.Context())) }()
		if ahead, err := s.RequireSchema(t.Context()); ahead || err != nil {
			t.Errorf("%t %v", ahead, err)
		}
		root, err := vault.NewRootKey(storagetest.Key[:])
		storagetest.Must(t, err)
		storagetest.Must(t, s.Vault.UseRootKey(t.Context(), root))
		storagetest.Must(t, s.Audit.Record(t.Context(), storagetest.Event("by_the_role")))
		if n, err := s.Audit.SealRows(t.Context()); n == 0 || err != nil {
			t.Errorf("sealed %d: %v", n, err)
		}
		if _, err := s.DeleteExpired(t.Context()); err != nil {
			t.Errorf("clean-up: %v", err)
		}
		for _, statement := range []string{
			"DELETE FROM audit_events", "UPDATE audit_events SET detail = 'x'",
			"UPDATE audit_events SET personal_key = NULL", "TRUNCATE audit_events",
			"ALTER TABLE audit_events DISABLE TRIGGER ALL",
			"DELETE FROM audit_seals", "UPDATE audit_seals SET mac = ''",
			"CREATE TABLE mine (x INT)", "DROP TABLE clients",
			"DELETE FROM secrets", "UPDATE secrets SET sealed = ''",
			"INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)",
			"INSERT INTO migration_checksums (version, sha256) VALUES (9999, '')", "UPDATE migration_checksums SET sha256 = ''",
			"DELETE FROM migration_checksums",
		} {
			if err := storagetest.ExecError(t, s, u.String(), statement); !db.IsDenied(err) {
				t.Errorf("%s: %v", statement, err)
			}
		}
		if _, err := s.Audit.Retire(t.Context(), time.Now().Add(time.Hour), func(int64, int64) {}); !db.IsDenied(err) {
			t.Errorf("retiring: %v", err)
		}
		// As after an upgrade without --grant-to.
		for _, table := range []string{"changes", "liveness", "outages"} {
			storagetest.Exec(t, owner, dsn, `REVOKE ALL ON `+table+` FROM "`+role+`"`)
			if _, err := s.RequireSchema(t.Context()); !db.IsDenied(err) {
				t.Errorf("without privileges on %s: %v", table, err)
			}
			storagetest.Must(t, owner.GrantRuntimeRole(t.Context(), role))
		}
		if _, err := s.RequireSchema(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
