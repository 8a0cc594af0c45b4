package oauth_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// isStepUpPage reports whether the page has a closed list of what the user allowed the client before.
func isStepUpPage(p servertest.Page) bool {
	return strings.Contains(p.Text(), "this app can also") && strings.Contains(p.Text(), "already allowed this app")
}

var clientGrants = []servertest.Requirement{
	servertest.Req("MC14", "SEP-2350, RFC 6749 §3.3",
		"a client that requests more gets the union; the page prompts for what is new and lists what is allowed already, "+
			"and the refresh token of the old grant still gives the old set",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			createResource(s, mcpServer, true, "mcp.read", "mcp.write", "mcp.admin")
			c := s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"grant_types":["authorization_code",
				"refresh_token"],"scope":"openid email offline_access mcp.read mcp.write mcp.admin",
				"gatehouse_optional_scopes":"email"}`)
			const first, more = "openid email offline_access mcp.read", " mcp.write"
			b := s.Browser()
			old := s.Redeem(c, b.Code(c, "alice", "scope", first, "resource", mcpServer))

			page := b.Authorize(c, "scope", first+more, "resource", mcpServer)
			added, existing, found := strings.Cut(page.Text(), "already allowed this app")
			if !isStepUpPage(page) || !found || !strings.Contains(added, "mcp.write") || strings.Contains(added, "mcp.read") ||
				strings.Contains(existing, "mcp.write") || !strings.Contains(existing, "mcp.read") {
				t.Fatalf("the consent page does not separate what is new: %s", page.Text())
			}
			denied := b.Decide(page, "deny")
			if got := denied.Location().Query().Get("error"); got != "access_denied" {
				t.Fatalf("error = %q, want access_denied", got)
			}
			old = s.Refresh(c, old.Text("refresh_token")).OK(t)

			page = b.Authorize(c, "scope", first+more, "resource", mcpServer)
			stepped := s.Redeem(c, b.Decide(page, "approve").Location())
			if got := stepped.Text("scope"); !equalScopes(got, first+more) {
				t.Errorf("scope of the new grant = %q, want %q, with the optional scope that was allowed before", got, first+more)
			}
			for grant, want := range map[*servertest.Response]string{&old: first, &stepped: first + more} {
				r := s.Refresh(c, grant.Text("refresh_token")).OK(t)
				if got := r.Text("scope"); !equalScopes(got, want) {
					t.Errorf("scope of a refresh = %q, want %q", got, want)
				}
			}
			s.Refresh(c, old.Text("refresh_token"), "scope", first+more).Want(t, 400, "invalid_scope")
			// Everything can be changed when the client requests that, and when it has changed its description.
			page = b.Authorize(c, "scope", first+more+" mcp.admin", "resource", mcpServer, "prompt", "consent")
			if isStepUpPage(page) {
				t.Error("the page for prompt=consent does not let the user change everything")
			}
		}),
	servertest.Req("MC14b", "RFC 8252 §8.6",
		"the page lists everything for a client that another application can impersonate, and nothing as already allowed "+
			"that the user has withdrawn since",
		func(t *testing.T, s *servertest.Server) {
			alice := s.User("alice")
			createResource(s, mcpServer, true, "mcp.read", "mcp.write")
			native := selfRegisterPublic(s, "http://localhost/cb")
			app := s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"mcp.read mcp.write"}`)
			for _, c := range []client.Information{native, app} {
				b := s.Browser()
				b.Code(c, "alice", "scope", "mcp.read", "resource", mcpServer)
				page := b.Follow(b.Authorize(c, "scope", "mcp.read mcp.write", "resource", mcpServer))
				if got, want := isStepUpPage(page), c.ClientID == app.ClientID; got != want {
					t.Errorf("the page separates what is new: %v, want %v", got, want)
				}
				if c.ClientID == native.ClientID {
					continue
				}
				consents, err := s.Store.Consents(t.Context(), alice.ID)
				storagetest.Must(t, err)
				for _, consent := range consents {
					storagetest.Must(t, s.Store.WithdrawConsent(t.Context(), consent.UserID, consent.ID))
				}
				if p := b.Decide(page, "approve"); p.Status != 403 {
					t.Errorf("approval of a page that is no longer true: status = %d, want 403", p.Status)
				}
			}
		}).WithSettings(openRegistration),
	servertest.Req("MC42", "RFC 9700 §4.14.2, [decision 26](decisions/0026-refresh-retry-window.md)",
		"two processes of one public client that refresh within the window get the same successor, once as a rotation and "+
			"once as a retry; its use ends the window; a token two generations old revokes the grant",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			public := s.Public()
			long := s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"token_endpoint_auth_method":"none",
				"grant_types":["authorization_code","refresh_token"],"scope":"read","gatehouse_refresh_grace":600}`)
			for window, c := range map[time.Duration]client.Information{time.Minute: public, 10 * time.Minute: long} {
				old := s.Tokens(c, "alice", "scope", "read").Text("refresh_token")
				retries := strings.Count(s.Log.String(), "refresh retried")
				first := s.Refresh(c, old).OK(t).Text("refresh_token")
				s.Clock.Advance(window - time.Second)
				if got := s.Refresh(c, old).OK(t).Text("refresh_token"); got != first {
					t.Errorf("window %s: the second process got another successor", window)
				}
				if got := strings.Count(s.Log.String(), "refresh retried") - retries; got != 1 {
					t.Errorf("window %s: %d retries, want one rotation and one retry", window, got)
				}
				second := s.Refresh(c, first).OK(t).Text("refresh_token") // one of them uses the successor
				if got := s.Refresh(c, first).OK(t).Text("refresh_token"); got != second {
					t.Errorf("window %s: the other process got another successor of the successor", window)
				}
				reused := s.Counted(audit.RefreshReused)
				s.Refresh(c, old).Want(t, 400, "invalid_grant")
				s.Refresh(c, second).Want(t, 400, "invalid_grant")
				if got := s.Counted(audit.RefreshReused); got != reused+1 {
					t.Errorf("window %s: reuse was recorded %d times, want once", window, got-reused)
				}
				expired := s.Tokens(c, "alice", "scope", "read").Text("refresh_token")
				s.Refresh(c, expired).OK(t)
				s.Clock.Advance(window)
				s.Refresh(c, expired).Want(t, 400, "invalid_grant")
			}
		}),
}
