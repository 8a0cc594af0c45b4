package oauth_test

import (
	"database/sql"
	"net/url"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
	"gatehouse/web/webtest"
)

// TestHotPathsScanNoTable: PostgreSQL is told that its tables are tiny, which makes reading them whole look cheap, and yet no
// request of the hot paths does so; or it would go on doing so when they have grown.
func TestHotPathsScanNoTable(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := webtest.Start(t, db, webtest.Options{})
		if s.Store.Engine() != storage.Postgres {
			return // SQLite's planner goes by the indexes that there are
		}
		s.User("alice")
		c, m, b := s.App(), s.Machine("jobs"), s.Browser()
		b.Code(c, "alice")
		flow := func() {
			tokens := s.Token(c, webtest.CodeForm(b.Code(c, "alice"), c)).OK(t)
			tokens = s.Refresh(c, tokens.Text("refresh_token")).OK(t)
			machine := s.MachineToken(m)
			if !s.Active(c, tokens.Text("access_token")) || !s.Active(c, tokens.Text("refresh_token")) || !s.Active(m, machine) {
				t.Error("a token is not active")
			}
			s.Post("/oauth2/revoke", m, url.Values{"token": {machine}}).OK(t)
		}
		flow()
		storagetest.Exec(t, s.Store, s.DB, "ANALYZE")
		direct, err := sql.Open("pgx", s.DB)
		storagetest.Must(t, err)
		t.Cleanup(func() { storagetest.Must(t, direct.Close()) })
		// Scans of whole tables and lookups by index, in all tables that the hot paths read.
		count := func() (scans, lookups int64, which string) {
			storagetest.Must(t, direct.QueryRowContext(t.Context(), `SELECT sum(seq_scan), sum(coalesce(idx_scan, 0)), string_agg(relname || ' ' || seq_scan, ', ') FROM pg_stat_user_tables WHERE schemaname = current_schema()
				AND relname IN ('clients', 'client_secrets', 'users', 'browser_sessions', 'consents', 'grants', 'authorization_codes', 'revoked_tokens')`).Scan(&scans, &lookups, &which))
			return scans, lookups, which
		}
		// Each index was made by a scan, which the statistics tell a moment later.
		const indexes = "SELECT count(*) FROM pg_stat_user_indexes WHERE schemaname = current_schema() AND relname IN ('clients', 'client_secrets', 'users', 'browser_sessions', 'consents', 'grants', 'authorization_codes', 'revoked_tokens')"
		made := storagetest.Count(t, s.Store, s.DB, indexes)
		eventually(t, "the indexes are counted", func() bool { n, _, _ := count(); return n >= made })
		scans, lookups, before := count()
		const flows = 12 // a prepared statement gets its lasting plan at the sixth run
		for range flows {
			flow()
		}
		eventually(t, "the statistics are there", func() bool { _, n, _ := count(); return n >= lookups+10*flows })
		if n, _, after := count(); n != scans {
			t.Errorf("%d scans of whole tables in %d flows: %s, before %s", n-scans, flows, after, before)
		}
	})
}

// TestJobsScanNoTable: nor does what every process does each second, minute and hour read a table whole that grows.
func TestJobsScanNoTable(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		clock := storagetest.NewClock()
		s := webtest.Start(t, db, webtest.Options{Clock: clock, Env: map[string]string{"GATEHOUSE_DATABASE_POOL": "1"}})
		if s.Store.Engine() != storage.Postgres {
			return
		}
		u := s.User("alice")
		c, b := s.App(), s.Browser()
		s.Refresh(c, s.Token(c, webtest.CodeForm(b.Code(c, "alice"), c)).OK(t).Text("refresh_token")).OK(t)
		jobs := func() {
			_, err := s.Store.DeleteExpired(t.Context())
			storagetest.Must(t, err)
			storagetest.Must(t, s.Store.ClearSealedSuccessors(t.Context()))
			storagetest.Must(t, s.OAuth.AdvanceKeys(t.Context()))
			storagetest.Must(t, s.OAuth.Deliver(t.Context()))
			_, err = s.Store.SealAudit(t.Context())
			storagetest.Must(t, err)
			_, err = s.Store.LastSeal(t.Context())
			storagetest.Must(t, err)
			storagetest.Must(t, s.Store.CheckRootKey(t.Context()))
		}
		jobs()
		storagetest.Exec(t, s.Store, s.DB, "ANALYZE")
		direct, err := sql.Open("pgx", s.DB)
		storagetest.Must(t, err)
		t.Cleanup(func() { storagetest.Must(t, direct.Close()) })
		count := func(where string) (scans, lookups int64, which string) {
			storagetest.Must(t, direct.QueryRowContext(t.Context(), `SELECT sum(seq_scan), sum(coalesce(idx_scan, 0)), string_agg(relname || ' ' || seq_scan, ', ' ORDER BY relname) FROM pg_stat_user_tables
				WHERE schemaname = current_schema() AND `+where).Scan(&scans, &lookups, &which))
			return scans, lookups, which
		}
		// The statistics of the server's one connection are told in the order of its statements, some time later. No job reads the
		// consents: when they have one lookup more, all that was before it is told.
		settled := func() (int64, string) {
			_, before, _ := count("relname = 'consents'")
			eventually(t, "the statistics are there", func() bool {
				_, err := s.Store.Consent(t.Context(), u.ID, c.ClientID)
				storagetest.Must(t, err)
				_, now, _ := count("relname = 'consents'")
				return now > before
			})
			// What an operator makes by hand stays small.
			scans, _, which := count("relname NOT IN ('revision', 'secrets', 'signing_keys', 'openid_keys', 'scopes', 'resources', 'goose_db_version')")
			return scans, which
		}
		before, _ := settled()
		for range 6 {
			clock.Advance(time.Hour)
			jobs()
		}
		if after, which := settled(); after != before {
			t.Errorf("%d scans of whole tables: %s", after-before, which)
		}
	})
}

// TestStatementsOfEachOperation: what a request asks the database is a number that does not grow by accident.
func TestStatementsOfEachOperation(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := webtest.Start(t, db, webtest.Options{})
		s.User("alice")
		c, m, b := s.App(), s.Machine("jobs"), s.Browser()
		tokens := s.Token(c, webtest.CodeForm(b.Code(c, "alice"), c)).OK(t)
		machine := s.MachineToken(m)
		s.Active(m, machine)
		eventually(t, "the caches are in use", func() bool { _, fresh := s.Store.Generation(); return fresh })
		var code *url.URL
		for _, op := range []struct {
			name             string
			postgres, sqlite uint64
			do, first        func() // first is not counted
		}{
			{"client credentials", 0, 0, func() { s.MachineToken(m) }, nil},
			{"introspection of a machine's token", 1, 1, func() { s.Active(m, machine) }, nil},
			{"introspection of a person's token", 1, 1, func() { s.Active(c, tokens.Text("access_token")) }, nil},
			{"authorize, signed in and allowed before", 3, 5, func() { code = b.Authorize(c).Location() }, nil},
			{"exchange of the code", 1, 3, func() { s.Token(c, webtest.CodeForm(code, c)).OK(t) }, func() { code = b.Authorize(c).Location() }},
			{"refresh", 1, 2, func() { tokens = s.Refresh(c, tokens.Text("refresh_token")).OK(t) }, nil},
			{"revocation of an access token", 1, 2, func() { s.Post("/oauth2/revoke", m, url.Values{"token": {machine}}).OK(t) }, func() { machine = s.MachineToken(m) }},
			{"the key set", 0, 0, func() { s.Get("/.well-known/jwks.json").OK(t) }, nil},
		} {
			want := op.postgres
			if s.Store.Engine() == storage.SQLite {
				want = op.sqlite
			}
			count := func() uint64 {
				if op.first != nil {
					op.first()
				}
				before := s.Store.Stats().Statements
				op.do()
				return s.Store.Stats().Statements - before
			}
			count() // whatever is done once
			n := count()
			for range 20 { // a machine so busy that the changes were not read for a second has no use of its caches
				if n == want {
					break
				}
				n = count()
			}
			if n != want {
				t.Errorf("%s: %d statements, not %d", op.name, n, want)
			}
		}
	})
}
