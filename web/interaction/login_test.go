package interaction_test

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

func TestLoginPageShowsWaitOfThrottledSubnet(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		env := map[string]string{"GATEHOUSE_RATE_LIMITS": "sign_in_names=2/1h"}
		s := servertest.Start(t, db, servertest.Options{Env: env})
		s.User("alice")
		known := s.Browser()
		known.SignIn(known.Open("/login"), "alice")
		signIn := func(s *servertest.Server, name string) servertest.Page {
			b := s.Browser()
			form := b.Open("/login").Fields()
			form.Set("username", name)
			form.Set("password", servertest.Password)
			return b.Submit("/login", form)
		}
		for _, name := range []string{"bob", "carol"} {
			if p := signIn(s, name); p.Status != http.StatusUnauthorized {
				t.Errorf("sign-in as %s: status %d, want 401", name, p.Status)
			}
		}
		for _, s := range []*servertest.Server{s, s.StartAnother()} {
			p := signIn(s, "alice")
			wait, text := p.Header.Get("Retry-After"), p.Text()
			shown := strings.Contains(text, "on your network. Wait 1 second")
			if p.Status != http.StatusTooManyRequests || wait != "1" || !shown {
				t.Errorf("sign-in from the throttled subnet: status %d, Retry-After %q, want 429 and 1: %s", p.Status, wait, text)
			}
		}
		known.SignIn(known.Open("/login"), "alice")
		if p := signIn(s, "alice"); p.Status != http.StatusSeeOther {
			t.Errorf("after a sign-in of a known browser: status %d, want 303: %s", p.Status, p.Text())
		}
	})
}
