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
			if header["typ"] != "at+jwt" || header["alg"] != "ES256" {
				t.Errorf("the header is %v, want typ at+jwt and alg ES256", header)
			}
			if jwks := s.Get("/.well-known/jwks.json").Body; !strings.Contains(jwks, header["kid"].(string)) {
				t.Errorf("the JWKS does not have the kid %v: %s", header["kid"], jwks)
			}
			for _, alg := range []string{"none", "HS256", "RS256", "ES384"} {
				if s.Active(c, forge(t, token, map[string]any{"alg": alg, "typ": "at+jwt", "kid": header["kid"]}, nil)) {
					t.Errorf("a token with alg %s is active", alg)
				}
			}
		}),
	servertest.Req("P63", "RFC 9068 §2.2",
		"an access token has every required claim",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			c := s.App()
			userClaims := claims(t, s.Tokens(c, "alice").Text("access_token"))
			m := s.Service("jobs")
			serviceClaims := claims(t, s.ServiceToken(m))
			for _, got := range []map[string]any{userClaims, serviceClaims} {
				for _, name := range []string{"iss", "exp", "aud", "sub", "client_id", "iat", "jti", "scope"} {
					if got[name] == nil || got[name] == "" {
						t.Errorf("the claims %v do not have %s", got, name)
					}
				}
				if got["iss"] != s.Issuer {
					t.Errorf("iss = %v, want %s", got["iss"], s.Issuer)
				}
			}
			if userClaims["sub"] != u.ID {
				t.Errorf("sub of a user's token = %v, want %s", userClaims["sub"], u.ID)
			}
			for _, name := range []string{"auth_time", "acr", "amr"} {
				if userClaims[name] == nil {
					t.Errorf("the claims of a user's token %v do not have %s", userClaims, name)
				}
			}
			if claims(t, s.ServiceToken(m))["jti"] == serviceClaims["jti"] {
				t.Error("two tokens have the same jti")
			}
		}),
	servertest.Req("P64", "RFC 9700 §4.10, RFC 9068 §4",
		"access tokens are short-lived, as configured, and must have the type at+jwt",
		func(t *testing.T, s *servertest.Server) {
			c := s.Client(`{"grant_types":["client_credentials"],"scope":"jobs","gatehouse_access_token_ttl":"2m"}`)
			r := s.Token(c, clientCredentialsForm).OK(t)
			got := claims(t, r.Text("access_token"))
			if r.JSON["expires_in"] != float64(120) || got["exp"].(float64)-got["iat"].(float64) != 120 {
				t.Errorf("expires_in = %v, claims %v, want 120 s in both", r.JSON["expires_in"], got)
			}
			s.Clock.Advance(2*time.Minute - time.Second)
			if !s.Active(c, r.Text("access_token")) {
				t.Error("the token is not active a second before its exp")
			}
			s.Clock.Advance(time.Second)
			if s.Active(c, r.Text("access_token")) {
				t.Error("the token is active at its exp")
			}
		}),
	servertest.Req("P65", "RFC 8707 §2",
		"resource determines aud: it must be registered and permitted, and at token and refresh also granted",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			for _, r := range []storage.Resource{
				{Identifier: "https://api.example", Scopes: storage.Strings{"read"}},
				{Identifier: "https://files.example", Scopes: storage.Strings{"write"}},
				{Identifier: "https://other.example", Scopes: storage.Strings{"other"}},
			} {
				r.CreatedAt = s.Clock.Now()
				storagetest.Must(t, s.Store.CreateResource(t.Context(), r))
			}
			m := s.Service("read write plain")
			for _, bad := range []string{
				"https://unknown.example", "https://api.example#f", "/api", "api", "https://other.example",
				"https://api.example/x",
			} {
				s.Token(m, withParameters(clientCredentialsForm, "resource", bad)).Want(t, 400, "invalid_target")
			}
			one := s.Token(m, withParameters(clientCredentialsForm, "resource", "https://api.example")).OK(t)
			got := claims(t, one.Text("access_token"))
			if got["aud"] != "https://api.example" || got["scope"] != "read plain" || one.Text("scope") != "read plain" {
				t.Errorf("aud = %v, scope = %v and %q in the response, want https://api.example and read plain",
					got["aud"], got["scope"], one.Text("scope"))
			}
			plain := s.Token(m, withParameters(clientCredentialsForm, "scope", "plain")).OK(t)
			if aud := claims(t, plain.Text("access_token"))["aud"]; aud != s.Issuer {
				t.Errorf("aud without resource or audience = %v, want the issuer %s", aud, s.Issuer)
			}
			if aud := claims(t, s.ServiceToken(m))["aud"]; len(aud.([]any)) != 2 {
				t.Errorf("aud of a token with the scopes of two resources = %v, want both", aud)
			}
			own := s.Client(`{"grant_types":["client_credentials"],"scope":"plain",
				"gatehouse_audience":"urn:example:own"}`)
			if aud := claims(t, s.ServiceToken(own))["aud"]; aud != "urn:example:own" {
				t.Errorf("aud of a client with gatehouse_audience = %v, want urn:example:own", aud)
			}
			c := s.App()
			b := s.Browser()
			to := b.Code(c, "alice", "resource", "https://api.example")
			s.Token(c, servertest.CodeForm(to, c, "resource", "https://files.example")).Want(t, 400, "invalid_target")
			tokens := s.Token(c, servertest.CodeForm(to, c)).OK(t)
			if got := claims(t, tokens.Text("access_token")); got["aud"] != "https://api.example" || got["scope"] != "read" {
				t.Errorf("aud = %v, scope = %v, want https://api.example and read", got["aud"], got["scope"])
			}
			s.Refresh(c, tokens.Text("refresh_token"), "resource", "https://files.example").Want(t, 400, "invalid_target")
			s.Refresh(c, tokens.Text("refresh_token"), "resource", "https://api.example").OK(t)
			b.Authorize(c, "resource", "https://unknown.example").WantRedirectError(t, s, "invalid_target")
			// The parameter audience is an extension of fosite, and has no effect.
			r := s.Token(own, withParameters(clientCredentialsForm, "audience", "https://evil.example")).OK(t)
			if aud := claims(t, r.Text("access_token"))["aud"]; aud != "urn:example:own" {
				t.Errorf("aud of a request with the parameter audience = %v, want urn:example:own", aud)
			}
		}),
	servertest.Req("P67", "RFC 9068 §4",
		"an access token with any change is invalid",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			token := s.ServiceToken(c)
			header := decodePart(t, token, 0)
			for name, bad := range map[string]string{
				"changed sig": token[:len(token)-3] + otherCharacter(token[len(token)-3]) + token[len(token)-2:],
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
					t.Errorf("a changed token (%s) is active", name)
				}
			}
			foreign := servertest.Start(t, storagetest.URL(t, s.Store.Engine()), servertest.Options{
				Issuer: s.Issuer, Clock: s.Clock, OwnKeys: true,
			})
			if s.Active(c, foreign.ServiceToken(foreign.Service("jobs"))) {
				t.Error("a token signed by another server's key is active")
			}
			if !s.Active(c, token) {
				t.Error("the unchanged token is not active")
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
