package account_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

// TestSessionInUseDoesNotExpireAsIdle uses a session more often than its idle lifetime, for the shortest that the
// settings allow and for the default.
func TestSessionInUseDoesNotExpireAsIdle(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		for _, idle := range []time.Duration{time.Minute, 90 * time.Second, 2 * time.Hour} {
			s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_SESSION_IDLE_TTL": idle.String()}})
			username := "alice" + strings.ReplaceAll(idle.String(), ".", "")
			s.User(username)
			b := s.Browser()
			b.SignIn(b.Open("/login"), username)
			for range 12 {
				s.Clock.Advance(idle * 7 / 10)
				if p := b.Open("/account"); p.Status != http.StatusOK {
					t.Fatalf("idle lifetime %s, session used every %s: status %d, want 200", idle, idle*7/10, p.Status)
				}
			}
			s.Clock.Advance(idle)
			if p := b.Open("/account"); p.Status == http.StatusOK {
				t.Errorf("idle lifetime %s, session unused for as long: status 200, want a redirect to the sign-in page", idle)
			}
		}
	})
}

// TestSignOutEverywhereElseEndsRememberedBrowsers uses the button on the page of sessions (PE15): other browsers are
// signed out, and need the second factor again though it was remembered there.
func TestSignOutEverywhereElseEndsRememberedBrowsers(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		authenticator := s.TOTP(s.User("alice"))
		b, other := s.Browser(), s.Browser()
		for _, b := range []*servertest.Browser{b, other} {
			p := b.SubmitFactor(b.BeginSignIn(b.Open("/login"), "alice"), authenticator.Code(), "trusted", "1")
			if p.Status != http.StatusSeeOther {
				t.Fatalf("a sign-in with the second factor: %d %s, want 303", p.Status, p.Text())
			}
			s.Clock.Advance(time.Minute)
		}
		other.SignIn(other.Open("/login?another=1"), "alice") // needs no code
		end := b.Open("/account/sessions").FieldsOf("/account/sessions/end-others")
		if p := b.Follow(b.Submit("/account/sessions/end-others", end)); !strings.Contains(p.Text(), "signed out") {
			t.Errorf("after the button: %d %s, want that other browsers are signed out", p.Status, p.Text())
		}
		if p := b.Open("/account"); p.Status != http.StatusOK {
			t.Errorf("the browser with the button: %d, want 200", p.Status)
		}
		if p := other.Open("/account"); p.Status != http.StatusSeeOther {
			t.Errorf("the other browser: %d, want a redirect to the sign-in page", p.Status)
		}
		p := other.BeginSignIn(other.Open("/login"), "alice")
		if !strings.Contains(p.Text(), "your authenticator app shows") {
			t.Errorf("the next sign-in there: %d %s, want the second factor", p.Status, p.Text())
		}
	})
}
