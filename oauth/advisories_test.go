package oauth_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestAdvisories repeats the published flaws of servers like ours.
func TestAdvisories(t *testing.T) { servertest.Run(t, advisories) }

// advisories are in two files: requests of clients, here, and actions of users and browsers.
var advisories = slices.Concat(clientAdvisories, userAdvisories)

var clientAdvisories = []servertest.Requirement{
	servertest.Req("A1", "CVE-2026-55672 (Zitadel), CVE-2026-32245 (Tinyauth)",
		"a code or refresh token of one client cannot be used by another",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			a, b := s.App(), s.App()
			br := s.Browser()
			s.Token(b, servertest.CodeForm(br.Code(a, "alice"), a)).Want(t, 400, "invalid_grant")
			s.Refresh(b, s.Tokens(a, "alice").Text("refresh_token")).Want(t, 400, "invalid_grant")
		}),
	servertest.Req("A2", "CVE-2026-28513 (Pocket ID)",
		"each binding of a code is enough to refuse it",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			to := s.Browser().Code(c, "alice")
			wrongV, wrongR := strings.Repeat("w", 43), servertest.Callback+"x"
			s.Token(c, servertest.CodeForm(to, c, "code_verifier", wrongV)).Want(t, 400, "invalid_grant")
			s.Token(c, servertest.CodeForm(to, c, "redirect_uri", wrongR)).Want(t, 400, "invalid_grant")
			s.Token(s.App(), servertest.CodeForm(to, c)).Want(t, 400, "invalid_grant")
			s.Token(s.App(), servertest.CodeForm(to, c, "code_verifier", wrongV, "redirect_uri", wrongR)).Want(t, 400, "invalid_grant")
			s.Token(c, servertest.CodeForm(to, c)).OK(t)
		}),
	servertest.Req("A4", "CVE-2022-39222, GHSA-vh7g-p26c-j2cw (dex)",
		"a stolen request id cannot be used in another browser",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			s.User("mallory")
			c := s.App()
			victim := s.Browser()
			page := victim.SignIn(victim.Authorize(c), "alice")
			id := page.Fields().Get("request")
			attacker := s.Browser()
			attacker.SignIn(attacker.Open("/login"), "mallory")
			for _, p := range []servertest.Page{attacker.Open("/consent?request=" + id), attacker.Open("/oauth2/authorize/" + id), attacker.Open("/login?request=" + id), attacker.Submit("/consent", withParameters(page.Fields(), "decision", "approve"))} {
				p.WantErrorPage(t, http.StatusForbidden)
				if strings.Contains(p.Text(), "App wants") {
					t.Error("the attacker saw the request")
				}
			}
			if victim.Decide(page, "approve").Location().Query().Get("code") == "" {
				t.Error("the victim cannot continue")
			}
		}),
	servertest.Req("A5", "CVE-2026-53512 (better-auth)",
		"a confidential client's refresh token cannot be used without its secret",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			token := s.Tokens(c, "alice").Text("refresh_token")
			c.TokenEndpointAuthMethod = storage.AuthNone
			s.Refresh(c, token).Want(t, 401, "invalid_client")
		}),
	servertest.Req("A6", "CVE-2026-67332 (better-auth)",
		"a grant's audience cannot change at token or refresh",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			api(t, s)
			storagetest.Must(t, s.Store.CreateResource(t.Context(), storage.Resource{Identifier: "https://second.example", Scopes: storage.Strings{"read"}, CreatedAt: s.Clock.Now()}))
			c := s.App()
			to := s.Browser().Code(c, "alice", "resource", "https://api.example")
			s.Token(c, servertest.CodeForm(to, c, "resource", "https://second.example")).Want(t, 400, "invalid_target")
			tokens := s.Token(c, servertest.CodeForm(to, c)).OK(t)
			s.Refresh(c, tokens.Text("refresh_token"), "resource", "https://second.example").Want(t, 400, "invalid_target")
		}),
	servertest.Req("A9",
		"fosite PR#883; CVE-2024-23647, CVE-2023-48228 (authentik); CVE-2024-22258 (Spring); CVE-2025-4144 "+
			"(workers-oauth-provider)",
		"PKCE cannot be stripped, downgraded or bypassed by retries",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.Client(`{"redirect_uris":["https://app.example/callback"],"scope":"read write","gatehouse_require_pkce":false}`)
			to := s.Browser().Code(c, "alice")
			for range 3 {
				s.Token(c, servertest.CodeForm(to, c, "code_verifier", strings.Repeat("w", 43))).Want(t, 400, "invalid_grant")
				s.Token(c, servertest.CodeForm(to, c, "code_verifier", "")).Want(t, 400, "invalid_grant")
			}
			to = s.Browser().Code(c, "alice", "code_challenge", "", "code_challenge_method", "")
			s.Token(c, servertest.CodeForm(to, c)).Want(t, 400, "invalid_grant")
		}),
	servertest.Req("A11",
		"CVE-2020-15233, CVE-2020-15234 (fosite); CVE-2026-28512 (Pocket ID); CVE-2025-4143, CVE-2024-52289, "+
			"CVE-2023-6291, CVE-2024-8883, CVE-2024-1132, CVE-2026-3872, CVE-2026-7504, CVE-2026-54072",
		"no variation of a URL changes where a redirect goes",
		func(t *testing.T, s *servertest.Server) {
			c := s.Client(`{"redirect_uris":["https://good.example/cb","http://127.0.0.1:8000/cb"],"scope":"read"}`)
			for _, uri := range []string{
				"https://good.example@evil.example/cb", "https://good.example:pw@evil.example/cb", "https://evil.example#good.example/cb", "https://evil.example?good.example/cb",
				"https://evil.example\\@good.example/cb", "https://good.example\\.evil.example/cb", "https://good.example.evil.example/cb", "https://evilgood.example/cb",
				"https://good.example/cb/../../evil", "https://good.example/cb/..", "https://good.example/cb%2f..", "https://good.example//cb", "https://good.example/cb;x", "https://good.example/cb?",
				"https://good.example/cb#", "https://GOOD.example/cb", "HTTPS://good.example/cb", "https://good.example/CB", "https:good.example/cb", "https:/good.example/cb", "https:///good.example/cb",
				"//good.example/cb", "https://good.example:443/cb", "https://good.example:/cb", "https://good.example/cb\t", " https://good.example/cb", "https://good.example/cb\n", "https://good.example\u2025/cb",
				"https://good\u3002example/cb", "javascript://good.example/%0aalert(1)", "data:text/html,https://good.example/cb", "http://good.example/cb", "https://[good.example]/cb",
				"http://127.0.0.1:8000/cb/evil", "http://127.0.0.1:8000@evil.example/cb", "http://127.0.0.1.evil.example/cb", "http://localhost:8000/cb", "https://127.0.0.1:8000/cb", "http://127.0.0.1:8000//cb", "http://[::1]:8000/cb",
			} {
				p := s.Browser().Open("/oauth2/authorize?" + servertest.AuthorizeForm(c, "redirect_uri", uri, "scope", "read").Encode())
				p.WantErrorPage(t, http.StatusBadRequest)
			}
		}),
	servertest.Req("A14", "CVE-2026-9689 (Keycloak)",
		"a redirect URI cannot contain its own response parameters",
		func(t *testing.T, s *servertest.Server) {
			for _, q := range []string{"code=x", "state=x", "iss=x", "error=x", "a=b&%63ode=x"} {
				if _, _, err := s.OAuth.Clients.Create(t.Context(), client.Metadata{RedirectURIs: client.List{"https://app.example/cb?" + q}}); err == nil {
					t.Errorf("%s was registered", q)
				}
			}
			s.User("alice")
			c := s.Client(`{"redirect_uris":["https://app.example/cb?tenant=1&x=%20y"],"scope":"read"}`)
			to := s.Browser().Code(c, "alice", "scope", "read")
			if !strings.HasPrefix(to.String(), "https://app.example/cb?tenant=1&x=%20y&") || len(to.Query()["code"]) != 1 || len(to.Query()["iss"]) != 1 {
				t.Errorf("got %s", to)
			}
		}),
	servertest.Req("A15", "CVE-2026-67333 (better-auth), CVE-2024-21637 (authentik)",
		"javascript: and similar schemes are no redirect URIs",
		func(t *testing.T, s *servertest.Server) {
			for _, uri := range []string{"javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "data:text/html,x", "vbscript:x", "javascript.x:alert(1)//\n", "view-source:https://x"} {
				if _, _, err := s.OAuth.Clients.Create(t.Context(), client.Metadata{RedirectURIs: client.List{uri}}); err == nil {
					t.Errorf("%q was registered", uri)
				}
			}
		}),
	servertest.Req("A16", "CVE-2026-67336 (better-auth)",
		"neither alg none nor plain PKCE is accepted",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			token := s.ServiceToken(c)
			if s.Active(c, forge(t, token, map[string]any{"alg": "none", "typ": "at+jwt"}, nil)) {
				t.Error("alg none is accepted")
			}
			s.Browser().Authorize(s.Public(), "code_challenge_method", "plain").WantRedirectError(t, s, "invalid_request")
		}),
	servertest.Req("A17", "CVE-2026-1035 (Keycloak)",
		"after concurrent refreshes one refresh token is valid",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.Public()
			old := s.Tokens(c, "alice").Text("refresh_token")
			successors := map[string]bool{}
			for _, r := range concurrently(t, 50, func(int) servertest.Response { return s.Refresh(c, old) }) {
				successors[r.Text("refresh_token")] = true
			}
			if len(successors) != 1 {
				t.Errorf("%d successors", len(successors))
			}
		}),
	servertest.Req("A18", "CVE-2026-9802 (Keycloak)",
		"revocations survive a restart",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			tokens := s.Tokens(c, "alice")
			s.Post("/oauth2/revoke", c, url.Values{"token": {tokens.Text("refresh_token")}}).OK(t)
			storagetest.Must(t, s.Store.Close(t.Context()))
			again := s.StartAnother()
			again.Refresh(c, tokens.Text("refresh_token")).Want(t, 400, "invalid_grant")
			if again.Active(c, tokens.Text("access_token")) {
				t.Error("the access token is back")
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
				"code": code.Query().Get("code"), "refresh_token": tokens.Text("refresh_token"), "access_token": tokens.Text("access_token"), "secret": c.ClientSecret,
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
					t.Errorf("a %s is an active token", kind)
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
						t.Errorf("a %s is a session", kind)
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
				out := []string{v[:len(v)-1], v[1:], v + "A", "x" + v, strings.ToUpper(v), strings.ToLower(v), v + " ", strings.Replace(v, "live", "test", 1)}
				for i := 0; i < len(v); i += 7 {
					out = append(out, v[:i]+string(v[i]^1)+v[i+1:])
				}
				return out
			}
			for i, bad := range change(c.ClientSecret) {
				wrong := c
				wrong.ClientSecret = bad
				if r := s.Token(wrong, clientCredentialsForm); r.Status == 200 {
					t.Errorf("secret variant %d works", i)
				}
			}
			for i, bad := range change(token) {
				if r := s.Refresh(app, bad); r.Status == 200 {
					t.Errorf("refresh token variant %d works", i)
				}
			}
			s.Refresh(app, token).OK(t)
		}),
	servertest.Req("A23", "CVE-2026-33496 (Oathkeeper)",
		"the response to one caller is never returned to another",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			caller, c := api(t, s), s.App()
			token := s.Tokens(c, "alice").Text("access_token")
			other := s.Service("jobs")
			for range 3 {
				if !s.Active(caller, token) || s.Active(other, token) {
					t.Fatal("the responses mix")
				}
			}
		}),
	servertest.Req("A30", "CVE-2024-52287 (authentik)",
		"a client credentials client gets no scope that is not its own",
		func(t *testing.T, s *servertest.Server) {
			s.Service("admin")
			s.Token(s.Service("jobs"), withParameters(clientCredentialsForm, "scope", "jobs admin")).Want(t, 400, "invalid_scope")
		}),
	servertest.Req("A32", "CVE-2026-9704 (Keycloak)",
		"an oversized parameter is an error, never a fallback",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			for _, name := range []string{"scope", "client_id", "client_secret", "resource", "grant_type", "unknown", "client_assertion"} {
				for _, size := range []int{5000, 70_000} {
					r := s.Token(c, withParameters(clientCredentialsForm, name, strings.Repeat("x", size)))
					if name == "unknown" && size == 5000 {
						r.OK(t)
					} else if r.Status < 400 || r.Status >= 500 {
						t.Errorf("%s of %d: %d %s", name, size, r.Status, r.Body)
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
					t.Errorf("alg %q is accepted", alg)
				}
			}
			// With a real MAC, under the public key in each form that a careless verifier might take for a secret.
			var set struct {
				Keys []json.RawMessage `json:"keys"`
			}
			storagetest.Must(t, json.Unmarshal([]byte(s.Get("/.well-known/jwks.json").Body), &set))
			for _, raw := range set.Keys {
				var jwk jose.JSONWebKey
				storagetest.Must(t, json.Unmarshal(raw, &jwk))
				der, err := x509.MarshalPKIXPublicKey(jwk.Key)
				storagetest.Must(t, err)
				for _, secret := range [][]byte{raw, der, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})} {
					header["alg"], header["kid"] = "HS256", jwk.KeyID
					parts := strings.Split(forge(t, token, header, map[string]any{"scope": "admin"}), ".")
					mac := hmac.New(sha256.New, secret)
					mac.Write([]byte(parts[0] + "." + parts[1]))
					if s.Active(c, parts[0]+"."+parts[1]+"."+base64.RawURLEncoding.EncodeToString(mac.Sum(nil))) {
						t.Errorf("a MAC under the public key %s is accepted", jwk.KeyID)
					}
				}
			}
		}),
	servertest.Req("A38", "CVE-2026-34986, CVE-2025-27144, CVE-2024-28180 (go-jose); CVE-2025-30204",
		"malformed tokens are refused",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			for _, token := range []string{
				strings.Repeat(".", 60_000), strings.Repeat("a.", 30_000), "eyJ." + strings.Repeat("A", 60_000), "e30.e30.", "e30.e30.e30.e30.e30", `{"payload":"x","signatures":[]}`, "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0....", "\x00",
			} {
				r := s.Post("/oauth2/introspect", c, url.Values{"token": {token}})
				if r.Status >= 500 || r.JSON["active"] == true {
					t.Errorf("%.20q: %d %s", token, r.Status, r.Body)
				}
			}
		}),
	servertest.Req("A44", "CVE-2026-44883 (Portainer)",
		"no token is accepted from or put in a URL",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			tokens := s.Tokens(c, "alice")
			req := s.AsClient("/oauth2/introspect?token="+tokens.Text("access_token"), c, url.Values{"x": {"y"}})
			s.Do(req).Want(t, 400, "invalid_request")
			req = s.AsClient("/oauth2/revoke?token="+tokens.Text("refresh_token"), c, url.Values{"x": {"y"}})
			s.Do(req).Want(t, 400, "invalid_request")
			if strings.Contains(s.Log.String(), tokens.Text("access_token")) {
				t.Error("the log has a token")
			}
		}),
}
