package oauth_test

import (
	"database/sql"
	"net/url"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestHotPathsScanNoTable checks with statistics of tiny tables, for which a full scan looks cheap, that no request of
// the hot paths scans a table. Otherwise the plan would remain after the tables have grown.
func TestHotPathsScanNoTable(t *testing.T) {
	t.Parallel()
	// The planner of SQLite depends on the existing indexes only
	storagetest.OnPostgres(t, func(t *testing.T, db string) {
		migrateNew(t, db)
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_DATABASE_POOL": "1"}})
		s.User("alice")
		c, m, b := s.App(), s.Service("jobs"), s.Browser()
		b.Code(c, "alice")
		flow := func() {
			tokens := s.Token(c, servertest.CodeForm(b.Code(c, "alice"), c)).OK(t)
			tokens = s.Refresh(c, tokens.Text("refresh_token")).OK(t)
			serviceToken := s.ServiceToken(m)
			active := s.Active(c, tokens.Text("access_token")) && s.Active(c, tokens.Text("refresh_token"))
			if !active || !s.Active(m, serviceToken) {
				t.Error("an issued token is not active")
			}
			s.Post("/oauth2/revoke", m, url.Values{"token": {serviceToken}}).OK(t)
		}
		flow()
		storagetest.Exec(t, s.Store, s.DB, "ANALYZE")
		before, _ := scansOfHotTables(t, s)
		const flows = 12 // PostgreSQL chooses the generic plan of a prepared statement at the sixth run
		for range flows {
			flow()
		}
		if after, which := scansOfHotTables(t, s); after != before {
			t.Errorf("%d full table scans in %d flows, want none: %s", after-before, flows, which)
		}
	})
}

// migrateNew migrates a new schema, instead of a spare one: in that, scans of the connection that emptied it would be
// counted later.
func migrateNew(t *testing.T, db string) {
	t.Helper()
	_, err := storagetest.OpenUnmigrated(t, db).Migrate(t.Context())
	storagetest.Must(t, err)
}

// scansOfHotTables returns the number of full scans of the tables of the hot paths, as soon as the statistics contain
// everything that the server's one connection has done: they arrive later, in the order of its statements.
func scansOfHotTables(t *testing.T, s *servertest.Server) (scans int64, which string) {
	t.Helper()
	const hot = `relname IN ('clients', 'client_secrets', 'users', 'browser_sessions', 'consents', 'grants',
		'authorization_codes', 'revoked_tokens')`
	const tables = " FROM pg_stat_user_tables WHERE schemaname = current_schema() AND "
	db, err := sql.Open("pgx", s.DB)
	storagetest.Must(t, err)
	defer func() { storagetest.Must(t, db.Close()) }()
	number := func(query string) (n int64) {
		storagetest.Must(t, db.QueryRowContext(t.Context(), query).Scan(&n))
		return n
	}
	// Each index was created by a scan on another connection.
	indexes := number("SELECT count(*) FROM pg_stat_user_indexes WHERE schemaname = current_schema() AND " + hot)
	storagetest.Eventually(t, "the scans that created the indexes are in the statistics", func() bool {
		return number("SELECT sum(seq_scan)"+tables+hot) >= indexes
	})
	// No flow reads the registration tokens.
	const marker = "SELECT seq_scan + coalesce(idx_scan, 0)" + tables + "relname = 'registration_tokens'"
	before := number(marker)
	storagetest.Eventually(t, "the statistics are complete", func() bool {
		_, err := s.Store.RegistrationTokens(t.Context())
		storagetest.Must(t, err)
		return number(marker) > before
	})
	const query = "SELECT sum(seq_scan), string_agg(relname || ' ' || seq_scan, ', ' ORDER BY relname)" + tables + hot
	storagetest.Must(t, db.QueryRowContext(t.Context(), query).Scan(&scans, &which))
	return scans, which
}

// TestJobsScanNoTable checks that the jobs that each process runs every second, minute and hour do not scan a table
// that grows.
func TestJobsScanNoTable(t *testing.T) {
	t.Parallel()
	// The planner of SQLite depends on the existing indexes only
	storagetest.OnPostgres(t, func(t *testing.T, db string) {
		migrateNew(t, db)
		clock := storagetest.NewClock()
		s := servertest.Start(t, db, servertest.Options{Clock: clock, Env: map[string]string{"GATEHOUSE_DATABASE_POOL": "1"}})
		u := s.User("alice")
		c, b := s.App(), s.Browser()
		s.Refresh(c, s.Token(c, servertest.CodeForm(b.Code(c, "alice"), c)).OK(t).Text("refresh_token")).OK(t)
		jobs := func() {
			_, err := s.Store.DeleteExpired(t.Context(), storagetest.UnusedClientTTL)
			storagetest.Must(t, err)
			storagetest.Must(t, s.Store.ClearSealedSuccessors(t.Context()))
			storagetest.Must(t, s.OAuth.Keyring.RotateDue(t.Context()))
			s.Deliver()
			_, err = s.Store.Audit.SealRows(t.Context())
			storagetest.Must(t, err)
			_, err = s.Store.Audit.LastSeal(t.Context())
			storagetest.Must(t, err)
			storagetest.Must(t, s.Store.Vault.CheckRootKey(t.Context()))
		}
		jobs()
		storagetest.Exec(t, s.Store, s.DB, "ANALYZE")
		direct, err := sql.Open("pgx", s.DB)
		storagetest.Must(t, err)
		t.Cleanup(func() { storagetest.Must(t, direct.Close()) })
		count := func(where string) (scans, lookups int64, which string) {
			storagetest.Must(t, direct.QueryRowContext(t.Context(), `SELECT sum(seq_scan), sum(coalesce(idx_scan, 0)),
				string_agg(relname || ' ' || seq_scan, ', ' ORDER BY relname)
				FROM pg_stat_user_tables WHERE schemaname = current_schema() AND `+where).Scan(&scans, &lookups, &which))
			return scans, lookups, which
		}
		// The statistics of the only connection are reported in the order of its statements, with a delay. No job reads
		// consents: after another lookup there, everything before it is reported.
		completeScans := func() (int64, string) {
			_, before, _ := count("relname = 'consents'")
			storagetest.Eventually(t, "the statistics have the table", func() bool {
				_, err := s.Store.Consent(t.Context(), u.ID, c.ClientID)
				storagetest.Must(t, err)
				_, now, _ := count("relname = 'consents'")
				return now > before
			})
			// Tables whose rows only an operator creates stay small.
			scans, _, which := count("relname NOT IN ('installation', 'secrets', 'signing_keys', 'scopes', 'resources', " +
				"'goose_db_version', 'migration_checksums')")
			return scans, which
		}
		before, _ := completeScans()
		for range 6 {
			clock.Advance(time.Hour)
			jobs()
		}
		if after, which := completeScans(); after != before {
			t.Errorf("%d full table scans by jobs, want none: %s", after-before, which)
		}
	})
}

// TestOperationsHaveFixedNumberOfStatements prevents that the statements of a request become more by accident.
func TestOperationsHaveFixedNumberOfStatements(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		s.User("alice")
		c, m, b := s.App(), s.Service("jobs"), s.Browser()
		tokens := s.Token(c, servertest.CodeForm(b.Code(c, "alice"), c)).OK(t)
		serviceToken := s.ServiceToken(m)
		s.Active(m, serviceToken)
		storagetest.Eventually(t, "the caches are in use", func() bool {
			_, fresh := s.Store.CacheGeneration()
			return fresh
		})
		var code *url.URL
		authorize := func() { code = b.Authorize(c).Location() }
		revoke := func() { s.Post("/oauth2/revoke", m, url.Values{"token": {serviceToken}}).OK(t) }
		for _, op := range []countedOperation{
			{"client credentials", 0, 0, func() { s.ServiceToken(m) }, nil},
			{"introspection of a service's token", 1, 1, func() { s.Active(m, serviceToken) }, nil},
			{"introspection of a user's token", 1, 1, func() { s.Active(c, tokens.Text("access_token")) }, nil},
			{"authorize, signed in and allowed before", 3, 5, authorize, nil},
			{"exchange of the code", 1, 3, func() { s.Token(c, servertest.CodeForm(code, c)).OK(t) }, authorize},
			{"refresh", 1, 2, func() { tokens = s.Refresh(c, tokens.Text("refresh_token")).OK(t) }, nil},
			{"revocation of an access token", 1, 2, revoke, func() { serviceToken = s.ServiceToken(m) }},
			{"the JWKS", 0, 0, func() { s.Get("/.well-known/jwks.json").OK(t) }, nil},
		} {
			op.checkStatements(t, s)
		}
	})
}

// A countedOperation is a request with the number of statements that it needs on each engine.
type countedOperation struct {
	name             string
	postgres, sqlite uint64
	do, first        func() // first prepares do and is not counted
}

// checkStatements fails unless the operation executes exactly its number of statements.
func (op countedOperation) checkStatements(t *testing.T, s *servertest.Server) {
	t.Helper()
	want := op.postgres
	if s.Store.Engine() == storage.SQLite {
		want = op.sqlite
	}
	count := func() uint64 {
		if op.first != nil {
			op.first()
		}
		before := s.Store.Stats().Database.Statements
		op.do()
		return s.Store.Stats().Database.Statements - before
	}
	count() // the first run also fills caches
	n := count()
	for range 20 { // on a host so busy that the changes were not read for a second, the caches are not used
		if n == want {
			break
		}
		n = count()
	}
	if n != want {
		t.Errorf("%s: %d statements, want %d", op.name, n, want)
	}
}
