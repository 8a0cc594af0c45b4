package oauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/jwt"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

func TestHousekeeping(t *testing.T) { servertest.Run(t, housekeeping) }

var housekeeping = []servertest.Requirement{
	servertest.Req("P78", "RFC 7009 §2.2.1, fosite CVE-2020-15223",
		"a storage failure is 503 everywhere, never a success and never active",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c, service := s.App(), s.Service("jobs")
			b := s.Browser()
			tokens := s.Redeem(c, b.Code(c, "alice"))
			code := b.Code(c, "alice")
			serviceToken := s.ServiceToken(service)
			login := s.Browser()
			form := login.Open("/login").Fields()
			form.Set("username", "alice")
			form.Set("password", servertest.Password)
			storagetest.Must(t, s.Store.Close(t.Context())) // from here on every statement fails
			s.Clock.Advance(2 * time.Second)                // the cached records expire
			post := func(path string, c clientInformation, token string) servertest.Response {
				return s.Post(path, c, url.Values{"token": {token}})
			}
			for name, r := range map[string]servertest.Response{
				"client credentials token": s.Token(service, clientCredentialsForm),
				"code":                     s.Token(c, servertest.CodeForm(code, c)),
				"refresh":                  s.Refresh(c, tokens.Text("refresh_token")),
				"introspect access":        post("/oauth2/introspect", service, serviceToken),
				"introspect refresh":       post("/oauth2/introspect", c, tokens.Text("refresh_token")),
				"revoke access":            post("/oauth2/revoke", c, tokens.Text("access_token")),
				"revoke refresh":           post("/oauth2/revoke", c, tokens.Text("refresh_token")),
				"an unknown client":        s.Token(servertest.UnregisteredClient("gcunknown"), clientCredentialsForm),
			} {
				r.Want(t, 503, "temporarily_unavailable")
				if r.Text("error") != "temporarily_unavailable" || r.Header.Get("Retry-After") == "" {
					t.Errorf("%s: %s with Retry-After %q, want temporarily_unavailable with Retry-After",
						name, r.Body, r.Header.Get("Retry-After"))
				}
			}
			for name, p := range map[string]servertest.Page{
				"authorize": s.Browser().Authorize(c),
				"account":   b.Open("/account"),
				"sign-in":   login.Submit("/login", form),
			} {
				p.WantErrorPage(t, 503)
				if strings.Contains(p.Body, "database") || strings.Contains(p.Body, "sql") {
					t.Errorf("%s discloses internals: %s", name, p.Text())
				}
			}
			for path, want := range map[string]int{"/readyz": 503, "/healthz": 200, "/.well-known/jwks.json": 200} {
				if r := s.Get(path); r.Status != want {
					t.Errorf("%s: status = %d, want %d", path, r.Status, want)
				}
			}
			if r := s.Get("/.well-known/jwks.json"); !strings.Contains(r.Body, "kid") {
				t.Errorf("the JWKS without a database is %s, want the keys", r.Body)
			}
		}),
	servertest.Req("P97", "RFC 9700 §4.3",
		"no log line, audit row or URL has a token, code, secret, verifier or password",
		func(t *testing.T, s *servertest.Server) {
			secrets := useEverything(t, s)
			swapped := s.Service("jobs")
			secrets["a secret sent as the client id"] = swapped.ClientSecret
			swapped.ClientID, swapped.ClientSecret = swapped.ClientSecret, swapped.ClientID
			s.Token(swapped, url.Values{"grant_type": {swapped.ClientID}}).Want(t, 400, "unsupported_grant_type")
			s.Token(swapped, clientCredentialsForm).Want(t, 401, "invalid_client")
			storagetest.Must(t, s.Store.Close(t.Context())) // writes the batched rows
			reopened := storagetest.Open(t, s.DB, s.Clock)
			rows, err := reopened.Audit.Rows(t.Context(), audit.Filter{Limit: 10_000})
			storagetest.Must(t, err)
			if len(rows) < 10 {
				t.Fatalf("%d audit rows, want at least 10", len(rows))
			}
			for name, secret := range secrets {
				if strings.Contains(s.Log.String(), secret) {
					t.Errorf("the log has %s", name)
				}
				for _, row := range rows {
					for _, v := range []string{
						row.Actor, row.ClientID, row.UserID, row.GrantID, row.Scopes, row.Token, row.Detail, row.UserAgent, row.Address,
					} {
						if strings.Contains(v, secret) {
							t.Errorf("the audit row %s has %s", row.Event, name)
						}
					}
				}
			}
		}),
	servertest.Req("P98", "[design](design.md)",
		"a dump of the database has no usable credential",
		func(t *testing.T, s *servertest.Server) {
			secrets := useEverything(t, s)
			storagetest.Must(t, s.Store.Close(t.Context()))
			dump := storagetest.Dump(t, storagetest.Open(t, s.DB, s.Clock), s.DB)
			if len(dump) < 2000 || !strings.Contains(dump, "gc") {
				t.Fatalf("the dump has %d bytes, want at least 2000 with a client", len(dump))
			}
			for name, secret := range secrets {
				if strings.Contains(dump, secret) {
					t.Errorf("the database has %s", name)
				}
			}
			if strings.Contains(dump, "PRIVATE KEY") || strings.Contains(dump, `"d":"`) {
				t.Error("the database has a private key in clear")
			}
		}),
	servertest.Req("P99", "[design](design.md)",
		"expired rows are deleted automatically, in batches, and no valid rows with them",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			b := s.Browser()
			tokens := s.Redeem(c, b.Code(c, "alice"))
			s.Post("/oauth2/revoke", c, url.Values{"token": {tokens.Text("access_token")}}).OK(t)
			b.Authorize(c, "prompt", "login")
			deleteExpired := func() int64 {
				n, err := s.Store.DeleteExpired(t.Context(), storagetest.UnusedClientTTL)
				storagetest.Must(t, err)
				return n
			}
			if n := deleteExpired(); n != 0 {
				t.Errorf("%d rows were deleted, want none: none had expired", n)
			}
			storagetest.Must(t, s.Store.ClearSealedSuccessors(t.Context()))
			s.Clock.Advance(48 * time.Hour)
			storagetest.ResetCleanupTime(t, s.Store, s.DB)
			// Two requests (one waited for sign-in), one code, one revoked token, and one count of failures for no user.
			if n := deleteExpired(); n < 4 {
				t.Errorf("%d rows were deleted after two days, want at least 4", n)
			}
			refreshed := s.Refresh(c, tokens.Text("refresh_token")).OK(t)
			s.Clock.Advance(2400 * time.Hour)
			storagetest.ResetCleanupTime(t, s.Store, s.DB)
			deleteExpired()
			s.Refresh(c, refreshed.Text("refresh_token")).Want(t, 400, "invalid_grant")
			dump := storagetest.Dump(t, s.Store, s.DB)
			for _, table := range []string{
				"grants:", "authorization_codes:", "revoked_tokens:", "browser_sessions:", "authorization_requests:",
			} {
				if strings.Contains(dump, table) {
					t.Errorf("%s still has rows after 100 days, want none", strings.TrimSuffix(table, ":"))
				}
			}
		}),
	servertest.Req("P100", "[design](design.md)",
		"a change reaches every process within a second, and its own process immediately",
		func(t *testing.T, s *servertest.Server) {
			other := s.StartAnother()
			c := s.Service("jobs")
			s.ServiceToken(c)
			storagetest.Eventually(t, "the other process sees the client", func() bool {
				return other.Token(c, clientCredentialsForm).Status == http.StatusOK
			})
			token := other.ServiceToken(c)
			storagetest.Must(t, s.Store.DisableClient(t.Context(), c.ClientID))
			s.Token(c, clientCredentialsForm).Want(t, 401, "invalid_client")
			if other.Active(other.Service("jobs"), token) {
				t.Error("the token of a disabled client is active on the other process")
			}
			storagetest.Eventually(t, "the other process refuses the client", func() bool {
				return other.Token(c, clientCredentialsForm).Status == http.StatusUnauthorized
			})
		}),
}

// useEverything runs every flow and returns each secret that was sent or issued, by name.
func useEverything(t *testing.T, s *servertest.Server) map[string]string {
	t.Helper()
	s.User("alice")
	secrets := map[string]string{
		"the password": servertest.Password, "the wrong password": "a-wrong-password-typed",
		"the verifier": servertest.Verifier, "the root key": string(storagetest.Key[:]),
		"a secret in the URL":          "planted-in-the-url",
		"the key of pairwise subjects": string(s.Store.Vault.Key("pairwise-subjects")),
	}
	useCodes(t, s, secrets)
	usePublicClient(t, s, secrets)
	useService(t, s, secrets)
	useOpenID(t, s, secrets)
	s.Do(s.Request(http.MethodPost, "/oauth2/token?client_secret=planted-in-the-url", url.Values{"x": {"y"}}))
	s.Get("/oauth2/authorize?access_token=planted-in-the-url&client_id=x")
	for name, secret := range secrets {
		if len(secret) < 16 {
			t.Fatalf("%s is %q, want a secret of at least 16 characters", name, secret)
		}
	}
	return secrets
}

// useCodes signs in, first with a wrong password, and redeems, replays and refreshes. It adds the secrets.
func useCodes(t *testing.T, s *servertest.Server, secrets map[string]string) {
	t.Helper()
	c, b := s.App(), s.Browser()
	page := b.Authorize(c)
	form := page.Fields()
	form.Set("username", "alice")
	form.Set("password", secrets["the wrong password"])
	b.Submit("/login", form)
	consent := b.SignIn(page, "alice")
	to := b.Decide(consent, "approve").Location()
	tokens := s.Redeem(c, to)
	second := s.Refresh(c, tokens.Text("refresh_token")).OK(t)
	s.Refresh(c, tokens.Text("refresh_token")).OK(t)
	s.Introspect(c, second.Text("access_token"))
	replayed := s.Browser().Code(c, "alice")
	s.Redeem(c, replayed)
	s.Token(c, servertest.CodeForm(replayed, c)).Want(t, 400, "invalid_grant")

	secrets["the secret of the app"] = c.ClientSecret
	secrets["the form token"] = consent.Fields().Get("form_token")
	secrets["the code"], secrets["the replayed code"] = to.Query().Get("code"), replayed.Query().Get("code")
	secrets["the access token"] = tokens.Text("access_token")
	secrets["the second access token"] = second.Text("access_token")
	secrets["the refresh token"], secrets["its successor"] = tokens.Text("refresh_token"), second.Text("refresh_token")
	for _, name := range []string{"session", "browser", "device"} {
		secrets["the "+name+" cookie"] = b.Cookie(name)
	}
}

// usePublicClient refreshes as a public client and reuses the refresh token. It adds the secret.
func usePublicClient(t *testing.T, s *servertest.Server, secrets map[string]string) {
	t.Helper()
	public := s.Public()
	token := s.Tokens(public, "alice").Text("refresh_token")
	s.Clock.Advance(time.Minute)
	s.Refresh(public, token).OK(t)
	s.Clock.Advance(time.Minute)
	s.Refresh(public, token).Want(t, 400, "invalid_grant")
	secrets["the public refresh token"] = token
}

// useService requests and revokes a client credentials token and rotates the client's secret. It adds the secrets.
func useService(t *testing.T, s *servertest.Server, secrets map[string]string) {
	t.Helper()
	service := s.Service("jobs")
	token := s.ServiceToken(service)
	s.Post("/oauth2/revoke", service, url.Values{"token": {token}}).OK(t)
	rotated, err := s.OAuth.Clients.RotateSecret(t.Context(), service.ClientID, time.Hour)
	storagetest.Must(t, err)
	initial, _, err := s.OAuth.Clients.CreateInitialAccessToken(t.Context(), "note", 1, time.Hour)
	storagetest.Must(t, err)
	secrets["the secret of the service"], secrets["the new secret"] = service.ClientSecret, rotated.ClientSecret
	secrets["the client credentials token"], secrets["the initial access token"] = token, initial
}

// useOpenID uses ID tokens, also as hints, userinfo, sign-out and an assertion. It adds the secrets.
func useOpenID(t *testing.T, s *servertest.Server, secrets map[string]string) {
	t.Helper()
	c, b := s.RelyingParty(), s.Browser()
	tokens := s.Redeem(c, b.Code(c, "alice", "scope", "openid email", "nonce", "the nonce of a sign-in"))
	idToken := tokens.Text("id_token")
	s.Userinfo(tokens.Text("access_token")).OK(t)
	b.Authorize(c, "scope", "openid", "prompt", "login", "id_token_hint", idToken)
	b.SubmitFrom("https://app.example", "/oauth2/logout", url.Values{"id_token_hint": {idToken}})
	b.Open(logoutPath("id_token_hint", idToken))
	secrets["the ID token"], secrets["its access token"] = idToken, tokens.Text("access_token")
	key := clientKey(t, jwt.ES256, "1")
	keyed := keyClient(t, s, "", key)
	secrets["the assertion"] = key.Sign(t, assertionClaims(s, keyed), nil)
	tokenByAssertion(s, secrets["the assertion"]).OK(t)
}
