package oauth_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

func TestRefresh(t *testing.T) { servertest.Run(t, refresh) }

// registerRefreshClient registers a client that may use refresh tokens, with more members of its metadata.
func registerRefreshClient(s *servertest.Server, members string) client.Information {
	s.T.Helper()
	return s.Client(`{"grant_types":["authorization_code","refresh_token"],"redirect_uris":["` + servertest.Callback + `"],
		"scope":"read write",` + members + `}`)
}

var refresh = []servertest.Requirement{
	servertest.Req("P51", "RFC 9700 §2.2.2, §4.14.2",
		"a refresh token rotates on every use",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			for _, c := range []client.Information{s.Public(), s.App()} {
				token := s.Tokens(c, "alice").Text("refresh_token")
				seen := map[string]bool{token: true}
				for range 5 {
					token = s.Refresh(c, token).OK(t).Text("refresh_token")
					if seen[token] || !strings.HasPrefix(token, "gate_rt_live_") {
						t.Fatalf("the new refresh token is %q, want one that was not issued before", token)
					}
					seen[token] = true
				}
			}
		}),
	servertest.Req("P52", "FAPI 2.0 §5.3.2.1",
		"a refresh token whose response was lost gets the same successor again, and only the successor is valid",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			old := s.Tokens(c, "alice").Text("refresh_token")
			first := s.Refresh(c, old).OK(t)
			s.Clock.Advance(59 * time.Second)
			again := s.Refresh(c, old).OK(t)
			if first.Text("refresh_token") != again.Text("refresh_token") {
				t.Error("the retry got another successor")
			}
			if first.Text("access_token") == again.Text("access_token") {
				t.Error("the retry got the access token of the first response, not a new one")
			}
			if !s.Active(c, again.Text("access_token")) || !s.Active(c, first.Text("access_token")) {
				t.Error("the access token of the first response or of the retry is not active")
			}
			if s.Active(c, old) || !s.Active(c, first.Text("refresh_token")) {
				t.Error("the rotated token is active, or its successor is not")
			}
			s.Refresh(c, first.Text("refresh_token")).OK(t)
		}),
	servertest.Req("P53", "RFC 9700 §4.14.2",
		"use of a rotated token after the retry window revokes the grant and records an event",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			old := s.Tokens(c, "alice").Text("refresh_token")
			fresh := s.Refresh(c, old).OK(t)
			s.Clock.Advance(time.Minute)
			s.Refresh(c, old).Want(t, 400, "invalid_grant")
			s.Refresh(c, fresh.Text("refresh_token")).Want(t, 400, "invalid_grant")
			if s.Active(c, fresh.Text("access_token")) || s.Active(c, fresh.Text("refresh_token")) {
				t.Error("a token of the family is still active")
			}
			wantEvent(t, s, audit.RefreshReused)
			if !strings.Contains(s.Log.String(), "refresh_token_reuse") {
				t.Error("the log has no refresh_token_reuse")
			}
		}),
	servertest.Req("P53b", "RFC 9700 §4.14.2",
		"use of a token two generations old revokes the grant even within the retry window",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			first := s.Tokens(c, "alice").Text("refresh_token")
			second := s.Refresh(c, first).OK(t).Text("refresh_token")
			third := s.Refresh(c, second).OK(t).Text("refresh_token")
			s.Refresh(c, first).Want(t, 400, "invalid_grant")
			s.Refresh(c, third).Want(t, 400, "invalid_grant")
		}),
	servertest.Req("P54", "RFC 9700 §4.14.2",
		"a replay by another client, or without authentication, changes nothing",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c, other := s.App(), s.App()
			old := s.Tokens(c, "alice").Text("refresh_token")
			fresh := s.Refresh(c, old).OK(t)
			s.Clock.Advance(time.Minute)
			s.Refresh(other, old).Want(t, 400, "invalid_grant")
			s.Refresh(s.Public(), old).Want(t, 400, "invalid_grant")
			broken := c
			broken.ClientSecret = other.ClientSecret
			s.Refresh(broken, old).Want(t, 401, "invalid_client")
			s.Refresh(c, old[:len(old)-1]+otherCharacter(old[len(old)-1])).Want(t, 400, "invalid_grant")
			s.Refresh(c, fresh.Text("refresh_token")).OK(t)
		}),
	servertest.Req("P55", "RFC 9700 §4.14.2, two processes",
		"after 50 concurrent refreshes on two processes one refresh token is valid",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			old := s.Tokens(c, "alice").Text("refresh_token")
			nodes := []*servertest.Server{s, s.StartAnother()}
			succeeded := concurrently(t, 50, func(i int) servertest.Response { return nodes[i%2].Refresh(c, old) })
			successors := map[string]bool{}
			for _, r := range succeeded {
				successors[r.Text("refresh_token")] = true
			}
			if len(succeeded) != 50 || len(successors) != 1 {
				t.Errorf("%d responses with %d successors, want 50 with 1", len(succeeded), len(successors))
			}
			s.Refresh(c, succeeded[0].Text("refresh_token")).OK(t)
		}),
	servertest.Req("P55b", "RFC 9700 §4.14.2, two processes",
		"without a retry window one of 50 concurrent refreshes succeeds, and reuse is detected",
		func(t *testing.T, s *servertest.Server) {
			strict := servertest.Start(t, s.DB, servertest.Options{
				Issuer: s.Issuer, Clock: s.Clock, Env: map[string]string{"GATEHOUSE_REFRESH_GRACE": "0s"},
			})
			s.User("alice")
			c := s.App()
			old := s.Tokens(c, "alice").Text("refresh_token")
			succeeded := concurrently(t, 50, func(int) servertest.Response { return strict.Refresh(c, old) })
			if len(succeeded) != 1 {
				t.Fatalf("%d refreshes succeeded, want 1", len(succeeded))
			}
			if s.Active(c, succeeded[0].Text("access_token")) {
				t.Error("the access token is active: the reuse was not detected")
			}
		}),
	servertest.Req("P56", "RFC 6749 §6",
		"a refresh token is bound to its client",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			token := s.Tokens(c, "alice").Text("refresh_token")
			s.Refresh(s.App(), token).Want(t, 400, "invalid_grant")
			s.Refresh(s.Public(), token).Want(t, 400, "invalid_grant")
			s.Refresh(c, token).OK(t)
		}),
	servertest.Req("P57", "RFC 6749 §6",
		"a refresh can narrow the scope of the access token, but neither widens nor changes that of the grant",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			token := s.Tokens(c, "alice", "scope", "read write").Text("refresh_token")
			s.Refresh(c, token, "scope", "read offline_access").Want(t, 400, "invalid_scope")
			s.Refresh(c, token, "scope", "read nothing").Want(t, 400, "invalid_scope")
			narrow := s.Refresh(c, token, "scope", "read").OK(t)
			if narrow.Text("scope") != "read" || claims(t, narrow.Text("access_token"))["scope"] != "read" {
				t.Errorf("the response to a refresh with scope read is %s, want scope read in it and its token", narrow.Body)
			}
			if wide := s.Refresh(c, narrow.Text("refresh_token")).OK(t); wide.Text("scope") != "read write" {
				t.Errorf("the next refresh has scope %q, want that of the grant, read write", wide.Text("scope"))
			}
		}),
	servertest.Req("P58", "RFC 9700 §4.14.2",
		"the idle timeout and the absolute lifetime both end the grant",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := registerRefreshClient(s, `"gatehouse_refresh_idle_ttl":"1h","gatehouse_refresh_max_ttl":"3h"`)
			token := s.Tokens(c, "alice").Text("refresh_token")
			s.Clock.Advance(time.Hour)
			s.Refresh(c, token).Want(t, 400, "invalid_grant")
			token = s.Tokens(c, "alice").Text("refresh_token")
			for range 3 {
				s.Clock.Advance(59 * time.Minute)
				token = s.Refresh(c, token).OK(t).Text("refresh_token")
			}
			s.Clock.Advance(2 * time.Minute)
			last := s.Refresh(c, token).OK(t)
			if got := last.JSON["expires_in"].(float64); got > 60 {
				t.Errorf("expires_in = %v, want at most 60, the remaining lifetime of the grant", got)
			}
			s.Clock.Advance(time.Minute)
			s.Refresh(c, last.Text("refresh_token")).Want(t, 400, "invalid_grant")
		}),
	servertest.Req("P59", "RFC 9700 §4.14.2, CVE-2026-8922, CVE-2026-43983",
		"when a user's access ends, for whatever reason, refresh fails and introspection is inactive immediately",
		func(t *testing.T, s *servertest.Server) {
			api := s.Service("jobs")
			storagetest.Must(t, s.Store.CreateResource(t.Context(), storage.Resource{
				Identifier: "https://api.example", Scopes: storage.Strings{"read"},
				Introspectors: storage.Strings{api.ClientID}, CreatedAt: s.Clock.Now(),
			}))
			other := s.StartAnother()
			for name, end := range endings(s) {
				u := s.User(name)
				c := s.App()
				b := s.Browser()
				tokens := s.Token(c, servertest.CodeForm(b.Code(c, name), c)).OK(t)
				if !s.Active(api, tokens.Text("access_token")) {
					t.Fatalf("%s: the access token is not active before", name)
				}
				end(t, u, c, b)
				if s.Active(api, tokens.Text("access_token")) || other.Active(api, tokens.Text("access_token")) {
					t.Errorf("%s: the access token is still active", name)
				}
				r := s.Refresh(c, tokens.Text("refresh_token"))
				if code := r.Text("error"); r.Status == 200 || code != "invalid_grant" && code != "invalid_client" {
					t.Errorf("%s: refresh: %d %s, want invalid_grant or invalid_client", name, r.Status, r.Body)
				}
			}
		}),
	servertest.Req("P59b", "[design](design.md)",
		"only a grant with offline_access remains valid after the browser session ends",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			c := s.App()
			b := s.Browser()
			tokens := s.Token(c, servertest.CodeForm(b.Code(c, "alice", "scope", "read offline_access"), c)).OK(t)
			endings(s)["session-ended"](t, u, c, b)
			if !s.Active(c, tokens.Text("access_token")) {
				t.Error("the access token was revoked with the session")
			}
			fresh := s.Refresh(c, tokens.Text("refresh_token")).OK(t)
			endings(s)["consent-withdrawn"](t, u, c, b)
			s.Refresh(c, fresh.Text("refresh_token")).Want(t, 400, "invalid_grant")
		}),
	servertest.Req("P59c", "[design](design.md)",
		"a browser session that expires revokes no grant",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			tokens := s.Tokens(c, "alice")
			s.Clock.Advance(48 * time.Hour)
			storagetest.ResetCleanupTime(t, s.Store, s.DB)
			_, err := s.Store.DeleteExpired(t.Context(), storagetest.UnusedClientTTL)
			storagetest.Must(t, err)
			s.Refresh(c, tokens.Text("refresh_token")).OK(t)
		}),
	servertest.Req("P60", "RFC 6749 §6",
		"a confidential client authenticates to refresh",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			token := s.Tokens(c, "alice").Text("refresh_token")
			none := c
			none.TokenEndpointAuthMethod = storage.AuthNone
			s.Refresh(none, token).Want(t, 401, "invalid_client")
			s.Refresh(client.Information{}, token).Want(t, 401, "invalid_client")
			s.Refresh(c, token).OK(t)
		}),
	servertest.Req("P61", "RFC 6749 §4.4.3",
		"client credentials and clients without the grant type get no refresh token",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.Client(`{"redirect_uris":["https://app.example/callback"],"scope":"read write offline_access"}`)
			r := s.Tokens(c, "alice", "scope", "read offline_access")
			if r.Text("refresh_token") != "" || r.Text("scope") != "read" {
				t.Errorf("a client without the grant type got %s, want scope read and no refresh token", r.Body)
			}
			if r := s.Token(s.Service("jobs"), clientCredentialsForm).OK(t); r.Text("refresh_token") != "" {
				t.Errorf("client credentials got %s, want no refresh token", r.Body)
			}
		}),
	servertest.Req("P61b", "FAPI 2.0 §5.3.2.1",
		"rotation can be disabled only for a confidential client",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := registerRefreshClient(s, `"gatehouse_refresh_rotation":false`)
			token := s.Tokens(c, "alice").Text("refresh_token")
			for range 3 {
				s.Clock.Advance(time.Minute)
				if r := s.Refresh(c, token).OK(t); r.Text("refresh_token") != "" {
					t.Errorf("the response has a new refresh token, want none: %s", r.Body)
				}
			}
			_, _, err := s.OAuth.Clients.Create(t.Context(), client.Metadata{
				TokenEndpointAuthMethod: "none", RedirectURIs: client.List{servertest.Callback},
				OperatorMetadata: client.OperatorMetadata{RefreshRotation: new(bool)},
			})
			if err == nil {
				t.Error("a public client was registered without rotation")
			}
		}),
}
