package oauth_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/oauth/credential"
	"gatehouse/oauth/protocol"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// logged returns the log line of the request with this response.
func logged(t *testing.T, s *servertest.Server, r servertest.Response) map[string]any {
	t.Helper()
	for line := range strings.Lines(s.Log.String()) {
		var e map[string]any
		if json.Unmarshal([]byte(line), &e) == nil && e["msg"] == "request" && e["request_id"] == r.Header.Get("X-Request-Id") {
			return e
		}
	}
	t.Fatalf("no log line for the request %s", r.Header.Get("X-Request-Id"))
	return nil
}

// refusedWith returns the one audit event of the type that the request left.
func refusedWith(t *testing.T, s *servertest.Server, event string, r servertest.Response) (e audit.Row, detail map[string]any) {
	t.Helper()
	storagetest.Eventually(t, event+" is recorded", func() bool {
		events, err := s.Store.Audit.Rows(t.Context(), audit.Filter{Event: event, RequestID: r.Header.Get("X-Request-Id"), Limit: 2})
		storagetest.Must(t, err)
		if len(events) > 0 {
			e = events[0]
		}
		return len(events) == 1
	})
	storagetest.Must(t, json.Unmarshal([]byte(e.Detail), &detail))
	return e, detail
}

// TestRefusedCodeNamesTheFailedCheck: the log and the audit log have the check and what was sent, without secrets. The
// client learns what it can correct, always as invalid_grant.
func TestRefusedCodeNamesTheFailedCheck(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_RATE_LIMITS": "recorded_failure=1000/1m"}})
		alice := s.User("alice")
		b := s.Browser()
		c, other := s.App(), s.App()
		b.Code(c, "alice")
		exempt := s.Client(`{"client_name":"No PKCE","grant_types":["authorization_code"],"redirect_uris":["` + servertest.Callback + `"],"scope":"read write","gatehouse_require_pkce":false}`)
		generic := "The code is unknown, expired or already used"
		for _, test := range []struct {
			name, cause, description string
			client                   client.Information
			change                   func(form url.Values)
			before                   func() (after func())
		}{
			{name: "no verifier", cause: "code_verifier is missing", description: "code_verifier is missing", change: func(form url.Values) { form.Del("code_verifier") }},
			{name: "wrong verifier", cause: "code_verifier does not match", description: "code_verifier does not match", change: func(form url.Values) { form.Set("code_verifier", strings.Repeat("x", 50)) }},
			{name: "malformed verifier", cause: "malformed code_verifier", description: "43 to 128", change: func(form url.Values) { form.Set("code_verifier", "short-secret") }},
			{name: "verifier without challenge", client: exempt, cause: "code_verifier was sent", description: "code_verifier was sent", change: func(form url.Values) { form.Set("code_verifier", strings.Repeat("x", 50)) }},
			{name: "no redirect URI", client: exempt, cause: "redirect_uri is missing", description: "redirect_uri is missing", change: func(form url.Values) { form.Del("redirect_uri") }},
			{name: "other redirect URI", cause: "redirect_uri differs from the authorization request: https://evil.example/cb", description: "redirect_uri must be identical", change: func(form url.Values) {
				form.Set("redirect_uri", "https://user:planted1@evil.example/cb?token=planted2#planted3")
			}},
			{name: "other client", cause: "issued to another client", description: generic, change: func(url.Values) {}},
			{name: "unknown code", cause: "an unknown code", description: generic, change: func(form url.Values) { form.Set("code", credential.Format{Env: "live"}.New(credential.Code)) }},
			{name: "malformed code", cause: "malformed code", description: generic, change: func(form url.Values) { form.Set("code", "planted4") }},
			{name: "expired", cause: "the code has expired", description: generic, before: func() func() { s.Clock.Advance(2 * time.Minute); return func() {} }},
			{name: "disabled user", cause: "the user is disabled", description: generic, before: func() func() {
				storagetest.Must(t, s.Store.DisableUser(t.Context(), alice.ID))
				return func() {
					storagetest.Must(t, s.Store.EnableUser(t.Context(), alice.ID))
				}
			}},
		} {
			app := test.client
			var form url.Values
			if app.ClientID == "" {
				app = c
				form = servertest.CodeForm(s.Browser().Code(app, "alice"), app)
			} else {
				to := s.Browser().Code(app, "alice", "code_challenge", "", "code_challenge_method", "")
				form = servertest.CodeForm(to, app)
				form.Del("code_verifier")
			}
			code := form.Get("code")
			if test.change != nil {
				test.change(form)
			}
			after := func() {}
			if test.before != nil {
				after = test.before()
			}
			caller := app
			if test.name == "other client" {
				caller = other
			}
			r := s.Token(caller, form)
			after()
			r.Want(t, 400, "invalid_grant")
			if !strings.Contains(r.Text("error_description"), test.description) {
				t.Errorf("%s: the client gets %q, want %q", test.name, r.Text("error_description"), test.description)
			}
			line := logged(t, s, r)
			if cause, _ := line["cause"].(string); !strings.Contains(cause, test.cause) {
				t.Errorf("%s: the log has the cause %q, want %q", test.name, cause, test.cause)
			}
			e, detail := refusedWith(t, s, audit.CodeRefused, r)
			if reason, _ := detail["reason"].(string); !strings.Contains(test.cause, reason) && !strings.Contains(reason, test.cause) {
				t.Errorf("%s: the audit log has the reason %q, want %q", test.name, reason, test.cause)
			}
			if e.ClientID != caller.ClientID || e.Actor != "client:"+caller.ClientID || test.name != "unknown code" && test.name != "malformed code" && test.name != "malformed verifier" && e.UserID != alice.ID {
				t.Errorf("%s: the audit event is %+v", test.name, e)
			}
			if want := detail["redirect_uri"] != nil; want != (test.name == "other redirect URI") || want && detail["redirect_uri"] != "https://evil.example/cb" {
				t.Errorf("%s: the audit log has the redirect URI %v", test.name, detail["redirect_uri"])
			}
			if strings.Contains(s.Log.String(), code) || strings.Contains(s.Log.String(), "planted") || strings.Contains(e.Detail, "planted") {
				t.Errorf("%s: the log has a secret", test.name)
			}
		}
		public := s.Public()
		form := servertest.CodeForm(s.Browser().Code(public, "alice"), public)
		form.Del("code_verifier")
		if e, _ := refusedWith(t, s, audit.CodeRefused, s.Token(public, form)); e.Actor != "anonymous" || e.ClientID != public.ClientID {
			t.Errorf("event of a public client, whose identity is not proven: actor %q, client %q", e.Actor, e.ClientID)
		}
	})
}

// TestRefusedRefreshTokenNamesTheFailedCheck is the same for refresh tokens; the client learns no more than before.
func TestRefusedRefreshTokenNamesTheFailedCheck(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		alice := s.User("alice")
		c, other := s.App(), s.App()
		for cause, prepare := range map[string]func(token string) (caller client.Information, sent string){
			"issued to another client": func(token string) (client.Information, string) { return other, token },
			"an unknown grant": func(string) (client.Information, string) {
				return c, credential.Format{Env: "live"}.NewRefreshToken(credential.NewGrantName(s.Clock.Now()))
			},
			"a malformed refresh token": func(string) (client.Information, string) { return c, "planted" },
			"the grant was revoked": func(token string) (client.Information, string) {
				s.Post("/oauth2/revoke", c, url.Values{"token": {token}}).OK(t)
				return c, token
			},
			"the tokens of the user were revoked": func(token string) (client.Information, string) {
				storagetest.Must(t, s.Store.RevokeUserTokens(t.Context(), alice.ID))
				return c, token
			},
			"the tokens of the client were revoked": func(token string) (client.Information, string) {
				storagetest.Must(t, s.Store.RevokeClientTokens(t.Context(), c.ClientID))
				return c, token
			},
		} {
			token := s.Token(c, servertest.CodeForm(s.Browser().Code(c, "alice"), c)).OK(t).Text("refresh_token")
			caller, sent := prepare(token)
			r := s.Refresh(caller, sent)
			r.Want(t, 400, "invalid_grant")
			if !strings.HasPrefix(r.Text("error_description"), "The refresh token is unknown, expired, revoked") {
				t.Errorf("%s: the client learns %q", cause, r.Text("error_description"))
			}
			if got, _ := logged(t, s, r)["cause"].(string); !strings.Contains(got, cause) {
				t.Errorf("the log has the cause %q, want %q", got, cause)
			}
			if _, detail := refusedWith(t, s, audit.RefreshRefused, r); !strings.Contains(detail["reason"].(string), cause) {
				t.Errorf("the audit log has the reason %q, want %q", detail["reason"], cause)
			}
		}
	})
}

// TestRefusedRedirectURIIsRecorded: what was sent is in the log and the audit log, at the authorization and the logout
// endpoint.
func TestRefusedRedirectURIIsRecorded(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		c := s.App()
		const sent = "https://user:planted@app.example/callback/?token=planted#planted"
		for name, path := range map[string]string{
			"redirect_uri":             "/oauth2/authorize?" + url.Values{"client_id": {c.ClientID}, "response_type": {"code"}, "redirect_uri": {sent}}.Encode(),
			"post_logout_redirect_uri": "/oauth2/logout?" + url.Values{"client_id": {c.ClientID}, "post_logout_redirect_uri": {sent}}.Encode(),
		} {
			r := s.Get(path)
			if r.Status != http.StatusBadRequest {
				t.Fatalf("%s: %d", name, r.Status)
			}
			if cause, _ := logged(t, s, r)["cause"].(string); !strings.Contains(cause, name+" is not registered: https://app.example/callback/") {
				t.Errorf("%s: the log has the cause %q", name, cause)
			}
			e, detail := refusedWith(t, s, audit.RedirectRefused, r)
			if detail["sent"] != "https://app.example/callback/" || detail["parameter"] != name || e.ClientID != c.ClientID || e.Actor != "anonymous" {
				t.Errorf("%s: the audit event is %+v", name, e)
			}
		}
		if strings.Contains(s.Log.String(), "planted") {
			t.Error("the log has a part of the URI that may be secret")
		}
		for sent, want := range map[string]string{
			"http://[::1": "(not a URI)", "https://app.example/" + strings.Repeat("x", 500): "https://app.example/" + strings.Repeat("x", 180),
			"https://app.example/\u202e": "https://app.example/%E2%80%AE", "com.example.app:/cb?code=planted": "com.example.app:/cb",
		} {
			r := s.Get("/oauth2/authorize?" + url.Values{"client_id": {c.ClientID}, "response_type": {"code"}, "redirect_uri": {sent}}.Encode())
			if _, detail := refusedWith(t, s, audit.RedirectRefused, r); detail["sent"] != want {
				t.Errorf("the redirect URI %q is recorded as %q, want %q", sent, detail["sent"], want)
			}
		}
	})
}

// TestOperatorSeesDisabledClientsAndUsers: to a caller they are like unknown ones.
func TestOperatorSeesDisabledClientsAndUsers(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		alice, c := s.User("alice"), s.App()
		storagetest.Must(t, s.Store.DisableClient(t.Context(), c.ClientID))
		for id, want := range map[string]string{c.ClientID: "the client is disabled", "gcunknown": "unknown client"} {
			for _, path := range []string{"/oauth2/authorize?response_type=code&client_id=", "/oauth2/logout?client_id="} {
				r := s.Get(path + id)
				if cause, _ := logged(t, s, r)["cause"].(string); cause != want {
					t.Errorf("%s%s: the log has the cause %q, want %q", path, id, cause, want)
				}
			}
		}
		storagetest.Must(t, s.Store.DisableUser(t.Context(), alice.ID))
		for name, want := range map[string]string{"alice": "the user is disabled", "nobody": "unknown user"} {
			b := s.Browser()
			form := b.Open("/login").Fields()
			form.Set("username", name)
			form.Set("password", servertest.Password)
			p := b.Submit("/login", form)
			if _, detail := refusedWith(t, s, audit.UserSignInFailed, servertest.Response{Header: p.Header}); detail["reason"] != want {
				t.Errorf("sign-in as %s: the audit log has the reason %q, want %q", name, detail["reason"], want)
			}
		}
	})
}

func TestLogExplainsRequestsWithoutAccessToken(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_REGISTRATION": "token"}})
		for _, r := range []servertest.Response{
			s.Get("/oauth2/userinfo"),
			s.Do(s.Request(http.MethodPost, "/oauth2/register", nil)),
		} {
			if r.Status != http.StatusUnauthorized {
				t.Errorf("status %d without an access token, want 401", r.Status)
			}
			line := logged(t, s, r)
			if line["cause"] != "the request has no access token" {
				t.Errorf("cause %q in the log of %v", line["cause"], line["route"])
			}
			for _, key := range []string{"error", "description"} {
				if value, ok := line[key]; ok {
					t.Errorf("%s %q in the log of %v, want no such attribute", key, value, line["route"])
				}
			}
		}
	})
}

func TestLogNamesClientOfMalformedAuthorizationRequest(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		r := s.Get("/oauth2/authorize?client_id=example&scope=a&scope=b")
		line := logged(t, s, r)
		if r.Status != http.StatusBadRequest || line["claimed_client_id"] != "example" ||
			line["error"] != protocol.InvalidRequest || line["description"] != "The parameter scope is repeated." {
			t.Errorf("status %d, log %v", r.Status, line)
		}
	})
}
