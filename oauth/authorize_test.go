package oauth_test

import (
	"net/http"
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

var authorizationEndpoint = slices.Concat(authorizationRequests, authorizationPages)

var authorizationRequests = []servertest.Requirement{
	servertest.Req("P1", "RFC 9700 §2.1, §4.1",
		"a redirect_uri that differs in any way gets an error page, never a redirect",
		func(t *testing.T, s *servertest.Server) {
			c := s.App()
			for _, uri := range []string{
				"https://app.example/callbacc", "https://app.example/Callback", "https://APP.example/callback", "https://app.example/callback/",
				"https://app.example/callback?x=1", "https://app.example/callback#f", "http://app.example/callback", "https://app.example:443/callback",
				"https://app.example/%63allback", "https://app.example/a/../callback", "https://app.example", "callback", "//app.example/callback",
			} {
				s.Browser().Open("/oauth2/authorize?"+servertest.AuthorizeForm(c, "redirect_uri", uri).Encode()).WantErrorPage(t, http.StatusBadRequest)
			}
		}),
	servertest.Req("P2", "RFC 8252 §7.3",
		"only the port of a loopback IP literal may differ",
		func(t *testing.T, s *servertest.Server) {
			c := s.Client(`{"client_name":"CLI","token_endpoint_auth_method":"none","redirect_uris":["http://127.0.0.1/cb","http://[::1]/cb","http://localhost:7000/cb"],"scope":"read"}`)
			for _, uri := range []string{"http://127.0.0.1:51234/cb", "http://127.0.0.1/cb", "http://[::1]:9/cb", "http://localhost:7000/cb"} {
				p := s.Browser().Authorize(c, "redirect_uri", uri, "scope", "read")
				if p.Status != 200 || !strings.Contains(p.URL, "/login") {
					t.Errorf("%s: got %d %s, want the sign-in page", uri, p.Status, p.URL)
				}
			}
			for _, uri := range []string{
				"http://localhost:7001/cb", "http://localhost/cb", "https://127.0.0.1:51234/cb", "http://127.0.0.1:51234/cB", "http://127.0.0.2:51234/cb",
				"http://user@127.0.0.1:51234/cb", "http://127.0.0.1:51234/%63b", "http://127.0.0.1:51234/cb?x", "http://127.0.0.1:99999/cb",
				"http://127.0.0.1:/cb", "http://127.0.0.1:80@evil.example/cb", "http://127.0.0.1.evil.example/cb", "http://127.1:80/cb", "http://0x7f.0.0.1/cb",
			} {
				s.Browser().Open("/oauth2/authorize?"+servertest.AuthorizeForm(c, "redirect_uri", uri, "scope", "read").Encode()).WantErrorPage(t, http.StatusBadRequest)
			}
		}),
	servertest.Req("P2b", "RFC 8252 §7.1",
		"a private-use scheme works for the complete flow, with consent every time",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.Client(`{"client_name":"Phone","token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"],"redirect_uris":["com.example.phone:/callback"],"scope":"read"}`)
			b := s.Browser()
			for range 2 {
				page := b.Authorize(c, "scope", "read")
				if strings.Contains(page.URL, "/login") {
					page = b.SignIn(page, "alice")
				}
				if csp := page.Header.Get("Content-Security-Policy"); !strings.Contains(page.URL, "/consent") || strings.Contains(csp, "form-action") {
					t.Fatalf("%s %s", page.URL, csp)
				}
				to := b.Decide(page, "approve").Location()
				if !strings.HasPrefix(to.String(), "com.example.phone:/callback?") {
					t.Fatalf("redirected to %s", to)
				}
				s.Token(c, servertest.CodeForm(to, c)).OK(t)
			}
		}),
	servertest.Req("P3", "RFC 9700 §2.1, RFC 8252 §7.1",
		"redirect URIs that could be abused cannot be registered",
		func(t *testing.T, s *servertest.Server) {
			for _, uri := range []string{
				"https://app.example/cb#f", "https://*.app.example/cb", "https://app.example/*", "https://u@app.example/cb", "https://u:p@app.example/cb", "https://app.example;script-src/cb", "https://a,b.example/cb", "https://'self'/cb",
				"javascript:alert(1)", "data:text/html,x", "vbscript:x", "http://app.example/cb", "myapp://cb", "myapp:/cb", "", "/cb", "app.example/cb",
				"https:///cb", "https://app.example/cb?code=1", "https://app.example/cb?iss=x", "https://app.example/cb?a=1&state=x", "https://app.example\\@evil.example/",
				"https://app.example/ cb", "HTTPS://app.example/cb", "https://app.example:0/cb", "file:///etc/passwd", "blob:https://app.example/x",
			} {
				_, _, err := s.OAuth.Clients.Create(t.Context(), client.Metadata{RedirectURIs: client.List{uri}})
				if e := oauth.AsError(err); err == nil || e.Code != protocol.InvalidRedirectURI && e.Code != protocol.InvalidClientMetadata {
					t.Errorf("%q: got %v, want it refused", uri, err)
				}
			}
			for _, uri := range []string{"https://app.example/cb", "https://app.example:8443/cb?tenant=1", "http://127.0.0.1/cb", "http://localhost:3000/cb", "com.example.app:/cb", "com.example.app://host/cb"} {
				if _, _, err := s.OAuth.Clients.Create(t.Context(), client.Metadata{RedirectURIs: client.List{uri}}); err != nil {
					t.Errorf("%q: got %v, want it accepted", uri, err)
				}
			}
		}),
	servertest.Req("P4", "RFC 6749 §4.1.2.1",
		"an unknown client_id never redirects",
		func(t *testing.T, s *servertest.Server) {
			c := s.App()
			for _, id := range []string{"nobody", "", "<script>", strings.Repeat("x", 5000)} {
				s.Browser().Open("/oauth2/authorize?"+servertest.AuthorizeForm(c, "client_id", id).Encode()).WantErrorPage(t, http.StatusBadRequest)
			}
			storagetest.Must(t, s.Store.DisableClient(t.Context(), c.ClientID))
			s.Browser().Open("/oauth2/authorize?"+servertest.AuthorizeForm(c).Encode()).WantErrorPage(t, http.StatusBadRequest)
		}),
	servertest.Req("P5", "RFC 6749 §3.1.2.3",
		"without redirect_uri the only registered one is used; with several, or with openid, it is required",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			to := s.Browser().Code(s.App(), "alice", "redirect_uri", "")
			if got := to.Host; got != "app.example" {
				t.Errorf("redirected to %s", to)
			}
			two := s.Client(`{"redirect_uris":["https://app.example/callback","https://app.example/other"],"scope":"read"}`)
			s.Browser().Authorize(two, "redirect_uri", "").WantErrorPage(t, http.StatusBadRequest)
			one := s.Client(`{"redirect_uris":["https://app.example/callback"],"scope":"openid"}`)
			s.Browser().Authorize(one, "redirect_uri", "", "scope", "openid").WantErrorPage(t, http.StatusBadRequest)
		}),
	servertest.Req("P6", "RFC 9700 §2.1.1",
		"a public client without code_challenge is refused",
		func(t *testing.T, s *servertest.Server) {
			s.Browser().Authorize(s.Public(), "code_challenge", "", "code_challenge_method", "").WantRedirectError(t, s, "invalid_request")
			s.Browser().Authorize(s.App(), "code_challenge", "", "code_challenge_method", "").WantRedirectError(t, s, "invalid_request")
		}),
	servertest.Req("P7", "RFC 7636 §4.3",
		"only the S256 method is accepted and advertised",
		func(t *testing.T, s *servertest.Server) {
			for _, method := range []string{"plain", "s256", "S512", ""} {
				s.Browser().Authorize(s.Public(), "code_challenge_method", method).WantRedirectError(t, s, "invalid_request")
			}
			s.Browser().Authorize(s.Public(), "code_challenge", "").WantRedirectError(t, s, "invalid_request")
			if got := s.Get("/.well-known/oauth-authorization-server").Body; !strings.Contains(got, `"code_challenge_methods_supported":["S256"]`) {
				t.Error(got)
			}
		}),
	servertest.Req("P8", "RFC 7636 §4.2",
		"a code_challenge that is not an S256 value is refused",
		func(t *testing.T, s *servertest.Server) {
			c := s.Public()
			good := servertest.Challenge(servertest.Verifier)
			for _, challenge := range []string{good[:42], good + "A", good[:42] + "=", good[:42] + "+", good[:42] + ".", "x"} {
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
					t.Errorf("%s: %s", kind, p.Header.Get("Location"))
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
		s.Browser().Code(s.App(), "alice", "utm_source", "x", "audience", "https://evil.example", "nonce", "n", "claims", "{}")
	}),
	servertest.Req("P16", "RFC 6749 §3.1", "a repeated parameter is refused", func(t *testing.T, s *servertest.Server) {
		c := s.App()
		for _, name := range []string{"client_id", "redirect_uri", "scope", "state", "code_challenge", "response_type", "unknown"} {
			q := servertest.AuthorizeForm(c)
			q[name] = append(q[name], "a", "a")
			s.Browser().Open("/oauth2/authorize?"+q.Encode()).WantErrorPage(t, http.StatusBadRequest)
		}
	}),
	servertest.Req("P17", "RFC 6749 §3.1",
		"a parameter without a value is treated as omitted",
		func(t *testing.T, s *servertest.Server) {
			c := s.Public()
			p := s.Browser().Open("/oauth2/authorize?" + servertest.AuthorizeForm(c, "code_challenge_method", "", "code_challenge", "").Encode() + "&code_challenge=&code_challenge_method=")
			p.WantRedirectError(t, s, "invalid_request")
			s.User("alice")
			q := servertest.AuthorizeForm(c, "state", "").Encode() + "&state=&scope2="
			b := s.Browser()
			page := b.Follow(b.Open("/oauth2/authorize?" + q))
			to := b.Decide(b.SignIn(page, "alice"), "approve").Location()
			if to.Query().Has("state") || to.Query().Get("code") == "" {
				t.Errorf("got %s, want a code and no state", to)
			}
		}),
	servertest.Req("P18", "RFC 6749 §3.1",
		"GET and POST both work, and POST gets 303",
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
				t.Errorf("no code in %s", to)
			}
			// Also when no page is needed: the cookies of the POST were not sent.
			p = b.SubmitFrom("https://app.example", "/oauth2/authorize", servertest.AuthorizeForm(c))
			if to := b.Follow(p).Location(); p.Status != http.StatusSeeOther || to.Query().Get("code") == "" {
				t.Errorf("second time: %d %s", p.Status, to)
			}
		}),
	servertest.Req("P19", "RFC 6749 §4.1.2",
		"state is returned byte for byte, on success and on error",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			b := s.Browser()
			for _, state := range []string{"x", "a b+c%20d", "ü€😀", "<script>\"'&=?#/", strings.Repeat("s", 3000), "%00", "{\"j\":1}"} {
				if got := b.Code(c, "alice", "state", state).Query().Get("state"); got != state {
					t.Errorf("got %q, want %q", got, state)
				}
				p := b.Authorize(c, "state", state, "scope", "nothing")
				if got := p.Location().Query().Get("state"); got != state || p.Location().Query().Get("error") == "" {
					t.Errorf("on error: got %q, want %q", got, state)
				}
			}
			if b.Code(c, "alice", "state", "").Query().Has("state") {
				t.Error("a state came from nowhere")
			}
		}),
	servertest.Req("P20", "RFC 9207 §2",
		"iss is in every response and equals the issuer of the metadata",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			issuer := s.Get("/.well-known/oauth-authorization-server").Text("issuer")
			if got := s.Browser().Code(c, "alice").Query().Get("iss"); got != issuer || issuer != s.Issuer {
				t.Errorf("iss is %q, issuer %q", got, issuer)
			}
			s.Browser().Authorize(c, "scope", "nothing").WantRedirectError(t, s, "invalid_scope")
			if s.Get("/.well-known/oauth-authorization-server").JSON["authorization_response_iss_parameter_supported"] != true {
				t.Error("it is not advertised")
			}
		}),
}

// claims reads the payload of a JWT without checking it.
func claims(t testing.TB, token string) map[string]any {
	t.Helper()
	return decodePart(t, token, 1)
}

func scope(name, description string) storage.Scope {
	return storage.Scope{Name: name, Description: description, CreatedAt: time.Unix(0, 0)}
}
