package oauth_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

func TestAccessTokens(t *testing.T) { servertest.Run(t, accessTokens) }

var accessTokens = []servertest.Requirement{
	servertest.Req("P62", "RFC 9068 §2.1",
		"the header has typ at+jwt, an asymmetric alg and a kid of the JWKS; a token with another alg is invalid",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			token := s.ServiceToken(c)
			header := decodePart(t, token, 0)
			if header["typ"] != "at+jwt" || header["alg"] != "ES256" || !strings.Contains(s.Get("/.well-known/jwks.json").Body, header["kid"].(string)) {
				t.Errorf("%v", header)
			}
			for _, alg := range []string{"none", "HS256", "RS256", "ES384"} {
				if s.Active(c, forge(t, token, map[string]any{"alg": alg, "typ": "at+jwt", "kid": header["kid"]}, nil)) {
					t.Errorf("alg %s is accepted", alg)
				}
			}
		}),
	servertest.Req("P63", "RFC 9068 §2.2", "an access token has every required claim", func(t *testing.T, s *servertest.Server) {
		u := s.User("alice")
		c := s.App()
		userClaims := claims(t, s.Tokens(c, "alice").Text("access_token"))
		m := s.Service("jobs")
		serviceClaims := claims(t, s.ServiceToken(m))
		for _, got := range []map[string]any{userClaims, serviceClaims} {
			for _, name := range []string{"iss", "exp", "aud", "sub", "client_id", "iat", "jti", "scope"} {
				if got[name] == nil || got[name] == "" {
					t.Errorf("no %s in %v", name, got)
				}
			}
			if got["iss"] != s.Issuer {
				t.Errorf("iss is %v", got["iss"])
			}
		}
		if userClaims["sub"] != u.ID || userClaims["auth_time"] == nil || userClaims["acr"] == nil || userClaims["amr"] == nil {
			t.Errorf("a user's token: %v", userClaims)
		}
		if claims(t, s.ServiceToken(m))["jti"] == serviceClaims["jti"] {
			t.Error("jti repeats")
		}
	}),
	servertest.Req("P64", "RFC 9700 §4.10, RFC 9068 §4",
		"access tokens are short-lived, as configured, and must have the type at+jwt",
		func(t *testing.T, s *servertest.Server) {
			c := s.Client(`{"grant_types":["client_credentials"],"scope":"jobs","gatehouse_access_token_ttl":"2m"}`)
			r := s.Token(c, clientCredentialsForm).OK(t)
			got := claims(t, r.Text("access_token"))
			if r.JSON["expires_in"] != float64(120) || got["exp"].(float64)-got["iat"].(float64) != 120 {
				t.Errorf("%s %v", r.Body, got)
			}
			s.Clock.Advance(2*time.Minute - time.Second)
			if !s.Active(c, r.Text("access_token")) {
				t.Error("it expired early")
			}
			s.Clock.Advance(time.Second)
			if s.Active(c, r.Text("access_token")) {
				t.Error("it outlived its exp")
			}
		}),
	servertest.Req("P65", "RFC 8707 §2",
		"resource determines aud: it must be registered and permitted, and at token and refresh also granted",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			for _, r := range []storage.Resource{
				{Identifier: "https://api.example", Scopes: storage.Strings{"read"}}, {Identifier: "https://files.example", Scopes: storage.Strings{"write"}}, {Identifier: "https://other.example", Scopes: storage.Strings{"other"}},
			} {
				r.CreatedAt = s.Clock.Now()
				storagetest.Must(t, s.Store.CreateResource(t.Context(), r))
			}
			m := s.Service("read write plain")
			for _, bad := range []string{"https://unknown.example", "https://api.example#f", "/api", "api", "https://other.example", "https://API.example"} {
				s.Token(m, withParameters(clientCredentialsForm, "resource", bad)).Want(t, 400, "invalid_target")
			}
			one := s.Token(m, withParameters(clientCredentialsForm, "resource", "https://api.example")).OK(t)
			if got := claims(t, one.Text("access_token")); got["aud"] != "https://api.example" || got["scope"] != "read plain" || one.Text("scope") != "read plain" {
				t.Errorf("aud %v scope %v", got["aud"], got["scope"])
			}
			if got := claims(t, s.Token(m, withParameters(clientCredentialsForm, "scope", "plain")).OK(t).Text("access_token")); got["aud"] != s.Issuer {
				t.Errorf("no resource and no audience: aud %v", got["aud"])
			}
			if got := claims(t, s.ServiceToken(m))["aud"]; len(got.([]any)) != 2 {
				t.Errorf("by scopes: aud %v", got)
			}
			own := s.Client(`{"grant_types":["client_credentials"],"scope":"plain","gatehouse_audience":"urn:example:own"}`)
			if got := claims(t, s.ServiceToken(own))["aud"]; got != "urn:example:own" {
				t.Errorf("gatehouse_audience: aud %v", got)
			}
			c := s.App()
			b := s.Browser()
			to := b.Code(c, "alice", "resource", "https://api.example")
			s.Token(c, servertest.CodeForm(to, c, "resource", "https://files.example")).Want(t, 400, "invalid_target")
			tokens := s.Token(c, servertest.CodeForm(to, c)).OK(t)
			if got := claims(t, tokens.Text("access_token")); got["aud"] != "https://api.example" || got["scope"] != "read" {
				t.Errorf("%v", got)
			}
			s.Refresh(c, tokens.Text("refresh_token"), "resource", "https://files.example").Want(t, 400, "invalid_target")
			s.Refresh(c, tokens.Text("refresh_token"), "resource", "https://api.example").OK(t)
			b.Authorize(c, "resource", "https://unknown.example").WantRedirectError(t, s, "invalid_target")
			// Fosite's own parameter means nothing.
			if got := claims(t, s.Token(own, withParameters(clientCredentialsForm, "audience", "https://evil.example")).OK(t).Text("access_token"))["aud"]; got != "urn:example:own" {
				t.Errorf("audience parameter: aud %v", got)
			}
		}),
	servertest.Req("P67", "RFC 9068 §4", "an access token with any change is invalid", func(t *testing.T, s *servertest.Server) {
		c := s.Service("jobs")
		token := s.ServiceToken(c)
		header := decodePart(t, token, 0)
		for name, bad := range map[string]string{
			"flipped":     token[:len(token)-3] + otherCharacter(token[len(token)-3]) + token[len(token)-2:],
			"truncated":   token[:len(token)-5],
			"no sig":      token[:strings.LastIndex(token, ".")+1],
			"foreign kid": forge(t, token, map[string]any{"alg": "ES256", "typ": "at+jwt", "kid": "other"}, nil),
			"wrong typ":   forge(t, token, map[string]any{"alg": "ES256", "typ": "JWT", "kid": header["kid"]}, nil),
			"no typ":      forge(t, token, map[string]any{"alg": "ES256", "kid": header["kid"]}, nil),
			"other iss":   forge(t, token, header, map[string]any{"iss": "https://evil.example"}),
			"more scope":  forge(t, token, header, map[string]any{"scope": "admin"}),
			"spaces":      token + " ", "doubled": token + token, "dots": "...", "empty parts": "..",
		} {
			if s.Active(c, bad) {
				t.Errorf("%s is active", name)
			}
		}
		foreign := servertest.Start(t, storagetest.URL(t, s.Store.Engine()), servertest.Options{Issuer: s.Issuer, Clock: s.Clock, OwnKeys: true})
		if s.Active(c, foreign.ServiceToken(foreign.Service("jobs"))) {
			t.Error("a token signed by another server's key is active")
		}
		if !s.Active(c, token) {
			t.Error("the real one is not active")
		}
	}),
}

// otherCharacter returns a base64url character other than b.
func otherCharacter(b byte) string {
	if b == 'A' {
		return "B"
	}
	return "A"
}
