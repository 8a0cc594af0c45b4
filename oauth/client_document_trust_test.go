package oauth_test

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/admin"
	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/oauth/jwt"
	"gatehouse/storage/storagetest"
)

// documentTrust has what the operator decided about a client with a document, and how long it holds.
var documentTrust = []servertest.Requirement{
	servertest.Req("MC26f", "CIMD §6.3",
		"a document that sends responses elsewhere or changes its method ends that the consent page is skipped",
		func(t *testing.T, s *servertest.Server) {
			signInWithScopes(s)
			for _, change := range [][]any{
				{"redirect_uris", []string{servertest.Callback, servertest.Callback + "/open-redirect"}},
				{"token_endpoint_auth_method", "none"},
			} {
				h := newDocumentHost(t)
				keys := servertest.JWKS(t, clientKey(t, jwt.ES256, "1"))
				h.set("token_endpoint_auth_method", "private_key_jwt", "jwks", json.RawMessage(keys))
				b := s.Browser()
				b.Code(h.client(), "alice", "scope", "read")
				trusted := `{"gatehouse_skip_consent":true,"gatehouse_vouched":true}`
				_, _, err := s.OAuth.Clients.Update(t.Context(), h.URL, []byte(trusted))
				storagetest.Must(t, err)
				h.set(change...)
				s.Clock.Advance(6 * time.Minute)
				p := b.Follow(b.Authorize(h.client(), "scope", "read"))
				if !strings.Contains(p.URL, "/consent") || !strings.Contains(p.Text(), "not verified") {
					t.Errorf("change of %v: the page is %s, want the consent page with a warning", change[0], p.URL)
				}
			}
		}).WithSettings(documentSettings...),
	servertest.Req("MC26g", "RFC 7009 §2.1",
		"a client whose document is accepted cannot be deleted, and one that is created again has no tokens of the former",
		func(t *testing.T, s *servertest.Server) {
			signInWithScopes(s)
			h := newDocumentHost(t)
			tokensFor(s, h.client(), "scope", "read offline_access")
			former, err := s.Store.Client(t.Context(), h.URL)
			storagetest.Must(t, err)
			a := admin.New(s.Store, nil, s.OAuth.Clients, nil)
			if err := a.DeleteClient(t.Context(), h.URL); !errors.Is(err, admin.ErrDocumentAllowed) {
				t.Fatalf("DeleteClient of an accepted document: %v, want ErrDocumentAllowed", err)
			}
			storagetest.Must(t, s.Store.DeleteClient(t.Context(), h.URL))
			s.Clock.Advance(time.Second)
			s.Browser().Authorize(h.client())
			c, err := s.Store.Client(t.Context(), h.URL)
			storagetest.Must(t, err)
			if c.Epoch <= former.Epoch {
				t.Errorf("epoch = %d, want more than that of the deleted client, %d", c.Epoch, former.Epoch)
			}
		}).WithSettings(documentSettings...),
	servertest.Req("MC32c", "OIDC RP-Initiated Logout §2",
		"a client whose document the policy no longer accepts has no link on the page after sign-out",
		func(t *testing.T, s *servertest.Server) {
			signInWithScopes(s)
			h := newDocumentHost(t)
			const after = "https://app.example/out"
			h.set("post_logout_redirect_uris", []string{after})
			s.Browser().Code(h.client(), "alice", "scope", "read")
			query := url.Values{"client_id": {h.URL}, "post_logout_redirect_uri": {after}}.Encode()
			if p := s.Browser().Open("/oauth2/logout?" + query); p.Status >= 400 {
				t.Fatalf("status = %d, want a page or a redirect", p.Status)
			}
			p := s.StartAnotherWith("GATEHOUSE_CLIENT_DOCUMENTS=off").Browser().Open("/oauth2/logout?" + query)
			if p.Status != 400 || strings.Contains(p.Text(), "app.example") {
				t.Errorf("with documents off: %d %s, want an error page", p.Status, p.Text())
			}
		}).WithSettings(documentSettings...),
	servertest.Req("MC30b", "CIMD §6.5",
		"failures of a network do not keep it from a client whose document is stored",
		func(t *testing.T, s *servertest.Server) {
			signInWithScopes(s)
			h, missing := newDocumentHost(t), newDocumentHost(t)
			s.Browser().Authorize(h.client())
			s.Clock.Advance(6 * time.Minute)
			status := 0
			for range 40 {
				c := client.Information{ClientID: missing.URL + "/missing"}
				c.RedirectURIs = client.List{servertest.Callback}
				if status = s.Browser().Authorize(c).Status; status == 429 {
					break
				}
			}
			if status != 429 {
				t.Fatalf("status = %d after 40 failures, want 429", status)
			}
			if p := s.Browser().Authorize(h.client()); !isAccepted(p) {
				t.Errorf("stored document: status = %d, want a page or a redirect", p.Status)
			}
		}).WithSettings(documentSettings...),
}
