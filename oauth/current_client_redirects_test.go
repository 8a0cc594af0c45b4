package oauth_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage/storagetest"
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
	servertest.Req("MC40", "RFC 7591 §5",
		"a self-registered client without a completed sign-in is deleted after a day, and an unused one after the time that "+
			"the operator sets",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			used := clientOf(selfRegister(s, minimalMetadata)) // without refresh tokens
			tokensFor(s, used, "scope", "openid")
			neverUsed := selfRegisterPublic(s, servertest.Callback)
			const unusedTTL = 10 * 24 * time.Hour
			for _, step := range []struct {
				after           time.Duration
				used, neverUsed bool
			}{{23 * time.Hour, true, true}, {2 * time.Hour, true, false}, {unusedTTL, false, false}} {
				s.Clock.Advance(step.after)
				storagetest.ResetCleanupTime(t, s.Store, s.DB)
				_, err := s.Store.DeleteExpired(t.Context(), unusedTTL)
				storagetest.Must(t, err)
				for c, want := range map[string]bool{used.ClientID: step.used, neverUsed.ClientID: step.neverUsed} {
					_, err := s.Store.Client(t.Context(), c)
					if got := err == nil; got != want {
						t.Errorf("%v later: client %s exists = %t, want %t (used is %s)", step.after, c, got, want, used.ClientID)
					}
				}
			}
		}).WithSettings(openRegistration),
	servertest.Req("MC40b", "RFC 7591 §5",
		"the operator vouches for a self-registered client, which ends the warning until the client changes its description",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			r := selfRegister(s, minimalMetadata)
			c := clientOf(r)
			warns := func() bool {
				b := s.Browser()
				page := b.SignIn(b.Authorize(c, "scope", "openid"), "alice")
				if !strings.Contains(page.URL, "/consent") {
					t.Fatalf("the page is %s, want the consent page", page.URL)
				}
				return strings.Contains(page.Text(), "This app is not verified")
			}
			if !warns() {
				t.Error("the consent page of a self-registered client does not warn")
			}
			_, _, err := s.OAuth.Clients.Update(t.Context(), c.ClientID, []byte(`{"gatehouse_vouched":true}`))
			storagetest.Must(t, err)
			if warns() {
				t.Error("the consent page warns although the operator vouched for the client")
			}
			renamed := `{"client_id":"` + c.ClientID + `","client_name":"Your Bank",` + minimalMetadata[1:]
			registrationRequest(s, "PUT", r.Text("registration_client_uri"), r.Text("registration_access_token"), renamed).OK(t)
			if !warns() {
				t.Error("the consent page does not warn after the client changed its name")
			}
			self := selfRegister(s, `{"gatehouse_vouched":true,`+minimalMetadata[1:])
			record, err := s.Store.Client(t.Context(), self.Text("client_id"))
			storagetest.Must(t, err)
			if record.Vouched {
				t.Error("a client vouched for itself")
			}
		}).WithSettings(openRegistration),
}
