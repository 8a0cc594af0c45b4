package oauth_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

func TestStepUp(t *testing.T) { servertest.Run(t, stepUp) }

// setACR changes the class of every session, as if its user had signed in with other factors.
func setACR(s *servertest.Server, acr string, amr ...string) {
	s.T.Helper()
	storagetest.Exec(s.T, s.Store, s.DB,
		"UPDATE browser_sessions SET acr = '"+acr+"', amr = '"+strings.Join(amr, " ")+"'")
}

// essentialACR returns a claims parameter that accepts only these acr values.
func essentialACR(t *testing.T, values ...string) string {
	t.Helper()
	b, err := json.Marshal(values)
	storagetest.Must(t, err)
	return `{"id_token":{"acr":{"essential":true,"values":` + string(b) + `}}}`
}

var stepUp = slices.Concat(requestedACR, requiredSignIns, stepUpClient, stepUpPages, userPolicy)

var requestedACR = []servertest.Requirement{
	servertest.Req("GX49a", "OIDC Core §3.1.2.1, §5.5.1.1, RFC 9470 §4, §5",
		"tokens and introspection have the first of the requested acr values that the sign-in satisfies, otherwise the acr "+
			"of the sign-in, with amr and auth_time",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.RelyingParty()
			b := s.Browser()
			s.Redeem(c, b.Code(c, "alice", "scope", "openid"))
			setACR(s, identity.ACRPasskey, "hwk", "user")
			for _, request := range [][]string{
				{"phr", "acr_values", ""}, {"2", "acr_values", "2"}, {"1", "acr_values", "1 2"}, {"2", "acr_values", "2 1"},
				{"2", "acr_values", "phrh urn:example:gold 2"}, {"phr", "acr_values", "phrh urn:example:gold"},
				{"2", "claims", essentialACR(t, "phrh", "2")}, {"2", "claims", `{"id_token":{"acr":{"value":"2"}}}`},
				{"phr", "claims", `{"id_token":{"acr":{"essential":true}}}`}, {"phr", "claims", `{"id_token":{"acr":{"value":7}}}`},
			} {
				want, name := request[0], strings.Join(request[1:], "=")
				r := s.Redeem(c, b.Code(c, "alice", append(request[1:], "scope", "openid")...))
				wantClaims(t, name+": ID token", s.IDToken(c, r), map[string]any{"acr": want})
				wantClaims(t, name+": access token", claims(t, r.Text("access_token")), map[string]any{"acr": want})
				wantClaims(t, name+": introspection", s.Introspect(c, r.Text("access_token")).JSON, map[string]any{"acr": want})
			}
			r := s.Redeem(c, b.Code(c, "alice", "scope", "openid"))
			for _, got := range []map[string]any{
				s.IDToken(c, r), claims(t, r.Text("access_token")), s.Introspect(c, r.Text("access_token")).JSON,
			} {
				amr, _ := got["amr"].([]any)
				if !slices.Equal(amr, []any{"hwk", "user"}) || got["auth_time"] != float64(s.Clock.Now().Unix()) {
					t.Errorf("amr = %v and auth_time = %v, want those of the sign-in", got["amr"], got["auth_time"])
				}
			}
			got, _ := s.Get("/.well-known/openid-configuration").OK(t).JSON["acr_values_supported"].([]any)
			if !slices.Equal(got, []any{"1", "2", "phr", "phrh"}) {
				t.Errorf("acr_values_supported = %v", got)
			}
		}),
	servertest.Req("GX49b", "OpenID Connect Core Error Code unmet_authentication_requirements §2, OIDC Core §5.5.1.1",
		"an essential acr that the user cannot meet is unmet_authentication_requirements, after the user has allowed the "+
			"client; a voluntary one is ignored",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.RelyingParty(`"default_acr_values":["phr"]`)
			b := s.Browser()
			essential := []string{"scope", "openid", "claims", essentialACR(t, "phr", "2")}
			page := b.SignIn(b.Authorize(c, essential...), "alice")
			if !strings.Contains(page.URL, "/consent") {
				t.Fatalf("before the user has allowed the client: %s, want its consent page", page.URL)
			}
			b.Decide(page, "approve").WantRedirectError(t, s, "unmet_authentication_requirements")
			b.Authorize(c, append(essential, "prompt", "none")...).WantRedirectError(t, s, "consent_required")
			for _, voluntary := range []string{"", "phr 2", "urn:example:gold"} {
				r := s.Redeem(c, b.Code(c, "alice", "scope", "openid", "acr_values", voluntary))
				wantClaims(t, "acr_values="+voluntary, s.IDToken(c, r), map[string]any{"acr": "1"})
			}
			b.Authorize(c, essential...).WantRedirectError(t, s, "unmet_authentication_requirements")
			b.Authorize(c, append(essential, "prompt", "none")...).
				WantRedirectError(t, s, "unmet_authentication_requirements")
			b.Authorize(c, append(essential, "prompt", "none", "login_hint", "alice")...).
				WantRedirectError(t, s, "unmet_authentication_requirements")
			for _, values := range [][]string{{"urn:example:gold"}, {""}} {
				b.Authorize(c, "scope", "openid", "claims", essentialACR(t, values...)).
					WantRedirectError(t, s, "unmet_authentication_requirements")
			}
		}),
}

// signedInWith returns a user who signed in an hour ago with that acr.
func signedInWith(acr string) *identity.SignedInUser {
	u := userSignedIn(time.Hour)
	u.Session.ACR = acr
	return u
}

// GX49: which step follows from the requested acr values and what the user can sign in with.
func TestDecideOnACR(t *testing.T) {
	t.Parallel()
	type request = oauth.AuthorizationRequest
	none, second, any2 := []string{"none"}, []string{"2"}, []string{"phr", "2"}
	for _, c := range []struct {
		name      string
		a         request
		have, can string
		want      oauth.Step
		code      string
	}{
		{"met", request{ACRValues: second}, "2", "2", oauth.Issue, ""},
		{"met by a stronger one", request{ACRValues: second, ACREssential: true}, "phr", "phr", oauth.Issue, ""},
		{"one of two met", request{ACRValues: any2}, "2", "phr", oauth.Issue, ""},
		{"reachable", request{ACRValues: second}, "1", "2", oauth.Login, ""},
		{"one of two reachable", request{ACRValues: any2, ACREssential: true}, "1", "2", oauth.Login, ""},
		{"reachable, still not met after a sign-in", request{ACRValues: second, SignedIn: true}, "1", "2", oauth.Login, ""},
		{"reachable, prompt=none", request{ACRValues: second, Prompt: none},
			"1", "2", oauth.Refuse, protocol.LoginRequired},
		{"out of reach", request{ACRValues: any2}, "1", "1", oauth.Issue, ""},
		{"out of reach, prompt=none", request{ACRValues: any2, Prompt: none}, "1", "1", oauth.Issue, ""},
		{"out of reach, essential", request{ACRValues: any2, ACREssential: true},
			"1", "1", oauth.Refuse, protocol.UnmetAuthenticationRequirements},
		{"out of reach, essential, prompt=none", request{ACRValues: any2, ACREssential: true, Prompt: none},
			"1", "1", oauth.Refuse, protocol.UnmetAuthenticationRequirements},
		{"out of reach, essential, prompt=none, a named user",
			request{ACRValues: any2, ACREssential: true, Prompt: none, RequiredSubject: "u"},
			"1", "1", oauth.Refuse, protocol.LoginRequired},
		{"out of reach, essential, without consent",
			request{ACRValues: any2, ACREssential: true, Scopes: []string{"write"}}, "1", "1", oauth.Consent, ""},
	} {
		c.a.Client, c.a.RedirectURI = &storage.Client{AuthMethod: storage.AuthBasic}, "https://app.example/cb"
		if c.a.Scopes == nil {
			c.a.Scopes = []string{"read"}
		}
		in := oauth.DecisionInput{
			Users: 1, Candidate: signedInWith(c.have), Consent: consentTo("read"), StrongestACR: c.can,
		}
		checkDecision(t, c.name, c.a, in, c.want, c.code)
	}
}

// requireACR makes the notes API require a sign-in of its users.
func requireACR(s *servertest.Server, identifier, acr string, maxAge time.Duration) {
	s.T.Helper()
	storagetest.Must(s.T, s.Store.UpdateResource(s.T.Context(), identifier, func(r *storage.Resource) error {
		r.RequiredACR, r.MaxAuthAge = acr, int64(maxAge/time.Second)
		return nil
	}))
}

// addTOTP gives the user a second factor.
func addTOTP(s *servertest.Server, u storage.User) {
	s.T.Helper()
	storagetest.Must(s.T, s.Store.SetTOTP(s.T.Context(), storage.TOTPSecret{
		ID: u.ID, Secret: []byte("12345678901234567890"), Algorithm: "SHA1", Digits: 6, Period: 30,
	}))
}

// wantPage fails the test unless the page is at the path and has the text.
func wantPage(t *testing.T, p servertest.Page, path, text string) {
	t.Helper()
	if !strings.Contains(p.URL, path) || !strings.Contains(p.Text(), text) {
		t.Errorf("the page at %s: %s, want %s with %q", p.URL, p.Text(), path, text)
	}
}

var requiredSignIns = []servertest.Requirement{
	servertest.Req("GX50a", "RFC 9470 §5, RFC 8707 §2.2",
		"tokens for a resource that requires an acr are issued only after that authentication, also at redemption and "+
			"refresh; a refresh keeps auth_time and acr",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			addAPI(t, s, notesAPI, "Notes API", "read")
			addAPI(t, s, filesAPI, "Files API", "write")
			c := s.RelyingParty()
			b := s.Browser()
			scopes := []string{"scope", "openid read write offline_access"}
			weak := s.Redeem(c, b.Code(c, "alice", scopes...))
			code := b.Code(c, "alice", "scope", "read", "resource", notesAPI)
			requireACR(s, notesAPI, "2", 0)
			s.Token(c, servertest.CodeForm(code, c)).Want(t, 400, "invalid_grant")
			again := b.Code(c, "alice", "scope", "write", "resource", filesAPI)
			s.Redeem(c, again)
			s.Refresh(c, weak.Text("refresh_token"), "resource", notesAPI).Want(t, 400, "invalid_target")
			r := s.Refresh(c, weak.Text("refresh_token")).OK(t)
			got := claims(t, r.Text("access_token"))
			if got["aud"] == notesAPI || got["scope"] != "openid write offline_access" {
				t.Errorf("a refresh for two APIs, one of which requires more: %v, want a token for the other one", got)
			}
			addTOTP(s, u)
			wantPage(t, b.Authorize(c, scopes...), "/login", "")
			b.Authorize(c, append(scopes, "prompt", "none")...).WantRedirectError(t, s, "login_required")
			b.Authorize(c, append(scopes, "claims", essentialACR(t, "1"))...).
				WantRedirectError(t, s, "unmet_authentication_requirements")
			setACR(s, "2", "pwd", "otp", "mfa")
			strong := s.Redeem(c, b.Code(c, "alice", scopes...))
			want := map[string]any{"acr": "2", "auth_time": claims(t, strong.Text("access_token"))["auth_time"]}
			s.Clock.Advance(time.Minute)
			r = s.Refresh(c, r.Text("refresh_token")).OK(t)
			wantClaims(t, "a refresh of the old grant", claims(t, r.Text("access_token")), map[string]any{
				"acr": "1", "auth_time": claims(t, weak.Text("access_token"))["auth_time"],
			})
			strong = s.Refresh(c, strong.Text("refresh_token"), "resource", notesAPI).OK(t)
			wantClaims(t, "a refresh of the new grant", claims(t, strong.Text("access_token")), want)
			requireACR(s, notesAPI, "2", time.Hour)
			s.Clock.Advance(time.Hour)
			s.Refresh(c, strong.Text("refresh_token"), "resource", notesAPI).Want(t, 400, "invalid_target")
			wantPage(t, b.Authorize(c, "scope", "read"), "/login", "")
		}),
	servertest.Req("GX48a", "RFC 9470 §3",
		"userinfo responds insufficient_user_authentication with acr_values or max_age when the sign-in of the token is "+
			"not the one that the client or the issuer as a resource requires",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			c := s.RelyingParty()
			b := s.Browser()
			weak := s.Redeem(c, b.Code(c, "alice", "scope", "openid"))
			setACR(s, "2", "pwd", "otp", "mfa")
			strong := s.Redeem(c, b.Code(c, "alice", "scope", "openid"))
			check := func(name string, r servertest.Response, want string) {
				t.Helper()
				r.Want(t, 401, "insufficient_user_authentication")
				if got := r.Header.Get("WWW-Authenticate"); !strings.HasSuffix(got, want) {
					t.Errorf("%s: WWW-Authenticate: %s, want %s at its end", name, got, want)
				}
			}
			addAPI(t, s, s.Issuer, "Userinfo")
			requireACR(s, s.Issuer, "2", 10*time.Minute)
			check("a token without the acr", s.Userinfo(weak.Text("access_token")), `, acr_values="2"`)
			s.Userinfo(strong.Text("access_token")).OK(t)
			s.Clock.Advance(10*time.Minute + time.Second)
			check("an old token", s.Userinfo(strong.Text("access_token")), `, max_age="600"`)
			check("both", s.Userinfo(weak.Text("access_token")), `, acr_values="2", max_age="600"`)
			addTOTP(s, u)
			wantPage(t, b.Authorize(c, "scope", "openid", "acr_values", "2", "max_age", "600"), "/login", "")
		}),
}

const decision62 = "[decision 62](decisions/0062-step-up-authentication.md)"

// userPolicy are the requirements that the operator has on how users sign in.
var userPolicy = []servertest.Requirement{
	servertest.Req("PE18a", decision62,
		"a client with a required acr prompts users without the factor to add it, and they can only do that or return",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			c := s.RelyingParty(`"gatehouse_required_acr":"mfa"`)
			if c.RequiredACR != "2" {
				t.Errorf("gatehouse_required_acr = %q, want 2", c.RequiredACR)
			}
			b := s.Browser()
			p := b.SignIn(b.Authorize(c, "scope", "openid"), "alice")
			wantPage(t, p, "/enrol", "requires a second factor")
			form := p.Fields()
			form.Set("decision", "later")
			wantPage(t, b.Follow(b.Submit("/enrol", form)), "/enrol", "requires a second factor")
			security := b.Open("/account/security?request=" + form.Get("request"))
			if link := "/oauth2/authorize/" + form.Get("request"); !strings.Contains(p.Body, "/account/security?request=") ||
				!strings.Contains(security.Body, `href="`+link+`"`) {
				t.Errorf("pages without a link to add the factor or back to %s", link)
			}
			form.Set("form_token", "x")
			b.Submit("/enrol", form).WantErrorPage(t, 403)
			form = p.Fields()
			form.Set("decision", "leave")
			b.Submit("/enrol", form).WantRedirectError(t, s, "unmet_authentication_requirements")
			b.Authorize(c, "scope", "openid", "prompt", "none").WantRedirectError(t, s, "consent_required")
			addTOTP(s, u)
			wantPage(t, b.Authorize(c, "scope", "openid"), "/login", "")
			setACR(s, "2", "pwd", "otp", "mfa")
			r := s.Redeem(c, b.Code(c, "alice", "scope", "openid"))
			storagetest.Must(t, s.Store.UpdateClient(t.Context(), c.ClientID,
				func(c *storage.Client) (storage.ClientUpdate, error) {
					c.RequiredACR = "phr"
					return storage.ClientUpdate{}, nil
				}))
			s.Refresh(c, r.Text("refresh_token")).Want(t, 400, "invalid_grant")
			s.Userinfo(r.Text("access_token")).Want(t, 401, "insufficient_user_authentication")
			wantPage(t, b.Authorize(c, "scope", "openid"), "/enrol", "requires a passkey")
		}),
	servertest.Req("PE18b", decision62,
		"members of a group with a required acr can postpone adding the factor until a date, once per sign-in, and not "+
			"afterwards",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			addToGroups(s, u, "staff", "finance")
			until := s.Clock.Now().Add(time.Hour)
			storagetest.Must(t, s.Store.UpdateGroup(t.Context(), "staff", func(g *storage.Group) error {
				g.RequiredACR, g.EnrolUntil = "2", &until
				return nil
			}))
			c := s.RelyingParty()
			b := s.Browser()
			p := b.SignIn(b.Authorize(c, "scope", "openid"), "alice")
			wantPage(t, p, "/enrol", "your organization requires a second factor")
			form := p.Fields()
			form.Set("decision", "later")
			p = b.Follow(b.Submit("/enrol", form))
			wantPage(t, p, "/consent", "")
			s.Redeem(c, b.Decide(p, "approve").Location())
			wantCode(t, "postponed", b.Authorize(c, "scope", "openid"))
			b = s.Browser()
			p = b.SignIn(b.Authorize(c, "scope", "openid"), "alice")
			wantPage(t, p, "/enrol", "Later")
			wantCode(t, "prompt=none", b.Authorize(c, "scope", "openid", "prompt", "none"))
			s.Clock.Advance(time.Hour)
			p = b.Authorize(c, "scope", "openid")
			wantPage(t, p, "/enrol", "Back to the app")
			if strings.Contains(p.Text(), "Later") {
				t.Errorf("after the date: %s", p.Text())
			}
			b.Authorize(c, "scope", "openid", "prompt", "none").WantRedirectError(t, s, "login_required")
			storagetest.Must(t, s.Store.UpdateGroup(t.Context(), "finance", func(g *storage.Group) error {
				g.RequiredACR = "phr"
				return nil
			}))
			wantPage(t, b.Authorize(c, "scope", "openid"), "/enrol", "requires a passkey")
		}),
	servertest.Req("PE18e", decision62,
		"the policy none of a client, a group and an API requires no factor, also after a stricter one",
		func(t *testing.T, s *servertest.Server) {
			addToGroups(s, s.User("alice"), "staff")
			none, err := identity.ParseRequiredACR("none")
			storagetest.Must(t, err)
			addAPI(t, s, notesAPI, "Notes", "read")
			c := s.RelyingParty(`"gatehouse_required_acr":"none"`)
			b := s.Browser()
			for _, acr := range []string{"phr", none} {
				storagetest.Must(t, s.Store.UpdateGroup(t.Context(), "staff", func(g *storage.Group) error {
					g.RequiredACR = acr
					return nil
				}))
				requireACR(s, notesAPI, acr, 0)
				p := b.Authorize(c, "scope", "openid read", "resource", notesAPI)
				if strings.Contains(p.URL, "/login") {
					p = b.SignIn(p, "alice")
				}
				if acr != none {
					wantPage(t, p, "/enrol", "requires a passkey")
					continue
				}
				form := servertest.CodeForm(b.Decide(p, "approve").Location(), c, "resource", notesAPI)
				s.Token(c, form).OK(t)
			}
		}),
	servertest.Req("PE18c", decision62,
		"administrators without a second factor, or by a setting without a passkey, are warned, and from a date on cannot "+
			"continue without it",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			storagetest.Exec(t, s.Store, s.DB, "UPDATE users SET admin = true")
			c := s.RelyingParty()
			b := s.Browser()
			wantPage(t, b.SignIn(b.Authorize(c, "scope", "openid"), "alice"), "/enrol", "You manage this server")
			for _, other := range [][]string{
				{"Back to the app", "GATEHOUSE_ADMIN_FACTOR=require"},
				{"31 January 2999", "GATEHOUSE_ADMIN_FACTOR=2999-01-31"},
				{"Protect your account with a passkey", "GATEHOUSE_ADMIN_REQUIRED_ACR=phr"},
				{"requires a passkey", "GATEHOUSE_ADMIN_REQUIRED_ACR=phr", "GATEHOUSE_ADMIN_FACTOR=require"},
			} {
				browser := s.StartAnotherWith(other[1:]...).Browser()
				p := browser.SignIn(browser.Authorize(c, "scope", "openid"), "alice")
				wantPage(t, p, "/enrol", other[0])
			}
		}),
}
