package oauth_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

var failureRecords = []servertest.Requirement{
	servertest.Req("D8", "RFC 9700 §4.14.2, [design](design.md)",
		"the audit log has each failure with its client, time, address, user agent and reason",
		func(t *testing.T, s *servertest.Server) {
			c, other := s.Service("jobs"), s.Service("jobs")
			checkAuthenticationFailureIsRecorded(t, s, c, other.ClientSecret)
			s.Token(c, withParameters(clientCredentialsForm, "scope", "admin")).Want(t, 400, "invalid_scope")
			row := waitForRows(t, s, audit.ScopeRefused, 1)[0]
			if row.ClientID != c.ClientID || !strings.Contains(row.Detail, "admin") {
				t.Errorf("row of a refused scope = %+v, want the client %s and the scope admin", row, c.ClientID)
			}
			app := s.App()
			s.Browser().Authorize(app, "scope", "everything")
			if row := waitForRows(t, s, audit.ScopeRefused, 2)[0]; row.ClientID != app.ClientID {
				t.Errorf("row of an authorization request with a refused scope = %+v, want the client %s", row, app.ClientID)
			}
			token := s.ServiceToken(other)
			s.Introspect(c, token)
			s.Introspect(c, "invalid")
			for _, row := range waitForRows(t, s, audit.IntrospectionFailed, 2) {
				isSent := row.Token == audit.TokenReference(token) || row.Token == audit.TokenReference("invalid")
				if row.ClientID != c.ClientID || !isSent || !strings.Contains(row.Detail, "reason") {
					t.Errorf("row of a failed introspection = %+v, want the client %s, a token that it sent, and a reason",
						row, c.ClientID)
				}
			}
		}).WithSettings(behindProxy),
	servertest.Req("D9", "[design](design.md)",
		"failures cannot fill the disk: of one kind and network only a limited number is recorded",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			for i := range 90 {
				s.Introspect(c, fmt.Sprint("invalid ", i))
				s.Token(servertest.UnregisteredClient(fmt.Sprint("gcunknown", i)), clientCredentialsForm)
			}
			s.ServiceToken(c) // its row is queued after theirs
			waitForRows(t, s, audit.TokenIssued, 1)
			for _, event := range []string{audit.IntrospectionFailed, audit.AuthenticationFailed} {
				if rows := waitForRows(t, s, event, 60); len(rows) != 60 {
					t.Errorf("%d rows of %s after 90 failures, want 60", len(rows), event)
				}
			}
		}),
	servertest.Req("D10", "[design](design.md)",
		"given a token, its audit record can be found, and the record does not contain it",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c, service := s.App(), s.Service("jobs")
			to := s.Browser().Code(c, "alice")
			refreshed := s.Refresh(c, s.Redeem(c, to).Text("refresh_token")).OK(t)
			serviceToken := s.ServiceToken(service)
			s.Post("/oauth2/revoke", service, url.Values{"token": {serviceToken}}).OK(t)
			for token, events := range map[string][]string{
				to.Query().Get("code"):          {audit.CodeIssued, audit.CodeRedeemed},
				refreshed.Text("refresh_token"): {audit.RefreshRotated},
				serviceToken:                    {audit.TokenIssued, audit.TokenRevoked},
			} {
				for _, event := range events {
					waitForRows(t, s, event, 1)
					filter := audit.Filter{Event: event, Token: audit.TokenReference(token)}
					rows, err := s.Store.Audit.Rows(t.Context(), filter)
					storagetest.Must(t, err)
					if len(rows) != 1 {
						t.Errorf("%d rows of %s have the reference of the token, want 1", len(rows), event)
					}
				}
			}
		}),
	servertest.Req("D11", "[design](design.md)",
		"every response has the id of its request, and so has every log line about it",
		func(t *testing.T, s *servertest.Server) {
			countLines := func(id string) int { return strings.Count(s.Log.String(), `"request_id":"`+id+`"`) }
			seen := map[string]bool{}
			for _, path := range []string{
				"/healthz", "/readyz", "/.well-known/jwks.json", "/oauth2/authorize", "/login", "/nothing", "/static/x",
				"/logo/x", "/login?" + strings.Repeat("x", 40<<10),
			} {
				id := s.Get(path).Header.Get("X-Request-Id")
				if len(id) != 16 || seen[id] {
					t.Errorf("%.40s: request id %q, want 16 characters that no other request has", path, id)
				}
				seen[id] = true
				if strings.HasSuffix(path, "z") {
					continue // health checks are not logged
				}
				if n := countLines(id); n != 1 {
					t.Errorf("%.40s: %d log lines with the request id, want 1", path, n)
				}
			}
			s.User("alice")
			c := s.App()
			token := s.Tokens(c, "alice").Text("refresh_token")
			s.Refresh(c, token).OK(t)
			s.Clock.Advance(time.Minute)
			id := s.Refresh(c, token).Header.Get("X-Request-Id")
			if n := countLines(id); n != 2 {
				t.Errorf("%d log lines with the id %s of the request that reused a token, want the alert and the request:\n%s",
					n, id, s.Log)
			}
		}),
}

// checkAuthenticationFailureIsRecorded sends a token request of c with an invalid secret and checks its audit row. The
// actor of the row is not the client, which is not authenticated.
func checkAuthenticationFailureIsRecorded(t *testing.T, s *servertest.Server, c clientInformation, secret string) {
	t.Helper()
	c.ClientSecret = secret
	req := s.AsClient("/oauth2/token", c, clientCredentialsForm)
	req.Header.Set("User-Agent", "Attacker/1.0")
	req.Header.Set("X-Forwarded-For", "192.0.2.44")
	r := s.Do(req)
	r.Want(t, 401, "invalid_client")
	got := waitForRows(t, s, audit.AuthenticationFailed, 1)[0]
	want := audit.Row{
		Actor: "anonymous", ClientID: c.ClientID, Address: "192.0.2.44", UserAgent: "Attacker/1.0",
		RequestID: r.Header.Get("X-Request-Id"), At: s.Clock.Now(),
	}
	if got.Actor != want.Actor || got.ClientID != want.ClientID || got.Address != want.Address ||
		got.UserAgent != want.UserAgent || got.RequestID != want.RequestID || !got.At.Equal(want.At) {
		t.Errorf("row of a failed authentication = %+v, want the members of %+v", got, want)
	}
	if !strings.Contains(got.Detail, "invalid secret") {
		t.Errorf("row of a failed authentication has the detail %s, want the reason invalid secret", got.Detail)
	}
}
