package account_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

// TestSensitivePageIsShownAfterSignInAgain covers PE17: every page that needs a recent sign-in links to the sign-in of
// its user, which needs only what is missing and returns to the page.
func TestSensitivePageIsShownAfterSignInAgain(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		user, b := s.User("alice"), s.Browser()
		if p := b.Follow(b.SignIn(b.Follow(b.Open("/account/email")), "alice")); !strings.HasSuffix(p.URL, "/account/email") {
			t.Errorf("after the sign-in for a page: %s, want the page", p.URL)
		}
		authenticator := s.TOTP(user) // the session has only the password, which is recent
		for _, name := range []string{"email", "export", "delete"} {
			p := b.Open("/account/" + name)
			link := "/login?again=1&then=" + name
			if !slices.ContainsFunc(p.Links(), func(l string) bool { return strings.HasSuffix(l, link) }) {
				t.Errorf("/account/%s without the factor has the links %q, want %s", name, p.Links(), link)
			}
		}
		factor := b.Follow(b.Open("/login?again=1&then=export"))
		if !strings.Contains(factor.URL, "/login/factor") || !strings.Contains(factor.Text(), "Signing in as alice") {
			t.Fatalf("with a recent password: %s %s, want the page of the second factor", factor.URL, factor.Text())
		}
		if p := s.Browser().SubmitFactor(factor, authenticator.Code()); p.Status != http.StatusForbidden {
			t.Errorf("the second factor in another browser: %d, want 403", p.Status)
		}
		if p := b.SubmitFactor(factor, "000000x"); p.Status != http.StatusUnauthorized {
			t.Errorf("an incorrect code: %d, want 401", p.Status)
		}
		page := b.Follow(b.SubmitFactor(factor, authenticator.Code()))
		if !strings.HasSuffix(page.URL, "/account/export") || page.Fields().Get("form_token") == "" {
			t.Errorf("after the code: %s %s, want the form of the page", page.URL, page.Text())
		}
		s.Clock.Advance(10*time.Minute + time.Second)
		again := b.Open("/login?again=1&then=delete")
		if again.Status != http.StatusOK || !strings.Contains(again.Text(), "to continue as alice") ||
			!strings.Contains(again.Body, ` value="alice" readonly`) || focusesOn(again, "username") {
			t.Errorf("later: %d %s, want the sign-in page of alice", again.Status, again.Body)
		}
		factor = b.BeginSignIn(again, "alice")
		if p := b.Follow(b.SubmitFactor(factor, authenticator.Code())); !strings.HasSuffix(p.URL, "/account/delete") {
			t.Errorf("after both factors: %s, want the page", p.URL)
		}
	})
}

// focusesOn reports whether an input of the page has the focus.
func focusesOn(p servertest.Page, id string) bool {
	_, input, _ := strings.Cut(p.Body, `<input id="`+id+`"`)
	input, _, _ = strings.Cut(input, ">")
	return strings.Contains(input, " autofocus")
}
