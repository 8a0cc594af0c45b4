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
	servertest.Req("D8", "RFC 9700 §4.14.2, [design](design.md)", "failures are recorded too: who, when, from where, how, for what, and why", func(t *testing.T, s *servertest.Server) {
		c, other := s.Service("jobs"), s.Service("jobs")
		wrong := c
		wrong.ClientSecret = other.ClientSecret
		req := s.AsClient("/oauth2/token", wrong, clientCredentialsForm)
		req.Header.Set("User-Agent", "Guesser/1.0")
		req.Header.Set("X-Forwarded-For", "192.0.2.44")
		r := s.Do(req)
		r.Want(t, 401, "invalid_client")
		e := waitForRows(t, s, audit.AuthenticationFailed, 1)[0]
		if e.ClientID != c.ClientID || e.Address != "192.0.2.44" || e.UserAgent != "Guesser/1.0" || e.RequestID != r.Header.Get("X-Request-Id") || !strings.Contains(e.Detail, "invalid secret") || !e.At.Equal(s.Clock.Now()) || e.Actor != "anonymous" { // who failed to authenticate is not the client
			t.Errorf("failed authentication: %+v", e)
		}
		s.Token(c, withParameters(clientCredentialsForm, "scope", "admin")).Want(t, 400, "invalid_scope")
		if e := waitForRows(t, s, audit.ScopeRefused, 1)[0]; e.ClientID != c.ClientID || !strings.Contains(e.Detail, "admin") {
			t.Errorf("refused scope: %+v", e)
		}
		app := s.App()
		s.Browser().Authorize(app, "scope", "everything")
		if e := waitForRows(t, s, audit.ScopeRefused, 2)[0]; e.ClientID != app.ClientID {
			t.Errorf("refused scope of an authorization request: %+v", e)
		}
		token := s.ServiceToken(other)
		s.Introspect(c, token)
		s.Introspect(c, "rubbish")
		for _, e := range waitForRows(t, s, audit.IntrospectionFailed, 2) {
			if e.ClientID != c.ClientID || e.Token != audit.TokenReference(token) && e.Token != audit.TokenReference("rubbish") || !strings.Contains(e.Detail, "reason") {
				t.Errorf("failed introspection: %+v", e)
			}
		}
	}).WithSettings(behindProxy),
	servertest.Req("D9", "[design](design.md)", "failures cannot fill the disk: of one kind and network only a limited number is recorded", func(t *testing.T, s *servertest.Server) {
		c := s.Service("jobs")
		for i := range 90 {
			s.Introspect(c, fmt.Sprint("made up ", i))
			s.Token(servertest.UnregisteredClient(fmt.Sprint("gcmadeup", i)), clientCredentialsForm)
		}
		s.ServiceToken(c) // queued after them
		waitForRows(t, s, audit.TokenIssued, 1)
		if events := waitForRows(t, s, audit.IntrospectionFailed, 60); len(events) != 60 {
			t.Errorf("%d rows", len(events))
		}
		if events := waitForRows(t, s, audit.AuthenticationFailed, 60); len(events) != 60 {
			t.Errorf("%d rows of names that were made up", len(events))
		}
	}),
	servertest.Req("D10", "[design](design.md)", "given a token, its audit record can be found, and the record does not contain it", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c, m := s.App(), s.Service("jobs")
		to := s.Browser().Code(c, "alice")
		tokens := s.Token(c, servertest.CodeForm(to, c)).OK(t)
		fresh := s.Refresh(c, tokens.Text("refresh_token")).OK(t)
		serviceToken := s.ServiceToken(m)
		s.Post("/oauth2/revoke", m, url.Values{"token": {serviceToken}}).OK(t)
		for token, want := range map[string][]string{
			to.Query().Get("code"): {audit.CodeIssued, audit.CodeRedeemed}, fresh.Text("refresh_token"): {audit.RefreshRotated}, serviceToken: {audit.TokenIssued, audit.TokenRevoked},
		} {
			for _, event := range want {
				waitForRows(t, s, event, 1)
				events, err := s.Store.Audit.Rows(t.Context(), audit.Filter{Event: event, Token: audit.TokenReference(token)})
				storagetest.Must(t, err)
				if len(events) != 1 {
					t.Errorf("%d rows of %s", len(events), event)
				}
			}
		}
	}),
	servertest.Req("D11", "[design](design.md)", "every response has the id of its request, and so has every log line about it", func(t *testing.T, s *servertest.Server) {
		seen := map[string]bool{}
		for _, path := range []string{"/healthz", "/readyz", "/.well-known/jwks.json", "/oauth2/authorize", "/login", "/nothing", "/static/x", "/logo/x", "/login?" + strings.Repeat("x", 40<<10)} {
			id := s.Get(path).Header.Get("X-Request-Id")
			if len(id) != 16 || seen[id] {
				t.Errorf("%s: %q", path, id)
			}
			seen[id] = true
			if !strings.HasSuffix(path, "z") && strings.Count(s.Log.String(), `"request_id":"`+id+`"`) != 1 {
				t.Errorf("%s: no line of the log, or several", path)
			}
		}
		s.User("alice")
		c := s.App()
		refresh := s.Tokens(c, "alice").Text("refresh_token")
		s.Refresh(c, refresh).OK(t)
		s.Clock.Advance(time.Minute)
		id := s.Refresh(c, refresh).Header.Get("X-Request-Id")
		if strings.Count(s.Log.String(), `"request_id":"`+id+`"`) != 2 {
			t.Errorf("the alert of reuse does not name its request %s:\n%s", id, s.Log)
		}
	}),
}
