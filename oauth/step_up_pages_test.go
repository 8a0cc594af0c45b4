package oauth_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// stepUpPages are the pages that a user sees whose session lacks an acr.
var stepUpPages = []servertest.Requirement{
	servertest.Req("GX48c", "RFC 9470 §4, [decision 67](decisions/0067-signing-in-again.md)",
		"a user whose recent session lacks only the acr of a request enters the second factor alone, and the request "+
			"continues; after 10 minutes, with prompt=login or max_age, or as another user, the whole sign-in is required",
		func(t *testing.T, s *servertest.Server) {
			authenticator := s.TOTP(s.User("alice"))
			s.User("bob")
			c, b := s.RelyingParty(), s.Browser()
			weak := func() {
				s.Clock.Advance(time.Minute)
				storagetest.Exec(t, s.Store, s.DB, "UPDATE browser_sessions SET acr = '1', amr = 'pwd'")
			}
			p := b.BeginSignIn(b.Authorize(c, "scope", "openid"), "alice")
			b.Decide(b.Follow(b.SubmitFactor(p, authenticator.Code())), "approve")
			weak()
			wantStepUp := func(name string, want bool, parameters ...string) servertest.Page {
				t.Helper()
				p := b.Authorize(c, append(parameters, "scope", "openid")...)
				path := "/login?request="
				if want {
					path = "/login/factor?"
				}
				wantPage(t, p, path, "to continue to")
				if p.Status != http.StatusOK {
					t.Errorf("%s: %d, want 200", name, p.Status)
				}
				return p
			}
			p = wantStepUp("an acr", true, "acr_values", "2")
			if other := s.Browser().SubmitFactor(p, authenticator.Code()); other.Status == http.StatusSeeOther {
				t.Error("the code in another browser completes the step-up")
			}
			wantPage(t, b.Open("/login?another=1&request="+p.Fields().Get("request")), "/login", "Password")
			to := b.Follow(b.SubmitFactor(p, authenticator.Code()))
			wantClaims(t, "the ID token after the step-up", s.IDToken(c, s.Redeem(c, to.Location())),
				map[string]any{"acr": identity.ACRSecondFactor, "auth_time": float64(s.Clock.Now().Unix())})
			wantCode(t, "after the step-up", b.Authorize(c, "scope", "openid", "acr_values", "2"))
			weak()
			wantStepUp("an essential acr", true, "claims", essentialACR(t, "2"))
			wantStepUp("an acr and an age", true, "acr_values", "2", "max_age", "3600")
			wantStepUp("prompt=login", false, "acr_values", "2", "prompt", "login")
			wantStepUp("max_age=0", false, "acr_values", "2", "max_age", "0")
			wantStepUp("a sign-in that is older than max_age", false, "acr_values", "2", "max_age", "59")
			s.Clock.Advance(10 * time.Minute)
			wantStepUp("an old session", false, "acr_values", "2")
		}),
	servertest.Req("PE18d", "[decision 72](decisions/0072-step-up-of-requests.md)",
		"where a passkey is required, the sign-in page leads with it; a user who has one and signed in with the password "+
			"reads that this is not enough, and gets no form for it",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			s = s.StartAnotherWith("GATEHOUSE_ISSUER=http://localhost:8080") // passkeys need a name
			addPasskey(s, u)
			c, b := s.RelyingParty(`"gatehouse_required_acr":"phr"`), s.Browser()
			leads := func(p servertest.Page) bool {
				key, name := strings.Index(p.Body, "data-passkey-sign-in"), strings.Index(p.Body, `id="username"`)
				return key > 0 && key < name
			}
			p := b.Authorize(c, "scope", "openid")
			if !leads(p) || !strings.Contains(p.Text(), "Sign in to this app with a passkey") {
				t.Errorf("the sign-in page: %s, want the passkey first", p.Text())
			}
			wantOnly := func(name string, p servertest.Page, only bool) {
				t.Helper()
				wantPage(t, p, "/login?", "Sign in again")
				if strings.Contains(p.Text(), "A passkey is required") != only ||
					strings.Contains(p.Body, `id="password"`) == only {
					t.Errorf("%s: %s, want the passkey only: %v", name, p.Text(), only)
				}
			}
			p = b.SignIn(p, "alice")
			wantOnly("after the password", p, true)
			form := p.Fields()
			form.Set("passkey", "{}")
			failed := b.Submit("/login", form)
			if failed.Status != http.StatusUnauthorized || strings.Contains(failed.Text(), "with your password") {
				t.Errorf("a passkey that is refused: %d %s, want 401 without the password", failed.Status, failed.Text())
			}
			if links := failed.Links(); !slices.Contains(links, "/login?another=1&request="+form.Get("request")) ||
				!slices.Contains(links, "/oauth2/logout") {
				t.Errorf("the links of the page are %v, want another account and the sign-out", links)
			}
			other := b.Open("/login?another=1&request=" + form.Get("request"))
			if !leads(other) {
				t.Errorf("for another account: %s, want the form", other.Text())
			}
			c = s.RelyingParty()
			acr := func(values string) servertest.Page {
				return b.Authorize(c, "scope", "openid", "acr_values", values)
			}
			wantOnly("a requested passkey", acr("phr"), true)
			wantOnly("a second factor, which the user does not have", acr("2"), true)
			wantOnly("any sign-in", b.Authorize(c, "scope", "openid", "prompt", "login"), false)
			authenticator := s.TOTP(u)
			p = acr("phr 2")
			wantOnly("a passkey or a second factor", p, false)
			p = b.Follow(b.SubmitFactor(b.BeginSignIn(p, "alice"), authenticator.Code()))
			wantPage(t, p, "/consent", "")
		}),
	servertest.Req("PE9a", decision62,
		"users with a role that has a required acr, directly or by a group, need it for every client and the account "+
			"pages, and can postpone adding the factor until a date; the strongest requirement of roles and groups applies",
		func(t *testing.T, s *servertest.Server) {
			alice, bob := s.User("alice"), s.User("bob")
			registerAPI(t, s, rolesAPI, "read")
			createRoles(s, rolesAPI, "editor", "owner")
			require := func(role, acr string, until *time.Time) {
				storagetest.Must(t, s.Store.UpdateRole(t.Context(), rolesAPI, role, func(r *storage.Role) error {
					r.RequiredACR, r.EnrolUntil = acr, until
					return nil
				}))
			}
			addToGroups(s, bob, "staff")
			until := s.Clock.Now().Add(time.Hour)
			require("editor", "2", &until)
			byGroup := storage.Assignees{Groups: []string{"staff"}}
			storagetest.Must(t, s.Store.GrantRole(t.Context(), rolesAPI, "editor", byGroup))
			storagetest.Must(t, s.Store.GrantRole(t.Context(), rolesAPI, "owner",
				storage.Assignees{Users: []string{alice.ID}}))
			c := s.RelyingParty() // of another API, or of none
			a, b := s.Browser(), s.Browser()
			wantPage(t, a.SignIn(a.Authorize(c, "scope", "openid"), "alice"), "/consent", "")
			p := b.SignIn(b.Authorize(c, "scope", "openid"), "bob")
			wantPage(t, p, "/enrol", "your organization requires a second factor")
			form := p.Fields()
			form.Set("decision", "later")
			wantPage(t, b.Follow(b.Submit("/enrol", form)), "/consent", "")
			s.Clock.Advance(time.Hour)
			wantPage(t, b.Authorize(c, "scope", "openid"), "/enrol", "Back to the app")
			wantPage(t, b.Follow(b.Open("/account/profile")), "/enrol", "requires a second factor")
			require("owner", "phr", nil)
			wantPage(t, a.Authorize(c, "scope", "openid"), "/enrol", "requires a passkey")
			wantPage(t, a.Follow(a.Open("/account")), "/enrol", "requires a passkey")
			storagetest.Must(t, s.Store.GrantRole(t.Context(), rolesAPI, "owner", byGroup))
			wantPage(t, b.Authorize(c, "scope", "openid"), "/enrol", "requires a passkey")
			for _, role := range []string{"editor", "owner"} {
				storagetest.Must(t, s.Store.RevokeRole(t.Context(), rolesAPI, role, byGroup))
			}
			wantPage(t, b.Authorize(c, "scope", "openid"), "/consent", "")
		}),
}

// addPasskey gives the user a passkey that is never used.
func addPasskey(s *servertest.Server, u storage.User) {
	s.T.Helper()
	storagetest.Must(s.T, s.Store.CreatePasskey(s.T.Context(), storage.Passkey{
		ID: u.ID, UserID: u.ID, CredentialID: []byte(u.ID), PublicKey: []byte("key"), Attestation: "none", Name: "Key",
		UserVerified: true, Discoverable: true, BackupEligible: true, CreatedAt: s.Clock.Now(),
	}, storage.FactorAddition{}))
}

// TestStepUpIsOnlyForACR covers GX48: any other reason for the sign-in page requires the whole sign-in.
func TestStepUpIsOnlyForACR(t *testing.T) {
	t.Parallel()
	hour, now := time.Hour, time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	session := func(acr string) *identity.SignedInUser {
		u := &identity.SignedInUser{}
		u.Session.ACR, u.Session.AuthTime = acr, now.Add(-time.Minute)
		return u
	}
	second := []string{"2"}
	values := oauth.AuthorizationRequest{ACRValues: second}
	for name, x := range map[string]struct {
		a    oauth.AuthorizationRequest
		in   oauth.DecisionInput
		want bool
	}{
		"acr":                   {values, oauth.DecisionInput{Candidate: session("1")}, true},
		"acr that the user has": {values, oauth.DecisionInput{Candidate: session("2")}, false},
		"no user":               {values, oauth.DecisionInput{}, false},
		"another user": {values,
			oauth.DecisionInput{Candidate: session("1"), SubjectMismatch: true}, false},
		"prompt=login": {oauth.AuthorizationRequest{ACRValues: second, Prompt: []string{"login"}},
			oauth.DecisionInput{Candidate: session("1")}, false},
		"prompt=login, after that sign-in": {
			oauth.AuthorizationRequest{ACRValues: second, Prompt: []string{"login"}, SignedIn: true},
			oauth.DecisionInput{Candidate: session("1")}, true},
		"max_age that is met": {oauth.AuthorizationRequest{ACRValues: second, MaxAge: &hour},
			oauth.DecisionInput{Candidate: session("1")}, true},
		"max_age": {oauth.AuthorizationRequest{ACRValues: second, MaxAge: new(time.Duration)},
			oauth.DecisionInput{Candidate: session("1")}, false},
		"policy": {oauth.AuthorizationRequest{},
			oauth.DecisionInput{Candidate: session("1"), Policy: identity.ACRPolicy{Required: "2"}}, true},
	} {
		x.in.StrongestACR = "2"
		if got := x.a.IsStepUp(x.in, now); got != x.want {
			t.Errorf("%s: IsStepUp = %v, want %v", name, got, x.want)
		}
	}
}
