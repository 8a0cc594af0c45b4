package oauth_test

import (
	"net/http"
	"os"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// testOnThreeProcesses tests requirements on three processes, and sends every request to another one.
func testOnThreeProcesses(t *testing.T, database func(t *testing.T) string, parts ...[]servertest.Requirement) {
	t.Helper()
	for _, part := range parts {
		servertest.RunOnThreeProcesses(t, part, database,
			"D1", "D3", "G6", "P49", // advance the clock of this process, while limits use that of Redis
			"D11", "P53", "MC42", // read the log of one process
			"D12", "P78", // fill or break one process
			"C17", "J3", "K6", "MC30", // count what one process fetches
		)
	}
}

// TestEveryFlowOnThreeProcesses tests a part of the requirements on three processes; `make torture` tests all of them,
// and TestEveryFlowThroughPgBouncer others.
func TestEveryFlowOnThreeProcesses(t *testing.T) {
	t.Parallel()
	parts := [][]servertest.Requirement{refresh}
	if os.Getenv("TORTURE") != "" {
		parts = nil
		for _, part := range conformance {
			parts = append(parts, part.table)
		}
	}
	for _, engine := range storagetest.Engines(t) {
		if engine == storage.Postgres {
			testOnThreeProcesses(t, func(t *testing.T) string { return storagetest.URL(t, engine) }, parts...)
		}
	}
}

// TestEveryFlowThroughPgBouncer runs what TestEveryFlowOnThreeProcesses does with PgBouncer in front of PostgreSQL,
// which needs no setting. `make test` runs half of the tables in each pool mode, `make torture` more of them in both.
func TestEveryFlowThroughPgBouncer(t *testing.T) {
	t.Parallel()
	parts := map[string][][]servertest.Requirement{"transaction": {codes, refresh}, "session": {revocation, logout}}
	for _, mode := range storagetest.PoolModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			parts := parts[mode]
			if os.Getenv("TORTURE") != "" {
				parts = [][]servertest.Requirement{
					codes, refresh, revocation, logout, tokenEndpoint, introspection,
				}
			}
			database := func(t *testing.T) string { return storagetest.StartPgBouncer(t, mode).URL }
			testOnThreeProcesses(t, database, parts...)
		})
	}
}

// checkChange makes a change at the first process and calls all of them until they have it. The first must have it
// immediately, the others in calls that begin a second after the change or later. So it does not matter how busy the
// host is.
func checkChange(
	t *testing.T, processes []*servertest.Server, what string, change func(), hasChange func(s *servertest.Server) bool,
) {
	t.Helper()
	change()
	changed := time.Now()
	for i, s := range processes {
		storagetest.Eventually(t, what, func() bool {
			delay := time.Since(changed)
			has := hasChange(s)
			if !has && (delay > time.Second || i == 0) {
				t.Fatalf("%s: process %d does not have the change %v later, want it within a second", what, i, delay)
			}
			return has
		})
	}
}

// TestChangeReachesEveryProcessWithinASecond makes changes at one process to what every process caches. A revoked token
// is refused immediately.
func TestChangeReachesEveryProcessWithinASecond(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		all := []*servertest.Server{s, s.StartAnother(), s.StartAnother()}
		check := func(what string, change func(), hasChange func(s *servertest.Server) bool) {
			t.Helper()
			checkChange(t, all, what, change, hasChange)
		}
		status := func(s *servertest.Server, c client.Information, changes ...string) int {
			return s.Token(c, withParameters(clientCredentialsForm, changes...)).Status
		}
		c := s.Service("jobs")
		old := c
		for _, other := range all {
			storagetest.Eventually(t, "every process has the client", func() bool { return status(other, c) == 200 })
		}
		check("a new secret", func() {
			fresh, err := s.OAuth.Clients.RotateSecret(t.Context(), c.ClientID, 0)
			storagetest.Must(t, err)
			c.ClientSecret = fresh.ClientSecret
		}, func(other *servertest.Server) bool { return status(other, old) == 401 && status(other, c) == 200 })
		check("an added scope", func() {
			_, _, err := s.OAuth.Clients.Update(t.Context(), c.ClientID, []byte(`{"scope":"jobs more"}`))
			storagetest.Must(t, err)
		}, func(other *servertest.Server) bool { return status(other, c, "scope", "more") == 200 })
		check("a removed scope", func() {
			_, _, err := s.OAuth.Clients.Update(t.Context(), c.ClientID, []byte(`{"scope":"jobs"}`))
			storagetest.Must(t, err)
		}, func(other *servertest.Server) bool { return status(other, c, "scope", "more") == 400 })
		keys := s.Get("/.well-known/jwks.json").Body
		check("new keys", func() { storagetest.Must(t, s.OAuth.Keyring.Rotate(t.Context(), false)) },
			func(other *servertest.Server) bool { return other.Get("/.well-known/jwks.json").Body != keys })
		token := s.ServiceToken(c)
		check("a leaked key", func() { storagetest.Must(t, s.OAuth.Keyring.Rotate(t.Context(), true)) },
			func(other *servertest.Server) bool { return !other.Active(c, token) })
		token = s.ServiceToken(c)
		for _, other := range all {
			storagetest.Eventually(t, "every process has the new key", func() bool { return other.Active(c, token) })
		}
		s.Post("/oauth2/revoke", c, map[string][]string{"token": {token}}).OK(t)
		for i, other := range all {
			if other.Active(c, token) {
				t.Errorf("process %d accepts a revoked token", i)
			}
		}
		check("a disabled client", func() { storagetest.Must(t, s.Store.DisableClient(t.Context(), c.ClientID)) },
			func(other *servertest.Server) bool { return status(other, c) == 401 })
	})
}

// TestRegistrationLeavesOtherClientsCached is needed because with open registration a third party decides how often
// clients are registered and changed.
func TestRegistrationLeavesOtherClientsCached(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_REGISTRATION": "open"}})
		all := []*servertest.Server{s, s.StartAnother(), s.StartAnother()}
		c := s.Service("jobs")
		generations := map[*servertest.Server]uint64{}
		for _, other := range all {
			storagetest.Must(t, other.Store.ApplyChanges(t.Context()))
			other.ServiceToken(c)
			generations[other], _ = other.Store.CacheGeneration()
		}
		for range 3 {
			r := selfRegister(s, `{"redirect_uris":["https://app.example/cb"]}`)
			if r.Status != http.StatusCreated {
				t.Fatalf("registration: got %d %s, want 201", r.Status, r.Body)
			}
			id, token := r.Text("client_id"), r.Text("registration_access_token")
			r = registrationRequest(s, http.MethodPut, s.URL+"/oauth2/register/"+id, token,
				`{"client_id":"`+id+`","redirect_uris":["https://app.example/cb2"]}`)
			if r.Status != http.StatusOK {
				t.Fatalf("update: got %d %s, want 200", r.Status, r.Body)
			}
		}
		for i, other := range all {
			storagetest.Must(t, other.Store.ApplyChanges(t.Context()))
			before := other.Store.Stats().CacheMisses
			other.ServiceToken(c)
			if n := other.Store.Stats().CacheMisses - before; n != 0 {
				t.Errorf("process %d read the database %d times for what it had cached, want 0", i, n)
			}
			if now, _ := other.Store.CacheGeneration(); now != generations[other] {
				t.Errorf("cache generation of process %d = %d, want %d as before", i, now, generations[other])
			}
		}
	})
}
