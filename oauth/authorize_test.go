package oauth_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth"
	"gatehouse/oauth/client"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

func TestAuthorizationEndpoint(t *testing.T) { servertest.Run(t, authorizationEndpoint) }

var authorizationEndpoint = slices.Concat(authorizationRequests, authorizationPages, promptRequests)

var authorizationRequests = []servertest.Requirement{
	servertest.Req("P1", "RFC 9700 §2.1, §4.1",
		"a redirect_uri that differs in any way gets an error page, never a redirect",
		func(t *testing.T, s *servertest.Server) {
			c := s.App()
			for _, uri := range []string{
				"https://app.example/callbacc", "https://app.example/Callback", "https://APP.example/callback",
				"https://app.example/callback/", "https://app.example/callback?x=1", "https://app.example/callback#f",
				"http://app.example/callback", "https://app.example:443/callback", "https://app.example/%63allback",
				"https://app.example/a/../callback", "https://app.example", "callback", "//app.example/callback",
			} {
				openAuthorize(s, servertest.AuthorizeForm(c, "redirect_uri", uri)).WantErrorPage(t, http.StatusBadRequest)
			}
		}),
	servertest.Req("P2", "RFC 8252 §7.3",
		"only the port of a loopback IP literal may differ",
		func(t *testing.T, s *servertest.Server) {
			c := s.Client(`{"client_name":"CLI","token_endpoint_auth_method":"none","scope":"read",
				"redirect_uris":["http://127.0.0.1/cb","http://[::1]/cb","http://localhost:7000/cb"]}`)
			for _, uri := range []string{
				"http://127.0.0.1:51234/cb", "http://127.0.0.1/cb", "http://[::1]:9/cb", "http://localhost:7000/cb",
			} {
				p := s.Browser().Authorize(c, "redirect_uri", uri, "scope", "read")
				if p.Status != 200 || !strings.Contains(p.URL, "/login") {
					t.Errorf("%s: got %d %s, want the sign-in page", uri, p.Status, p.URL)
				}
			}
			for _, uri := range []string{
				"http://localhost:7001/cb", "http://localhost/cb", "https://127.0.0.1:51234/cb",
				"http://127.0.0.1:51234/cB", "http://127.0.0.2:51234/cb", "http://user@127.0.0.1:51234/cb",
				"http://127.0.0.1:51234/%63b", "http://127.0.0.1:51234/cb?x", "http://127.0.0.1:99999/cb",
				"http://127.0.0.1:/cb", "http://127.0.0.1:80@evil.example/cb", "http://127.0.0.1.evil.example/cb",
				"http://127.1:80/cb", "http://0x7f.0.0.1/cb",
			} {
				form := servertest.AuthorizeForm(c, "redirect_uri", uri, "scope", "read")
				openAuthorize(s, form).WantErrorPage(t, http.StatusBadRequest)
			}
		}),
	servertest.Req("P2b", "RFC 8252 §7.1",
		"a private-use scheme works for the complete flow, with consent every time",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.Client(`{"client_name":"Phone","token_endpoint_auth_method":"none","scope":"read",
				"grant_types":["authorization_code","refresh_token"],"redirect_uris":["com.example.phone:/callback"]}`)
			b := s.Browser()
			for range 2 {
				page := b.Authorize(c, "scope", "read")
				if strings.Contains(page.URL, "/login") {
					page = b.SignIn(page, "alice")
				}
				csp := page.Header.Get("Content-Security-Policy")
				if !strings.Contains(page.URL, "/consent") || strings.Contains(csp, "form-action") {
					t.Fatalf("got %s with the policy %q, want the consent page without form-action", page.URL, csp)
				}
				to := b.Decide(page, "approve").Location()
				if !strings.HasPrefix(to.String(), "com.example.phone:/callback?") {
					t.Fatalf("redirected to %s, want com.example.phone:/callback with parameters", to)
				}
				s.Token(c, servertest.CodeForm(to, c)).OK(t)
			}
		}),
	servertest.Req("P3", "RFC 9700 §2.1, RFC 8252 §7.1",
		"a redirect URI that an attacker could abuse cannot be registered",
		func(t *testing.T, s *servertest.Server) {
			for _, uri := range []string{
				"https://app.example/cb#f", "https://*.app.example/cb", "https://app.example/*",
				"https://u@app.example/cb", "https://u:p@app.example/cb",
				"https://app.example;script-src/cb", "https://a,b.example/cb", "https://'self'/cb",
				"javascript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "blob:https://app.example/x",
				"http://app.example/cb", "x:/cb", "", "/cb", "app.example/cb", "https:///cb",
				"https://app.example/cb?code=1", "https://app.example/cb?iss=x", "https://app.example/cb?a=1&state=x",
				"https://app.example\\@evil.example/", "https://app.example/ cb", "HTTPS://app.example/cb",
				"https://app.example:0/cb",
			} {
				err := createWithRedirectURI(t, s, uri)
				code := oauth.AsError(err).Code
				if err == nil || code != protocol.InvalidRedirectURI && code != protocol.InvalidClientMetadata {
					t.Errorf("registering %q: got %v, want it refused", uri, err)
				}
			}
			for _, uri := range []string{
				"https://app.example/cb", "https://app.example:8443/cb?tenant=1", "http://127.0.0.1/cb",
				"http://localhost:3000/cb", "com.example.app:/cb", "com.example.app://host/cb", "myapp:/cb",
			} {
				if err := createWithRedirectURI(t, s, uri); err != nil {
					t.Errorf("registering %q: got %v, want it accepted", uri, err)
				}
			}
		}),
	servertest.Req("P4", "RFC 6749 §4.1.2.1",
		"an unknown client_id never redirects",
		func(t *testing.T, s *servertest.Server) {
			c := s.App()
			for _, id := range []string{"nobody", "", "<script>", strings.Repeat("x", 5000)} {
				openAuthorize(s, servertest.AuthorizeForm(c, "client_id", id)).WantErrorPage(t, http.StatusBadRequest)
			}
			storagetest.Must(t, s.Store.DisableClient(t.Context(), c.ClientID))
			openAuthorize(s, servertest.AuthorizeForm(c)).WantErrorPage(t, http.StatusBadRequest)
		}),
	servertest.Req("P5", "RFC 6749 §3.1.2.3",
		"without redirect_uri the only registered one is used; with several, or with openid, it is required",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			to := s.Browser().Code(s.App(), "alice", "redirect_uri", "")
			if got := to.Host; got != "app.example" {
				t.Errorf("redirected to %s, want app.example", to)
			}
			several := s.Client(`{"redirect_uris":["https://app.example/callback","https://app.example/other"],"scope":"read"}`)
			s.Browser().Authorize(several, "redirect_uri", "").WantErrorPage(t, http.StatusBadRequest)
			openID := s.Client(`{"redirect_uris":["https://app.example/callback"],"scope":"openid"}`)
			s.Browser().Authorize(openID, "redirect_uri", "", "scope", "openid").WantErrorPage(t, http.StatusBadRequest)
		}),
	servertest.Req("P6", "RFC 9700 §2.1.1",
		"a public client without code_challenge is refused",
		func(t *testing.T, s *servertest.Server) {
			for _, c := range []client.Information{s.Public(), s.App()} {
				p := s.Browser().Authorize(c, "code_challenge", "", "code_challenge_method", "")
				p.WantRedirectError(t, s, "invalid_request")
			}
		}),
	servertest.Req("P7", "RFC 7636 §4.3",
		"only the S256 method is accepted and advertised",
		func(t *testing.T, s *servertest.Server) {
			for _, method := range []string{"plain", "s256", "S512", ""} {
				s.Browser().Authorize(s.Public(), "code_challenge_method", method).WantRedirectError(t, s, "invalid_request")
			}
			s.Browser().Authorize(s.Public(), "code_challenge", "").WantRedirectError(t, s, "invalid_request")
			const want = `"code_challenge_methods_supported":["S256"]`
			if got := s.Get("/.well-known/oauth-authorization-server").Body; !strings.Contains(got, want) {
				t.Errorf("metadata = %s, want %s in it", got, want)
			}
		}),
	servertest.Req("P8", "RFC 7636 §4.2",
		"a code_challenge that is not an S256 value is refused",
		func(t *testing.T, s *servertest.Server) {
			c := s.Public()
			valid := servertest.Challenge(servertest.Verifier)
			for _, challenge := range []string{
				valid[:42], valid + "A", valid[:42] + "=", valid[:42] + "+", valid[:42] + ".", "x",
			} {
				s.Browser().Authorize(c, "code_challenge", challenge).WantRedirectError(t, s, "invalid_request")
			}
		}),
	servertest.Req("P12", "RFC 9700 §2.1.2",
		"code is the only response_type, and no token is returned in a redirect",
		func(t *testing.T, s *servertest.Server) {
			c := s.App()
			for _, kind := range []string{"token", "id_token", "code token", "code id_token", "none", "Code"} {
				p := s.Browser().Authorize(c, "response_type", kind)
				p.WantRedirectError(t, s, "unsupported_response_type")
				if strings.Contains(p.Header.Get("Location"), "access_token=") || p.Location().Fragment != "" {
					t.Errorf("response_type %s: redirected to %q, want no token", kind, p.Header.Get("Location"))
				}
			}
		}),
	servertest.Req("P13", "RFC 6749 §4.1.2.1",
		"a missing response_type is invalid_request",
		func(t *testing.T, s *servertest.Server) {
			s.Browser().Authorize(s.App(), "response_type", "").WantRedirectError(t, s, "invalid_request")
		}),
	servertest.Req("P14", "RFC 6749 §3.3",
		"an unknown scope, or one the client does not have, is invalid_scope",
		func(t *testing.T, s *servertest.Server) {
			c := s.App()
			s.Service("admin")
			for _, scope := range []string{"nothing", "read nothing", "admin", "READ", "read\"", "réad"} {
				s.Browser().Authorize(c, "scope", scope).WantRedirectError(t, s, "invalid_scope")
			}
		}),
	servertest.Req("P15", "RFC 6749 §3.1", "unknown parameters are ignored", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		unknown := []string{"utm_source", "x", "audience", "https://evil.example", "nonce", "n", "claims", "{}"}
		s.Browser().Code(s.App(), "alice", unknown...)
	}),
	servertest.Req("P16", "RFC 6749 §3.1", "a repeated parameter is refused", func(t *testing.T, s *servertest.Server) {
		c := s.App()
		for _, name := range []string{
			"client_id", "redirect_uri", "scope", "state", "code_challenge", "response_type", "unknown",
		} {
			q := servertest.AuthorizeForm(c)
			q[name] = append(q[name], "a", "a")
			openAuthorize(s, q).WantErrorPage(t, http.StatusBadRequest)
		}
	}),
	servertest.Req("P17", "RFC 6749 §3.1",
		"a parameter without a value is treated as omitted",
		func(t *testing.T, s *servertest.Server) {
			c := s.Public()
			q := servertest.AuthorizeForm(c, "code_challenge_method", "", "code_challenge", "").Encode()
			p := s.Browser().Open("/oauth2/authorize?" + q + "&code_challenge=&code_challenge_method=")
			p.WantRedirectError(t, s, "invalid_request")
			s.User("alice")
			q = servertest.AuthorizeForm(c, "state", "").Encode() + "&state=&scope2="
			b := s.Browser()
			page := b.Follow(b.Open("/oauth2/authorize?" + q))
			to := b.Decide(b.SignIn(page, "alice"), "approve").Location()
			if to.Query().Has("state") || to.Query().Get("code") == "" {
				t.Errorf("redirected to %s, want a code and no state", to)
			}
		}),
	servertest.Req("P18", "RFC 6749 §3.1",
		"the endpoint accepts GET and POST, and redirects a POST with 303",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			b := s.Browser()
			p := b.SubmitFrom("https://app.example", "/oauth2/authorize", servertest.AuthorizeForm(c))
			if p.Status != http.StatusSeeOther {
				t.Fatalf("got %d, want 303", p.Status)
			}
			to := b.Decide(b.SignIn(b.Follow(p), "alice"), "approve").Location()
			if to.Query().Get("code") == "" {
				t.Errorf("redirected to %s, want a code", to)
			}
			// Also when no page is needed: browsers do not send the cookies with such a POST.
			p = b.SubmitFrom("https://app.example", "/oauth2/authorize", servertest.AuthorizeForm(c))
			if to := b.Follow(p).Location(); p.Status != http.StatusSeeOther || to.Query().Get("code") == "" {
				t.Errorf("with a session and consent: got %d, redirected to %s, want 303 and a code", p.Status, to)
			}
		}),
	servertest.Req("P19", "RFC 6749 §4.1.2",
		"state is returned byte for byte, on success and on error",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			b := s.Browser()
			for _, state := range []string{
				"x", "a b+c%20d", "ü€😀", "<script>\"'&=?#/", strings.Repeat("s", 3000), "%00", "{\"j\":1}",
			} {
				if got := b.Code(c, "alice", "state", state).Query().Get("state"); got != state {
					t.Errorf("state with a code = %q, want %q", got, state)
				}
				q := b.Authorize(c, "state", state, "scope", "nothing").Location().Query()
				if got := q.Get("state"); got != state || q.Get("error") == "" {
					t.Errorf("state with the error %q = %q, want an error with %q", q.Get("error"), got, state)
				}
			}
			if b.Code(c, "alice", "state", "").Query().Has("state") {
				t.Error("the response to a request without state has a state")
			}
		}),
	servertest.Req("P20", "RFC 9207 §2",
		"iss is in every response and equals the issuer of the metadata",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			issuer := s.Get("/.well-known/oauth-authorization-server").Text("issuer")
			if got := s.Browser().Code(c, "alice").Query().Get("iss"); got != issuer || issuer != s.Issuer {
				t.Errorf("iss = %q, issuer of the metadata = %q, want %q", got, issuer, s.Issuer)
			}
			s.Browser().Authorize(c, "scope", "nothing").WantRedirectError(t, s, "invalid_scope")
			metadata := s.Get("/.well-known/oauth-authorization-server").JSON
			if got := metadata["authorization_response_iss_parameter_supported"]; got != true {
				t.Errorf("authorization_response_iss_parameter_supported = %v, want true", got)
			}
		}),
}

// openAuthorize opens the authorization endpoint in a new browser and follows no redirect.
func openAuthorize(s *servertest.Server, form url.Values) servertest.Page {
	return s.Browser().Open("/oauth2/authorize?" + form.Encode())
}

// claims returns the payload of a JWT without verifying it.
func claims(t testing.TB, token string) map[string]any {
	t.Helper()
	return decodePart(t, token, 1)
}

// scope returns a scope for CreateScope.
func scope(name, description string) storage.Scope {
	return storage.Scope{Name: name, Description: description, CreatedAt: time.Unix(0, 0)}
}
