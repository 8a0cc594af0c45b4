package oauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

func TestIntrospection(t *testing.T) { servertest.Run(t, introspection) }

// registerDefaultAPI registers the resource https://api.example with the scopes read and write, and returns the client
// that may introspect for it.
func registerDefaultAPI(t testing.TB, s *servertest.Server) client.Information {
	t.Helper()
	return registerAPI(t, s, "https://api.example", "read", "write")
}

// registerAPI registers a resource with the scopes, and returns the client that may introspect for it.
func registerAPI(t testing.TB, s *servertest.Server, identifier string, scopes ...string) client.Information {
	t.Helper()
	c := s.Service("introspect")
	storagetest.Must(t, s.Store.CreateResource(t.Context(), storage.Resource{
		Identifier: identifier, Name: "API", Scopes: scopes, Introspectors: storage.Strings{c.ClientID},
		CreatedAt: s.Clock.Now(),
	}))
	return c
}

var introspection = []servertest.Requirement{
	servertest.Req("P68", "RFC 7662 §2.1",
		"GET is 405, and without authentication it is 401",
		func(t *testing.T, s *servertest.Server) {
			if r := s.Get("/oauth2/introspect?token=x"); r.Status != http.StatusMethodNotAllowed {
				t.Errorf("GET: status = %d, want 405", r.Status)
			}
			form := url.Values{"token": {"x"}}
			s.Do(s.Request(http.MethodPost, "/oauth2/introspect", form)).Want(t, 401, "invalid_client")
			s.Post("/oauth2/introspect", s.Public(), form).Want(t, 401, "invalid_client")
			s.Post("/oauth2/introspect", s.Service("jobs"), url.Values{}).Want(t, 400, "invalid_request")
		}),
	servertest.Req("P69", "RFC 7662 §2.2",
		"the response for an inactive token is active false and nothing more",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			caller := registerDefaultAPI(t, s)
			tokens := s.Tokens(c, "alice")
			s.Clock.Advance(20 * time.Minute)
			for name, token := range map[string]string{
				"expired":                             tokens.Text("access_token"),
				"invalid":                             "invalid",
				"three parts":                         "a.b.c",
				"of another audience":                 s.ServiceToken(s.Service("jobs")),
				"the refresh token of another client": tokens.Text("refresh_token"),
				"a secret":                            c.ClientSecret,
				"unknown refresh token":               "gate_rt_live_" + strings.Repeat("A", 49),
				"large":                               strings.Repeat("x", 30_000),
				"null":                                "null",
			} {
				if r := s.Introspect(caller, token); r.Body != `{"active":false}` {
					t.Errorf("%s: %s, want only active false", name, r.Body)
				}
			}
		}),
	servertest.Req("P70", "RFC 7662 §4",
		"a client can introspect only tokens intended for it or issued to it",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			caller, c := registerDefaultAPI(t, s), s.App()
			token := s.Tokens(c, "alice").Text("access_token")
			if s.Active(s.App(), token) || s.Active(s.Service("jobs"), token) {
				t.Error("the token of another client is active, want inactive")
			}
			r := s.Introspect(caller, token)
			for name, want := range map[string]any{
				"active": true, "client_id": c.ClientID, "scope": "read write", "username": nil, "token_type": "Bearer",
				"iss": s.Issuer,
			} {
				if r.JSON[name] != want {
					t.Errorf("%s = %v, want %v in %s", name, r.JSON[name], want, r.Body)
				}
			}
		}),
	servertest.Req("P71", "RFC 7009 §2, two processes",
		"a revoked token is inactive immediately on every process",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			caller, c := registerDefaultAPI(t, s), s.App()
			other := s.StartAnother()
			tokens := s.Tokens(c, "alice")
			if !other.Active(caller, tokens.Text("access_token")) {
				t.Fatal("the token is inactive on the other process")
			}
			s.Post("/oauth2/revoke", c, url.Values{"token": {tokens.Text("access_token")}}).OK(t)
			if other.Active(caller, tokens.Text("access_token")) || s.Active(caller, tokens.Text("access_token")) {
				t.Error("the access token is active after it was revoked")
			}
			refreshed := s.Refresh(c, tokens.Text("refresh_token")).OK(t)
			s.Post("/oauth2/revoke", c, url.Values{"token": {refreshed.Text("refresh_token")}}).OK(t)
			if other.Active(caller, refreshed.Text("access_token")) {
				t.Error("the access token is active on the other process after its grant was revoked")
			}
		}),
	servertest.Req("P72", "RFC 7662 §2.1, §2.2",
		"the response must not be cached, and an incorrect hint has no effect",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			tokens := s.Tokens(c, "alice")
			for _, token := range []string{tokens.Text("access_token"), tokens.Text("refresh_token")} {
				for _, hint := range []string{"access_token", "refresh_token", "nonsense"} {
					form := url.Values{"token": {token}, "token_type_hint": {hint}}
					r := s.Post("/oauth2/introspect", c, form).OK(t)
					if caching := r.Header.Get("Cache-Control"); r.JSON["active"] != true || caching != "no-store" {
						t.Errorf("hint %s: %s with Cache-Control %q, want active and no-store", hint, r.Body, caching)
					}
				}
			}
		}),
	servertest.Req("P73", "RFC 7662 §2.1",
		"a bearer token does not authorize introspection",
		func(t *testing.T, s *servertest.Server) {
			token := s.ServiceToken(s.Service("jobs"))
			req := s.Request(http.MethodPost, "/oauth2/introspect", url.Values{"token": {token}})
			req.Header.Set("Authorization", "Bearer "+token)
			s.Do(req).Want(t, 401, "invalid_client")
		}),
}

// TestCachedSignatureVerifiesOnlyItsToken checks that a token that was verified before is inactive like any other once
// it is revoked, has expired or its key leaked, and that its signature is invalid with any other header or payload.
func TestCachedSignatureVerifiesOnlyItsToken(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		other := s.StartAnother()
		c := s.Service("jobs")
		newVerifiedToken := func() string {
			token := s.ServiceToken(c)
			for range 2 {
				if !s.Active(c, token) || !other.Active(c, token) {
					t.Fatal("a new token is inactive")
				}
			}
			return token
		}
		revoked := newVerifiedToken()
		s.Post("/oauth2/revoke", c, url.Values{"token": {revoked}}).OK(t)
		if s.Active(c, revoked) || other.Active(c, revoked) {
			t.Error("a token is active after it was revoked")
		}
		token := newVerifiedToken()
		end := "AA"
		if strings.HasSuffix(token, end) { // one in 256
			end = "gA"
		}
		for _, changed := range []string{
			token + "A", token[:len(token)-2] + end, "A" + token, forge(t, token, map[string]any{"alg": "none"}, nil),
			forge(t, token, decodePart(t, token, 0), map[string]any{"scope": "admin"}),
		} {
			if s.Active(c, changed) {
				t.Errorf("%s is active, want inactive: it was changed from %s", changed, token)
			}
		}
		expired := newVerifiedToken()
		s.Clock.Advance(20 * time.Minute)
		if s.Active(c, expired) || other.Active(c, expired) {
			t.Error("a token is active after it expired")
		}
		leaked := newVerifiedToken()
		storagetest.Must(t, s.OAuth.Keyring.Rotate(t.Context(), true))
		if s.Active(c, leaked) {
			t.Error("a token is active after its key leaked")
		}
		storagetest.Eventually(t, "the other process refuses the leaked key", func() bool { return !other.Active(c, leaked) })
	})
}
