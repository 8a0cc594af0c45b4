package oauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

func TestMetadataAndKeys(t *testing.T) { servertest.Run(t, metadataAndKeys) }

// getURL requests a URL, which need not be below the issuer.
func getURL(t *testing.T, s *servertest.Server, target string) servertest.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	storagetest.Must(t, err)
	return s.Do(req)
}

var metadataAndKeys = []servertest.Requirement{
	servertest.Req("P82", "RFC 8414 §2, §3.1",
		"the issuer has no query or fragment and is the base of the metadata URL, also with a path",
		func(t *testing.T, s *servertest.Server) {
			for _, path := range []string{"", "/tenant/a"} {
				p := servertest.Start(t, storagetest.URL(t, s.Store.Engine()), servertest.Options{Path: path})
				origin := strings.TrimSuffix(p.URL, path)
				r := getURL(t, p, origin+"/.well-known/oauth-authorization-server"+path).OK(t)
				if r.Text("issuer") != p.Issuer || r.Text("token_endpoint") != p.Issuer+"/oauth2/token" {
					t.Errorf("path %q: issuer %q and token_endpoint %q, want %s and its /oauth2/token",
						path, r.Text("issuer"), r.Text("token_endpoint"), p.Issuer)
				}
				p.User("alice")
				c := p.App()
				if tokens := p.Tokens(c, "alice"); !p.Active(c, tokens.Text("access_token")) {
					t.Errorf("path %q: a new access token is inactive", path)
				}
			}
		}),
	servertest.Req("P83", "CVE-2025-64101, GHSA-93m4-mfpg-c3xf (Zitadel)",
		"nothing is derived from Host or X-Forwarded headers",
		func(t *testing.T, s *servertest.Server) {
			for _, path := range []string{
				"/.well-known/oauth-authorization-server", "/login", "/oauth2/authorize?client_id=x", "/account",
			} {
				req := s.Request(http.MethodGet, path, nil)
				req.Host = "evil.example"
				for _, name := range []string{
					"X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For", "Forwarded", "X-Original-URL",
				} {
					req.Header.Set(name, "evil.example")
				}
				r := s.Do(req)
				if location := r.Header.Get("Location"); strings.Contains(location+r.Body, "evil.example") {
					t.Errorf("%s: Location %q and the body %s, want neither to have the host of the request",
						path, location, r.Body)
				}
			}
		}),
	servertest.Req("P84", "RFC 8414 §2",
		"only working features are advertised",
		func(t *testing.T, s *servertest.Server) {
			const metadata = "/.well-known/oauth-authorization-server"
			m := s.Get(metadata).OK(t)
			for name, v := range m.JSON {
				endpoint, _ := v.(string)
				path, isEndpoint := strings.CutPrefix(endpoint, s.Issuer)
				if !isEndpoint || !strings.HasPrefix(path, "/") {
					continue
				}
				if r := s.Get(path); r.Status == http.StatusNotFound {
					t.Errorf("%s is advertised as %s, which is 404", name, endpoint)
				}
			}
			for _, name := range []string{
				"registration_endpoint", "pushed_authorization_request_endpoint", "device_authorization_endpoint",
			} {
				if m.JSON[name] != nil {
					t.Errorf("%s = %v, want none", name, m.JSON[name])
				}
			}
			for _, grant := range m.JSON["grant_types_supported"].([]any) {
				form := url.Values{"grant_type": {grant.(string)}, "code": {"x"}, "refresh_token": {"x"}}
				if r := s.Token(s.Service("jobs"), form); r.Text("error") == "unsupported_grant_type" {
					t.Errorf("the grant type %s is advertised and not supported", grant)
				}
			}
			req := s.Request(http.MethodGet, metadata, nil)
			req.Header.Set("If-None-Match", m.Header.Get("ETag"))
			if r := s.Do(req); r.Status != http.StatusNotModified {
				t.Errorf("request with the ETag: status = %d, want 304", r.Status)
			}
		}),
	servertest.Req("P85", "RFC 7517 §4, RFC 9068 §4",
		"the JWKS has only public keys; keys rotate in stages without a restart, and a leaked key is removed immediately",
		func(t *testing.T, s *servertest.Server) {
			other := s.StartAnother()
			c := s.Service("jobs")
			signingKey := func(n *servertest.Server) string {
				return decodePart(t, n.ServiceToken(c), 0)["kid"].(string)
			}
			first := publishedKeys(t, s)[0]
			old := s.ServiceToken(c)
			storagetest.Must(t, s.OAuth.Keyring.Rotate(t.Context(), false))
			storagetest.Eventually(t, "the other process publishes the new key", func() bool {
				return len(publishedKeys(t, other)) == 2
			})
			if signingKey(s) != first || signingKey(other) != first {
				t.Error("the new key signs before every verifier can have it")
			}
			if err := s.OAuth.Keyring.Rotate(t.Context(), false); err == nil {
				t.Error("a second rotation began before the first ended")
			}
			s.Clock.Advance(10 * time.Minute)
			if signingKey(s) == first || signingKey(other) != signingKey(s) {
				t.Error("the new key does not sign after ten minutes")
			}
			if !s.Active(c, old) || !other.Active(c, old) {
				t.Error("a token of the old key is inactive before it expires")
			}
			s.Clock.Advance(25 * time.Hour) // its ID tokens are hints as long as a session can last
			if keys := publishedKeys(t, s); len(keys) != 1 {
				t.Errorf("published keys = %v, want one: the old key is retired", keys)
			}
			token := s.ServiceToken(c)
			storagetest.Must(t, s.OAuth.Keyring.Rotate(t.Context(), true))
			if s.Active(c, token) {
				t.Error("a token of the leaked key is active")
			}
			if keys := publishedKeys(t, s); len(keys) != 1 {
				t.Errorf("published keys = %v after the key leaked, want one", keys)
			}
			storagetest.Eventually(t, "the other process refuses the leaked key", func() bool { return !other.Active(c, token) })
			if !s.Active(c, s.ServiceToken(c)) {
				t.Error("a new token is inactive after the key leaked")
			}
			s.Clock.Advance(2160 * time.Hour)
			storagetest.Must(t, s.OAuth.Keyring.RotateDue(t.Context()))
			storagetest.Eventually(t, "the keys have rotated by schedule", func() bool { return len(publishedKeys(t, s)) == 2 })
			algs := map[any]int{}
			for _, k := range s.Get("/.well-known/jwks.json").OK(t).JSON["keys"].([]any) {
				algs[k.(map[string]any)["alg"]]++
			}
			for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
				if algs[alg] != 2 {
					t.Errorf("keys per algorithm after the rotation by schedule = %v, want 2 of %s", algs, alg)
				}
			}
		}),
}

// publishedKeys returns the IDs of the keys of access tokens in the JWKS, and checks all keys. Those of ID tokens go
// through the same stages.
func publishedKeys(t *testing.T, s *servertest.Server) (ids []string) {
	t.Helper()
	seen := map[string]bool{}
	for _, k := range s.Get("/.well-known/jwks.json").OK(t).JSON["keys"].([]any) {
		key := k.(map[string]any)
		for _, private := range []string{"d", "p", "q", "k", "dp"} {
			if key[private] != nil {
				t.Errorf("the JWKS has the private member %s", private)
			}
		}
		kid := key["kid"].(string)
		if seen[kid] || key["use"] != "sig" {
			t.Errorf("key %v in the JWKS, want a kid of its own and the use sig", key)
		}
		seen[kid] = true
		if key["alg"] == "ES256" {
			ids = append(ids, kid)
		}
	}
	return ids
}
