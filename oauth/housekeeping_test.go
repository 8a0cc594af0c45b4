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
	servertest.Req("P78", "RFC 7009 §2.2.1, fosite CVE-2020-15223", "a storage failure is 503 everywhere, never a success and never active", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c, m := s.App(), s.Service("jobs")
		b := s.Browser()
		tokens := s.Token(c, servertest.CodeForm(b.Code(c, "alice"), c)).OK(t)
		code := b.Code(c, "alice")
		serviceToken := s.ServiceToken(m)
		login := s.Browser()
		form := login.Open("/login").Fields()
		storagetest.Must(t, s.Store.Close(t.Context())) // from here on every statement fails
		s.Clock.Advance(2 * time.Second)                // and the caches are too old to be used
		for name, r := range map[string]servertest.Response{
			"client credentials token": s.Token(m, clientCredentialsForm),
			"code":                     s.Token(c, servertest.CodeForm(code, c)),
			"refresh":                  s.Refresh(c, tokens.Text("refresh_token")),
			"introspect access":        s.Post("/oauth2/introspect", m, url.Values{"token": {serviceToken}}),
			"introspect refresh":       s.Post("/oauth2/introspect", c, url.Values{"token": {tokens.Text("refresh_token")}}),
			"revoke access":            s.Post("/oauth2/revoke", c, url.Values{"token": {tokens.Text("access_token")}}),
			"revoke refresh":           s.Post("/oauth2/revoke", c, url.Values{"token": {tokens.Text("refresh_token")}}),
			"an unknown client":        s.Token(servertest.UnregisteredClient("gcunknown"), clientCredentialsForm),
		} {
			if r.Text("error") != "temporarily_unavailable" {
				t.Errorf("%s: %s", name, r.Body)
			}
			r.Want(t, 503, "temporarily_unavailable")
			if r.Header.Get("Retry-After") == "" {
				t.Errorf("%s: no Retry-After", name)
			}
		}
		form.Set("username", "alice")
		form.Set("password", servertest.Password)
		for name, p := range map[string]servertest.Page{
			"authorize": s.Browser().Open("/oauth2/authorize?" + servertest.AuthorizeForm(c).Encode()), "account": b.Open("/account"), "sign-in": login.Submit("/login", form),
		} {
			p.WantErrorPage(t, 503)
			if strings.Contains(p.Body, "database") || strings.Contains(p.Body, "sql") {
				t.Errorf("%s discloses internals: %s", name, p.Text())
			}
		}
		if r := s.Get("/readyz"); r.Status != 503 {
			t.Errorf("/readyz: %d", r.Status)
		}
		if r := s.Get("/healthz"); r.Status != 200 {
			t.Errorf("/healthz: %d", r.Status)
		}
		if r := s.Get("/.well-known/jwks.json"); r.Status != 200 || !strings.Contains(r.Body, "kid") {
			t.Errorf("the JWKS is unavailable with the database: %d", r.Status)
		}
	}),
	servertest.Req("P97", "RFC 9700 §4.3", "no log line, audit row or URL has a token, code, secret, verifier or password", func(t *testing.T, s *servertest.Server) {
		used := useEverything(t, s)
		swapped := s.Service("jobs")
		used["a secret in the place of the id"] = swapped.ClientSecret
		swapped.ClientID, swapped.ClientSecret = swapped.ClientSecret, swapped.ClientID
		s.Token(swapped, url.Values{"grant_type": {swapped.ClientID}}).Want(t, 400, "unsupported_grant_type")
		s.Token(swapped, clientCredentialsForm).Want(t, 401, "invalid_client")
		storagetest.Must(t, s.Store.Close(t.Context())) // writes the batched rows
		again := storagetest.Open(t, s.DB, s.Clock)
		events, err := again.Audit.Rows(t.Context(), audit.Filter{Limit: 10_000})
		storagetest.Must(t, err)
		if len(events) < 10 {
			t.Fatalf("only %d events", len(events))
		}
		for name, secret := range used {
			if strings.Contains(s.Log.String(), secret) {
				t.Errorf("the log has %s", name)
			}
			for _, e := range events {
				for _, v := range []string{e.Actor, e.ClientID, e.UserID, e.GrantID, e.Scopes, e.Token, e.Detail, e.UserAgent, e.Address} {
					if strings.Contains(v, secret) {
						t.Errorf("audit event %s has %s", e.Event, name)
					}
				}
			}
		}
		for _, secret := range []string{servertest.Password, "planted-in-the-url"} {
			if strings.Contains(s.Log.String(), secret) {
				t.Errorf("the log has %q", secret)
			}
		}
	}),
	servertest.Req("P98", "[design](design.md)", "a dump of the database has no usable credential", func(t *testing.T, s *servertest.Server) {
		used := useEverything(t, s)
		storagetest.Must(t, s.Store.Close(t.Context()))
		again := storagetest.Open(t, s.DB, s.Clock)
		dump := storagetest.Dump(t, again, s.DB)
		if len(dump) < 2000 || !strings.Contains(dump, "gc") {
			t.Fatalf("the dump is %d bytes", len(dump))
		}
		for name, secret := range used {
			if strings.Contains(dump, secret) {
				t.Errorf("the database has %s", name)
			}
		}
		if strings.Contains(dump, "PRIVATE KEY") || strings.Contains(dump, `"d":"`) {
			t.Error("the database has a private key in clear")
		}
	}),
	servertest.Req("P99", "[design](design.md)", "expired rows are deleted automatically, in batches, and no valid rows with them", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.App()
		b := s.Browser()
		tokens := s.Token(c, servertest.CodeForm(b.Code(c, "alice"), c)).OK(t)
		s.Post("/oauth2/revoke", c, url.Values{"token": {tokens.Text("access_token")}}).OK(t)
		b.Authorize(c, "prompt", "login")
		n, err := s.Store.DeleteExpired(t.Context())
		storagetest.Must(t, err)
		if n != 0 {
			t.Errorf("%d rows left although nothing had expired", n)
		}
		storagetest.Must(t, s.Store.ClearSealedSuccessors(t.Context()))
		s.Clock.Advance(48 * time.Hour)
		storagetest.ResetCleanupTime(t, s.Store, s.DB)
		n, err = s.Store.DeleteExpired(t.Context())
		storagetest.Must(t, err)
		// Two requests (one waited for sign-in), one code, one revoked token, and one count of failures for no user.
		if n < 4 {
			t.Errorf("only %d rows left", n)
		}
		fresh := s.Refresh(c, tokens.Text("refresh_token")).OK(t)
		s.Clock.Advance(2400 * time.Hour)
		storagetest.ResetCleanupTime(t, s.Store, s.DB)
		_, err = s.Store.DeleteExpired(t.Context())
		storagetest.Must(t, err)
		s.Refresh(c, fresh.Text("refresh_token")).Want(t, 400, "invalid_grant")
		dump := storagetest.Dump(t, s.Store, s.DB)
		for _, table := range []string{"grants:", "authorization_codes:", "revoked_tokens:", "browser_sessions:", "authorization_requests:"} {
			if strings.Contains(dump, table) {
				t.Errorf("rows stay in %s", table)
			}
		}
	}),
	servertest.Req("P100", "[design](design.md)", "a change reaches every process within a second, and its own process immediately", func(t *testing.T, s *servertest.Server) {
		other := s.StartAnother()
		c := s.Service("jobs")
		s.ServiceToken(c)
		storagetest.Eventually(t, "the other process sees the client", func() bool { return other.Token(c, clientCredentialsForm).Status == 200 })
		token := other.ServiceToken(c)
		storagetest.Must(t, s.Store.DisableClient(t.Context(), c.ClientID))
		s.Token(c, clientCredentialsForm).Want(t, 401, "invalid_client")
		if other.Post("/oauth2/introspect", other.Service("jobs"), url.Values{"token": {token}}).JSON["active"] == true {
			t.Error("introspection is late")
		}
		storagetest.Eventually(t, "the other process refuses the client", func() bool { return other.Token(c, clientCredentialsForm).Status == http.StatusUnauthorized })
	}),
}

// useEverything goes through every flow and returns each secret that was in it, by name.
func useEverything(t *testing.T, s *servertest.Server) map[string]string {
	t.Helper()
	s.User("alice")
	c, m, public := s.App(), s.Service("jobs"), s.Public()
	b := s.Browser()
	page := b.Authorize(c)
	wrong := page.Fields()
	wrong.Set("username", "alice")
	wrong.Set("password", "a-wrong-password-typed")
	b.Submit("/login", wrong)
	consent := b.SignIn(page, "alice")
	form := consent.Fields()
	to := b.Decide(consent, "approve").Location()
	tokens := s.Token(c, servertest.CodeForm(to, c)).OK(t)
	second := s.Refresh(c, tokens.Text("refresh_token")).OK(t)
	s.Refresh(c, tokens.Text("refresh_token")).OK(t)
	s.Introspect(c, second.Text("access_token"))
	other := s.Browser().Code(c, "alice")
	s.Token(c, servertest.CodeForm(other, c)).OK(t)
	s.Token(c, servertest.CodeForm(other, c)).Want(t, 400, "invalid_grant")
	serviceToken := s.ServiceToken(m)
	s.Post("/oauth2/revoke", m, url.Values{"token": {serviceToken}}).OK(t)
	fresh, err := s.OAuth.Clients.RotateSecret(t.Context(), m.ClientID, time.Hour)
	storagetest.Must(t, err)
	mobile := s.Tokens(public, "alice").Text("refresh_token")
	s.Clock.Advance(time.Minute)
	s.Refresh(public, mobile).OK(t)
	s.Clock.Advance(time.Minute)
	s.Refresh(public, mobile).Want(t, 400, "invalid_grant")
	party, key := s.RelyingParty(), clientKey(t, jwt.ES256, "1")
	keyed := keyClient(t, s, "", key)
	reader := s.Browser()
	about := s.Redeem(party, reader.Code(party, "alice", "scope", "openid email", "nonce", "the nonce of a sign-in"))
	s.Userinfo(about.Text("access_token")).OK(t)
	reader.Authorize(party, "scope", "openid", "prompt", "login", "id_token_hint", about.Text("id_token"))
	reader.SubmitFrom("https://app.example", "/oauth2/logout", url.Values{"id_token_hint": {about.Text("id_token")}})
	reader.Open(logoutPath("id_token_hint", about.Text("id_token")))
	assertion := key.Sign(t, assertionClaims(s, keyed), nil)
	tokenByAssertion(s, assertion).OK(t)
	initial, _, err := s.OAuth.Clients.CreateInitialAccessToken(t.Context(), "note", 1, time.Hour)
	storagetest.Must(t, err)
	s.Do(s.Request(http.MethodPost, "/oauth2/token?client_secret=planted-in-the-url", url.Values{"x": {"y"}}))
	s.Get("/oauth2/authorize?access_token=planted-in-the-url&client_id=x")
	out := map[string]string{
		"the password": servertest.Password, "the wrong password": "a-wrong-password-typed", "the app's secret": c.ClientSecret,
		"the service's secret": m.ClientSecret, "the new secret": fresh.ClientSecret, "the code": to.Query().Get("code"), "the replayed code": other.Query().Get("code"),
		"the verifier": servertest.Verifier, "the refresh token": tokens.Text("refresh_token"), "its successor": second.Text("refresh_token"),
		"the access token": tokens.Text("access_token"), "the second access token": second.Text("access_token"), "the serviceToken token": serviceToken,
		"the public refresh token": mobile, "the session cookie": b.Cookie("session"), "the browser cookie": b.Cookie("browser"), "the device cookie": b.Cookie("device"),
		"the form token": form.Get("form_token"), "the root key": string(storagetest.Key[:]),
		"the ID token": about.Text("id_token"), "its access token": about.Text("access_token"), "the assertion": assertion, "the initial access token": initial,
		"the key of pairwise subjects": string(s.Store.Vault.Key("pairwise-subjects")),
	}
	for name, secret := range out {
		if len(secret) < 16 {
			t.Fatalf("%s is %q", name, secret)
		}
	}
	return out
}
