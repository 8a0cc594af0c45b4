package oauth_test

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

const metadataPath = "/.well-known/oauth-protected-resource"

// publish registers resources whose metadata is served.
func publish(s *servertest.Server, identifiers ...string) {
	s.T.Helper()
	for _, identifier := range identifiers {
		createResource(s, identifier, true, "mcp.read")
		storagetest.Must(s.T, s.Store.UpdateResource(s.T.Context(), identifier, func(r *storage.Resource) error {
			r.PublishMetadata = true
			return nil
		}))
	}
}

var resourceMetadata = []servertest.Requirement{
	servertest.Req("MC5", "RFC 9728 §3",
		"the metadata of a published resource is served with its registered identifier, for each host and path",
		func(t *testing.T, s *servertest.Server) {
			published := map[string]string{
				"/mcp.example.com/mcp":        "https://mcp.example.com/mcp",
				"/mcp.example.com/mcp/":       "https://mcp.example.com/mcp/",
				"/other.example.com/mcp":      "https://other.example.com/mcp",
				"/Root.example.com":           "https://Root.example.com",
				"/root.example.com/":          "https://Root.example.com",
				"/mcp.example.com:8443/a%2Fb": "https://mcp.example.com:8443/a%2Fb",
				"/localhost:8000/mcp":         "http://localhost:8000/mcp",
			}
			done := map[string]bool{}
			for _, identifier := range published {
				if !done[identifier] {
					publish(s, identifier)
				}
				done[identifier] = true
			}
			for path, identifier := range published {
				r := s.Get(metadataPath + path).OK(t)
				servers, _ := r.JSON["authorization_servers"].([]any)
				scopes, _ := r.JSON["scopes_supported"].([]any)
				methods, _ := r.JSON["bearer_methods_supported"].([]any)
				if r.Text("resource") != identifier || len(servers) != 1 || servers[0] != s.Issuer ||
					len(scopes) != 1 || scopes[0] != "mcp.read" || len(methods) != 1 || methods[0] != "header" {
					t.Errorf("%s: %s, want the resource %s with its scope, header and the issuer", path, r.Body, identifier)
				}
				if origin := r.Header.Get("Access-Control-Allow-Origin"); origin != "*" {
					t.Errorf("%s: Access-Control-Allow-Origin = %q, want *", path, origin)
				}
				if cache := r.Header.Get("Cache-Control"); cache != "public, max-age=300" {
					t.Errorf("%s: Cache-Control = %q, want public for five minutes", path, cache)
				}
			}
			preflight := s.Request(http.MethodOptions, metadataPath+"/mcp.example.com/mcp", nil)
			preflight.Header.Set("Origin", "https://inspector.example")
			preflight.Header.Set("Access-Control-Request-Headers", "mcp-protocol-version")
			r := s.Do(preflight)
			allowed := strings.ToLower(r.Header.Get("Access-Control-Allow-Headers"))
			if r.Status != 204 || !strings.Contains(allowed, "mcp-protocol-version") {
				t.Errorf("preflight: status = %d, allowed headers %q, want 204 with mcp-protocol-version", r.Status, allowed)
			}
		}),
	servertest.Req("MC5b", "RFC 9728 §3.2",
		"a resource that is unknown or not published has no metadata: 404 with JSON, also after it was withdrawn",
		func(t *testing.T, s *servertest.Server) {
			createResource(s, "https://private.example.com/mcp", true, "mcp.read")
			publish(s, "https://mcp.example.com/mcp")
			s.Get(metadataPath + "/mcp.example.com/mcp").OK(t)
			storagetest.Must(t, s.Store.UpdateResource(t.Context(), "https://mcp.example.com/mcp",
				func(r *storage.Resource) error { r.PublishMetadata = false; return nil }))
			for _, path := range []string{
				"/mcp.example.com/mcp", "/private.example.com/mcp", "/mcp.example.com", "/unknown.example.com/mcp", "/", "",
				"/https:/mcp.example.com/mcp", "/?resource=https://mcp.example.com/mcp",
			} {
				r := s.Get(metadataPath + path)
				if r.Status != 404 || r.JSON["error"] == nil {
					t.Errorf("%s: status = %d %s, want 404 with JSON", path, r.Status, r.Body)
				}
			}
		}),
	servertest.Req("MC5c", "RFC 9728 §5.1, RFC 8707 §2",
		"a self-registered client gets a token for the resource and the scopes that the metadata names",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			publish(s, "https://mcp.example.com/mcp")
			document := s.Get(metadataPath + "/mcp.example.com/mcp").OK(t)
			c := selfRegisterPublic(s, "http://127.0.0.1/cb")
			scope, _ := document.JSON["scopes_supported"].([]any)[0].(string)
			r := tokensFor(s, c, "scope", scope, "resource", document.Text("resource"))
			if got := audienceOf(t, r.Text("access_token")); len(got) != 1 || got[0] != "https://mcp.example.com/mcp" {
				t.Errorf("aud = %q, want the resource alone", got)
			}
		}).WithSettings(openRegistration),
	servertest.Req("MC17", "RFC 6750 §3.1",
		"userinfo refuses a token without openid with 403 insufficient_scope and the scope that it needs",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.RelyingParty()
			tokens := s.Tokens(c, "alice", "scope", "openid email offline_access")
			narrow := s.Refresh(c, tokens.Text("refresh_token"), "scope", "email").OK(t)
			r := s.Userinfo(narrow.Text("access_token"))
			challenge := r.Header.Get("WWW-Authenticate")
			if r.Status != 403 || !strings.Contains(challenge, `error="insufficient_scope"`) ||
				!strings.Contains(challenge, `scope="openid"`) {
				t.Errorf("status = %d, WWW-Authenticate = %q, want 403 insufficient_scope with scope", r.Status, challenge)
			}
		}),
}
