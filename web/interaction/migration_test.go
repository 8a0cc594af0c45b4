package interaction_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

// TestFirstSignInOfOldServersUser covers PE58 over HTTP, with the settings: a user of the old server signs in to an app
// with the password there and keeps the sub. While the old server does not respond, every name gets the same page.
func TestFirstSignInOfOldServersUser(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		const id = "2a117809-8285-4718-a131-bd61fb57cd1f"
		var down atomic.Bool
		down.Store(true)
		old := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var request struct{ Username, Password string }
			_ = json.NewDecoder(r.Body).Decode(&request)
			switch {
			case down.Load() || r.Header.Get("Authorization") != "Bearer t0ken":
				w.WriteHeader(http.StatusServiceUnavailable)
			case request.Username == "olga" && request.Password == servertest.Password:
				_, _ = io.WriteString(w, `{"authenticated":true,"sub":"`+id+`","preferred_username":"olga",`+
					`"email":"olga@example.com","email_verified":true}`)
			default:
				_, _ = io.WriteString(w, `{"authenticated":false}`)
			}
		}))
		defer old.Close()
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{
			"GATEHOUSE_MIGRATION": "webhook", "GATEHOUSE_MIGRATION_URL": old.URL, "GATEHOUSE_MIGRATION_SECRET": "t0ken",
			"GATEHOUSE_MIGRATION_UNTIL": "2999-01-01",
		}})
		s.User("alice")
		c, b := s.RelyingParty(), s.Browser()
		for _, name := range []string{"alice", "olga", "unknown"} {
			p := submit(b, b.Open("/login"), "/login", "username", name, "password", "a guess")
			if p.Status != http.StatusServiceUnavailable || p.Header.Get("Retry-After") != "60" ||
				!strings.Contains(p.Text(), "cannot be checked right now. Try again in a few minutes.") {
				t.Errorf("sign-in as %s without the old server: %d %s, want 503 and what to do", name, p.Status, p.Text())
			}
		}
		if log := s.Logs(); strings.Contains(log, "a guess") || !strings.Contains(log, "returned status 503") {
			t.Error("the log has the password, or not the cause")
		}
		down.Store(false)
		claims := s.IDToken(c, s.Redeem(c, b.Code(c, "olga", "scope", "openid email")))
		if claims["sub"] != id {
			t.Errorf("sub of the ID token = %v, want the id at the old server", claims["sub"])
		}
		down.Store(true)
		if p := b.Open("/account"); !strings.Contains(p.Text(), "olga") {
			t.Errorf("account page after the first sign-in: %s, want that of olga", p.Text())
		}
	})
}
