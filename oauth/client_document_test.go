package oauth_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

func TestClientDocuments(t *testing.T) { servertest.Run(t, clientDocuments) }

var clientDocuments = slices.Concat(
	documentURLs, documentContents, documentCache, documentPages, documentPreregistered, documentTrust,
	documentConfirmation)

// documentSettings accept every document of a test, whose host is on loopback.
var documentSettings = []string{
	"GATEHOUSE_CLIENT_DOCUMENTS=open", "GATEHOUSE_FETCH_ALLOW_HOSTS=127.0.0.1",
	"GATEHOUSE_REGISTRATION_SCOPES=read,write,offline_access", "GATEHOUSE_CLIENT_DOCUMENT_UNVERIFIED_USERS=0",
}

// documentHost serves one client ID metadata document.
type documentHost struct {
	t   testing.TB
	URL string // of the document

	mu         sync.Mutex
	members    map[string]any
	status     int
	header     http.Header
	raw        string // instead of members
	requests   int
	conditions []string // the If-None-Match of each request
	block      chan struct{}
}

// newDocumentHost starts a host with a valid document of a public client.
func newDocumentHost(t testing.TB) *documentHost {
	t.Helper()
	h := &documentHost{t: t, status: 200, header: http.Header{"Content-Type": {"application/json"}}}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	h.URL = server.URL + "/oauth/client.json"
	h.members = map[string]any{
		"client_id": h.URL, "client_name": "Editor", "redirect_uris": []string{servertest.Callback},
		"token_endpoint_auth_method": "none", "grant_types": []string{"authorization_code", "refresh_token"},
	}
	return h
}

// ServeHTTP implements http.Handler.
func (h *documentHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.requests++
	h.conditions = append(h.conditions, r.Header.Get("If-None-Match"))
	block := h.block
	h.mu.Unlock()
	if block != nil {
		<-block
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, values := range h.header {
		w.Header()[name] = values
	}
	if etag := h.header.Get("ETag"); etag != "" && r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.WriteHeader(h.status)
	body := []byte(h.raw)
	if h.raw == "" {
		body, _ = json.Marshal(h.members)
	}
	_, _ = w.Write(body)
}

// set changes members of the document; nil removes one.
func (h *documentHost) set(changes ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := 0; i < len(changes); i += 2 {
		name := changes[i].(string)
		if h.members[name] = changes[i+1]; changes[i+1] == nil {
			delete(h.members, name)
		}
	}
}

// count returns how often the document was fetched.
func (h *documentHost) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.requests
}

// client returns the client as the helpers of servertest use it.
func (h *documentHost) client() client.Information {
	return client.Information{ClientID: h.URL, Metadata: client.Metadata{
		TokenEndpointAuthMethod: storage.AuthNone, RedirectURIs: client.List{servertest.Callback},
	}}
}

// refreshDocument fetches the document of a client as the operator does, and returns the members that changed.
func refreshDocument(s *servertest.Server, id string) []string {
	s.T.Helper()
	changed, err := s.OAuth.Clients.RefreshDocument(s.T.Context(), id)
	storagetest.Must(s.T, err)
	return changed
}

// signInWithScopes creates alice and the scopes read and write.
func signInWithScopes(s *servertest.Server) storage.User {
	s.T.Helper()
	_, err := s.Store.CreateMissingScopes(s.T.Context(), []string{"read", "write"})
	storagetest.Must(s.T, err)
	return s.User("alice")
}

// isAccepted reports whether the response to an authorization request is not a page with an error.
func isAccepted(p servertest.Page) bool { return p.Status == 200 || p.Status == 303 }

// wantDocumentError fails the test unless an authorization request gets an error page with the text.
func wantDocumentError(t testing.TB, s *servertest.Server, c client.Information, text string) {
	t.Helper()
	p := s.Browser().Authorize(c)
	p.WantErrorPage(t, 400)
	if !strings.Contains(p.Text(), text) {
		t.Errorf("client_id %s: page %q, want %q in it", c.ClientID, p.Text(), text)
	}
}

var documentURLs = []servertest.Requirement{
	servertest.Req("MC18", "CIMD §3",
		"a client_id that is an https URL with a path is the URL of a document; a page states what is wrong with others",
		func(t *testing.T, s *servertest.Server) {
			signInWithScopes(s)
			h := newDocumentHost(t)
			c := h.client()
			r := tokensFor(s, c, "scope", "read offline_access")
			if got := claims(t, r.Text("access_token"))["client_id"]; got != h.URL {
				t.Errorf("client_id = %v, want %s", got, h.URL)
			}
			refreshed := s.Refresh(c, r.Text("refresh_token")).OK(t)
			if refreshed.Text("refresh_token") == r.Text("refresh_token") {
				t.Error("the refresh token of a public client did not rotate")
			}
			for id, text := range map[string]string{
				"https://app.example":                             "must have a path",
				"https://app.example/c.json#x":                    "must not have a fragment",
				"https://u:p@app.example/c.json":                  "must not have a user name",
				"https://app.example/a/../c.json":                 "path segments",
				"https://app.example/a/%2E%2e/c.json":             "path segments",
				"https://app.example/a/..%2fc.json":               "encoded slash",
				"https://app.example/a/..%5Cc.json":               "encoded slash",
				"https://app.example/" + strings.Repeat("a", 500): "not registered",
				"http://app.example/c.json":                       "could not be fetched",
				"https://0x7f000001/c.json":                       "has a host",
			} {
				c.ClientID = id
				wantDocumentError(t, s, c, text)
			}
			m := s.Get("/.well-known/oauth-authorization-server").OK(t).JSON
			if m["client_id_metadata_document_supported"] != true {
				t.Error("client_id_metadata_document_supported is not true")
			}
		}).WithSettings(documentSettings...),
	servertest.Req("MC24", "CIMD §6.5, RFC 6890",
		"a document at an address that is not public is refused with the page of a server that does not respond",
		func(t *testing.T, s *servertest.Server) {
			pages := map[string]bool{}
			for _, host := range []string{
				"127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "[::1]", "[fd00::1]",
				"[fe80::1]", "[::ffff:7f00:1]", "localhost", "no-such-host.invalid",
			} {
				c := client.Information{ClientID: "https://" + host + ":1/c.json"}
				c.RedirectURIs = client.List{servertest.Callback}
				p := s.Browser().Authorize(c)
				p.WantErrorPage(t, 400)
				detail := p.Text()[strings.Index(p.Text(), "invalid_client"):]
				pages[detail[:min(len(detail), 120)]] = true
			}
			if len(pages) != 1 {
				t.Errorf("%d different pages, want one: %v", len(pages), pages)
			}
		}).WithSettings("GATEHOUSE_CLIENT_DOCUMENTS=open", "GATEHOUSE_RATE_LIMITS=off"),
	servertest.Req("MC32", "CIMD §6.1",
		"the policy is off, list or open; by default no document is accepted, and none outside the list is fetched",
		func(t *testing.T, s *servertest.Server) {
			h := newDocumentHost(t)
			wantDocumentError(t, s, h.client(), "does not accept those of its host")
			m := s.Get("/.well-known/oauth-authorization-server").OK(t).JSON
			if m["client_id_metadata_document_supported"] != nil {
				t.Error("client_id_metadata_document_supported is in the metadata although no document is accepted")
			}
			host := strings.TrimSuffix(strings.TrimPrefix(h.URL, "http://"), "/oauth/client.json")
			for setting, accepted := range map[string]bool{
				host: true, "http://" + host + "/oauth/": true, h.URL: true, "well-known": false, "127.0.0.1": false,
				"http://" + host + "/oauth": false, "http://" + host + "/other/": false, "x" + host: false,
			} {
				before := h.count()
				p := servertest.Start(t, storagetest.URL(t, s.Store.Engine()), servertest.Options{Env: map[string]string{
					"GATEHOUSE_CLIENT_DOCUMENT_HOSTS": setting, "GATEHOUSE_FETCH_ALLOW_HOSTS": "127.0.0.1",
				}})
				page := p.Browser().Authorize(h.client())
				if got := isAccepted(page); got != accepted || (h.count() > before) != accepted {
					t.Errorf("hosts %s: accepted = %v, fetched = %v, want %v", setting, got, h.count() > before, accepted)
				}
			}
			off := servertest.Start(t, storagetest.URL(t, s.Store.Engine()), servertest.Options{Env: map[string]string{
				"GATEHOUSE_CLIENT_DOCUMENTS": "off", "GATEHOUSE_CLIENT_DOCUMENT_HOSTS": host,
			}})
			wantDocumentError(t, off, h.client(), "does not accept")
		}),
	servertest.Req("MC32b", "CIMD §6.1",
		"a client whose host leaves the list no longer authenticates",
		func(t *testing.T, s *servertest.Server) {
			signInWithScopes(s)
			h := newDocumentHost(t)
			r := tokensFor(s, h.client(), "scope", "read offline_access")
			p := s.StartAnotherWith("GATEHOUSE_CLIENT_DOCUMENTS=list")
			p.Refresh(h.client(), r.Text("refresh_token")).Want(t, 401, "invalid_client")
			s.Refresh(h.client(), r.Text("refresh_token")).OK(t)
		}).WithSettings(documentSettings...),
	servertest.Req("MC37", "CIMD §6.8",
		"no client_id that Gatehouse generates is a URL",
		func(t *testing.T, s *servertest.Server) {
			for _, c := range []client.Information{s.App(), s.Public(), clientOf(selfRegister(s,
				`{"redirect_uris":["`+servertest.Callback+`"]}`))} {
				if strings.Contains(c.ClientID, ":") {
					t.Errorf("client_id = %q, want no URL", c.ClientID)
				}
			}
		}).WithSettings(openRegistration),
}
