package web_test

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

func TestLimitedNetworkGetsPageWithWait(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_RATE_LIMITS": "sign_in_names=2/1h"}})
		s.User("alice")
		known := s.Browser()
		known.SignIn(known.Open("/login"), "alice")
		try := func(s *servertest.Server, name string) servertest.Page {
			b := s.Browser()
			form := b.Open("/login").Fields()
			form.Set("username", name)
			form.Set("password", servertest.Password)
			return b.Submit("/login", form)
		}
		for _, name := range []string{"bob", "carol"} {
			if p := try(s, name); p.Status != http.StatusUnauthorized {
				t.Errorf("%s: %d, want 401", name, p.Status)
			}
		}
		for _, s := range []*servertest.Server{s, s.Another()} {
			p := try(s, "alice")
			if p.Status != http.StatusTooManyRequests || p.Header.Get("Retry-After") != "1" || !strings.Contains(p.Text(), "on your network. Wait 1 second") {
				t.Errorf("the network waits: %d, Retry-After %q, %s", p.Status, p.Header.Get("Retry-After"), p.Text())
			}
		}
		known.SignIn(known.Open("/login"), "alice")
		if p := try(s, "alice"); p.Status != http.StatusSeeOther {
			t.Errorf("after a sign-in of a known browser: %d %s", p.Status, p.Text())
		}
	})
}
