package account_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

// TestRemovalIsConfirmed opens the pages before a way to sign in is removed: opening them changes nothing, they need a
// recent sign-in, and there is none for what the user does not have.
func TestRemovalIsConfirmed(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		alice, b := s.User("alice"), s.Browser()
		app := s.TOTP(alice)
		page := b.Follow(b.SubmitFactor(b.BeginSignIn(b.Open("/login?then=security"), "alice"), app.Code()))
		if !strings.Contains(page.Body, `href="/account/security/totp-remove"`) {
			t.Fatalf("the security page: %d %s, want a link to remove the app", page.Status, page.Text())
		}
		confirm := b.Open(securityPath + "/totp-remove")
		if f, err := s.Store.Factors(t.Context(), alice.ID); err != nil || !f.TOTP ||
			!strings.Contains(confirm.Text(), "Remove the authenticator app?") {
			t.Errorf("the page before the removal: %d %s; factors %+v, %v", confirm.Status, confirm.Text(), f, err)
		}
		for _, action := range []string{"recovery-codes", "passkey-delete?id=x", "x"} {
			if p := b.Open(securityPath + "/" + action); p.Status != http.StatusSeeOther ||
				p.Header.Get("Location") != securityPath {
				t.Errorf("%s: %d %s, want the security page", action, p.Status, p.Header.Get("Location"))
			}
		}
		s.Clock.Advance(10*time.Minute + time.Second)
		if p := b.Open(securityPath + "/totp-remove"); !strings.Contains(p.Header.Get("Location"), "/login?again=1") {
			t.Errorf("10 minutes after the sign-in: %d %s, want the sign-in page", p.Status, p.Header.Get("Location"))
		}
	})
}

// TestEveryAccountPageSignsOut signs out on each account page.
func TestEveryAccountPageSignsOut(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		s.User("alice")
		for _, path := range []string{"", "/apps", "/sessions", "/security", "/profile", "/activity"} {
			b := s.Browser()
			b.SignIn(b.Open("/login"), "alice")
			page := b.Open("/account" + path)
			token := append(page.Buttons("form_token"), page.Fields()["form_token"]...)
			if p := b.Submit("/account/sign-out", map[string][]string{"form_token": token[:1]}); p.Status !=
				http.StatusSeeOther || p.Header.Get("Location") != "/signed-out" {
				t.Errorf("sign-out on /account%s: %d %s", path, p.Status, p.Text())
			}
		}
	})
}
