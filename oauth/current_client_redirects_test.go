package oauth_test

import (
	"reflect"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
)

var clientRedirects = []servertest.Requirement{
	servertest.Req("MC27", "RFC 8252 §7.3",
		"the port of localhost, 127.0.0.1 and [::1] varies for native and self-registered public clients, with consent "+
			"every time, and no host matches another",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			native := s.Client(`{"token_endpoint_auth_method":"none","application_type":"native","scope":"read",
				"redirect_uris":["http://localhost/cb","http://127.0.0.1/cb"]}`)
			self := selfRegisterPublic(s, "http://localhost:3334/cb")
			for _, c := range []client.Information{native, self} {
				b := s.Browser()
				for _, port := range []string{"", ":3334", ":60123"} {
					page := b.Authorize(c, "redirect_uri", "http://localhost"+port+"/cb", "scope", "")
					if strings.Contains(page.URL, "/login") {
						page = b.SignIn(page, "alice")
					}
					if !strings.Contains(page.URL, "/consent") {
						t.Fatalf("port %q: the page is %s, want the consent page", port, page.URL)
					}
					to := b.Decide(page, "approve").Location()
					if got, want := to.Host, "localhost"+port; got != want {
						t.Errorf("redirected to %s, want %s", got, want)
					}
				}
			}
			web := s.Client(`{"redirect_uris":["http://localhost:7000/cb"],"scope":"read"}`)
			operatorPublic := s.Public()
			for _, x := range []struct {
				c   client.Information
				uri string
			}{
				{web, "http://localhost:7001/cb"}, {self, "http://127.0.0.1:3334/cb"}, {self, "http://[::1]:3334/cb"},
				{self, "https://localhost:3334/cb"}, {native, "http://[::1]/cb"}, {operatorPublic, "http://localhost:1/cb"},
				{self, "http://localhost:3334/cb/"}, {self, "http://localhost.evil.example/cb"},
			} {
				s.Browser().Open("/oauth2/authorize?"+servertest.AuthorizeForm(x.c, "redirect_uri", x.uri).Encode()).
					WantErrorPage(t, 400)
			}
		}).WithSettings(openRegistration),
	servertest.Req("MC28", "RFC 8252 §7.1",
		"a private-use scheme without a dot is for public clients, with consent every time; schemes that browsers or "+
			"systems open themselves are refused for every client",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := selfRegisterPublic(s, "cursor://anysphere.cursor-mcp/oauth/callback")
			b := s.Browser()
			page := b.SignIn(b.Authorize(c, "scope", "openid"), "alice")
			for range 2 {
				if !strings.Contains(page.URL, "/consent") {
					t.Fatalf("the page is %s, want the consent page", page.URL)
				}
				if to := b.Decide(page, "approve").Location(); to.Scheme != "cursor" || to.Query().Get("code") == "" {
					t.Errorf("redirected to %s, want the private-use scheme with a code", to)
				}
				page = b.Authorize(c, "scope", "openid")
			}
			selfRegister(s, `{"redirect_uris":["cursor://cb"]}`).Want(t, 400, "invalid_redirect_uri") // confidential
			for _, uri := range []string{
				"javascript:x", "data:x", "blob:x", "file:///x", "about:x", "vbscript:x", "view-source:x", "chrome://x",
				"ws://x/", "ftp://x/", "intent://x/", "ms-msdt:x", "x:/cb",
			} {
				selfRegister(s, `{"token_endpoint_auth_method":"none","redirect_uris":["`+uri+`"]}`).
					Want(t, 400, "invalid_redirect_uri")
				_, _, err := s.OAuth.Clients.Create(t.Context(), client.Metadata{RedirectURIs: client.List{uri}})
				if err == nil {
					t.Errorf("the operator registered %s, want it refused", uri)
				}
			}
			s.Client(`{"redirect_uris":["myapp://cb"],"scope":"read"}`) // the operator may register any other
		}).WithSettings(openRegistration),
	servertest.Req("MC29", "RFC 7591 §3.2.1",
		"one invalid redirect URI refuses the registration, and a private-use scheme makes the client native",
		func(t *testing.T, s *servertest.Server) {
			selfRegister(s, `{"token_endpoint_auth_method":"none",
				"redirect_uris":["`+servertest.Callback+`","https://app.example/cb#fragment"]}`).
				Want(t, 400, "invalid_redirect_uri")
			r := selfRegister(s, `{"token_endpoint_auth_method":"none","application_type":"web",
				"redirect_uris":["cursor://cb","http://localhost:1/cb","http://127.0.0.1:1/cb"]}`)
			if got := r.Text("application_type"); r.Status != 201 || got != "native" {
				t.Errorf("status = %d, application_type = %q, want 201 and native", r.Status, got)
			}
		}).WithSettings(openRegistration),
	servertest.Req("MC39", "RFC 7591 §3.2.1",
		"registration leaves out what a client cannot have, shows what was registered, and is refused if nothing remains",
		func(t *testing.T, s *servertest.Server) {
			createResource(s, mcpServer, true, "mcp.read")
			r := selfRegister(s, `{"token_endpoint_auth_method":"none","redirect_uris":["http://localhost/cb"],
				"grant_types":["authorization_code","implicit","client_credentials","refresh_token"],
				"response_types":["code","token","id_token"],"scope":"openid claudeai mcp.read","contacts":[],"unknown":1}`)
			if r.Status != 201 || r.Header.Get("Cache-Control") != "no-store" {
				t.Fatalf("status = %d, Cache-Control = %q, want 201 and no-store: %s",
					r.Status, r.Header.Get("Cache-Control"), r.Body)
			}
			for name, want := range map[string]any{
				"grant_types": []any{"authorization_code", "refresh_token"}, "response_types": []any{"code"},
				"scope": "openid mcp.read", "registration_client_uri": s.Issuer + "/oauth2/register/" + r.Text("client_id"),
			} {
				if got := r.JSON[name]; !reflect.DeepEqual(got, want) {
					t.Errorf("%s = %v, want %v", name, got, want)
				}
			}
			for _, absent := range []string{"contacts", "unknown", "client_secret"} {
				if _, ok := r.JSON[absent]; ok {
					t.Errorf("the response has %s, want it absent", absent)
				}
			}
			for _, member := range []string{`"grant_types":["implicit"]`, `"response_types":["token"]`} {
				selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],`+member+`}`).
					Want(t, 400, "invalid_client_metadata")
			}
		}).WithSettings(openRegistration),
}
