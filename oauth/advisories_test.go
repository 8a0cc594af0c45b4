package oauth_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage"
)

// TestAdvisories attempts the published attacks on other authorization servers and their libraries.
func TestAdvisories(t *testing.T) { servertest.Run(t, advisories) }

// advisories are in three files: codes and redirect URIs, here, tokens and credentials, and users and browsers.
var advisories = slices.Concat(codeAdvisories, tokenAdvisories, userAdvisories)

var codeAdvisories = []servertest.Requirement{
	servertest.Req("A1", "CVE-2026-55672 (Zitadel), CVE-2026-32245 (Tinyauth)",
		"a code or refresh token of one client cannot be used by another",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c, other := s.App(), s.App()
			code := s.Browser().Code(c, "alice")
			s.Token(other, servertest.CodeForm(code, c)).Want(t, 400, "invalid_grant")
			s.Refresh(other, s.Tokens(c, "alice").Text("refresh_token")).Want(t, 400, "invalid_grant")
		}),
	servertest.Req("A2", "CVE-2026-28513 (Pocket ID)",
		"a code is refused when one of its bindings does not match",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			to := s.Browser().Code(c, "alice")
			verifier, uri := strings.Repeat("w", 43), servertest.Callback+"x"
			s.Token(c, servertest.CodeForm(to, c, "code_verifier", verifier)).Want(t, 400, "invalid_grant")
			s.Token(c, servertest.CodeForm(to, c, "redirect_uri", uri)).Want(t, 400, "invalid_grant")
			s.Token(s.App(), servertest.CodeForm(to, c)).Want(t, 400, "invalid_grant")
			allInvalid := servertest.CodeForm(to, c, "code_verifier", verifier, "redirect_uri", uri)
			s.Token(s.App(), allInvalid).Want(t, 400, "invalid_grant")
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
			for _, p := range []servertest.Page{
				attacker.Open("/consent?request=" + id), attacker.Open("/oauth2/authorize/" + id),
				attacker.Open("/login?request=" + id),
				attacker.Submit("/consent", withParameters(page.Fields(), "decision", "approve")),
			} {
				p.WantErrorPage(t, http.StatusForbidden)
				if strings.Contains(p.Text(), "App wants") {
					t.Errorf("%s shows the request to the attacker", p.URL)
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
		"the audience of a grant cannot change at redemption or refresh",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			registerDefaultAPI(t, s)
			const second = "https://second.example"
			addAPI(t, s, second, "", "read")
			c := s.App()
			to := s.Browser().Code(c, "alice", "resource", "https://api.example")
			s.Token(c, servertest.CodeForm(to, c, "resource", second)).Want(t, 400, "invalid_target")
			tokens := s.Token(c, servertest.CodeForm(to, c)).OK(t)
			s.Refresh(c, tokens.Text("refresh_token"), "resource", second).Want(t, 400, "invalid_target")
		}),
	servertest.Req("A9",
		"fosite PR#883; CVE-2024-23647, CVE-2023-48228 (authentik); CVE-2024-22258 (Spring); CVE-2025-4144 "+
			"(workers-oauth-provider)",
		"PKCE cannot be stripped, downgraded or bypassed by retries",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := clientWithOptionalPKCE(s)
			to := s.Browser().Code(c, "alice")
			for range 3 {
				for _, verifier := range []string{strings.Repeat("w", 43), ""} {
					s.Token(c, servertest.CodeForm(to, c, "code_verifier", verifier)).Want(t, 400, "invalid_grant")
				}
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
				"https://good.example@evil.example/cb", "https://good.example:pw@evil.example/cb",
				"https://evil.example#good.example/cb", "https://evil.example?good.example/cb",
				"https://evil.example\\@good.example/cb", "https://good.example\\.evil.example/cb",
				"https://good.example.evil.example/cb", "https://evilgood.example/cb",
				"https://good.example/cb/../../evil", "https://good.example/cb/..", "https://good.example/cb%2f..",
				"https://good.example//cb", "https://good.example/cb;x", "https://good.example/cb?", "https://good.example/cb#",
				"https://GOOD.example/cb", "HTTPS://good.example/cb", "https://good.example/CB",
				"https:good.example/cb", "https:/good.example/cb", "https:///good.example/cb", "//good.example/cb",
				"https://good.example:443/cb", "https://good.example:/cb",
				"https://good.example/cb\t", " https://good.example/cb", "https://good.example/cb\n",
				"https://good.example\u2025/cb", "https://good\u3002example/cb",
				"javascript://good.example/%0aalert(1)", "data:text/html,https://good.example/cb",
				"http://good.example/cb", "https://[good.example]/cb",
				"http://127.0.0.1:8000/cb/evil", "http://127.0.0.1:8000@evil.example/cb", "http://127.0.0.1.evil.example/cb",
				"http://localhost:8000/cb", "https://127.0.0.1:8000/cb", "http://127.0.0.1:8000//cb", "http://[::1]:8000/cb",
			} {
				form := servertest.AuthorizeForm(c, "redirect_uri", uri, "scope", "read")
				openAuthorize(s, form).WantErrorPage(t, http.StatusBadRequest)
			}
		}),
	servertest.Req("A14", "CVE-2026-9689 (Keycloak)",
		"a redirect URI cannot contain its own response parameters",
		func(t *testing.T, s *servertest.Server) {
			for _, q := range []string{"code=x", "state=x", "iss=x", "error=x", "a=b&%63ode=x"} {
				if err := createWithRedirectURI(t, s, "https://app.example/cb?"+q); err == nil {
					t.Errorf("a redirect URI with the query %q was registered", q)
				}
			}
			s.User("alice")
			c := s.Client(`{"redirect_uris":["https://app.example/cb?tenant=1&x=%20y"],"scope":"read"}`)
			to := s.Browser().Code(c, "alice", "scope", "read")
			const prefix = "https://app.example/cb?tenant=1&x=%20y&"
			if q := to.Query(); !strings.HasPrefix(to.String(), prefix) || len(q["code"]) != 1 || len(q["iss"]) != 1 {
				t.Errorf("redirected to %s, want %s with one code and one iss", to, prefix)
			}
		}),
	servertest.Req("A15", "CVE-2026-67333 (better-auth), CVE-2024-21637 (authentik)",
		"a redirect URI cannot have the scheme javascript: or a similar one",
		func(t *testing.T, s *servertest.Server) {
			for _, uri := range []string{
				"javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "javascript.x:alert(1)//\n",
				"data:text/html,x", "vbscript:x", "view-source:https://x",
			} {
				if err := createWithRedirectURI(t, s, uri); err == nil {
					t.Errorf("the redirect URI %q was registered", uri)
				}
			}
		}),
}

// createWithRedirectURI registers a client as an operator does.
func createWithRedirectURI(t testing.TB, s *servertest.Server, uri string) error {
	t.Helper()
	_, _, err := s.OAuth.Clients.Create(t.Context(), client.Metadata{RedirectURIs: client.List{uri}})
	return err
}
