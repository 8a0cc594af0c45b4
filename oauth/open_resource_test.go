package oauth_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

const (
	openAPI   = "https://open.example"
	closedAPI = "https://closed.example"
)

// changeClient changes members of a client as the operator does.
func changeClient(s *servertest.Server, c client.Information, patch string) {
	s.T.Helper()
	_, _, err := s.OAuth.Clients.Update(s.T.Context(), c.ClientID, []byte(patch))
	storagetest.Must(s.T, err)
}

// setOpen opens a resource to self-registered clients, or closes it.
func setOpen(s *servertest.Server, identifier string, open bool) {
	s.T.Helper()
	storagetest.Must(s.T, s.Store.UpdateResource(s.T.Context(), identifier, func(r *storage.Resource) error {
		r.OpenToApps = open
		return nil
	}))
}

var openResources = []servertest.Requirement{
	servertest.Req("MC10b", "RFC 8707 §2",
		"a scope that a client may have only at an open resource is not granted at another resource with the same scope",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			createResource(s, openAPI, true, "x.write")
			createResource(s, closedAPI, false, "x.write", "x.list")
			c := selfRegisterPublic(s, servertest.Callback)
			changeClient(s, c, `{"scope":"openid offline_access x.list"}`)
			form := servertest.AuthorizeForm(c, "scope", "x.write x.list", "resource", closedAPI)
			b := s.Browser()
			page := b.SignIn(b.Follow(b.Open("/oauth2/authorize?"+form.Encode())), "alice")
			r := s.Token(c, servertest.CodeForm(b.Decide(page, "approve").Location(), c)).OK(t)
			if got := r.Text("scope"); got != "x.list" {
				t.Errorf("scope at the closed resource = %q, want only x.list", got)
			}
			without := tokensFor(s, c, "scope", "x.write")
			if got := audienceOf(t, without.Text("access_token")); !slices.Equal(got, []string{openAPI}) {
				t.Errorf("aud without resource = %q, want the open resource alone", got)
			}
			changeClient(s, c, `{"gatehouse_resources":["`+closedAPI+`"]}`)
			s.Browser().Authorize(c, "scope", "x.write").WantRedirectError(t, s, "invalid_scope")
		}).WithSettings(openRegistration),
	servertest.Req("MC10c", "RFC 6749 §4.4",
		"client credentials of a self-registered client get nothing of an open resource, because no user consents",
		func(t *testing.T, s *servertest.Server) {
			createResource(s, openAPI, true, "x.write")
			c := clientOf(selfRegister(s, minimalMetadata))
			changeClient(s, c, `{"grant_types":["authorization_code","client_credentials"]}`)
			form := url.Values{"grant_type": {"client_credentials"}, "resource": {openAPI}}
			s.Token(c, form).Want(t, 400, "invalid_target")
			s.Token(c, url.Values{"grant_type": {"client_credentials"}, "scope": {"x.write"}}).Want(t, 400, "invalid_scope")
		}).WithSettings(openRegistration),
	servertest.Req("MC10e", "RFC 6749 §3.3",
		"a standard scope of an open resource is not open: it gives claims about the user everywhere",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			createResource(s, openAPI, true, "groups", "email", "x.read")
			r := selfRegister(s, minimalMetadata)
			if got := r.Text("scope"); !strings.Contains(got, "x.read") || strings.Contains(got, "groups") {
				t.Errorf("registered scope = %q, want x.read and not groups", got)
			}
			tokens := tokensFor(s, clientOf(r), "scope", "openid groups email x.read", "resource", openAPI)
			if got := tokens.Text("scope"); strings.Contains(got, "groups") || strings.Contains(got, "email") {
				t.Errorf("scope = %q, want neither groups nor email", got)
			}
		}).WithSettings(openRegistration, "GATEHOUSE_REGISTRATION_SCOPES=openid"),
	servertest.Req("MC10d", "RFC 8707 §2.2",
		"opening another resource with the same scope adds nothing to an existing grant, and closing one removes its scopes",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			createResource(s, openAPI, true, "x.read")
			createResource(s, closedAPI, false, "x.read")
			c := selfRegisterPublic(s, servertest.Callback)
			r := tokensFor(s, c, "scope", "openid x.read offline_access")
			want := []string{openAPI, s.Issuer}
			if got := audienceOf(t, r.Text("access_token")); !slices.Equal(got, want) {
				t.Errorf("aud = %q, want %q", got, want)
			}
			setOpen(s, closedAPI, true)
			r = s.Refresh(c, r.Text("refresh_token")).OK(t)
			if got := audienceOf(t, r.Text("access_token")); !slices.Equal(got, want) {
				t.Errorf("aud after another resource was opened = %q, want %q", got, want)
			}
			s.Userinfo(r.Text("access_token")).OK(t)
			setOpen(s, closedAPI, false)
			setOpen(s, openAPI, false)
			r = s.Refresh(c, r.Text("refresh_token")).OK(t)
			if got := r.Text("scope"); strings.Contains(got, "x.read") {
				t.Errorf("scope after the resource was closed = %q, want it without x.read", got)
			}
			if got := audienceOf(t, r.Text("access_token")); !slices.Equal(got, []string{s.Issuer}) {
				t.Errorf("aud after the resource was closed = %q, want the issuer alone", got)
			}
		}).WithSettings(openRegistration),
	servertest.Req("MC28b", "RFC 8252 §8.5, §8.6",
		"a client with a secret and a private-use scheme gets the consent page every time, also if it skips consent, and "+
			"its port of localhost does not vary",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			for _, more := range []string{``, `,"gatehouse_skip_consent":true`} {
				c := s.Client(`{"redirect_uris":["myapp://cb"],"scope":"read"` + more + `}`)
				b := s.Browser()
				page := b.SignIn(b.Authorize(c, "scope", "read"), "alice")
				for range 2 {
					if !strings.Contains(page.URL, "/consent") {
						t.Fatalf("client with %q: the page is %s, want the consent page", more, page.URL)
					}
					b.Decide(page, "approve")
					page = b.Authorize(c, "scope", "read")
				}
			}
			native := s.Client(`{"redirect_uris":["http://localhost:7000/cb"],"application_type":"native","scope":"read"}`)
			openAuthorize(s, servertest.AuthorizeForm(native, "redirect_uri", "http://localhost:7999/cb")).WantErrorPage(t, 400)
		}),
	servertest.Req("MC7b", "RFC 3986 §6.2.3, RFC 8707 §2",
		"a resource with user information or a letter outside ASCII matches no other, and the issuer means userinfo",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			createResource(s, mcpServer, false, "mcp.read")
			createResource(s, s.Issuer+"/", false, "other.read")
			c := s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"openid mcp.read"}`)
			for _, other := range []string{
				"https://user:password@mcp.example/", "https://user@mcp.example", "https://mcp.exampl\u212a",
			} {
				s.Browser().Authorize(c, "scope", "mcp.read", "resource", other).WantRedirectError(t, s, "invalid_target")
			}
			r := s.Tokens(c, "alice", "scope", "openid", "resource", s.Issuer)
			s.Userinfo(r.Text("access_token")).OK(t)
		}),
}
