package web_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/display"
	"gatehouse/oauth/client"
	"gatehouse/storage/storagetest"
)

// assertionForm returns a token request that authenticates the client with private_key_jwt and no client_id.
func assertionForm(t *testing.T, s *servertest.Server, key servertest.ClientKey, clientID string) url.Values {
	t.Helper()
	now := s.Clock.Now()
	assertion := key.Sign(t, map[string]any{
		"iss": clientID, "sub": clientID, "aud": s.Issuer, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	}, nil)
	return url.Values{
		"grant_type":            {"client_credentials"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion},
	}
}

// loggedRequest is a request with the attributes that its log line must have.
type loggedRequest struct {
	name             string
	response         servertest.Response
	client, user     string
	grantType, error string
}

func (c loggedRequest) check(t *testing.T, s *servertest.Server) {
	t.Helper()
	line := s.LogLine(c.response)
	for attribute, want := range map[string]string{
		"client_id": c.client, "user_id": c.user, "grant_type": c.grantType, "error": c.error,
	} {
		if got, _ := line[attribute].(string); got != want {
			t.Errorf("%s: the request log has %s %q, want %q: %v", c.name, attribute, got, want, line)
		}
	}
}

// TestRequestLogHasClientAndUser sends a request to each kind of endpoint and expects the IDs that it determined in its
// log line, wherever the client was named.
func TestRequestLogHasClientAndUser(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_REGISTRATION": "open"}})
		user := s.User("alice").ID
		app, api := s.RelyingParty(), s.Service("jobs")
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		storagetest.Must(t, err)
		key := servertest.ClientKey{Private: private, ID: "k", Alg: "ES256"}
		keyed := s.Client(`{"grant_types":["client_credentials"],"scope":"jobs",
			"token_endpoint_auth_method":"private_key_jwt","jwks":` + servertest.JWKS(t, key) + `}`)
		b := s.Browser()
		code := b.Code(app, "alice", "scope", "openid offline_access")
		exchange := s.Token(app, servertest.CodeForm(code, app)).OK(t)
		access, refresh := exchange.Text("access_token"), exchange.Text("refresh_token")
		serviceForm := url.Values{"grant_type": {"client_credentials"}}
		keyedToken := s.Post("/oauth2/token", client.Information{}, assertionForm(t, s, key, keyed.ClientID)).OK(t)
		registered := s.Do(jsonBody(s, http.MethodPost, "/oauth2/register", "", `{"redirect_uris":["https://a.example/cb"]}`))
		ownID := registered.Text("client_id")
		consent := b.Follow(b.Authorize(app, "prompt", "consent"))

		for _, c := range []loggedRequest{
			{"code exchange", exchange, app.ClientID, user, "authorization_code", ""},
			{"refresh", s.Refresh(app, refresh).OK(t), app.ClientID, user, "refresh_token", ""},
			{"client credentials", s.Token(api, serviceForm), api.ClientID, "", "client_credentials", ""},
			{"private_key_jwt", keyedToken, keyed.ClientID, "", "client_credentials", ""},
			{"userinfo", s.Userinfo(access).OK(t), app.ClientID, user, "", ""},
			{"introspection", s.Introspect(app, access), app.ClientID, user, "", ""},
			{"registration", registered, ownID, "", "", ""},
			{
				"registered client",
				s.Do(jsonBody(s, http.MethodGet, "/oauth2/register/"+ownID, registered.Text("registration_access_token"), "")),
				ownID, "", "", "",
			},
			{"consent page", consent.Response, app.ClientID, user, "", ""},
			{"account page", b.Open("/account").Response, "", user, "", ""},
			{"logout page", b.Open("/oauth2/logout?client_id=" + app.ClientID).Response, app.ClientID, user, "", ""},
			{"revocation", s.Post("/oauth2/revoke", app, url.Values{"token": {access}}), app.ClientID, user, "", ""},
			{
				"incorrect secret", s.Token(servertest.UnregisteredClient("unknown-client"), serviceForm),
				"", "", "client_credentials", "invalid_client",
			},
			{
				"unregistered client", s.Get("/oauth2/authorize?client_id=gate_cs_live_x"),
				"", "", "", "invalid_request",
			},
		} {
			c.check(t, s)
		}
	})
}

// TestLogKeepsClaimedClientApart checks that client_id is in the log only when the client was authenticated or found.
// What any caller can send has its own attribute.
func TestLogKeepsClaimedClientApart(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, storagetest.URL(t, "sqlite"), servertest.Options{})
	c := s.Service("jobs")
	form := url.Values{"grant_type": {"client_credentials"}}
	incorrect := c
	incorrect.ClientSecret += "x"
	for _, test := range []struct {
		name                string
		response            servertest.Response
		verified, unchecked string
	}{
		{"valid secret", s.Token(c, form).OK(t), c.ClientID, ""},
		{"incorrect secret", s.Token(incorrect, form), "", c.ClientID},
		{"unregistered client", s.Token(servertest.UnregisteredClient("unknown-client"), form), "", "unknown-client"},
		{"credential", s.Get("/oauth2/authorize?client_id=gate_cs_live_x"), "", "(a credential)"},
	} {
		line := s.LogLine(test.response)
		for attribute, want := range map[string]string{"client_id": test.verified, "claimed_client_id": test.unchecked} {
			if got, _ := line[attribute].(string); got != want {
				t.Errorf("%s: the request log has %s %q, want %q: %v", test.name, attribute, got, want, line)
			}
		}
	}
}

// TestLogEscapesUnprintableParameters checks that a log line has no control character, because logs are read on
// terminals. JSON escapes only those of ASCII.
func TestLogEscapesUnprintableParameters(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, storagetest.URL(t, "sqlite"), behindProxy("127.0.0.1"))
	const evil = "\u009b2J\u202e\u200b\u0085"
	s.Get("/oauth2/authorize?client_id=" + url.QueryEscape(evil))
	req := s.Request(http.MethodPost, "/oauth2/token", url.Values{"grant_type": {"client_credentials"}})
	req.SetBasicAuth(evil, evil)
	req.Header.Set("X-Forwarded-For", evil)
	s.Do(req)
	logged := s.Log.String()
	for line := range strings.Lines(logged) {
		if line = strings.TrimSuffix(line, "\n"); display.Escape(line) != line {
			t.Errorf("the line has unprintable characters: %q", line)
		}
	}
	if n := strings.Count(logged, "u009b2J"); n != 3 {
		t.Errorf("the parameters are logged %d times, want 3: %s", n, logged)
	}
}

// TestRequestLogHasRule checks that an operator can find the audit rows of a failed request by the type in its log
// line.
func TestRequestLogHasRule(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, storagetest.URL(t, "sqlite"), servertest.Options{})
	b := s.Browser()
	form := b.Open("/login").Fields()
	form.Set("username", "alice")
	form.Set("password", "incorrect")
	service := url.Values{"grant_type": {"client_credentials"}}
	for _, c := range []struct {
		response servertest.Response
		want     string
	}{
		{s.Token(servertest.UnregisteredClient("unknown-client"), service), "client.authentication_failed"},
		{b.Submit("/login", form).Response, "user.sign_in_failed"},
	} {
		if got := s.LogLine(c.response)["rule_id"]; got != c.want {
			t.Errorf("status %d: the request log has rule_id %v, want %s", c.response.Status, got, c.want)
		}
	}
}
