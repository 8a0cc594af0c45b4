package oauth_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/oauth/jwt"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

func TestCurrentClients(t *testing.T) { servertest.Run(t, currentClients) }

// mcpServer is the resource of an MCP server.
const mcpServer = "https://mcp.example"

// createResource registers a resource with the scopes.
func createResource(s *servertest.Server, identifier string, open bool, scopes ...string) {
	s.T.Helper()
	_, err := s.Store.CreateMissingScopes(s.T.Context(), scopes)
	storagetest.Must(s.T, err)
	storagetest.Must(s.T, s.Store.CreateResource(s.T.Context(), storage.Resource{
		Identifier: identifier, Name: "API", Scopes: scopes, OpenToApps: open, CreatedAt: s.Clock.Now(),
	}))
}

// selfRegisterPublic registers a public client with the redirect URI, and further members in JSON.
func selfRegisterPublic(s *servertest.Server, redirectURI string, more ...string) client.Information {
	s.T.Helper()
	members := append([]string{
		`"redirect_uris":["` + redirectURI + `"]`, `"token_endpoint_auth_method":"none"`,
		`"grant_types":["authorization_code","refresh_token"]`,
	}, more...)
	r := selfRegister(s, "{"+strings.Join(members, ",")+"}")
	if r.Status != 201 {
		s.T.Fatalf("registration: status = %d, want 201: %s", r.Status, r.Body)
	}
	return client.Information{
		ClientID: r.Text("client_id"),
		Metadata: client.Metadata{TokenEndpointAuthMethod: "none", RedirectURIs: client.List{redirectURI}},
	}
}

// tokensFor signs alice in to the client and exchanges the code.
func tokensFor(s *servertest.Server, c client.Information, changes ...string) servertest.Response {
	s.T.Helper()
	to := s.Browser().Code(c, "alice", changes...)
	redirectURI := c.RedirectURIs[0]
	if i := slices.Index(changes, "redirect_uri"); i >= 0 {
		redirectURI = changes[i+1]
	}
	return s.Token(c, servertest.CodeForm(to, c, "redirect_uri", redirectURI)).OK(s.T)
}

// audienceOf returns the aud of an access token.
func audienceOf(t testing.TB, token string) []string {
	t.Helper()
	switch aud := claims(t, token)["aud"].(type) {
	case string:
		return []string{aud}
	case []any:
		var out []string
		for _, a := range aud {
			out = append(out, a.(string))
		}
		return out
	}
	return nil
}

// habits is a file of testdata/clients: what a real client sends.
type habits struct {
	Client       string            `json:"client"`
	Habits       string            `json:"habits"`
	Registration json.RawMessage   `json:"registration"`
	Document     map[string]any    `json:"document"`   // instead of a registration, without the client_id
	Registered   map[string]any    `json:"registered"` // members that the response must have
	Request      map[string]string `json:"request"`    // parameters of the authorization request
	Granted      string            `json:"granted"`    // scope of the token response
}

// clientFixtures returns the files of testdata/clients of one kind.
func clientFixtures(t testing.TB, isKind func(habits) bool) (out []habits) {
	t.Helper()
	files, err := filepath.Glob("testdata/clients/*.json")
	storagetest.Must(t, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		storagetest.Must(t, err)
		var h habits
		storagetest.Must(t, json.Unmarshal(b, &h))
		if isKind(h) {
			out = append(out, h)
		}
	}
	if len(out) < 6 {
		t.Fatalf("%d files, want one for each client", len(out))
	}
	return out
}

// request returns the parameters of the authorization request as names and values.
func (h habits) request() []string {
	request := []string{"scope", ""}
	for _, name := range slices.Sorted(maps.Keys(h.Request)) {
		request = append(request, name, h.Request[name])
	}
	return request
}

// check compares a token response with what the client needs.
func (h habits) check(t testing.TB, tokens servertest.Response) {
	t.Helper()
	if got := tokens.Text("scope"); !equalScopes(got, h.Granted) {
		t.Errorf("%s: granted scope = %q, want %q", h.Client, got, h.Granted)
	}
	if got, want := audienceOf(t, tokens.Text("access_token")), []string{mcpServer}; !slices.Equal(got, want) {
		t.Errorf("%s: aud = %q, want %q", h.Client, got, want)
	}
}

var currentClients = slices.Concat(
	clientHabits, clientResources, clientGrants, openResources, clientRedirects, deletedClients, resourceMetadata,
)

var clientHabits = []servertest.Requirement{
	servertest.Req("MC0", "RFC 7591 §3, RFC 6749 §4.1",
		"every client of testdata/clients registers and gets tokens with the requests that it really sends",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			createResource(s, mcpServer, true, "mcp.read")
			for _, h := range clientFixtures(t, func(h habits) bool { return h.Registration != nil }) {
				r := selfRegister(s, string(h.Registration))
				if r.Status != 201 {
					t.Errorf("%s: registration: status = %d, want 201: %s", h.Client, r.Status, r.Body)
					continue
				}
				for name, want := range h.Registered {
					if got := r.JSON[name]; !reflect.DeepEqual(got, want) {
						t.Errorf("%s: registered %s = %v, want %v", h.Client, name, got, want)
					}
				}
				c := clientOf(r)
				h.check(t, tokensFor(s, c, h.request()...))
			}
		}).WithSettings(openRegistration),
	servertest.Req("MC0b", "CIMD §4, RFC 7523 §3",
		"every client of testdata/clients with a document gets tokens with the requests that it really sends, and refreshes "+
			"them without resource",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			createResource(s, mcpServer, true, "mcp.read")
			key := clientKey(t, jwt.RS256, "1")
			keys := servertest.NewHost(t)
			keys.Serve("/jwks.json", "application/json", servertest.JWKS(t, key))
			for _, h := range clientFixtures(t, func(h habits) bool { return h.Document != nil }) {
				host := newDocumentHost(t)
				usesKey := h.Document["jwks_uri"] != nil
				if usesKey {
					h.Document["jwks_uri"] = keys.URL + "/jwks.json"
				}
				h.Document["client_id"], host.members = host.URL, h.Document
				c := host.client()
				send := func(form url.Values) servertest.Response {
					if usesKey {
						maps.Copy(form, assertionForm(key.Sign(t, assertionClaims(s, c), nil)))
						return s.Do(s.Request(http.MethodPost, "/oauth2/token", form)).OK(t)
					}
					return s.Token(c, form).OK(t)
				}
				to := s.Browser().Code(c, "alice", h.request()...)
				tokens := send(servertest.CodeForm(to, c, "redirect_uri", h.Request["redirect_uri"]))
				h.check(t, tokens)
				h.check(t, send(url.Values{
					"grant_type": {"refresh_token"}, "refresh_token": {tokens.Text("refresh_token")},
				}))
			}
		}).WithSettings("GATEHOUSE_CLIENT_DOCUMENTS=open", "GATEHOUSE_FETCH_ALLOW_HOSTS=127.0.0.1",
		"GATEHOUSE_CLIENT_DOCUMENT_UNVERIFIED_USERS=0"),
	servertest.Req("MC1", "RFC 8414 §3.1, OIDC Discovery §4",
		"for an issuer with a path the three metadata URLs return the same document with the same issuer",
		func(t *testing.T, s *servertest.Server) {
			p := servertest.Start(t, storagetest.URL(t, s.Store.Engine()), servertest.Options{Path: "/p"})
			host := strings.TrimSuffix(p.URL, "/p")
			var bodies []string
			for _, path := range []string{
				"/.well-known/oauth-authorization-server/p", "/.well-known/openid-configuration/p",
				"/p/.well-known/openid-configuration",
			} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, host+path, nil)
				storagetest.Must(t, err)
				r := p.Do(req).OK(t)
				if got := r.Text("issuer"); got != p.Issuer {
					t.Errorf("%s: issuer = %q, want %q", path, got, p.Issuer)
				}
				bodies = append(bodies, r.Body)
			}
			if len(slices.Compact(bodies)) != 1 {
				t.Error("the documents differ, want the same document at each URL")
			}
		}),
	servertest.Req("MC2", "RFC 8414 §2, RFC 9207 §3",
		"the metadata has what MCP clients require: S256, iss in responses, none, refresh_token and offline_access",
		func(t *testing.T, s *servertest.Server) {
			m := s.Get("/.well-known/oauth-authorization-server").OK(t).JSON
			for member, value := range map[string]any{
				"token_endpoint_auth_methods_supported": "none", "grant_types_supported": "refresh_token",
				"scopes_supported": "offline_access", "code_challenge_methods_supported": "S256",
			} {
				if list, ok := m[member].([]any); !ok || !slices.Contains(list, value) {
					t.Errorf("%s = %v, want it to contain %v", member, m[member], value)
				}
			}
			if m["authorization_response_iss_parameter_supported"] != true {
				t.Error("authorization_response_iss_parameter_supported is not true")
			}
		}),
	servertest.Req("MC3", "Fetch Standard §3.2",
		"preflight requests of browser clients are allowed at metadata, JWKS, token, revocation, userinfo and registration, "+
			"errors are readable by them, and OPTIONS does not count against rate limits",
		func(t *testing.T, s *servertest.Server) {
			for _, path := range []string{
				"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/.well-known/jwks.json",
				"/oauth2/token", "/oauth2/revoke", "/oauth2/userinfo", "/oauth2/register",
			} {
				for range 5 { // more than the rate limit of registrations
					req := s.Request(http.MethodOptions, path, nil)
					req.Header.Set("Origin", "https://inspector.example")
					req.Header.Set("Access-Control-Request-Method", "POST")
					req.Header.Set("Access-Control-Request-Headers", "mcp-protocol-version, dpop, authorization, content-type")
					r := s.Do(req)
					allowed := strings.ToLower(r.Header.Get("Access-Control-Allow-Headers"))
					if r.Status != 204 || r.Header.Get("Access-Control-Allow-Origin") != "*" {
						t.Errorf("OPTIONS %s: status = %d, Access-Control-Allow-Origin = %q, want 204 and *",
							path, r.Status, r.Header.Get("Access-Control-Allow-Origin"))
					}
					for _, name := range []string{"mcp-protocol-version", "dpop", "authorization", "content-type"} {
						if !strings.Contains(allowed, name) {
							t.Errorf("OPTIONS %s: allowed headers = %q, want %s among them", path, allowed, name)
						}
					}
				}
			}
			for _, r := range []servertest.Response{
				s.Post("/oauth2/token", s.Public(), url.Values{"grant_type": {"x"}}), selfRegister(s, `{}`),
				s.Get("/oauth2/userinfo"),
			} {
				if got := r.Header.Get("Access-Control-Allow-Origin"); r.Status < 400 || got != "*" {
					t.Errorf("error response: status = %d, Access-Control-Allow-Origin = %q, want an error with *", r.Status, got)
				}
			}
			for _, path := range []string{"/oauth2/introspect", "/oauth2/register/x"} {
				if got := s.Get(path).Header.Get("Access-Control-Allow-Origin"); got != "" {
					t.Errorf("%s: Access-Control-Allow-Origin = %q, want none", path, got)
				}
			}
		}).WithSettings(openRegistration, "GATEHOUSE_RATE_LIMITS=registration=4/1h"),
	servertest.Req("MC4", "RFC 8414 §3.2, RFC 9728 §3.2",
		"an unknown well-known URL is 404 with JSON, never a redirect",
		func(t *testing.T, s *servertest.Server) {
			for _, path := range []string{
				"/.well-known/oauth-protected-resource", "/.well-known/oauth-authorization-server/mcp",
				"/.well-known/openid-configuration/mcp", "/.well-known/unknown",
			} {
				r := s.Get(path)
				if kind := r.Header.Get("Content-Type"); r.Status != 404 || kind != "application/json" || r.JSON["error"] == nil {
					t.Errorf("%s: status = %d, Content-Type = %q, body %q, want 404 with an error in JSON",
						path, r.Status, kind, r.Body)
				}
				if got := r.Header.Get("Access-Control-Allow-Origin"); got != "*" {
					t.Errorf("%s: Access-Control-Allow-Origin = %q, want *", path, got)
				}
			}
		}),
}

// equalScopes reports whether two scope parameters have the same scopes.
func equalScopes(a, b string) bool {
	return slices.Equal(slices.Sorted(strings.FieldsSeq(a)), slices.Sorted(strings.FieldsSeq(b)))
}
