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

var stepUp = []servertest.Requirement{
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
