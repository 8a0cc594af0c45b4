package oauth_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

func TestIntrospection(t *testing.T)   { servertest.Run(t, introspection) }
func TestRevocation(t *testing.T)      { servertest.Run(t, revocation) }
func TestMetadataAndKeys(t *testing.T) { servertest.Run(t, metadataAndKeys) }

// forge gives a token another header and changes claims, with the old signature.
func forge(t testing.TB, token string, header, change map[string]any) string {
	t.Helper()
	body := claims(t, token)
	for k, v := range change {
		body[k] = v
	}
	enc := func(v any) string {
		b, err := json.Marshal(v)
		storagetest.Must(t, err)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	payload := strings.Split(token, ".")[1]
	if change != nil {
		payload = enc(body)
	}
	return enc(header) + "." + payload + "." + strings.Split(token, ".")[2]
}

// api registers a resource with the scopes read and write, and the client that may introspect for it.
func api(t testing.TB, s *servertest.Server) client.Information {
	t.Helper()
	c := s.Service("introspect")
	storagetest.Must(t, s.Store.CreateResource(t.Context(), storage.Resource{
		Identifier: "https://api.example", Name: "API", Scopes: storage.Strings{"read", "write"}, Introspectors: storage.Strings{c.ClientID}, CreatedAt: s.Clock.Now(),
	}))
	return c
}

var introspection = []servertest.Requirement{
	servertest.Req("P68", "RFC 7662 §2.1", "GET is 405, and without authentication it is 401", func(t *testing.T, s *servertest.Server) {
		if r := s.Get("/oauth2/introspect?token=x"); r.Status != http.StatusMethodNotAllowed {
			t.Errorf("GET: %d", r.Status)
		}
		s.Do(s.Request(http.MethodPost, "/oauth2/introspect", url.Values{"token": {"x"}})).Want(t, 401, "invalid_client")
		s.Post("/oauth2/introspect", s.Public(), url.Values{"token": {"x"}}).Want(t, 401, "invalid_client")
		s.Post("/oauth2/introspect", s.Service("jobs"), url.Values{}).Want(t, 400, "invalid_request")
	}),
	servertest.Req("P69", "RFC 7662 §2.2", "the response for an inactive token is active false and nothing more", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.App()
		caller := api(t, s)
		tokens := s.Tokens(c, "alice")
		expired := tokens.Text("access_token")
		s.Clock.Advance(20 * time.Minute)
		foreign := s.ServiceToken(s.Service("jobs"))
		for name, token := range map[string]string{
			"expired": expired, "garbage": "garbage", "jwt-like": "a.b.c", "foreign audience": foreign, "another's refresh token": tokens.Text("refresh_token"),
			"a secret": c.ClientSecret, "unknown refresh token": "gate_rt_live_" + strings.Repeat("A", 49), "huge": strings.Repeat("x", 30_000), "null": "null",
		} {
			if r := s.Introspect(caller, token); r.Body != `{"active":false}` {
				t.Errorf("%s: %s", name, r.Body)
			}
		}
	}),
	servertest.Req("P70", "RFC 7662 §4", "a client can introspect only tokens intended for it or issued to it", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		caller, c := api(t, s), s.App()
		token := s.Tokens(c, "alice").Text("access_token")
		if s.Active(s.App(), token) || s.Active(s.Service("jobs"), token) {
			t.Error("a foreign client learned of a token")
		}
		r := s.Introspect(caller, token)
		if r.JSON["active"] != true || r.Text("client_id") != c.ClientID || r.Text("scope") != "read write" || r.JSON["username"] != nil || r.Text("token_type") != "Bearer" || r.Text("iss") != s.Issuer {
			t.Errorf("%s", r.Body)
		}
	}),
	servertest.Req("P71", "RFC 7009 §2, two processes", "a revoked token is inactive immediately on every process", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		caller, c := api(t, s), s.App()
		other := s.StartAnother()
		tokens := s.Tokens(c, "alice")
		if !other.Active(caller, tokens.Text("access_token")) {
			t.Fatal("not active on the other process")
		}
		s.Post("/oauth2/revoke", c, url.Values{"token": {tokens.Text("access_token")}}).OK(t)
		if other.Active(caller, tokens.Text("access_token")) || s.Active(caller, tokens.Text("access_token")) {
			t.Error("active after revocation")
		}
		again := s.Refresh(c, tokens.Text("refresh_token")).OK(t)
		s.Post("/oauth2/revoke", c, url.Values{"token": {again.Text("refresh_token")}}).OK(t)
		if other.Active(caller, again.Text("access_token")) {
			t.Error("the access token outlived its grant on the other process")
		}
	}),
	servertest.Req("P72", "RFC 7662 §2.1, §2.2", "the response is not cached, and an incorrect hint has no effect", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.App()
		tokens := s.Tokens(c, "alice")
		for _, token := range []string{tokens.Text("access_token"), tokens.Text("refresh_token")} {
			for _, hint := range []string{"access_token", "refresh_token", "nonsense"} {
				r := s.Post("/oauth2/introspect", c, url.Values{"token": {token}, "token_type_hint": {hint}}).OK(t)
				if r.JSON["active"] != true || r.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s: %s", hint, r.Body)
				}
			}
		}
	}),
	servertest.Req("P73", "RFC 7662 §2.1", "a bearer token does not authorize introspection", func(t *testing.T, s *servertest.Server) {
		token := s.ServiceToken(s.Service("jobs"))
		req := s.Request(http.MethodPost, "/oauth2/introspect", url.Values{"token": {token}})
		req.Header.Set("Authorization", "Bearer "+token)
		s.Do(req).Want(t, 401, "invalid_client")
	}),
}

var revocation = []servertest.Requirement{
	servertest.Req("P74", "RFC 7009 §2.2", "an unknown or expired token is 200", func(t *testing.T, s *servertest.Server) {
		c := s.Service("jobs")
		token := s.ServiceToken(c)
		s.Clock.Advance(time.Hour)
		for _, v := range []string{"unknown", token, "gate_rt_live_" + strings.Repeat("A", 49), "a.b.c"} {
			if r := s.Post("/oauth2/revoke", c, url.Values{"token": {v}}).OK(t); r.Body != "" {
				t.Errorf("body %q", r.Body)
			}
		}
	}),
	servertest.Req("P75", "RFC 7009 §2.1", "an incorrect hint does not prevent the revocation", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.App()
		tokens := s.Tokens(c, "alice")
		s.Post("/oauth2/revoke", c, url.Values{"token": {tokens.Text("access_token")}, "token_type_hint": {"refresh_token"}}).OK(t)
		if s.Active(c, tokens.Text("access_token")) {
			t.Error("the access token is active")
		}
		s.Post("/oauth2/revoke", c, url.Values{"token": {tokens.Text("refresh_token")}, "token_type_hint": {"access_token"}}).OK(t)
		s.Refresh(c, tokens.Text("refresh_token")).Want(t, 400, "invalid_grant")
	}),
	servertest.Req("P76", "RFC 7009 §2.1", "another client's token is not revoked", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c, other := s.App(), s.App()
		tokens := s.Tokens(c, "alice")
		s.Post("/oauth2/revoke", other, url.Values{"token": {tokens.Text("access_token")}}).OK(t)
		s.Post("/oauth2/revoke", other, url.Values{"token": {tokens.Text("refresh_token")}}).OK(t)
		if !s.Active(c, tokens.Text("access_token")) || !s.Active(c, tokens.Text("refresh_token")) {
			t.Error("a foreign client revoked it")
		}
	}),
	servertest.Req("P77", "RFC 7009 §2.1", "a missing token is invalid_request", func(t *testing.T, s *servertest.Server) {
		s.Post("/oauth2/revoke", s.Service("jobs"), url.Values{}).Want(t, 400, "invalid_request")
	}),
	servertest.Req("P79", "RFC 7009 §2.1", "revoking a refresh token revokes its access tokens; revoking an access token revokes only itself", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.App()
		tokens := s.Tokens(c, "alice")
		second := s.Refresh(c, tokens.Text("refresh_token")).OK(t)
		s.Post("/oauth2/revoke", c, url.Values{"token": {tokens.Text("access_token")}}).OK(t)
		if s.Active(c, tokens.Text("access_token")) || !s.Active(c, second.Text("access_token")) || !s.Active(c, second.Text("refresh_token")) {
			t.Error("revoking one access token took something along, or nothing")
		}
		s.Post("/oauth2/revoke", c, url.Values{"token": {second.Text("refresh_token")}}).OK(t)
		if s.Active(c, second.Text("access_token")) {
			t.Error("the access token outlived its refresh token")
		}
		wantEvent(t, s, audit.GrantRevoked)
		wantEvent(t, s, audit.TokenRevoked)
	}),
	servertest.Req("P80", "RFC 7009 §2.2.1", "failed authentication is 401", func(t *testing.T, s *servertest.Server) {
		c := s.Service("jobs")
		token := s.ServiceToken(c)
		wrong := c
		wrong.ClientSecret = s.Service("jobs").ClientSecret
		s.Post("/oauth2/revoke", wrong, url.Values{"token": {token}}).Want(t, 401, "invalid_client")
		s.Post("/oauth2/revoke", wrong, url.Values{}).Want(t, 401, "invalid_client")
		if !s.Active(c, token) {
			t.Error("it was revoked nevertheless")
		}
	}),
	servertest.Req("P81", "RFC 7009 §5", "a public client revokes its tokens with only its client_id", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c, other := s.Public(), s.Public()
		token := s.Tokens(c, "alice").Text("refresh_token")
		s.Post("/oauth2/revoke", other, url.Values{"token": {token}}).OK(t)
		token = s.Refresh(c, token).OK(t).Text("refresh_token")
		s.Post("/oauth2/revoke", c, url.Values{"token": {token}}).OK(t)
		s.Refresh(c, token).Want(t, 400, "invalid_grant")
	}),
}

var metadataAndKeys = []servertest.Requirement{
	servertest.Req("P82", "RFC 8414 §2, §3.1", "the issuer has no query or fragment and is the base of the metadata URL, also with a path", func(t *testing.T, s *servertest.Server) {
		for _, path := range []string{"", "/tenant/a"} {
			p := servertest.Start(t, storagetest.URL(t, s.Store.Engine()), servertest.Options{Path: path})
			at := strings.TrimSuffix(p.URL, path) + "/.well-known/oauth-authorization-server" + path
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
			storagetest.Must(t, err)
			r := p.Do(req).OK(t)
			if r.Text("issuer") != p.Issuer || r.Text("token_endpoint") != p.Issuer+"/oauth2/token" {
				t.Errorf("%s", r.Body)
			}
			p.User("alice")
			c := p.App()
			if got := p.Tokens(c, "alice"); !p.Active(c, got.Text("access_token")) {
				t.Errorf("path %q: no working token", path)
			}
		}
	}),
	servertest.Req("P83", "CVE-2025-64101, GHSA-93m4-mfpg-c3xf (Zitadel)", "nothing is derived from Host or X-Forwarded headers", func(t *testing.T, s *servertest.Server) {
		for _, path := range []string{"/.well-known/oauth-authorization-server", "/login", "/oauth2/authorize?client_id=x", "/account"} {
			req := s.Request(http.MethodGet, path, nil)
			req.Host = "evil.example"
			for _, h := range []string{"X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For", "Forwarded", "X-Original-URL"} {
				req.Header.Set(h, "evil.example")
			}
			r := s.Do(req)
			if strings.Contains(r.Body, "evil.example") || strings.Contains(r.Header.Get("Location"), "evil.example") {
				t.Errorf("%s: %s %s", path, r.Header.Get("Location"), r.Body)
			}
		}
	}),
	servertest.Req("P84", "RFC 8414 §2", "only working features are advertised", func(t *testing.T, s *servertest.Server) {
		m := s.Get("/.well-known/oauth-authorization-server").OK(t)
		for name, v := range m.JSON {
			at, ok := v.(string)
			if !ok || !strings.HasPrefix(at, s.Issuer+"/") {
				continue
			}
			path := strings.TrimPrefix(at, s.Issuer)
			if r := s.Get(path); r.Status == http.StatusNotFound {
				t.Errorf("%s is not there", name)
			}
		}
		for _, absent := range []string{"registration_endpoint", "pushed_authorization_request_endpoint", "device_authorization_endpoint"} {
			if m.JSON[absent] != nil {
				t.Errorf("%s is advertised", absent)
			}
		}
		for _, grant := range m.JSON["grant_types_supported"].([]any) {
			r := s.Token(s.Service("jobs"), url.Values{"grant_type": {grant.(string)}, "code": {"x"}, "refresh_token": {"x"}})
			if r.Text("error") == "unsupported_grant_type" {
				t.Errorf("%s is advertised", grant)
			}
		}
		r := s.Do(func() *http.Request {
			req := s.Request(http.MethodGet, "/.well-known/oauth-authorization-server", nil)
			req.Header.Set("If-None-Match", m.Header.Get("ETag"))
			return req
		}())
		if r.Status != http.StatusNotModified {
			t.Errorf("with its ETag: %d", r.Status)
		}
	}),
	servertest.Req("P85", "RFC 7517 §4, RFC 9068 §4", "the JWKS has only public parts; keys rotate in stages without a restart, and a leaked one is removed immediately", func(t *testing.T, s *servertest.Server) {
		other := s.StartAnother()
		c := s.Service("jobs")
		// The keys of access tokens; those of ID tokens go through the same stages.
		kids := func(n *servertest.Server) []string {
			var out []string
			seen := map[string]bool{}
			for _, k := range n.Get("/.well-known/jwks.json").OK(t).JSON["keys"].([]any) {
				key := k.(map[string]any)
				for _, private := range []string{"d", "p", "q", "k", "dp"} {
					if key[private] != nil {
						t.Errorf("the JWKS has %s", private)
					}
				}
				kid := key["kid"].(string)
				if seen[kid] || key["use"] != "sig" {
					t.Errorf("%v", key)
				}
				seen[kid] = true
				if key["alg"] == "ES256" {
					out = append(out, kid)
				}
			}
			return out
		}
		kid := func(n *servertest.Server) string {
			return decodePart(t, n.ServiceToken(c), 0)["kid"].(string)
		}
		first := kids(s)[0]
		old := s.ServiceToken(c)
		storagetest.Must(t, s.OAuth.Keyring.Rotate(t.Context(), false))
		storagetest.Eventually(t, "the other process publishes the new key", func() bool { return len(kids(other)) == 2 })
		if kid(s) != first || kid(other) != first {
			t.Error("the new key signs before every verifier can have it")
		}
		if err := s.OAuth.Keyring.Rotate(t.Context(), false); err == nil {
			t.Error("a second rotation began before the first was over")
		}
		s.Clock.Advance(10 * time.Minute)
		if kid(s) == first || kid(other) != kid(s) {
			t.Error("the new key does not sign after ten minutes")
		}
		if !s.Active(c, old) || !other.Active(c, old) {
			t.Error("the old key's tokens are refused while they live")
		}
		s.Clock.Advance(25 * time.Hour) // its ID tokens are hints as long as a session can last
		if len(kids(s)) != 1 {
			t.Errorf("the old key is still published: %v", kids(s))
		}
		token := s.ServiceToken(c)
		storagetest.Must(t, s.OAuth.Keyring.Rotate(t.Context(), true))
		if s.Active(c, token) || len(kids(s)) != 1 {
			t.Error("a token of the leaked key is active")
		}
		storagetest.Eventually(t, "the other process refuses the leaked key", func() bool { return !other.Active(c, token) })
		if !s.Active(c, s.ServiceToken(c)) {
			t.Error("no valid token after the leak")
		}
		s.Clock.Advance(2160 * time.Hour)
		storagetest.Must(t, s.OAuth.Keyring.RotateDue(t.Context()))
		storagetest.Eventually(t, "the keys have rotated by schedule", func() bool { return len(kids(s)) == 2 })
		algs := map[any]int{}
		for _, k := range s.Get("/.well-known/jwks.json").OK(t).JSON["keys"].([]any) {
			algs[k.(map[string]any)["alg"]]++
		}
		for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
			if algs[alg] != 2 {
				t.Errorf("after the rotation by schedule: %v", algs)
			}
		}
	}),
}

// TestCachedSignatureVerifiesOnlyItsToken: a token that was verified before is refused like any other once it is revoked,
// expired or of a leaked key, and its signature goes with no other text.
func TestCachedSignatureVerifiesOnlyItsToken(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		other := s.StartAnother()
		c := s.Service("jobs")
		known := func() string {
			token := s.ServiceToken(c)
			for range 2 {
				if !s.Active(c, token) || !other.Active(c, token) {
					t.Fatal("a new token is not active")
				}
			}
			return token
		}
		revoked := known()
		s.Post("/oauth2/revoke", c, url.Values{"token": {revoked}}).OK(t)
		if s.Active(c, revoked) || other.Active(c, revoked) {
			t.Error("active after revocation")
		}
		token := known()
		end := "AA"
		if strings.HasSuffix(token, end) { // one in 256
			end = "gA"
		}
		for _, changed := range []string{token + "A", token[:len(token)-2] + end, "A" + token, forge(t, token, map[string]any{"alg": "none"}, nil), forge(t, token, decodePart(t, token, 0), map[string]any{"scope": "admin"})} {
			if s.Active(c, changed) {
				t.Errorf("%s is active", changed)
			}
		}
		expired := known()
		s.Clock.Advance(20 * time.Minute)
		if s.Active(c, expired) || other.Active(c, expired) {
			t.Error("active after it expired")
		}
		leaked := known()
		storagetest.Must(t, s.OAuth.Keyring.Rotate(t.Context(), true))
		if s.Active(c, leaked) {
			t.Error("active although its key leaked")
		}
		storagetest.Eventually(t, "the other process refuses the leaked key", func() bool { return !other.Active(c, leaked) })
	})
}
