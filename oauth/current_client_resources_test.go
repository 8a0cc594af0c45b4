package oauth_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

var clientResources = []servertest.Requirement{
	servertest.Req("MC6", "RFC 8707 §2",
		"resource with equal values at both endpoints makes the registered identifier the only aud, also with openid",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			createResource(s, mcpServer, false, "mcp.read")
			c := s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"openid mcp.read"}`)
			to := s.Browser().Code(c, "alice", "scope", "openid mcp.read", "resource", mcpServer)
			r := s.Token(c, servertest.CodeForm(to, c, "resource", mcpServer)).OK(t)
			if got := audienceOf(t, r.Text("access_token")); !slices.Equal(got, []string{mcpServer}) {
				t.Errorf("aud = %q, want only %s", got, mcpServer)
			}
			if got := s.Userinfo(r.Text("access_token")).Status; got != 401 {
				t.Errorf("userinfo with a token for an API: status = %d, want 401", got)
			}
			without := s.Tokens(c, "alice", "scope", "openid mcp.read")
			if got := audienceOf(t, without.Text("access_token")); !slices.Contains(got, s.Issuer) {
				t.Errorf("aud without resource = %q, want it to contain the issuer", got)
			}
		}),
	servertest.Req("MC6b", "RFC 8707 §2.2, OIDC Core §5.3",
		"a client that needs both requests a second token with the issuer as resource, for userinfo",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			createResource(s, mcpServer, false, "mcp.read")
			c := s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"openid email mcp.read offline_access",
				"grant_types":["authorization_code","refresh_token"]}`)
			r := s.Tokens(c, "alice", "scope", "openid email mcp.read offline_access", "resource", mcpServer)
			second := s.Refresh(c, r.Text("refresh_token"), "resource", s.Issuer).OK(t)
			if got := audienceOf(t, second.Text("access_token")); !slices.Equal(got, []string{s.Issuer}) {
				t.Errorf("aud = %q, want only the issuer", got)
			}
			if got := second.Text("scope"); strings.Contains(got, "mcp.read") {
				t.Errorf("scope = %q, want it without the scope of another resource", got)
			}
			s.Userinfo(second.Text("access_token")).OK(t)
			noOpenID := s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"mcp.read"}`)
			s.Browser().Authorize(noOpenID, "scope", "mcp.read", "resource", s.Issuer).
				WantRedirectError(t, s, "invalid_target")
		}),
	servertest.Req("MC7", "RFC 3986 §6.2.3",
		"an empty path equals /, the case of scheme and host and the default port are ignored, and aud is as registered",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			createResource(s, mcpServer, false, "mcp.read")
			createResource(s, "https://api.example/v1/", false, "api.read")
			c := s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"mcp.read api.read"}`)
			for _, spelling := range []string{
				mcpServer, mcpServer + "/", "https://MCP.example", "HTTPS://mcp.example/", "https://mcp.example:443",
				"https://mcp.example:443/",
			} {
				to := s.Browser().Code(c, "alice", "scope", "mcp.read", "resource", spelling)
				r := s.Token(c, servertest.CodeForm(to, c, "resource", spelling)).OK(t)
				if got := audienceOf(t, r.Text("access_token")); !slices.Equal(got, []string{mcpServer}) {
					t.Errorf("aud for resource %q = %q, want the registered %s", spelling, got, mcpServer)
				}
			}
			for _, other := range []string{
				"https://api.example/v1", "https://api.example/V1/", "https://api.example/v1/?", "https://api.example/./v1/",
				"http://mcp.example/", "https://mcp.example:8443/", "https://mcp.example//",
			} {
				s.Browser().Authorize(c, "scope", "mcp.read", "resource", other).WantRedirectError(t, s, "invalid_target")
			}
		}),
	servertest.Req("MC8", "RFC 8707 §2.2",
		"a token or refresh request without resource gets what was granted, whether one resource or several",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			createResource(s, mcpServer, false, "mcp.read")
			createResource(s, "https://api.example", false, "api.read")
			c := s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"mcp.read api.read offline_access",
				"grant_types":["authorization_code","refresh_token"]}`)
			for _, resources := range [][]string{{mcpServer}, {"https://api.example", mcpServer}} {
				q := servertest.AuthorizeForm(c, "scope", "mcp.read api.read offline_access")
				q["resource"] = resources
				b := s.Browser()
				page := b.SignIn(b.Follow(b.Open("/oauth2/authorize?"+q.Encode())), "alice")
				if strings.Contains(page.URL, "/consent") {
					page = b.Follow(b.Decide(page, "approve"))
				}
				r := s.Token(c, servertest.CodeForm(page.Location(), c)).OK(t)
				refreshed := s.Refresh(c, r.Text("refresh_token")).OK(t)
				for _, response := range []servertest.Response{r, refreshed} {
					got := slices.Sorted(slices.Values(audienceOf(t, response.Text("access_token"))))
					if !slices.Equal(got, resources) {
						t.Errorf("aud = %q, want %q", got, resources)
					}
				}
			}
		}),
	servertest.Req("MC9", "RFC 8707 §2",
		"an unknown resource is invalid_target with a description and a failure record that name it",
		func(t *testing.T, s *servertest.Server) {
			c := s.App()
			p := s.Browser().Authorize(c, "resource", "https://unknown.example/mcp?key=secret")
			p.WantRedirectError(t, s, "invalid_target")
			if got := p.Location().Query().Get("error_description"); !strings.Contains(got, "https://unknown.example/mcp") {
				t.Errorf("error_description = %q, want it to name the resource", got)
			}
			row := waitForRows(t, s, audit.ResourceRefused, 1)[0]
			if row.ClientID != c.ClientID || !strings.Contains(row.Detail, `"https://unknown.example/mcp"`) {
				t.Errorf("row of a refused resource = %+v, want the client %s and the resource without its query", row, c.ClientID)
			}
			service := s.Service("jobs")
			s.Token(service, url.Values{
				"grant_type": {"client_credentials"}, "resource": {"https://unknown.example/api", "https://other.example"},
			}).Want(t, 400, "invalid_target")
			row = waitForRows(t, s, audit.ResourceRefused, 2)[0]
			if row.ClientID != service.ClientID || !strings.Contains(row.Detail, "https://other.example") {
				t.Errorf("row of a refused token request = %+v, want the client %s and its resources", row, service.ClientID)
			}
		}),
	servertest.Req("MC10", "RFC 8707 §2",
		"a self-registered client may request a resource that is open to apps, and its scopes, and no other resource",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			createResource(s, mcpServer, true, "mcp.read")
			createResource(s, "https://bare.example", true)
			createResource(s, "https://private.example", false, "private.read")
			c := selfRegisterPublic(s, servertest.Callback)
			r := tokensFor(s, c, "scope", "mcp.read", "resource", mcpServer)
			if got := r.Text("scope"); got != "mcp.read" {
				t.Errorf("scope = %q, want mcp.read", got)
			}
			bare := tokensFor(s, c, "scope", "openid", "resource", "https://bare.example")
			if got := audienceOf(t, bare.Text("access_token")); !slices.Equal(got, []string{"https://bare.example"}) {
				t.Errorf("aud = %q, want the resource without scopes", got)
			}
			s.Browser().Authorize(c, "scope", "openid", "resource", "https://private.example").
				WantRedirectError(t, s, "invalid_target")
			s.Browser().Authorize(c, "scope", "private.read").WantRedirectError(t, s, "invalid_scope")
			storagetest.Must(t, s.Store.UpdateResource(t.Context(), mcpServer, func(r *storage.Resource) error {
				r.OpenToApps = false
				return nil
			}))
			s.Browser().Authorize(c, "scope", "mcp.read").WantRedirectError(t, s, "invalid_scope")
		}).WithSettings(openRegistration),
	servertest.Req("MC11", "RFC 8707 §2",
		"gatehouse_default_resource is the resource of requests that name none",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			createResource(s, mcpServer, false, "mcp.read")
			c := s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"openid mcp.read",
				"gatehouse_default_resource":"` + mcpServer + `"}`)
			r := s.Tokens(c, "alice", "scope", "openid mcp.read")
			if got := audienceOf(t, r.Text("access_token")); !slices.Equal(got, []string{mcpServer}) {
				t.Errorf("aud = %q, want the default resource", got)
			}
			explicit := s.Tokens(c, "alice", "scope", "openid", "resource", s.Issuer)
			if got := audienceOf(t, explicit.Text("access_token")); !slices.Equal(got, []string{s.Issuer}) {
				t.Errorf("aud with an explicit resource = %q, want that resource", got)
			}
		}),
	servertest.Req("MC12", "RFC 6749 §3.3",
		"a self-registered client gets those of its requested scopes that it can have, and the response lists them; "+
			"a client of the operator gets invalid_scope",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := selfRegisterPublic(s, servertest.Callback)
			r := tokensFor(s, c, "scope", "openid claudeai email mcp:tools")
			if got := r.Text("scope"); got != "openid email" {
				t.Errorf("scope = %q, want openid email", got)
			}
			s.Browser().Authorize(c, "scope", "claudeai mcp:tools").WantRedirectError(t, s, "invalid_scope")
			s.Browser().Authorize(s.App(), "scope", "read claudeai").WantRedirectError(t, s, "invalid_scope")
		}).WithSettings(openRegistration),
	servertest.Req("MC13", "RFC 6749 §3.3",
		"a request without scope gets the default scopes of the client at the requested resource",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			createResource(s, mcpServer, true, "mcp.read", "mcp.write")
			createResource(s, "https://api.example", true, "api.read")
			c := selfRegisterPublic(s, "http://127.0.0.1/cb", `"scope":"openid"`)
			r := tokensFor(s, c, "scope", "", "resource", mcpServer)
			if got := r.Text("scope"); !equalScopes(got, "openid mcp.read mcp.write") {
				t.Errorf("scope = %q, want openid and those of the resource", got)
			}
		}).WithSettings(openRegistration),
	servertest.Req("MC15", "RFC 6749 §6", "a refresh with a wider scope is invalid_scope",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := selfRegisterPublic(s, servertest.Callback)
			r := tokensFor(s, c, "scope", "openid offline_access")
			s.Refresh(c, r.Text("refresh_token"), "scope", "openid email").Want(t, 400, "invalid_scope")
		}).WithSettings(openRegistration),
	servertest.Req("MC16", "OIDC Core §11",
		"offline_access that a client cannot have is left out and never fails a request",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			for name, metadata := range map[string]string{
				"without the refresh grant": `{"redirect_uris":["` + servertest.Callback + `"],"scope":"openid read"}`,
				"without the scope": `{"redirect_uris":["` + servertest.Callback + `"],"scope":"openid read",
					"grant_types":["authorization_code","refresh_token"]}`,
			} {
				r := s.Tokens(s.Client(metadata), "alice", "scope", "openid read offline_access")
				if got := r.Text("scope"); got != "openid read" {
					t.Errorf("client %s: scope = %q, want openid read", name, got)
				}
			}
		}),
}
