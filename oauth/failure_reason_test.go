package oauth_test

import (
	"cmp"
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

// auditRow waits until the request with this response has one audit row of the event, and returns it.
func auditRow(
	t *testing.T, s *servertest.Server, event string, r servertest.Response,
) (row audit.Row, detail map[string]any) {
	t.Helper()
	filter := audit.Filter{Event: event, RequestID: r.Header.Get("X-Request-Id"), Limit: 2}
	storagetest.Eventually(t, event+" is recorded", func() bool {
		rows, err := s.Store.Audit.Rows(t.Context(), filter)
		storagetest.Must(t, err)
		if len(rows) > 0 {
			row = rows[0]
		}
		return len(rows) == 1
	})
	storagetest.Must(t, json.Unmarshal([]byte(row.Detail), &detail))
	return row, detail
}

// A codeRefusal is a token request with a code that is refused.
type codeRefusal struct {
	name, cause  string
	description  string // in the response; empty for the one that does not disclose the cause
	withoutPKCE  bool   // the client is exempt from PKCE, and its authorization request had no challenge
	anotherSends bool   // the client that sends the code is not the one that it was issued to
	userUnknown  bool   // the request is refused before the code identifies a user
	change       func(form url.Values)
	prepare      func(t *testing.T, s *servertest.Server, userID string)
}

// codeRefusals returns the ways to refuse a code. What is sent and must not be logged contains "planted".
func codeRefusals() []codeRefusal {
	setting := func(name, value string) func(url.Values) {
		return func(form url.Values) { form.Set(name, value) }
	}
	removing := func(name string) func(url.Values) {
		return func(form url.Values) { form.Del(name) }
	}
	long := strings.Repeat("x", 50)
	unknown := credential.Format{Env: "live"}.New(credential.Code)
	return []codeRefusal{
		{name: "no verifier", cause: "code_verifier is missing", description: "code_verifier is missing",
			change: removing("code_verifier")},
		{name: "wrong verifier", cause: "code_verifier does not match", description: "code_verifier does not match",
			change: setting("code_verifier", long)},
		{name: "malformed verifier", cause: "malformed code_verifier", description: "43 to 128",
			change: setting("code_verifier", "short-secret"), userUnknown: true},
		{name: "verifier without challenge", cause: "code_verifier was sent", description: "code_verifier was sent",
			change: setting("code_verifier", long), withoutPKCE: true},
		{name: "no redirect URI", cause: "redirect_uri is missing", description: "redirect_uri is missing",
			change: removing("redirect_uri"), withoutPKCE: true},
		{name: "other redirect URI",
			cause:       "redirect_uri differs from the authorization request: https://evil.example/cb",
			description: "redirect_uri must be identical",
			change:      setting("redirect_uri", "https://user:planted1@evil.example/cb?token=planted2#planted3")},
		{name: "other client", cause: "issued to another client", anotherSends: true},
		{name: "unknown code", cause: "an unknown code", change: setting("code", unknown), userUnknown: true},
		{name: "malformed code", cause: "malformed code", change: setting("code", "planted4"), userUnknown: true},
		{name: "expired", cause: "the code has expired",
			prepare: func(_ *testing.T, s *servertest.Server, _ string) { s.Clock.Advance(2 * time.Minute) }},
		{name: "disabled user", cause: "the user is disabled",
			prepare: func(t *testing.T, s *servertest.Server, userID string) {
				storagetest.Must(t, s.Store.DisableUser(t.Context(), userID))
			}},
	}
}

// TestRefusedCodeNamesFailedCheck checks that the log and the audit log have the check and what was sent, without
// secrets. The description has what the client can correct, and the error is always invalid_grant.
func TestRefusedCodeNamesFailedCheck(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{
			Env: map[string]string{"GATEHOUSE_RATE_LIMITS": "recorded_failure=1000/1m"},
		})
		alice := s.User("alice")
		c, other := s.App(), s.App()
		s.Browser().Code(c, "alice")
		exempt := s.Client(`{"client_name":"No PKCE","grant_types":["authorization_code"],
			"redirect_uris":["` + servertest.Callback + `"],"scope":"read write","gatehouse_require_pkce":false}`)
		for _, refusal := range codeRefusals() {
			owner, sender := c, c
			var changes []string
			if refusal.withoutPKCE {
				owner, sender = exempt, exempt
				changes = []string{"code_challenge", "", "code_challenge_method", ""}
			}
			if refusal.anotherSends {
				sender = other
			}
			form := servertest.CodeForm(s.Browser().Code(owner, "alice", changes...), owner)
			if refusal.withoutPKCE {
				form.Del("code_verifier")
			}
			code := form.Get("code")
			if refusal.change != nil {
				refusal.change(form)
			}
			if refusal.prepare != nil {
				refusal.prepare(t, s, alice.ID)
			}
			r := s.Token(sender, form)
			storagetest.Must(t, s.Store.EnableUser(t.Context(), alice.ID))
			checkRefusedCode(t, s, refusal, sender.ClientID, alice.ID, r)
			if strings.Contains(s.Log.String(), code) {
				t.Errorf("%s: the log has the code", refusal.name)
			}
		}
		public := s.Public()
		form := servertest.CodeForm(s.Browser().Code(public, "alice"), public)
		form.Del("code_verifier")
		row, _ := auditRow(t, s, audit.CodeRefused, s.Token(public, form))
		if row.Actor != "anonymous" || row.ClientID != public.ClientID {
			t.Errorf("audit row of a public client, which is not authenticated: actor %q, client %q, want anonymous and %q",
				row.Actor, row.ClientID, public.ClientID)
		}
	})
}

// checkRefusedCode checks the response to a refused code, its log line and its audit row.
func checkRefusedCode(
	t *testing.T, s *servertest.Server, refusal codeRefusal, senderID, userID string, r servertest.Response,
) {
	t.Helper()
	name := refusal.name
	r.Want(t, 400, "invalid_grant")
	description := cmp.Or(refusal.description, "The code is unknown, expired or already used")
	if got := r.Text("error_description"); !strings.Contains(got, description) {
		t.Errorf("%s: error_description = %q, want %q in it", name, got, description)
	}
	if cause, _ := s.LogLine(r)["cause"].(string); !strings.Contains(cause, refusal.cause) {
		t.Errorf("%s: the log has the cause %q, want %q in it", name, cause, refusal.cause)
	}
	row, detail := auditRow(t, s, audit.CodeRefused, r)
	reason, _ := detail["reason"].(string)
	if !strings.Contains(refusal.cause, reason) && !strings.Contains(reason, refusal.cause) {
		t.Errorf("%s: the audit log has the reason %q, want %q", name, reason, refusal.cause)
	}
	if row.ClientID != senderID || row.Actor != "client:"+senderID {
		t.Errorf("%s: the audit row has the client %q and the actor %q, want %s and client:%[4]s",
			name, row.ClientID, row.Actor, senderID)
	}
	if row.UserID != userID && !refusal.userUnknown {
		t.Errorf("%s: the audit row has the user %q, want %s", name, row.UserID, userID)
	}
	var redirectURI any
	if name == "other redirect URI" {
		redirectURI = "https://evil.example/cb"
	}
	if detail["redirect_uri"] != redirectURI {
		t.Errorf("%s: the audit log has the redirect URI %v, want %v", name, detail["redirect_uri"], redirectURI)
	}
	if strings.Contains(s.Log.String(), "planted") || strings.Contains(row.Detail, "planted") {
		t.Errorf("%s: the log or the audit log has a secret", name)
	}
}

// TestRefusedRefreshTokenNamesFailedCheck checks that the log and the audit log have the check, while the response
// always has the same description.
func TestRefusedRefreshTokenNamesFailedCheck(t *testing.T) {
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
			token := s.Redeem(c, s.Browser().Code(c, "alice")).Text("refresh_token")
			caller, sent := prepare(token)
			r := s.Refresh(caller, sent)
			r.Want(t, 400, "invalid_grant")
			const description = "The refresh token is unknown, expired, revoked"
			if got := r.Text("error_description"); !strings.HasPrefix(got, description) {
				t.Errorf("%s: error_description = %q, want one that begins with %q", cause, got, description)
			}
			row, detail := auditRow(t, s, audit.RefreshRefused, r)
			if reason, _ := detail["reason"].(string); !strings.Contains(reason, cause) {
				t.Errorf("the audit log has the reason %q, want %q in it", detail["reason"], cause)
			}
			line := s.LogLine(r)
			if line["cause"] != detail["reason"] {
				t.Errorf("the log has the cause %q, want the reason in the audit log, %q", line["cause"], detail["reason"])
			}
			if userID, _ := line["user_id"].(string); userID != row.UserID {
				t.Errorf("%s: the log has the user_id %q, want that of the audit log, %q", cause, userID, row.UserID)
			}
		}
	})
}

// TestRefusedRedirectURIIsRecorded checks that the log and the audit log have the URI that was sent to the
// authorization or the logout endpoint, without the parts that may be secret.
func TestRefusedRedirectURIIsRecorded(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		c := s.App()
		const sent = "https://user:planted@app.example/callback/?token=planted#planted"
		const shown = "https://app.example/callback/"
		for name, path := range map[string]string{
			"redirect_uri":             "/oauth2/authorize?" + servertest.AuthorizeForm(c, "redirect_uri", sent).Encode(),
			"post_logout_redirect_uri": logoutPath("client_id", c.ClientID, "post_logout_redirect_uri", sent),
		} {
			r := s.Get(path)
			if r.Status != http.StatusBadRequest {
				t.Fatalf("%s: status = %d, want 400", name, r.Status)
			}
			want := name + " is not registered: " + shown
			if cause, _ := s.LogLine(r)["cause"].(string); !strings.Contains(cause, want) {
				t.Errorf("%s: the log has the cause %q, want %q in it", name, cause, want)
			}
			row, detail := auditRow(t, s, audit.RedirectRefused, r)
			if detail["sent"] != shown || detail["parameter"] != name {
				t.Errorf("%s: the audit log has the details %v, want %s as sent and the parameter", name, detail, shown)
			}
			if row.ClientID != c.ClientID || row.Actor != "anonymous" {
				t.Errorf("%s: the audit row has the client %q and the actor %q, want %s and anonymous",
					name, row.ClientID, row.Actor, c.ClientID)
			}
		}
		if strings.Contains(s.Log.String(), "planted") {
			t.Error("the log has a part of the URI that may be secret")
		}
		for sent, want := range map[string]string{
			"http://[::1":                "(not a URI)",
			"https://app.example/\u202e": "https://app.example/%E2%80%AE",
			"https://app.example/" + strings.Repeat("x", 500): "https://app.example/" + strings.Repeat("x", 180),
			"com.example.app:/cb?code=planted":                "com.example.app:/cb",
		} {
			r := s.Get("/oauth2/authorize?" + servertest.AuthorizeForm(c, "redirect_uri", sent).Encode())
			if _, detail := auditRow(t, s, audit.RedirectRefused, r); detail["sent"] != want {
				t.Errorf("the redirect URI %q is recorded as %q, want %q", sent, detail["sent"], want)
			}
		}
	})
}

// TestLogDistinguishesDisabledClientsAndUsers checks that a disabled client or user gets the response for an unknown
// one, and that the log has the difference.
func TestLogDistinguishesDisabledClientsAndUsers(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		alice, c := s.User("alice"), s.App()
		storagetest.Must(t, s.Store.DisableClient(t.Context(), c.ClientID))
		for id, want := range map[string]string{c.ClientID: "the client is disabled", "gcunknown": "unknown client"} {
			for _, path := range []string{"/oauth2/authorize?response_type=code&client_id=", "/oauth2/logout?client_id="} {
				r := s.Get(path + id)
				if cause, _ := s.LogLine(r)["cause"].(string); cause != want {
					t.Errorf("%s%s: the log has the cause %q, want %q", path, id, cause, want)
				}
			}
		}
		storagetest.Must(t, s.Store.DisableUser(t.Context(), alice.ID))
		s.User("bob")
		for name, want := range map[string]string{
			"alice": "the user is disabled", "nobody": "unknown user", "bob": "incorrect password",
		} {
			b := s.Browser()
			form := b.Open("/login").Fields()
			form.Set("username", name)
			form.Set("password", servertest.Password)
			if name == "bob" {
				form.Set("password", "incorrect")
			}
			p := b.Submit("/login", form)
			if cause := s.LogLine(p.Response)["cause"]; cause != want {
				t.Errorf("sign-in as %s: the log has the cause %q, want %q", name, cause, want)
			}
			_, detail := auditRow(t, s, audit.UserSignInFailed, p.Response)
			if detail["reason"] != want {
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
				t.Errorf("status = %d without an access token, want 401", r.Status)
			}
			line := s.LogLine(r)
			if want := "the request has no access token"; line["cause"] != want {
				t.Errorf("%v: the log has the cause %q, want %q", line["route"], line["cause"], want)
			}
			for _, key := range []string{"error", "description"} {
				if value, ok := line[key]; ok {
					t.Errorf("%v: the log has the %s %q, want no such attribute", line["route"], key, value)
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
		if r.Status != http.StatusBadRequest {
			t.Errorf("status = %d, want 400", r.Status)
		}
		line := s.LogLine(r)
		for key, want := range map[string]string{
			"claimed_client_id": "example", "error": protocol.InvalidRequest, "description": "The parameter scope is repeated.",
		} {
			if line[key] != want {
				t.Errorf("the log has the %s %v, want %q", key, line[key], want)
			}
		}
	})
}

// TestLogExplainsRefusedAccessTokens: the response does not disclose why an access token was refused, the log does.
func TestLogExplainsRefusedAccessTokens(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		alice, c, service := s.User("alice"), appWithScopes(s, "openid read"), s.Service("read introspect")
		registerDefaultAPI(t, s)
		revoked := s.Redeem(c, s.Browser().Code(c, "alice", "scope", "openid read"))
		s.Post("/oauth2/revoke", c, url.Values{"token": {revoked.Text("refresh_token")}}).OK(t)
		forAPI := s.Redeem(c, s.Browser().Code(c, "alice", "scope", "openid read", "resource", "https://api.example"))
		for _, x := range []struct{ token, cause, userID string }{
			{revoked.Text("access_token"), "the token or its grant was revoked", alice.ID},
			{forAPI.Text("access_token"), "aud of the token does not have this server", alice.ID},
			{s.ServiceToken(service), "the token was issued to the client itself, without a user", ""},
		} {
			r := s.Userinfo(x.token)
			if r.Status != http.StatusUnauthorized {
				t.Errorf("%s: status = %d, want 401", x.cause, r.Status)
			}
			line := s.LogLine(r)
			if cause, _ := line["cause"].(string); !strings.HasPrefix(cause, x.cause) {
				t.Errorf("the log has the cause %q, want one that begins with %q", cause, x.cause)
			}
			if userID, _ := line["user_id"].(string); userID != x.userID {
				t.Errorf("%s: the log has the user_id %q, want %q", x.cause, userID, x.userID)
			}
		}
		for token, want := range map[string]string{
			revoked.Text("access_token"): "the grant was revoked", "unknown": "unknown, forged or expired",
		} {
			r := s.Introspect(c, token)
			if line := s.LogLine(r); r.JSON["active"] != false || line["cause"] != want || line["status"] != 200.0 {
				t.Errorf("introspection returned %s, logged as %v, want active false, status 200 and the cause %q",
					r.Body, line, want)
			}
		}
	})
}
