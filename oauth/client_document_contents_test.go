package oauth_test

import (
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/oauth/jwt"
	"gatehouse/storage/storagetest"
)

var documentContents = []servertest.Requirement{
	servertest.Req("MC19", "CIMD §4.1",
		"a client_id in the document that differs from its URL by one byte is refused",
		func(t *testing.T, s *servertest.Server) {
			h := newDocumentHost(t)
			for _, id := range []any{h.URL + "/", h.URL[:len(h.URL)-1], strings.ToUpper(h.URL[:4]) + h.URL[4:], "", nil, 1} {
				h.set("client_id", id)
				wantDocumentError(t, s, h.client(), "client_id")
			}
			h.set("client_id", h.URL)
			c := h.client()
			c.ClientID += "?x" // the document of another URL
			wantDocumentError(t, s, c, "must equal the client_id")
		}).WithSettings(documentSettings...),
	servertest.Req("MC20", "CIMD §4.4",
		"another status than 200, a body that is not a JSON object or too large and a wrong type are refused and not cached",
		func(t *testing.T, s *servertest.Server) {
			signInWithScopes(s)
			h := newDocumentHost(t)
			type fault struct {
				status          int
				kind, raw, text string
			}
			for _, f := range []fault{
				{404, "application/json", "", "status 404"},
				{301, "application/json", "", "status 301"},
				{500, "application/json", "", "status 500"},
				{204, "application/json", "", "status 204"},
				{200, "text/html", "", "Content-Type"},
				{200, "application/json", "<html>", "JSON object"},
				{200, "application/json", "[]", "JSON object"},
				{200, "application/json", "null", "JSON object"},
				{200, "application/json", `{"x":"` + strings.Repeat("a", 10<<10) + `"}`, "larger than 10 KiB"},
			} {
				h.mu.Lock()
				h.status, h.raw = f.status, f.raw
				h.header.Set("Content-Type", f.kind)
				h.header.Set("Location", "/oauth/client.json")
				h.mu.Unlock()
				before := h.count()
				wantDocumentError(t, s, h.client(), f.text)
				if got := h.count() - before; got != 1 {
					t.Errorf("status %d, type %s: %d requests, want 1", f.status, f.kind, got)
				}
				if _, err := s.Store.Client(t.Context(), h.URL); err == nil {
					t.Errorf("status %d, type %s: the client is stored", f.status, f.kind)
				}
			}
			h.mu.Lock()
			h.status, h.raw = 200, ""
			h.header.Set("Content-Type", "application/client-metadata+json; charset=utf-8")
			h.mu.Unlock()
			tokensFor(s, h.client(), "scope", "read")
		}).WithSettings(append(slices.Clone(documentSettings), "GATEHOUSE_RATE_LIMITS=off")...),
	servertest.Req("MC21", "CIMD §4.1",
		"a document with client_secret or a method with a secret is refused",
		func(t *testing.T, s *servertest.Server) {
			for _, change := range [][]any{
				{"client_secret", "x"}, {"client_secret", nil, "client_secret_expires_at", 0},
				{"client_secret_expires_at", nil, "token_endpoint_auth_method", "client_secret_basic"},
				{"token_endpoint_auth_method", "client_secret_post"}, {"token_endpoint_auth_method", "client_secret_jwt"},
				{"token_endpoint_auth_method", "private_key_jwt"}, // without keys
				{"token_endpoint_auth_method", "tls_client_auth"},
				{"token_endpoint_auth_method", nil, "token_endpoint_auth_methods_supported", []string{"client_secret_post"}},
			} {
				h := newDocumentHost(t)
				h.set(change...)
				wantDocumentError(t, s, h.client(), "is not valid")
			}
		}).WithSettings(append(slices.Clone(documentSettings), "GATEHOUSE_RATE_LIMITS=off")...),
	servertest.Req("MC22", "CIMD §4.2, RFC 7523 §3",
		"private_key_jwt works with jwks and jwks_uri and RS256, with the issuer as aud; none is refused if the document "+
			"names it, and works if the document lists both",
		func(t *testing.T, s *servertest.Server) {
			signInWithScopes(s)
			key := clientKey(t, jwt.RS256, "1")
			keys := servertest.NewHost(t)
			keys.Serve("/jwks", "application/json", servertest.JWKS(t, key))
			for name, members := range map[string][]any{
				"jwks": {"token_endpoint_auth_method", "private_key_jwt", "jwks", json.RawMessage(servertest.JWKS(t, key))},
				"jwks_uri": {"token_endpoint_auth_method", "private_key_jwt", "jwks_uri", keys.URL + "/jwks",
					"token_endpoint_auth_signing_alg", "RS256"},
				"list": {"token_endpoint_auth_method", nil, "token_endpoint_auth_methods_supported",
					[]string{"none", "private_key_jwt"}, "jwks_uri", keys.URL + "/jwks"},
			} {
				h := newDocumentHost(t)
				h.set(members...)
				c := h.client()
				to := s.Browser().Code(c, "alice", "scope", "read")
				byKey := func(to *url.URL) url.Values {
					form := servertest.CodeForm(to, c)
					maps.Copy(form, assertionForm(key.Sign(t, assertionClaims(s, c), nil)))
					return form
				}
				if name != "list" {
					s.Token(c, servertest.CodeForm(to, c)).Want(t, 401, "invalid_client")
				}
				s.Do(s.Request("POST", "/oauth2/token", byKey(to))).OK(t)
				if name == "list" {
					s.Token(c, servertest.CodeForm(s.Browser().Code(c, "alice", "scope", "read"), c)).OK(t)
				}
			}
		}).WithSettings(documentSettings...),
	servertest.Req("MC23", "CIMD §4.1, RFC 8252 §7.3",
		"the redirect URI must be in the document; the port of localhost and loopback addresses may differ",
		func(t *testing.T, s *servertest.Server) {
			signInWithScopes(s)
			h := newDocumentHost(t)
			h.set("redirect_uris", []string{"http://localhost/callback", "http://127.0.0.1/callback", servertest.Callback})
			for uri, valid := range map[string]bool{
				"http://localhost:51234/callback": true, "http://127.0.0.1:8080/callback": true, servertest.Callback: true,
				"http://localhost:51234/other": false, "http://[::1]:8080/callback": false, servertest.Callback + "/x": false,
				"https://other.example/callback": false,
			} {
				p := s.Browser().Authorize(h.client(), "redirect_uri", uri)
				if got := isAccepted(p); got != valid {
					t.Errorf("redirect_uri %s: accepted = %v, want %v", uri, got, valid)
				}
			}
		}).WithSettings(documentSettings...),
	servertest.Req("MC25", "CIMD §6.5",
		"every URI in the document that is fetched must have a public address",
		func(t *testing.T, s *servertest.Server) {
			for _, member := range []string{"jwks_uri", "logo_uri", "backchannel_logout_uri"} {
				for _, uri := range []string{"https://10.0.0.1/x", "http://app.example/x", "https://[::1]/x"} {
					h := newDocumentHost(t)
					h.set(member, uri)
					wantDocumentError(t, s, h.client(), member)
				}
			}
		}).WithSettings(append(slices.Clone(documentSettings), "GATEHOUSE_RATE_LIMITS=off")...),
}

var documentCache = []servertest.Requirement{
	servertest.Req("MC26", "CIMD §4.4, §6.3",
		"a document is cached for 5 minutes to 24 hours as max-age or Expires specify, and revalidated by ETag",
		func(t *testing.T, s *servertest.Server) {
			now := s.Clock.Now()
			for _, c := range []struct {
				header, value string
				ttl           time.Duration
			}{
				{"Cache-Control", "no-store", 5 * time.Minute}, {"Cache-Control", "max-age=1", 5 * time.Minute},
				{"Cache-Control", "public, max-age=3600", time.Hour}, {"Cache-Control", "max-age=999999", 24 * time.Hour},
				{"Expires", now.Add(2 * time.Hour).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"), 2 * time.Hour},
				{"X-None", "", 5 * time.Minute},
			} {
				h := newDocumentHost(t)
				h.header.Set(c.header, c.value)
				h.header.Set("ETag", `"v1"`)
				b := s.Browser()
				b.Authorize(h.client())
				d, err := s.Store.ClientDocument(t.Context(), h.URL)
				storagetest.Must(t, err)
				if got := d.ExpiresAt.Sub(now).Round(2 * time.Second); got != c.ttl {
					t.Errorf("%s: %s: cached for %s, want %s", c.header, c.value, got, c.ttl)
				}
				b.Authorize(h.client())
				if got := h.count(); got != 1 {
					t.Errorf("%d requests while the document is current, want 1", got)
				}
			}
			h := newDocumentHost(t)
			h.header.Set("ETag", `"v1"`)
			s.Browser().Authorize(h.client())
			s.Clock.Advance(5*time.Minute + time.Second)
			for range 2 {
				if p := s.Browser().Authorize(h.client()); !isAccepted(p) {
					t.Errorf("after revalidation: status = %d, want a page or a redirect", p.Status)
				}
			}
			if !slices.Equal(h.conditions, []string{"", `"v1"`}) {
				t.Errorf("If-None-Match = %q, want none, then the ETag", h.conditions)
			}
		}).WithSettings(documentSettings...),
	servertest.Req("MC26b", "CIMD §6.3",
		"a change of redirect URIs, method or keys applies at the next fetch and shows the consent page again; grants stay",
		func(t *testing.T, s *servertest.Server) {
			signInWithScopes(s)
			key := clientKey(t, jwt.ES256, "1")
			for _, change := range [][]any{
				{"redirect_uris", []string{servertest.Callback, "https://app.example/new"}},
				{"jwks", json.RawMessage(servertest.JWKS(t, key))},
				{"client_name", "Another name"},
			} {
				h := newDocumentHost(t)
				b := s.Browser()
				to := b.Code(h.client(), "alice", "scope", "read offline_access")
				r := s.Token(h.client(), servertest.CodeForm(to, h.client())).OK(t)
				again := func() bool {
					return strings.Contains(b.Follow(b.Authorize(h.client(), "scope", "read")).URL, "/consent")
				}
				if again() {
					t.Fatal("the consent page is shown although nothing changed")
				}
				s.Clock.Advance(6 * time.Minute)
				if again() {
					t.Fatal("the consent page is shown although the document did not change")
				}
				h.set(change...)
				s.Clock.Advance(6 * time.Minute)
				if !again() {
					t.Errorf("change of %v: the consent page is not shown", change[0])
				}
				s.Refresh(h.client(), r.Text("refresh_token")).OK(t)
			}
			h := newDocumentHost(t)
			s.Browser().Authorize(h.client())
			h.set("redirect_uris", []string{"https://app.example/new"})
			s.Clock.Advance(6 * time.Minute)
			s.Browser().Authorize(h.client()).WantErrorPage(t, 400)
		}).WithSettings(documentSettings...),
	servertest.Req("MC26c", "CIMD §4.4",
		"a client whose document cannot be fetched gets no authorization; it can refresh for another day",
		func(t *testing.T, s *servertest.Server) {
			signInWithScopes(s)
			h := newDocumentHost(t)
			c := h.client()
			r := tokensFor(s, c, "scope", "read offline_access")
			h.mu.Lock()
			h.status = 404
			h.mu.Unlock()
			s.Clock.Advance(6 * time.Minute)
			wantDocumentError(t, s, c, "status 404")
			r = s.Refresh(c, r.Text("refresh_token")).OK(t)
			s.Clock.Advance(25 * time.Hour)
			s.Refresh(c, r.Text("refresh_token")).Want(t, 401, "invalid_client")
			h.mu.Lock()
			h.status = 200
			h.mu.Unlock()
			s.Refresh(c, r.Text("refresh_token")).OK(t)
		}).WithSettings(documentSettings...),
	servertest.Req("MC26d", "CIMD §6.3",
		"a change from public to private_key_jwt applies to refresh tokens at the next fetch",
		func(t *testing.T, s *servertest.Server) {
			signInWithScopes(s)
			h := newDocumentHost(t)
			c := h.client()
			r := tokensFor(s, c, "scope", "read offline_access")
			key := clientKey(t, jwt.RS256, "1")
			h.set("token_endpoint_auth_method", "private_key_jwt", "jwks", json.RawMessage(servertest.JWKS(t, key)))
			s.Clock.Advance(6 * time.Minute)
			s.Refresh(c, r.Text("refresh_token")).Want(t, 401, "invalid_client")
			form := assertionForm(key.Sign(t, assertionClaims(s, c), nil), "grant_type", "refresh_token",
				"refresh_token", r.Text("refresh_token"))
			s.Do(s.Request("POST", "/oauth2/token", form)).OK(t)
		}).WithSettings(documentSettings...),
	servertest.Req("MC26e", "CIMD §4.4",
		"the operator fetches a document immediately, and a failure leaves the client as it is",
		func(t *testing.T, s *servertest.Server) {
			h := newDocumentHost(t)
			h.header.Set("ETag", `"v1"`) // which the host does not change
			if p := s.Browser().Authorize(h.client()); !isAccepted(p) {
				t.Fatalf("status = %d, want a page or a redirect", p.Status)
			}
			h.set("client_secret", "x")
			if _, err := s.OAuth.Clients.RefreshDocument(t.Context(), h.URL); err == nil {
				t.Error("an invalid document is accepted")
			}
			if p := s.Browser().Authorize(h.client()); !isAccepted(p) {
				t.Errorf("after a failed refresh: status = %d, want a page or a redirect", p.Status)
			}
			h.set("client_secret", nil, "redirect_uris", []string{"https://app.example/new"})
			refreshDocument(s, h.URL)
			s.Browser().Authorize(h.client()).WantErrorPage(t, 400)
			app := s.App().ClientID
			if _, err := s.OAuth.Clients.RefreshDocument(t.Context(), app); !errors.Is(err, client.ErrNoDocument) {
				t.Errorf("a client of the operator: %v, want ErrNoDocument", err)
			}
		}).WithSettings(documentSettings...),
	servertest.Req("MC30", "CIMD §6.5",
		"concurrent first uses of a client_id cause one fetch, and failures limit the network that caused them only",
		func(t *testing.T, s *servertest.Server) {
			h := newDocumentHost(t)
			h.block = make(chan struct{})
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					if p := s.Browser().Authorize(h.client()); !isAccepted(p) {
						t.Errorf("status = %d, want a page or a redirect", p.Status)
					}
				})
			}
			storagetest.Eventually(t, "the fetch begins", func() bool { return h.count() > 0 })
			close(h.block)
			wg.Wait()
			if got := h.count(); got != 1 {
				t.Errorf("%d fetches, want 1", got)
			}
			broken := newDocumentHost(t)
			broken.status = 404
			for range 4 {
				s.Browser().Authorize(broken.client())
			}
			before := broken.count()
			s.Browser().Authorize(broken.client()).WantErrorPage(t, 429)
			if got := broken.count(); got != before || before > 4 {
				t.Errorf("%d fetches, then %d: the failures do not limit the network", before, got)
			}
			if p := s.Browser().Authorize(h.client()); !isAccepted(p) {
				t.Errorf("a current document: status = %d, want a page or a redirect", p.Status)
			}
		}).WithSettings(append(slices.Clone(documentSettings),
		"GATEHOUSE_RATE_LIMITS=client_document_failure=3/1m")...),
	servertest.Req("MC40c", "CIMD §6.5",
		"a client with a document that no user allowed is deleted after a day, and added again when it is used",
		func(t *testing.T, s *servertest.Server) {
			h := newDocumentHost(t)
			s.Browser().Authorize(h.client())
			advanceAndExpire(t, s, 25*time.Hour)
			if _, err := s.Store.Client(t.Context(), h.URL); err == nil {
				t.Error("the client exists, want it deleted")
			}
			s.Browser().Authorize(h.client())
			if _, err := s.Store.Client(t.Context(), h.URL); err != nil {
				t.Errorf("after another use: %v", err)
			}
		}).WithSettings(documentSettings...),
	servertest.Req("MC40d", "CIMD §6.5",
		"a client with a document that the operator restricted is not deleted, or it would be added without the restriction",
		func(t *testing.T, s *servertest.Server) {
			addToGroups(s, s.User("alice"), "staff")
			for _, restriction := range []string{
				`{"gatehouse_required_groups":["staff"]}`, `{"gatehouse_default_scopes":[]}`,
				`{"gatehouse_resources":[]}`,
			} {
				h := newDocumentHost(t)
				s.Browser().Authorize(h.client())
				_, _, err := s.OAuth.Clients.Update(t.Context(), h.URL, []byte(restriction))
				storagetest.Must(t, err)
				advanceAndExpire(t, s, 200*24*time.Hour)
				if _, err := s.Store.Client(t.Context(), h.URL); err != nil {
					t.Errorf("client with %s: %v, want it to exist", restriction, err)
				}
			}
		}).WithSettings(documentSettings...),
}
