package audit_test

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/db"
	"gatehouse/storage/storagetest"
	"gatehouse/storage/vault"
)

func TestSealDetectsEveryChange(t *testing.T) {
	t.Parallel()
	const firstOfSeal2 = `(SELECT min(id) FROM audit_events WHERE seal = 2)`
	for name, tamper := range map[string]string{
		"a changed detail":     `UPDATE audit_events SET detail = '{}' WHERE seal = 2`,
		"a changed time":       `UPDATE audit_events SET at = at + 1 WHERE seal = 3`,
		"a changed user":       `UPDATE audit_events SET user_id = 'bob' WHERE seal = 1`,
		"a changed address":    `UPDATE audit_events SET personal = NULL WHERE seal = 1`,
		"a row removed":        `DELETE FROM audit_events WHERE id = ` + firstOfSeal2,
		"a row moved":          `UPDATE audit_events SET seal = 3 WHERE id = ` + firstOfSeal2,
		"a row of no seal":     `UPDATE audit_events SET seal = 99 WHERE id = ` + firstOfSeal2,
		"a seal removed":       `DELETE FROM audit_seals WHERE id = 2`,
		"a seal with its rows": `DELETE FROM audit_seals WHERE id = 2; DELETE FROM audit_events WHERE seal = 2`,
		"a count changed": `UPDATE audit_seals SET row_count = 3 WHERE id = 2; ` +
			`DELETE FROM audit_events WHERE id = ` + firstOfSeal2,
		"a time of sealing": `UPDATE audit_seals SET sealed_at = sealed_at + 1 WHERE id = 1`,
		"emptied":           `DELETE FROM audit_events; DELETE FROM audit_seals`,
		"retired by an attacker": `DELETE FROM audit_events WHERE seal = 2; ` +
			`UPDATE audit_seals SET retired_at = 1, retired_mac = mac WHERE id = 2`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storagetest.Each(t, func(t *testing.T, url string) {
				s, _ := sealedLog(t, url)
				r := verify(t, s, audit.Seal{})
				if r.Count != 0 || r.Seals != 3 || r.Rows < 12 || r.Last != 3 || r.Unsealed != 0 {
					t.Fatalf("Verify before the change = %+v, want no problem and 3 seals of at least 12 rows", r)
				}
				for statement := range strings.SplitSeq(tamper, "; ") {
					storagetest.Exec(t, s, url, statement)
				}
				if r := verify(t, s, audit.Seal{}); r.Count == 0 {
					t.Errorf("Verify after the change = %+v, want a problem", r)
				}
			})
		})
	}
}

func TestStoredHeadDetectsTruncatedLog(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		s, _ := sealedLog(t, url)
		head, err := s.Audit.LastSeal(t.Context())
		storagetest.Must(t, err)
		storagetest.Exec(t, s, url, "DELETE FROM audit_events WHERE seal = 3", "DELETE FROM audit_seals WHERE id = 3")
		if r := verify(t, s, audit.Seal{}); r.Count != 0 {
			t.Errorf("Verify of a truncated log without the stored seal = %+v, want no problem", r)
		}
		if r := verify(t, s, head); r.Count == 0 {
			t.Errorf("Verify of a truncated log with the stored seal = %+v, want a problem", r)
		}
		storagetest.Must(t, s.Audit.Record(t.Context(), storagetest.Event("invented")))
		sealRows(t, s)
		if r := verify(t, s, head); r.Count == 0 {
			t.Errorf("Verify of a log with new rows in place of the removed ones = %+v, want a problem", r)
		}
	})
}

// TestVerifyDoesNotScanAuditLog checks that the seals are verified in parts: one statement over a log of 100 million
// rows takes longer than the statement timeout of PostgreSQL.
func TestVerifyDoesNotScanAuditLog(t *testing.T) {
	t.Parallel()
	storagetest.OnPostgres(t, func(t *testing.T, url string) {
		statistics, err := sql.Open("pgx", url)
		storagetest.Must(t, err)
		t.Cleanup(func() { storagetest.Must(t, statistics.Close()) })
		count := func(query string) (n int64) {
			t.Helper()
			storagetest.Must(t, statistics.QueryRowContext(t.Context(), query).Scan(&n))
			return n
		}
		// The statistics of a process are complete when its connections are closed.
		scans := func(run func(s *storage.Store)) int64 {
			t.Helper()
			application := strings.ReplaceAll(uuid.NewString(), "-", "")
			s := storagetest.OpenUnmigrated(t, storagetest.WithParameters(t, url, "application_name", application))
			_, err := s.Migrate(t.Context())
			storagetest.Must(t, err)
			root, err := vault.NewRootKey(storagetest.Key[:])
			storagetest.Must(t, err)
			storagetest.Must(t, s.Vault.UseRootKey(t.Context(), root))
			run(s)
			storagetest.Must(t, s.Close(t.Context()))
			storagetest.Eventually(t, "the connections are closed", func() bool {
				return count("SELECT count(*) FROM pg_stat_activity WHERE application_name = '"+application+"'") == 0
			})
			return count("SELECT seq_scan FROM pg_stat_user_tables " +
				"WHERE schemaname = current_schema() AND relname = 'audit_events'")
		}
		first := scans(func(s *storage.Store) {
			storagetest.Must(t, s.Audit.Record(t.Context(), storagetest.Event("first")))
			_, err := s.Audit.SealRows(t.Context())
			storagetest.Must(t, err)
		})
		second := scans(func(s *storage.Store) {
			storagetest.Must(t, db.Exec(t.Context(), s.Write, "SELECT min(at) FROM audit_events"))
		})
		if second != first+1 {
			t.Fatalf("PostgreSQL counts %d scans for one, want 1", second-first)
		}
		third := scans(func(s *storage.Store) {
			if r := verify(t, s, audit.Seal{}); r.Count != 0 || r.Rows == 0 {
				t.Errorf("Verify = %+v, want no problem and some rows", r)
			}
		})
		if third != second {
			t.Errorf("Verify scanned the audit log %d times, want 0", third-second)
		}
	})
}

// TestVerifyDetectsTruncationAtEitherEnd removes rows with all their seals, as an attacker with write access can.
// Records that were created with a row of the log remain.
func TestVerifyDetectsTruncationAtEitherEnd(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		s, clock := sealedLog(t, url)
		create := func(id string) {
			t.Helper()
			now := clock.Now()
			storagetest.Must(t, s.CreateClient(t.Context(), &storage.Client{ID: id, CreatedAt: now, UpdatedAt: now}, nil))
			clock.Advance(time.Hour)
		}
		want := func(problem string) {
			t.Helper()
			r := verify(t, s, audit.Seal{})
			found := r.Count > 0 && strings.Contains(strings.Join(r.Problems, "\n"), problem)
			if found != (problem != "") || problem == "" && r.Count != 0 {
				t.Errorf("problems = %q, want %q", r.Problems, problem)
			}
		}
		create("first")
		want("") // the row of the client has no seal yet
		sealRows(t, s)
		storagetest.Must(t, s.Audit.Record(t.Context(), storagetest.Event("between")))
		sealRows(t, s)
		create("last")
		sealRows(t, s)
		want("")
		storagetest.Exec(t, s, url, "DELETE FROM audit_events WHERE seal >= 5", "DELETE FROM audit_seals WHERE id >= 5")
		want("the end was removed")
		storagetest.Exec(t, s, url, "DELETE FROM clients WHERE id = 'last'")
		want("") // nothing is left of its time: only a head that was stored elsewhere reveals it
		storagetest.Exec(t, s, url, "DELETE FROM audit_events", "DELETE FROM audit_seals WHERE id > 0")
		want("the log was emptied")
		storagetest.Must(t, s.Audit.Record(t.Context(), storagetest.Event("after")))
		sealRows(t, s)
		want("the beginning was removed")
	})
}

// TestVerifyAcceptsRetiredBeginning retires every row. Records from before the first remaining seal stay.
func TestVerifyAcceptsRetiredBeginning(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		s, clock := sealedLog(t, url)
		now := clock.Now()
		storagetest.Must(t, s.CreateClient(t.Context(), &storage.Client{ID: "old", CreatedAt: now, UpdatedAt: now}, nil))
		sealRows(t, s)
		clock.Advance(48 * time.Hour)
		if rows, err := retireDay(t.Context(), s, clock); err != nil || rows < 13 {
			t.Fatalf("Retire = %d, %v, want at least 13", rows, err)
		}
		if r := verify(t, s, audit.Seal{}); r.Count != 0 || r.Retired != 4 {
			t.Errorf("Verify = %+v, want no problem and 4 retired seals", r)
		}
	})
}
