package selfservice_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// linkTo returns the link of the page whose path has the prefix, or "".
func linkTo(p servertest.Page, prefix string) string {
	links := p.Links()
	if i := slices.IndexFunc(links, func(l string) bool { return strings.HasPrefix(l, prefix) }); i >= 0 {
		return links[i]
	}
	return ""
}

const (
	continues = "/oauth2/authorize/"
	resetPath = "/forgot"
)

// TestResetReturnsToItsRequest covers PE23: a reset that began on the sign-in page of an authorization request leads
// back to it in the same browser, where the user signs in with the second factor. The request is not in the email, and
// another browser does not get it, also when an attacker requested the email.
func TestResetReturnsToItsRequest(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		authenticator, c := f.TOTP(f.User("alice")), f.App()
		b, foreign := f.Browser(), f.Browser()
		request := func(b *servertest.Browser, own *servertest.Browser) (id, link string) {
			t.Helper()
			login := own.Authorize(c)
			_, id, _ = strings.Cut(login.URL, "request=")
			form := b.Open(linkTo(login, resetPath+"?request="))
			sent := submit(b, form, resetPath, "username", "alice", "request", id)
			f.want("the request", sent, http.StatusOK, "If there is an account")
			if got := linkTo(sent, continues); got != "" && b != own || b == own && got != continues+id {
				t.Errorf("the page after requesting the email leads to %q, want the own request only", got)
			}
			if link = f.link(storage.MailResetPassword); strings.Contains(link, id) {
				t.Errorf("the link in the email has the authorization request: %s", link)
			}
			return id, link
		}
		reset := func(b *servertest.Browser, link string) servertest.Page {
			done := submit(b, b.Open(link), "/reset", "password", servertest.Password)
			f.want("the reset", done, http.StatusOK, "Your password is changed")
			return done
		}
		_, link := request(b, b)
		if done := reset(foreign, link); linkTo(done, continues) != "" || linkTo(done, "/login?to=account") == "" {
			t.Errorf("in another browser the page leads to %v, want the account page", done.Links())
		}
		_, link = request(foreign, b)
		if done := reset(b, link); linkTo(done, continues) != "" {
			t.Errorf("the request that another browser named is continued: %v", done.Links())
		}
		id, link := request(b, b)
		done := reset(b, link)
		if linkTo(done, continues) != continues+id {
			t.Fatalf("after the reset the page leads to %v, want the request", done.Links())
		}
		factor := b.BeginSignIn(b.Follow(b.Open(continues+id)), "alice")
		consent := b.Follow(b.SubmitFactor(factor, authenticator.Code()))
		if to := b.Follow(b.Decide(consent, "approve")).Location(); to.Query().Get("code") == "" {
			t.Errorf("after the second factor the browser continues to %s, want the client with a code", to)
		}
	})
}

// TestSignUpReturnsToItsRequest covers PE27: a sign-up leads back to the authorization request in which it began, while
// that is waiting for the same browser, and to the account page otherwise.
func TestSignUpReturnsToItsRequest(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		c, b := f.App(), f.Browser()
		signUp := func(name string, wait time.Duration) (id string, done servertest.Page) {
			t.Helper()
			login := b.Authorize(c)
			_, id, _ = strings.Cut(login.URL, "request=")
			submit(b, b.Open(linkTo(login, "/sign-up?request=")), "/sign-up", "email", name+"@example.com")
			link := f.link(storage.MailVerifyEmail)
			f.Clock.Advance(wait)
			done = submit(b, b.Open(link), "/verify", "username", name, "password", servertest.Password, "terms", "1")
			f.want("the account", done, http.StatusOK, "Your account is ready")
			return id, done
		}
		if _, done := signUp("carol", 2*time.Hour); linkTo(done, "/login?to=account") == "" {
			t.Errorf("after the request has expired the page leads to %v, want the account page", done.Links())
		}
		id, done := signUp("bob", 0)
		if linkTo(done, continues) != continues+id {
			t.Fatalf("after the sign-up the page leads to %v, want the request", done.Links())
		}
		consent := b.SignIn(b.Follow(b.Open(continues+id)), "bob")
		if to := b.Follow(b.Decide(consent, "approve")).Location(); to.Query().Get("code") == "" {
			t.Errorf("after signing in the browser continues to %s, want the client with a code", to)
		}
	})
}
