package servertest

import (
	"context"
	"crypto"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// AllScopes are the standard scopes and two of an API.
const AllScopes = "openid profile email address phone offline_access read write"

// RelyingParty registers a confidential OpenID Connect client with every standard scope. more are further members, in
// JSON.
func (s *Server) RelyingParty(more ...string) client.Information {
	s.T.Helper()
	return s.Client(`{"client_name":"Relying party","client_uri":"https://app.example",
		"grant_types":["authorization_code","refresh_token"],"redirect_uris":["` + Callback + `"],
		"post_logout_redirect_uris":["https://app.example/bye"],
		"scope":"` + AllScopes + `"` + strings.Join(append([]string{""}, more...), ",") + `}`)
}

// UserWithClaims creates a user with every claim.
func (s *Server) UserWithClaims(username string) storage.User {
	s.T.Helper()
	u := s.User(username)
	updated, err := s.Store.UpdateUser(s.T.Context(), u.ID, func(u *storage.User) error {
		now := s.Clock.Now()
		u.Name = "Alice Example"
		u.EmailVerifiedAt = &now
		u.Profile = storage.Profile{
			GivenName: "Alice", FamilyName: "Example", MiddleName: "M", Nickname: "Al",
			Profile: "https://example.com/alice", Picture: "https://example.com/alice.png",
			Website: "https://alice.example", Gender: "female", Birthdate: "1990-12-31", Zoneinfo: "Europe/Paris",
			Locale: "en-GB", PhoneNumber: "+1 604 555 1234",
			Address: storage.Address{
				Street: "1 Main Street", Locality: "Springfield", Region: "OR", PostalCode: "97477", Country: "USA",
			},
		}
		return nil
	})
	storagetest.Must(s.T, err)
	return updated
}

// Verifier returns go-oidc's verifier of ID tokens for the client, with the keys that the server publishes and the
// test's clock.
func (s *Server) Verifier(c client.Information) *oidc.IDTokenVerifier {
	keys := oidc.NewRemoteKeySet(context.Background(), s.URL+"/.well-known/jwks.json")
	return oidc.NewVerifier(s.Issuer, keys, &oidc.Config{
		ClientID: c.ClientID, Now: s.Clock.Now, SupportedSigningAlgs: []string{"RS256", "PS256", "ES256", "EdDSA"},
	})
}

// IDToken verifies the ID token of a token response and returns its claims.
func (s *Server) IDToken(c client.Information, r Response) map[string]any {
	s.T.Helper()
	token, err := s.Verifier(c).Verify(s.T.Context(), r.Text("id_token"))
	if err != nil {
		s.T.Fatalf("invalid ID token: %v: %s", err, r.Body)
	}
	if err := token.VerifyAccessToken(r.Text("access_token")); err != nil {
		s.T.Errorf("at_hash does not match the access token: %v", err)
	}
	claims := map[string]any{}
	storagetest.Must(s.T, token.Claims(&claims))
	return claims
}

// Userinfo returns the userinfo response for a token.
func (s *Server) Userinfo(token string) Response {
	s.T.Helper()
	req := s.Request(http.MethodGet, "/oauth2/userinfo", nil)
	req.Header.Set("Authorization", "Bearer "+token)
	return s.Do(req)
}

// Redeem exchanges the code of a redirect.
func (s *Server) Redeem(c client.Information, to *url.URL) Response {
	s.T.Helper()
	return s.Token(c, CodeForm(to, c)).OK(s.T)
}

// ClientKey is the signing key of a client.
type ClientKey struct {
	Private crypto.Signer
	ID, Alg string
}

// Sign returns a JWT of the claims, with further header members.
func (k ClientKey) Sign(t testing.TB, claims any, header map[jose.HeaderKey]any) string {
	t.Helper()
	options := &jose.SignerOptions{ExtraHeaders: header}
	key := jose.JSONWebKey{Key: k.Private, KeyID: k.ID}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(k.Alg), Key: key}, options)
	storagetest.Must(t, err)
	payload, err := json.Marshal(claims)
	storagetest.Must(t, err)
	jws, err := signer.Sign(payload)
	storagetest.Must(t, err)
	out, err := jws.CompactSerialize()
	storagetest.Must(t, err)
	return out
}

// JWKS returns the JWKS of the public keys.
func JWKS(t testing.TB, keys ...ClientKey) string {
	t.Helper()
	set := jose.JSONWebKeySet{}
	for _, k := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Private.Public(), KeyID: k.ID, Algorithm: k.Alg, Use: "sig"})
	}
	b, err := json.Marshal(set)
	storagetest.Must(t, err)
	return string(b)
}

// Host is a web server of a client. It serves documents and stores posted forms.
type Host struct {
	URL string

	mu       sync.Mutex
	docs     map[string]Document
	requests map[string]int
	posted   []url.Values
	statuses []int // of the next posts; then 200
}

// Document is what a Host serves.
type Document struct {
	Type, Body string
	Location   string // a redirect instead
}

// NewHost starts a Host on loopback until the test ends.
func NewHost(t testing.TB) *Host {
	t.Helper()
	h := &Host{docs: map[string]Document{}, requests: map[string]int{}}
	server := httptest.NewServer(h)
	storagetest.Cleanup(t, server.Close)
	h.URL = server.URL
	return h
}

// Serve serves a document at a path.
func (h *Host) Serve(path, contentType, body string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.docs[path] = Document{Type: contentType, Body: body}
}

// Redirect redirects a path.
func (h *Host) Redirect(path, to string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.docs[path] = Document{Location: to}
}

// Requests returns the number of requests for a path.
func (h *Host) Requests(path string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.requests[path]
}

// Respond sets the statuses of the next posts.
func (h *Host) Respond(statuses ...int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.statuses = statuses
}

// Posted returns the forms that were posted.
func (h *Host) Posted() []url.Values {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]url.Values{}, h.posted...)
}

// ServeHTTP implements http.Handler.
func (h *Host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests[r.URL.Path]++
	if r.Method == http.MethodPost {
		_ = r.ParseForm() // an invalid form is empty, which the test checks
		h.posted = append(h.posted, r.PostForm)
		status := http.StatusOK
		if len(h.statuses) > 0 {
			status, h.statuses = h.statuses[0], h.statuses[1:]
		}
		w.WriteHeader(status)
		return
	}
	doc, ok := h.docs[r.URL.Path]
	switch {
	case !ok:
		http.NotFound(w, r)
	case doc.Location != "":
		http.Redirect(w, r, doc.Location, http.StatusFound)
	default:
		w.Header().Set("Content-Type", doc.Type)
		_, _ = w.Write([]byte(doc.Body))
	}
}

// Deliver sends the deliveries that are due, as the job of every process does each second.
func (s *Server) Deliver() {
	s.T.Helper()
	storagetest.Must(s.T, s.notify.Send(s.T.Context()))
}
