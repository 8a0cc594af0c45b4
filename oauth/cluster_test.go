package oauth_test

import (
	"net/http"
	"os"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// onThree tests requirements on three processes, every request at another one.
func onThree(t *testing.T, database func(t *testing.T) string, parts ...[]servertest.Requirement) {
	t.Helper()
	for _, part := range parts {
		servertest.RunOnThreeProcesses(t, part, database,
			"D1", "D3", "G6", "P49", // move the clock of this process, and the limits go by that of Redis
			"D11", "P53", // read the log of one process
			"D12", "P78", // fill or break one process
			"C17", "J3", "K6", // count what one process fetches
		)
	}
}

// TestEveryFlowOnThreeProcesses tests a part of the requirements on three processes; `make torture` tests all of them.
func TestEveryFlowOnThreeProcesses(t *testing.T) {
	t.Parallel()
	parts := [][]servertest.Requirement{codes, refresh, revocation, logout}
	if os.Getenv("TORTURE") != "" {
		parts = append(parts, authorizationEndpoint, tokenEndpoint, accessTokens, introspection, metadataAndKeys, openidCore, openidRequests,
			registration, management, assertions, requestObjects, housekeeping, abuseProtection, advisories, robustness)
	}
	for _, engine := range storagetest.Engines(t) {
		if engine == storage.Postgres {
			onThree(t, func(t *testing.T) string { return storagetest.URL(t, engine) }, parts...)
		}
	}
}

// TestEveryFlowThroughPgBouncer is TestEveryFlowOnThreeProcesses with PgBouncer between, which needs no setting. `make
// test` goes through half of them in each mode, `make torture` through more in both.
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
			onThree(t, func(t *testing.T) string { return storagetest.StartPgBouncer(t, mode).URL }, parts...)
		})
	}
}

// TestChangeReachesEveryProcessWithinASecond changes what is cached at one process and calls the others continuously. A
// call a second after the change or later sees it, however busy the host is; tokens and single use change immediately.
func TestChangeReachesEveryProcessWithinASecond(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		all := []*servertest.Server{s, s.StartAnother(), s.StartAnother()}
		within := func(what string, change func(), done func(s *servertest.Server) bool) {
			t.Helper()
			change()
			changed := time.Now()
			for i, other := range all {
				storagetest.Eventually(t, what, func() bool {
					called := time.Now()
					is := done(other)
					if !is && (called.Sub(changed) > time.Second || i == 0) {
						t.Fatalf("%s: process %d was called %v after the change and does not see it", what, i, called.Sub(changed))
					}
					return is
				})
			}
		}
		c := s.Service("jobs")
		old := c
		for _, other := range all {
			storagetest.Eventually(t, "every process sees the client", func() bool { return other.Token(c, clientCredentialsForm).Status == 200 })
		}
		within("a new secret", func() {
			fresh, err := s.OAuth.Clients.RotateSecret(t.Context(), c.ClientID, 0)
			storagetest.Must(t, err)
			c.ClientSecret = fresh.ClientSecret
		}, func(o *servertest.Server) bool {
			return o.Token(old, clientCredentialsForm).Status == 401 && o.Token(c, clientCredentialsForm).Status == 200
		})
		within("a scope more", func() {
			_, _, err := s.OAuth.Clients.Update(t.Context(), c.ClientID, []byte(`{"scope":"jobs more"}`))
			storagetest.Must(t, err)
		}, func(o *servertest.Server) bool {
			return o.Token(c, withParameters(clientCredentialsForm, "scope", "more")).Status == 200
		})
		within("a scope less", func() {
			_, _, err := s.OAuth.Clients.Update(t.Context(), c.ClientID, []byte(`{"scope":"jobs"}`))
			storagetest.Must(t, err)
		}, func(o *servertest.Server) bool {
			return o.Token(c, withParameters(clientCredentialsForm, "scope", "more")).Status == 400
		})
		keys := s.Get("/.well-known/jwks.json").Body
		within("new keys", func() { storagetest.Must(t, s.OAuth.Keyring.Rotate(t.Context(), false)) },
			func(o *servertest.Server) bool { return o.Get("/.well-known/jwks.json").Body != keys })
		token := s.ServiceToken(c)
		within("a leaked key", func() { storagetest.Must(t, s.OAuth.Keyring.Rotate(t.Context(), true)) },
			func(o *servertest.Server) bool { return !o.Active(c, token) })
		token = s.ServiceToken(c)
		for _, other := range all {
			storagetest.Eventually(t, "every process sees the new key", func() bool { return other.Active(c, token) })
		}
		s.Post("/oauth2/revoke", c, map[string][]string{"token": {token}}).OK(t)
		for i, other := range all {
			if other.Active(c, token) {
				t.Errorf("process %d takes a revoked token", i)
			}
		}
		within("a disabled client", func() {
			storagetest.Must(t, s.Store.DisableClient(t.Context(), c.ClientID))
		}, func(o *servertest.Server) bool { return o.Token(c, clientCredentialsForm).Status == 401 })
	})
}

// TestRegistrationLeavesOtherClientsCached: with open registration a third party decides how often clients are
// registered and changed.
func TestRegistrationLeavesOtherClientsCached(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_REGISTRATION": "open"}})
		all := []*servertest.Server{s, s.StartAnother(), s.StartAnother()}
		c := s.Service("jobs")
		generations := map[*servertest.Server]uint64{}
		for _, one := range all {
			storagetest.Must(t, one.Store.ApplyChanges(t.Context()))
			one.ServiceToken(c)
			generations[one], _ = one.Store.CacheGeneration()
		}
		for range 3 {
			r := registrationRequest(s, http.MethodPost, s.URL+"/oauth2/register", "", `{"redirect_uris":["https://app.example/cb"]}`)
			if r.Status != http.StatusCreated {
				t.Fatalf("register: %d %s", r.Status, r.Body)
			}
			id := r.Text("client_id")
			if r := registrationRequest(s, http.MethodPut, s.URL+"/oauth2/register/"+id, r.Text("registration_access_token"), `{"client_id":"`+id+`","redirect_uris":["https://app.example/cb2"]}`); r.Status != http.StatusOK {
				t.Fatalf("update: %d %s", r.Status, r.Body)
			}
		}
		for i, one := range all {
			storagetest.Must(t, one.Store.ApplyChanges(t.Context()))
			before := one.Store.Stats().CacheMisses
			one.ServiceToken(c)
			if n := one.Store.Stats().CacheMisses - before; n != 0 {
				t.Errorf("process %d read the database %d times for what it had cached", i, n)
			}
			if now, _ := one.Store.CacheGeneration(); now != generations[one] {
				t.Errorf("process %d dropped everything", i)
			}
		}
	})
}
