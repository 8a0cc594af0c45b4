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

// TestAnotherAccountSignsInOnEmptyForm checks the sign-in page that the account chooser links to: it does not suggest
// the user who is signed in, also after a failed attempt.
func TestAnotherAccountSignsInOnEmptyForm(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		s.User("alice")
		s.User("bob")
		c, b := s.App(), s.Browser()
		b.SignIn(b.Open("/login"), "alice")
		request := b.Authorize(c, "prompt", "select_account", "login_hint", "alice").Fields().Get("request")
		p := b.Open("/login?another=1&request=" + request)
		if strings.Contains(p.Body, `value="alice"`) || strings.Contains(p.Text(), "Sign in again") || !focusesUsername(p) {
			t.Errorf("sign-in with another account: want an empty focused username and no \"Sign in again\": %s", p.Body)
		}
		form := p.Fields()
		form.Set("username", "bob")
		form.Set("password", "incorrect")
		p = b.Submit("/login", form)
		if p.Status != http.StatusUnauthorized || !strings.Contains(p.Body, `value="bob"`) ||
			strings.Contains(p.Text(), "Sign in again") {
			t.Errorf("incorrect password: status %d, want 401, the username bob and no \"Sign in again\": %s",
				p.Status, p.Text())
		}
		if p = b.SignIn(p, "bob"); !strings.Contains(p.URL, "/consent") || !strings.Contains(p.Text(), "bob") {
			t.Errorf("sign-in of bob: got %s %s, want his consent page", p.URL, p.Text())
		}
	})
}

// focusesUsername reports whether the page moves the focus to the username.
func focusesUsername(p servertest.Page) bool {
	_, input, _ := strings.Cut(p.Body, `<input id="username"`)
	input, _, _ = strings.Cut(input, ">")
	return strings.Contains(input, " autofocus")
}
