package oauth_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

var tokenAdvisories = []servertest.Requirement{
	servertest.Req("A16", "CVE-2026-67336 (better-auth)",
		"neither alg none nor plain PKCE is accepted",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			token := s.ServiceToken(c)
			if s.Active(c, forge(t, token, map[string]any{"alg": "none", "typ": "at+jwt"}, nil)) {
				t.Error("a token with alg none is active")
			}
			s.Browser().Authorize(s.Public(), "code_challenge_method", "plain").WantRedirectError(t, s, "invalid_request")
		}),
	servertest.Req("A17", "CVE-2026-1035 (Keycloak)",
		"concurrent refreshes return the same refresh token",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.Public()
			old := s.Tokens(c, "alice").Text("refresh_token")
			successors := map[string]bool{}
			for _, r := range concurrently(t, 50, func(int) servertest.Response { return s.Refresh(c, old) }) {
				successors[r.Text("refresh_token")] = true
			}
			if len(successors) != 1 {
				t.Errorf("the refreshes returned %d different refresh tokens, want 1", len(successors))
			}
		}),
	servertest.Req("A18", "CVE-2026-9802 (Keycloak)",
		"a revoked token is still revoked after a restart",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			tokens := s.Tokens(c, "alice")
			s.Post("/oauth2/revoke", c, url.Values{"token": {tokens.Text("refresh_token")}}).OK(t)
			storagetest.Must(t, s.Store.Close(t.Context()))
			restarted := s.StartAnother()
			restarted.Refresh(c, tokens.Text("refresh_token")).Want(t, 400, "invalid_grant")
			if restarted.Active(c, tokens.Text("access_token")) {
				t.Error("the access token of the revoked grant is active after the restart")
			}
		}),
	servertest.Req("A19", "CVE-2026-4282 (Keycloak)",
		"no kind of credential is accepted as another",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			b := s.Browser()
			tokens := s.Token(c, servertest.CodeForm(b.Code(c, "alice"), c)).OK(t)
			code := b.Code(c, "alice")
			all := map[string]string{
				"code": code.Query().Get("code"), "secret": c.ClientSecret,
				"refresh_token": tokens.Text("refresh_token"), "access_token": tokens.Text("access_token"),
				"session": b.Cookie("session"), "browser": b.Cookie("browser"),
			}
			for kind, v := range all {
				if kind != "code" {
					s.Token(c, servertest.CodeForm(code, c, "code", v)).Want(t, 400, "invalid_grant")
				}
				if kind != "refresh_token" {
					s.Refresh(c, v).Want(t, 400, "invalid_grant")
				}
				if kind != "refresh_token" && kind != "access_token" && s.Active(c, v) {
					t.Errorf("introspection reports the credential %q as an active token", kind)
				}
				if kind != "secret" {
					other := c
					other.ClientSecret = v
					s.Refresh(other, tokens.Text("refresh_token")).Want(t, 401, "invalid_client")
				}
				if kind != "session" {
					attacker := s.Browser()
					attacker.SetCookie("session", v)
					if attacker.Open("/account").Status == 200 {
						t.Errorf("the credential %q is accepted as a session", kind)
					}
				}
			}
		}),
	servertest.Req("A22", "CVE-2026-27840 (Zitadel)",
		"a truncated, extended or modified credential is refused",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			user := s.User("alice")
			app := s.App()
			token := s.Tokens(app, user.Username).Text("refresh_token")
			change := func(v string) []string {
				out := []string{
					v[:len(v)-1], v[1:], v + "A", "x" + v, v + " ",
					strings.ToUpper(v), strings.ToLower(v), strings.Replace(v, "live", "test", 1),
				}
				for i := 0; i < len(v); i += 7 {
					out = append(out, v[:i]+string(v[i]^1)+v[i+1:])
				}
				return out
			}
			for i, secret := range change(c.ClientSecret) {
				changed := c
				changed.ClientSecret = secret
				if r := s.Token(changed, clientCredentialsForm); r.Status == 200 {
					t.Errorf("change %d of the secret is accepted", i)
				}
			}
			for i, changed := range change(token) {
				if r := s.Refresh(app, changed); r.Status == 200 {
					t.Errorf("change %d of the refresh token is accepted", i)
				}
			}
			s.Refresh(app, token).OK(t)
		}),
	servertest.Req("A23", "CVE-2026-33496 (Oathkeeper)",
		"the response to one caller is never returned to another",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			caller, c := registerDefaultAPI(t, s), s.App()
			token := s.Tokens(c, "alice").Text("access_token")
			other := s.Service("jobs")
			for range 3 {
				if !s.Active(caller, token) || s.Active(other, token) {
					t.Fatal("the token is inactive for its API, or active for another client")
				}
			}
		}),
	servertest.Req("A30", "CVE-2024-52287 (authentik)",
		"a client credentials client gets no scope that is not registered for it",
		func(t *testing.T, s *servertest.Server) {
			s.Service("admin")
			form := withParameters(clientCredentialsForm, "scope", "jobs admin")
			s.Token(s.Service("jobs"), form).Want(t, 400, "invalid_scope")
		}),
	servertest.Req("A32", "CVE-2026-9704 (Keycloak)",
		"an oversized parameter is an error and never treated as omitted",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			for _, name := range []string{
				"scope", "client_id", "client_secret", "resource", "grant_type", "unknown", "client_assertion",
			} {
				for _, size := range []int{5000, 70_000} {
					r := s.Token(c, withParameters(clientCredentialsForm, name, strings.Repeat("x", size)))
					if name == "unknown" && size == 5000 {
						r.OK(t)
					} else if r.Status < 400 || r.Status >= 500 {
						t.Errorf("%s of %d bytes: got %d %s, want a 4xx status", name, size, r.Status, r.Body)
					}
				}
			}
		}),
	servertest.Req("A35", "CVE-2026-11800 (Keycloak)",
		"a token authenticated by HMAC with the public key is refused",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			token := s.ServiceToken(c)
			header := decodePart(t, token, 0)
			for _, alg := range []string{"HS256", "HS384", "none", "None", "ES512", "RS256", "", "dir"} {
				header["alg"] = alg
				if s.Active(c, forge(t, token, header, map[string]any{"scope": "admin"})) {
					t.Errorf("a token with alg %q is active", alg)
				}
			}
			// With a valid MAC under the public key, in each form that a careless verifier might use as a secret.
			var set struct {
				Keys []json.RawMessage `json:"keys"`
			}
			storagetest.Must(t, json.Unmarshal([]byte(s.Get("/.well-known/jwks.json").Body), &set))
			for _, raw := range set.Keys {
				var jwk jose.JSONWebKey
				storagetest.Must(t, json.Unmarshal(raw, &jwk))
				der, err := x509.MarshalPKIXPublicKey(jwk.Key)
				storagetest.Must(t, err)
				forms := [][]byte{raw, der, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}
				for _, secret := range forms {
					header["alg"], header["kid"] = "HS256", jwk.KeyID
					parts := strings.Split(forge(t, token, header, map[string]any{"scope": "admin"}), ".")
					input := parts[0] + "." + parts[1]
					mac := hmac.New(sha256.New, secret)
					mac.Write([]byte(input))
					if s.Active(c, input+"."+base64.RawURLEncoding.EncodeToString(mac.Sum(nil))) {
						t.Errorf("a token with a MAC under the public key %s is active", jwk.KeyID)
					}
				}
			}
		}),
	servertest.Req("A38", "CVE-2026-34986, CVE-2025-27144, CVE-2024-28180 (go-jose); CVE-2025-30204",
		"malformed tokens are refused",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			for _, token := range []string{
				strings.Repeat(".", 60_000), strings.Repeat("a.", 30_000), "eyJ." + strings.Repeat("A", 60_000),
				"e30.e30.", "e30.e30.e30.e30.e30", `{"payload":"x","signatures":[]}`,
				"eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0....", "\x00",
			} {
				r := s.Post("/oauth2/introspect", c, url.Values{"token": {token}})
				if r.Status >= 500 || r.JSON["active"] == true {
					t.Errorf("introspection of %.20q: got %d %s, want a status below 500 and no active token",
						token, r.Status, r.Body)
				}
			}
		}),
	servertest.Req("A44", "CVE-2026-44883 (Portainer)",
		"a token in a URL is refused and not logged",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			tokens := s.Tokens(c, "alice")
			req := s.AsClient("/oauth2/introspect?token="+tokens.Text("access_token"), c, url.Values{"x": {"y"}})
			s.Do(req).Want(t, 400, "invalid_request")
			req = s.AsClient("/oauth2/revoke?token="+tokens.Text("refresh_token"), c, url.Values{"x": {"y"}})
			s.Do(req).Want(t, 400, "invalid_request")
			if strings.Contains(s.Log.String(), tokens.Text("access_token")) {
				t.Error("the log contains the access token")
			}
		}),
}
