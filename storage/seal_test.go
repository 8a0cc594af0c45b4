package storage_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/db"
	"gatehouse/storage/reqevent"
	"gatehouse/storage/storagetest"
	"gatehouse/storage/vault"
)

// from is a request of somebody.
func from(ctx context.Context) context.Context {
	return reqevent.With(ctx, &reqevent.Event{Actor: "user:alice", Address: "192.0.2.77", UserAgent: "Browser/77", RequestID: "the-request"})
}

// sealedLog has three seals of four rows each.
func sealedLog(t *testing.T, url string) (*storage.Store, *storagetest.Clock) {
	t.Helper()
	clock := storagetest.NewClock()
	s := storagetest.Open(t, url, clock)
	for i := range 3 {
		for j := range 4 {
			storagetest.Must(t, s.Audit.Record(from(t.Context()), audit.Event{Type: "test.sealed", UserID: "alice", Detail: map[string]any{"n": 4*i + j}}))
		}
		n, err := s.Audit.SealRows(t.Context())
		if err != nil || n < 4 {
			t.Fatalf("sealed %d: %v", n, err)
		}
		clock.Advance(time.Second)
	}
	return s, clock
}

func verify(t *testing.T, s *storage.Store, known audit.Seal) audit.Report {
	t.Helper()
	report, err := s.Audit.Verify(t.Context(), known, func(int64, int64) {})
	storagetest.Must(t, err)
	return report
}

func TestSealDetectsEveryChange(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]string{
		"a changed detail":     `UPDATE audit_events SET detail = '{}' WHERE seal = 2`,
		"a changed time":       `UPDATE audit_events SET at = at + 1 WHERE seal = 3`,
		"a changed person":     `UPDATE audit_events SET user_id = 'bob' WHERE seal = 1`,
		"a changed address":    `UPDATE audit_events SET personal = NULL WHERE seal = 1`,
		"a row removed":        `DELETE FROM audit_events WHERE id = (SELECT min(id) FROM audit_events WHERE seal = 2)`,
		"a row moved":          `UPDATE audit_events SET seal = 3 WHERE id = (SELECT min(id) FROM audit_events WHERE seal = 2)`,
		"a row of no seal":     `UPDATE audit_events SET seal = 99 WHERE id = (SELECT min(id) FROM audit_events WHERE seal = 2)`,
		"a seal removed":       `DELETE FROM audit_seals WHERE id = 2`,
		"a seal with its rows": `DELETE FROM audit_seals WHERE id = 2; DELETE FROM audit_events WHERE seal = 2`,
		"a count changed":      `UPDATE audit_seals SET row_count = 3 WHERE id = 2; DELETE FROM audit_events WHERE id = (SELECT min(id) FROM audit_events WHERE seal = 2)`,
		"a time of sealing":    `UPDATE audit_seals SET sealed_at = sealed_at + 1 WHERE id = 1`,
		"emptied":              `DELETE FROM audit_events; DELETE FROM audit_seals`,
		"retired by a thief":   `DELETE FROM audit_events WHERE seal = 2; UPDATE audit_seals SET retired_at = 1, retired_mac = mac WHERE id = 2`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storagetest.Each(t, func(t *testing.T, url string) {
				s, _ := sealedLog(t, url)
				if r := verify(t, s, audit.Seal{}); r.Count != 0 || r.Seals != 3 || r.Rows < 12 || r.Last != 3 || r.Unsealed != 0 {
					t.Fatalf("before: %+v", r)
				}
				for statement := range strings.SplitSeq(tamper, "; ") {
					storagetest.Exec(t, s, url, statement)
				}
				if r := verify(t, s, audit.Seal{}); r.Count == 0 {
					t.Errorf("it was not found: %+v", r)
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
			t.Errorf("without the head: %+v", r)
		}
		if r := verify(t, s, head); r.Count == 0 {
			t.Errorf("with the head: %+v", r)
		}
		storagetest.Must(t, s.Audit.Record(t.Context(), storagetest.Event("made_up")))
		if _, err := s.Audit.SealRows(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r := verify(t, s, head); r.Count == 0 {
			t.Errorf("after the log was made anew: %+v", r)
		}
	})
}

// TestVerifyDoesNotScanTheAuditLog: one statement over a log of 100 million rows takes longer than PostgreSQL lets a statement
// take, while the seals are verified in parts.
func TestVerifyDoesNotScanTheAuditLog(t *testing.T) {
	t.Parallel()
	onPostgres(t, func(t *testing.T, url string) {
		db, err := sql.Open("pgx", url)
		storagetest.Must(t, err)
		t.Cleanup(func() { storagetest.Must(t, db.Close()) })
		count := func(query string) (n int64) {
			t.Helper()
			storagetest.Must(t, db.QueryRowContext(t.Context(), query).Scan(&n))
			return n
		}
		// The statistics of a process are complete when its connections are gone.
		scans := func(run func(s *storage.Store)) int64 {
			t.Helper()
			application := strings.ReplaceAll(uuid.NewString(), "-", "")
			s := opened(t, with(t, url, "application_name", application))
			_, err := s.Migrate(t.Context())
			storagetest.Must(t, err)
			root, err := vault.NewRootKey(storagetest.Key[:])
			storagetest.Must(t, err)
			storagetest.Must(t, s.Vault.UseRootKey(t.Context(), root))
			run(s)
			storagetest.Must(t, s.Close(t.Context()))
			deadline, tick := time.After(time.Minute), time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for count("SELECT count(*) FROM pg_stat_activity WHERE application_name = '"+application+"'") > 0 {
				select {
				case <-tick.C:
				case <-deadline:
					t.Fatal("the connections stay open")
				}
			}
			return count("SELECT seq_scan FROM pg_stat_user_tables WHERE schemaname = current_schema() AND relname = 'audit_events'")
		}
		first := scans(func(s *storage.Store) {
			storagetest.Must(t, s.Audit.Record(t.Context(), storagetest.Event("first")))
			_, err := s.Audit.SealRows(t.Context())
			storagetest.Must(t, err)
		})
		second := scans(func(s *storage.Store) {
			storagetest.Must(t, s.Execute(t.Context(), "SELECT min(at) FROM audit_events"))
		})
		if second != first+1 {
			t.Fatalf("a scan was counted %d times", second-first)
		}
		third := scans(func(s *storage.Store) {
			if r := verify(t, s, audit.Seal{}); r.Count != 0 || r.Rows == 0 {
				t.Errorf("%+v", r)
			}
		})
		if third != second {
			t.Errorf("the audit log was scanned %d times", third-second)
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
			storagetest.Must(t, s.CreateClient(t.Context(), &storage.Client{ID: id, CreatedAt: now, UpdatedAt: now}, audit.Event{Type: audit.ClientCreated}))
			clock.Advance(time.Hour)
		}
		seal := func() {
			t.Helper()
			if _, err := s.Audit.SealRows(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		want := func(problem string) {
			t.Helper()
			r := verify(t, s, audit.Seal{})
			if problem == "" && r.Count != 0 || problem != "" && (r.Count == 0 || !strings.Contains(strings.Join(r.Problems, "\n"), problem)) {
				t.Errorf("problems = %q, want %q", r.Problems, problem)
			}
		}
		create("first")
		want("") // the row of the client has no seal yet
		seal()
		storagetest.Must(t, s.Audit.Record(t.Context(), storagetest.Event("between")))
		seal()
		create("last")
		seal()
		want("")
		storagetest.Exec(t, s, url, "DELETE FROM audit_events WHERE seal >= 5", "DELETE FROM audit_seals WHERE id >= 5")
		want("the end was removed")
		storagetest.Exec(t, s, url, "DELETE FROM clients WHERE id = 'last'")
		want("") // nothing is left of its time: only a head that was stored elsewhere reveals it
		storagetest.Exec(t, s, url, "DELETE FROM audit_events", "DELETE FROM audit_seals WHERE id > 0")
		want("the log was emptied")
		storagetest.Must(t, s.Audit.Record(t.Context(), storagetest.Event("after")))
		seal()
		want("the beginning was removed")
	})
}

// TestVerifyAcceptsRetiredBeginning retires every row. Records from before the first remaining seal stay.
func TestVerifyAcceptsRetiredBeginning(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		s, clock := sealedLog(t, url)
		now := clock.Now()
		storagetest.Must(t, s.CreateClient(t.Context(), &storage.Client{ID: "old", CreatedAt: now, UpdatedAt: now}, audit.Event{Type: audit.ClientCreated}))
		if _, err := s.Audit.SealRows(t.Context()); err != nil {
			t.Fatal(err)
		}
		clock.Advance(48 * time.Hour)
		if rows, err := s.Audit.Retire(t.Context(), clock.Now().Add(-24*time.Hour), func(int64, int64) {}); err != nil || rows < 13 {
			t.Fatalf("retired %d rows: %v", rows, err)
		}
		if r := verify(t, s, audit.Seal{}); r.Count != 0 || r.Retired != 4 {
			t.Errorf("%+v", r)
		}
	})
}

// TestManyProcessesSealOneChain: rows are written and sealed by four at once, and every row is in one seal.
func TestManyProcessesSealOneChain(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		clock := storagetest.NewClock()
		stores := make([]*storage.Store, 4)
		for i := range stores {
			stores[i] = storagetest.Open(t, url, clock)
		}
		var written sync.WaitGroup
		wrote := make(chan struct{}, 240)
		for _, s := range stores {
			written.Go(func() {
				for range 60 {
					if err := s.Audit.Record(from(t.Context()), storagetest.Event("written")); err != nil {
						t.Error(err)
					}
					wrote <- struct{}{}
				}
			})
		}
		var sealing sync.WaitGroup
		for _, s := range stores {
			sealing.Go(func() {
				for range wrote {
					if _, err := s.Audit.SealRows(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		written.Wait()
		close(wrote)
		sealing.Wait()
		if _, err := stores[0].Audit.SealRows(t.Context()); err != nil {
			t.Error(err)
		}
		if r := verify(t, stores[0], audit.Seal{}); r.Count != 0 || r.Unsealed != 0 || r.Rows < 240 {
			t.Errorf("%+v", r)
		}
	})
}

func TestRetiringPreservesSealsAndErasingPreservesRows(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		s, clock := sealedLog(t, url)
		if strings.Contains(storagetest.Dump(t, s, url), "192.0.2.77") || strings.Contains(storagetest.Dump(t, s, url), "Browser/77") {
			t.Error("the database has an address in clear")
		}
		events, err := s.Audit.Rows(t.Context(), audit.Filter{UserID: "alice"})
		storagetest.Must(t, err)
		if len(events) != 12 || events[0].Address != "192.0.2.77" || events[0].UserAgent != "Browser/77" || events[0].RequestID != "the-request" {
			t.Fatalf("%d events, the first %+v", len(events), events[0])
		}
		n, err := s.EraseAddresses(t.Context(), "alice")
		if err != nil || n != 12 {
			t.Errorf("erased %d: %v", n, err)
		}
		if events, err = s.Audit.Rows(t.Context(), audit.Filter{UserID: "alice", Event: "test.*"}); err != nil || len(events) != 12 || events[0].Address+events[0].UserAgent != "" {
			t.Errorf("after erasing: %v %+v", err, events)
		}
		if r := verify(t, s, audit.Seal{}); r.Count != 0 {
			t.Errorf("after erasing: %+v", r)
		}
		clock.Advance(48 * time.Hour)
		storagetest.Must(t, s.Audit.Record(t.Context(), storagetest.Event("young")))
		if _, err := s.Audit.SealRows(t.Context()); err != nil {
			t.Fatal(err)
		}
		rows, err := s.Audit.Retire(t.Context(), clock.Now().Add(-24*time.Hour), func(int64, int64) {})
		if err != nil || rows < 12 {
			t.Errorf("retired %d: %v", rows, err)
		}
		if r := verify(t, s, audit.Seal{}); r.Count != 0 || r.Retired != 3 || r.Seals != 4 {
			t.Errorf("after retiring: %+v", r)
		}
		if events, err = s.Audit.Rows(t.Context(), audit.Filter{Event: audit.AuditRetired}); err != nil || len(events) != 1 {
			t.Errorf("no event tells of it: %v %v", events, err)
		}
		storagetest.Must(t, s.Audit.Record(reqevent.With(t.Context(), &reqevent.Event{Actor: "user:alice", Address: "192.0.2.78"}), storagetest.Event("as_actor")))
		if n, err := s.EraseAddresses(t.Context(), "alice"); err != nil || n != 1 {
			t.Errorf("of what she did without being named, %d rows were erased: %v", n, err)
		}
		if again, err := s.Audit.Retire(t.Context(), clock.Now().Add(-24*time.Hour), func(int64, int64) {}); again != 0 || err != nil {
			t.Errorf("again: %d %v", again, err)
		}
	})
}

// TestRetirementDestroysNoEvidence: a seal whose time or rows were changed is not retired, however old it says it is.
// TestBlockedSealingIsAFailure: a session that keeps the last seal locked stops all sealing, and the job says so.
func TestBlockedSealingIsAFailure(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, dsn string) {
		if strings.HasPrefix(dsn, "sqlite:") {
			t.Skip("SQLite locks no single row")
		}
		s, clock := sealedLog(t, dsn)
		storagetest.Must(t, s.Audit.Record(t.Context(), storagetest.Event("waits")))
		release := storagetest.LockRow(t, s, dsn, "SELECT 1 FROM audit_seals WHERE id = (SELECT max(id) FROM audit_seals) FOR UPDATE")
		if n, err := s.Audit.SealRows(t.Context()); n != 0 || err != nil {
			t.Errorf("for a moment that is how it is: %d %v", n, err)
		}
		clock.Advance(2 * time.Minute)
		if _, err := s.Audit.SealRows(t.Context()); err == nil || !strings.Contains(err.Error(), "wait for a seal") {
			t.Errorf("after two minutes: %v", err)
		}
		release()
		if n, err := s.Audit.SealRows(t.Context()); n == 0 || err != nil {
			t.Errorf("afterwards: %d %v", n, err)
		}
	})
}

// TestMissingMasterSecretIsNotReplaced deletes the secret that the keys of the audit log are derived from. Another one
// would make the log and its addresses unreadable.
func TestMissingMasterSecretIsNotReplaced(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, dsn string) {
		s, clock := sealedLog(t, dsn)
		storagetest.Exec(t, s, dsn, "CREATE TABLE copy AS SELECT * FROM secrets WHERE id = 'master'", "DELETE FROM secrets WHERE id = 'master'")
		again, err := storage.Open(t.Context(), storage.Options{URL: dsn, Pool: 2, Now: clock.Now})
		storagetest.Must(t, err)
		root, err := vault.NewRootKey(storagetest.Key[:])
		storagetest.Must(t, err)
		if err := again.Vault.UseRootKey(t.Context(), root); err == nil || !strings.Contains(err.Error(), `"master" is missing`) {
			t.Errorf("without the master secret: got %v, want an error", err)
		}
		storagetest.Exec(t, s, dsn, "INSERT INTO secrets SELECT * FROM copy", "DROP TABLE copy")
		storagetest.Must(t, again.Vault.UseRootKey(t.Context(), root))
		storagetest.Must(t, again.Close(t.Context()))
	})
}

func TestRetirementDestroysNoEvidence(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]string{
		"a time": "UPDATE audit_seals SET sealed_at = 1 WHERE id = 1", "a row": "UPDATE audit_events SET detail = 'x' WHERE seal = 1", "a seal before": "DELETE FROM audit_seals WHERE id = 0",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storagetest.Each(t, func(t *testing.T, url string) {
				s, clock := sealedLog(t, url)
				storagetest.Exec(t, s, url, tamper)
				clock.Advance(48 * time.Hour)
				if n, err := s.Audit.Retire(t.Context(), clock.Now().Add(-24*time.Hour), func(int64, int64) {}); n != 0 || !errors.Is(err, audit.ErrTampered) {
					t.Errorf("%d rows are gone: %v", n, err)
				}
				if r := verify(t, s, audit.Seal{}); r.Count == 0 || r.Rows < 12 {
					t.Errorf("the evidence is gone: %+v", r)
				}
			})
		})
	}
}

// TestRetiredSealCoversNoRows: rows put under one are found, and so is a change of it; and a seal of an absurd number is
// refused by the database, or sealing would end with it.
func TestRetiredSealCoversNoRows(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]string{
		"a row":   "UPDATE audit_events SET seal = 1 WHERE seal = 4",
		"a count": "UPDATE audit_seals SET row_count = 99 WHERE id = 1",
		"a time":  "UPDATE audit_seals SET sealed_at = 99 WHERE id = 1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storagetest.Each(t, func(t *testing.T, url string) {
				s, clock := sealedLog(t, url)
				clock.Advance(48 * time.Hour)
				storagetest.Must(t, s.Audit.Record(t.Context(), storagetest.Event("young")))
				if _, err := s.Audit.SealRows(t.Context()); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Audit.Retire(t.Context(), clock.Now().Add(-24*time.Hour), func(int64, int64) {}); err != nil {
					t.Fatal(err)
				}
				if r := verify(t, s, audit.Seal{}); r.Count != 0 || r.Retired != 3 {
					t.Fatalf("before: %+v", r)
				}
				if err := storagetest.Try(t, s, url, "INSERT INTO audit_seals (id, row_count, mac, sealed_at) VALUES (9223372036854775807, 0, '', 0)"); err == nil {
					t.Error("there is a last seal now")
				}
				storagetest.Exec(t, s, url, tamper)
				if r := verify(t, s, audit.Seal{}); r.Count == 0 {
					t.Errorf("it was not found: %+v", r)
				}
			})
		})
	}
}

func TestExportReturnsAllRowsInOrder(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		clock := storagetest.NewClock()
		s := storagetest.Open(t, url, clock)
		for i := range 2300 { // over two pages, many of one instant
			if i%700 == 0 {
				clock.Advance(time.Second)
			}
			storagetest.Must(t, s.Audit.RecordLater(from(t.Context()), audit.Event{Type: "test.exported", ClientID: fmt.Sprint(i % 2)}))
		}
		storagetest.Must(t, s.Close(t.Context()))
		s = storagetest.Open(t, url, clock)
		var seen []audit.Row
		storagetest.Must(t, s.Audit.EachRow(t.Context(), audit.Filter{Event: "test.exported", ClientID: "1"}, func(e audit.Row) error {
			seen = append(seen, e)
			return nil
		}))
		if len(seen) != 1150 {
			t.Fatalf("%d events", len(seen))
		}
		for i := 1; i < len(seen); i++ {
			if seen[i].At.Before(seen[i-1].At) || seen[i].ID == seen[i-1].ID {
				t.Fatalf("%+v comes after %+v", seen[i], seen[i-1])
			}
		}
	})
}

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
		storagetest.Must(t, s.Audit.Record(from(t.Context()), storagetest.Event("by_the_role")))
		if n, err := s.Audit.SealRows(t.Context()); n == 0 || err != nil {
			t.Errorf("sealed %d: %v", n, err)
		}
		if _, err := s.DeleteExpired(t.Context()); err != nil {
			t.Errorf("clean-up: %v", err)
		}
		for _, statement := range []string{
			"DELETE FROM audit_events", "UPDATE audit_events SET detail = 'x'", "UPDATE audit_events SET personal_key = NULL", "TRUNCATE audit_events",
			"DELETE FROM audit_seals", "UPDATE audit_seals SET mac = ''", "CREATE TABLE mine (x INT)", "DROP TABLE clients", "ALTER TABLE audit_events DISABLE TRIGGER ALL",
			"DELETE FROM secrets", "UPDATE secrets SET sealed = ''",
			"INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)",
		} {
			if err := storagetest.Try(t, s, u.String(), statement); !db.IsDenied(err) {
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
