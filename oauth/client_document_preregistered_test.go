package oauth_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/oauth/jwt"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// changeMembers changes members of a client as the operator does.
func changeMembers(s *servertest.Server, id, patch string) client.Information {
	s.T.Helper()
	info, _, err := s.OAuth.Clients.Update(s.T.Context(), id, []byte(patch))
	storagetest.Must(s.T, err)
	return info
}

var documentPreregistered = []servertest.Requirement{
	servertest.Req("MC34", "CIMD §6.9",
		"a document can be registered in advance outside the list: pages do not warn, what the operator set stays when the "+
			"document changes, and the client does not expire",
		func(t *testing.T, s *servertest.Server) {
			signInWithScopes(s)
			h := newDocumentHost(t)
			h.set("policy_uri", "https://app.example/first", "jwks_uri", "https://app.example/keys.json")
			c := h.client()
			wantDocumentError(t, s, c, "does not accept those of its host")
			info, _, err := s.OAuth.Clients.CreateFromDocument(t.Context(), h.URL, []byte(`{
				"client_name":"Our editor","redirect_uris":["`+servertest.Callback+`"],
				"scope":"read offline_access","jwks_uri":"https://app.example/own.json"}`))
			storagetest.Must(t, err)
			want := client.List{"client_name", "jwks", "jwks_uri", "redirect_uris", "token_endpoint_auth_method"}
			if !info.Preregistered || !slices.Equal(info.OperatorMembers, want) ||
				info.JWKSURI != "https://app.example/own.json" {
				t.Errorf("registered %+v, want the members %q", info, want)
			}
			wantPage := func(has, hasNot string) {
				t.Helper()
				b := s.Browser()
				p := b.Follow(b.SignIn(b.Follow(b.Authorize(c, "scope", "read")), "alice"))
				if !strings.Contains(p.Body, has) || strings.Contains(p.Body, hasNot) {
					t.Errorf("page %s\nwant %q in it, and not %q", p.Body, has, hasNot)
				}
			}
			wantPage("Our editor", "not verified")
			h.set("client_name", "Your Bank", "redirect_uris", []string{"https://other.example/cb"},
				"policy_uri", "https://app.example/second")
			s.Clock.Advance(6 * time.Minute)
			wantPage("app.example/second", "Your Bank")
			if info = changeMembers(s, h.URL, `{"client_name":null,"policy_uri":null}`); info.ClientName != "Our editor" {
				t.Errorf("client_name = %q before the document is fetched, want no change", info.ClientName)
			}
			wantPage("Your Bank", "not verified")
			tokensFor(s, c, "scope", "read offline_access")
			advanceAndExpire(t, s, 365*24*time.Hour)
			r := tokensFor(s, c, "scope", "read offline_access")
			off := s.StartAnotherWith("GATEHOUSE_CLIENT_DOCUMENTS=off")
			wantDocumentError(t, off, c, "does not accept")
			off.Refresh(c, r.Text("refresh_token")).Want(t, 401, "invalid_client")
		}).WithSettings("GATEHOUSE_FETCH_ALLOW_HOSTS=127.0.0.1"),
	servertest.Req("MC34b", "CIMD §6.9",
		"a client that already uses its document can be registered in advance, once, and its refresh tokens stay valid; "+
			"values set by the operator also stay for a client that was not registered in advance; a document that conflicts "+
			"with them is refused",
		func(t *testing.T, s *servertest.Server) {
			signInWithScopes(s)
			h := newDocumentHost(t)
			c := h.client()
			r := tokensFor(s, c, "scope", "read offline_access")
			changeMembers(s, h.URL, `{"redirect_uris":["https://app.example/cb"]}`)
			h.set("client_name", "Other", "jwks_uri", "https://app.example/keys.json")
			s.Clock.Advance(6 * time.Minute)
			if p := s.Browser().Authorize(c); isAccepted(p) || !strings.Contains(p.Text(), "redirect_uri") {
				t.Errorf("the redirect URI of the document is accepted: %d %s", p.Status, p.Text())
			}
			create := func(patch string) error {
				_, _, err := s.OAuth.Clients.CreateFromDocument(t.Context(), h.URL, []byte(patch))
				return err
			}
			err := create(`{"token_endpoint_auth_method":"client_secret_basic"}`)
			if err == nil || !strings.Contains(err.Error(), "has no secret") {
				t.Errorf("with a secret: %v, want an error", err)
			}
			storagetest.Must(t, create(`{"redirect_uris":null}`))
			if err := create(`{}`); !errors.Is(err, storage.ErrConflict) {
				t.Errorf("second registration: %v, want ErrConflict", err)
			}
			s.Refresh(c, r.Text("refresh_token")).OK(t)
			tokensFor(s, c, "scope", "read")
			changeMembers(s, h.URL, `{"require_signed_request_object":true}`)
			h.set("jwks_uri", nil)
			s.Clock.Advance(6 * time.Minute)
			wantDocumentError(t, s, c, "conflicts with what the operator set for the client")
		}).WithSettings(documentSettings...),
	servertest.Req("MC34c", "CIMD §6.9",
		"a document cannot make keys that the operator set ineffective by changing the method, and the keys can be set with "+
			"or without null for the member that they exclude",
		func(t *testing.T, s *servertest.Server) {
			signInWithScopes(s)
			h := newDocumentHost(t)
			key := servertest.JWKS(t, clientKey(t, jwt.RS256, "1"))
			h.set("token_endpoint_auth_method", "private_key_jwt", "jwks", json.RawMessage(key))
			_, _, err := s.OAuth.Clients.CreateFromDocument(t.Context(), h.URL, []byte(`{"jwks":`+key+`}`))
			storagetest.Must(t, err)
			h.set("token_endpoint_auth_method", "none", "jwks", nil)
			refreshDocument(s, h.URL)
			c := h.client()
			to := s.Browser().Code(c, "alice", "scope", "read")
			s.Token(c, servertest.CodeForm(to, c)).Want(t, 401, "invalid_client")
			info := changeMembers(s, h.URL, `{"jwks":null,"jwks_uri":"https://app.example/keys.json"}`)
			want := client.List{"jwks", "jwks_uri", "token_endpoint_auth_method"}
			if !slices.Equal(info.OperatorMembers, want) {
				t.Errorf("members of the operator = %q, want %q", info.OperatorMembers, want)
			}
			h.set("jwks", json.RawMessage(key), "policy_uri", "https://app.example/policy")
			if changed := refreshDocument(s, h.URL); !slices.Equal(changed, []string{"policy_uri"}) {
				t.Errorf("changed members = %q, want policy_uri", changed)
			}
			_, _, err = s.OAuth.Clients.Update(t.Context(), h.URL, []byte(`{"scope":null}`))
			if err == nil || !strings.Contains(err.Error(), "scope must not be null") {
				t.Errorf("scope null: %v, want an error", err)
			}
		}).WithSettings(documentSettings...),
	servertest.Req("MC34d", "CIMD §6.9",
		"a fetch that is in progress while the operator restores a value of the document does not make it current",
		func(t *testing.T, s *servertest.Server) {
			signInWithScopes(s)
			h := newDocumentHost(t)
			h.header.Set("ETag", `"1"`)
			c := h.client()
			tokensFor(s, c, "scope", "read")
			changeMembers(s, h.URL, `{"client_name":"Our editor"}`)
			s.Clock.Advance(25 * time.Hour)
			fetched := h.count()
			release := make(chan struct{})
			h.mu.Lock()
			h.block = release
			h.mu.Unlock()
			ended := make(chan struct{})
			go func() {
				s.Browser().Authorize(c)
				close(ended)
			}()
			storagetest.Eventually(t, "the fetch begins", func() bool { return h.count() > fetched })
			changeMembers(s, h.URL, `{"client_name":null}`)
			close(release)
			<-ended
			s.Browser().Authorize(c)
			if stored, err := s.Store.Client(t.Context(), h.URL); err != nil || stored.Name != "Editor" {
				t.Errorf("client_name = %q, %v, want that of the document", stored.Name, err)
			}
		}).WithSettings(documentSettings...),
}
