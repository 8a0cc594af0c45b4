package account_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// wantAt fails the test unless the browser ends on the page at the end of a path.
func wantAt(t *testing.T, what string, p servertest.Page, path string) {
	t.Helper()
	if u, err := url.Parse(p.URL); err != nil || u.Path != path {
		t.Errorf("%s: at %s: %s, want %s", what, p.URL, p.Text(), path)
	}
}

// require makes a new group of a user require an acr.
func require(s *servertest.Server, u storage.User, acr string, until *time.Time) {
	s.T.Helper()
	storagetest.Must(s.T, s.Store.CreateGroup(s.T.Context(), storage.Group{Name: u.Username, CreatedAt: s.Clock.Now()}))
	storagetest.Must(s.T, s.Store.UpdateGroup(s.T.Context(), u.Username, func(g *storage.Group) error {
		g.RequiredACR, g.EnrolUntil = acr, until
		return nil
	}))
	storagetest.Must(s.T, s.Store.AddGroupMembers(s.T.Context(), u.Username, []string{u.ID}))
}

// decideEnrolment submits the form of the page about a missing factor.
func decideEnrolment(b *servertest.Browser, p servertest.Page, decision string) servertest.Page {
	form := p.Fields()
	form.Set("decision", decision)
	return b.Follow(b.Submit("/enrol", form))
}

// wantWaysOut fails the test unless a page that the user cannot pass has these links, and none that leads back to it.
func wantWaysOut(t *testing.T, p servertest.Page, paths ...string) {
	t.Helper()
	links := p.Links()
	for _, path := range paths {
		if !slices.Contains(links, path) || slices.Contains(links, "/account") {
			t.Errorf("%s has the links %v, want %s and not /account", p.URL, links, path)
		}
	}
}

// TestPolicyOfUserGuardsAccountPages covers PE18: what a group requires of its members, account pages require too. Who
// lacks the factor adds it, gets the data of the account, deletes it or signs out; who has it signs in with it.
func TestPolicyOfUserGuardsAccountPages(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		alice, b := s.User("alice"), s.Browser()
		require(s, alice, "2", nil)
		p := b.SignIn(b.Open("/login"), "alice")
		wantAt(t, "a sign-in without the factor", p, "/enrol")
		wantWaysOut(t, p, "/select")
		for _, path := range []string{"", "/apps", "/sessions", "/profile", "/activity", "/password", "/email"} {
			wantAt(t, path, b.Follow(b.Open("/account"+path)), "/enrol")
		}
		for _, path := range []string{"/account/profile", "/account/sessions/end-others"} {
			wantAt(t, "a form", b.Follow(b.Submit(path, p.Fields())), "/enrol")
		}
		for _, path := range []string{"/account/security", "/account/export", "/account/delete"} {
			wantAt(t, "without the factor", b.Follow(b.Open(path)), path)
		}
		wantAt(t, "a required factor is postponed", decideEnrolment(b, p, "later"), "/enrol")
		wantAt(t, "the user leaves", decideEnrolment(b, b.Open("/enrol"), "leave"), "/signed-out")
		b.SignIn(b.Open("/login"), "alice")
		authenticator := s.TOTP(alice)
		p = b.Follow(b.Open("/account/profile"))
		wantAt(t, "with the factor, without its code", p, "/login/factor")
		wantWaysOut(t, p, "/oauth2/logout", "/login?another=1&then=profile")
		wantAt(t, "the code", b.Follow(b.SubmitFactor(p, authenticator.Code())), "/account/profile")
		storagetest.Exec(t, s.Store, s.DB, "UPDATE browser_sessions SET acr = '1'")
		s.Clock.Advance(11 * time.Minute)
		p = b.Follow(b.Open("/account/profile"))
		wantAt(t, "an old session without the factor", p, "/login")
		wantWaysOut(t, p, "/oauth2/logout", "/login?another=1&then=profile")
		p = b.Follow(b.SubmitFactor(b.BeginSignIn(p, "alice"), authenticator.Code()))
		wantAt(t, "both factors", p, "/account/profile")

		until := s.Clock.Now().Add(time.Hour)
		require(s, s.User("bob"), "phr", &until)
		b = s.Browser()
		p = b.SignIn(b.Open("/login?then=sessions"), "bob")
		wantAt(t, "a passkey that will be required", p, "/enrol")
		if !strings.Contains(p.Text(), "Add a passkey") || !strings.Contains(p.Text(), "Later") {
			t.Errorf("before the date: %s, want a passkey, also later", p.Text())
		}
		wantAt(t, "later", decideEnrolment(b, p, "later"), "/account")
		s.Clock.Advance(59 * time.Minute)
		wantAt(t, "after it was postponed", b.Follow(b.Open("/account")), "/account")
		s.Clock.Advance(time.Minute)
		wantAt(t, "after the date", b.Follow(b.Open("/account")), "/enrol")
	})
}

// TestSignInBeforeFactorKeepsRequest covers PE17 and PE18: a user who must sign in again before adding the factor that
// an app requires returns to the page that continues to the app.
func TestSignInBeforeFactorKeepsRequest(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		s.User("alice")
		c, b := s.RelyingParty(`"gatehouse_required_acr":"mfa"`), s.Browser()
		p := b.SignIn(b.Authorize(c, "scope", "openid"), "alice")
		request := p.Fields().Get("request")
		security, again := "/account/security?request="+request, "/login?again=1&then=security."+request
		wantLink := func(what string, p servertest.Page, want string) {
			t.Helper()
			if !strings.Contains(strings.Join(p.Links(), " ")+" ", want+" ") {
				t.Errorf("%s: the links %q, want %s", what, p.Links(), want)
			}
		}
		wantLink("a recent session", p, security)
		stale := b.Open(security)
		s.Clock.Advance(10*time.Minute + time.Second)
		wantLink("an old session", b.Open("/enrol?request="+request), again)
		wantLink("an old session, on the page of security", b.Open(security), again)
		form := stale.Fields()
		p = b.Follow(b.Submit("/account/security/totp?request="+request, form))
		if !strings.HasSuffix(p.URL, again) {
			t.Errorf("a form of an old session: at %s, want %s", p.URL, again)
		}
		p = b.SignIn(p, "alice")
		wantLink("after the sign-in", p, "/oauth2/authorize/"+request)
		if !strings.HasSuffix(p.URL, security) {
			t.Errorf("after the sign-in: at %s, want %s", p.URL, security)
		}
		other := s.Browser() // its cookies were removed
		p = other.Follow(other.Open(security))
		if p = other.SignIn(p, "alice"); !strings.HasSuffix(p.URL, security) {
			t.Errorf("after a sign-in without a session: at %s, want %s", p.URL, security)
		}
	})
}
