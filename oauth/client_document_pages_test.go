package oauth_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

var documentPages = []servertest.Requirement{
	servertest.Req("MC35", "CIMD §6.7",
		"the consent page shows the host of the client_id larger than the name, the destination, what is requested, and a "+
			"logo only for trusted hosts",
		func(t *testing.T, s *servertest.Server) {
			h := newDocumentHost(t)
			h.set("client_name", "Claude", "logo_uri", "https://app.example/logo.png", "client_uri", "https://claude.ai")
			host := strings.TrimSuffix(strings.TrimPrefix(h.URL, "http://"), "/oauth/client.json")
			listed := servertest.Start(t, storagetest.URL(t, s.Store.Engine()), servertest.Options{Env: map[string]string{
				"GATEHOUSE_CLIENT_DOCUMENT_HOSTS": host, "GATEHOUSE_FETCH_ALLOW_HOSTS": "127.0.0.1",
				"GATEHOUSE_REGISTRATION_SCOPES": "read",
			}})
			shown := strings.ReplaceAll(host, ".", "<wbr>.") // where a line may break
			for _, server := range []*servertest.Server{s, listed} {
				signInWithScopes(server)
				b := server.Browser()
				p := b.Follow(b.Authorize(h.client(), "scope", "read"))
				if !strings.Contains(p.Body, `continue to <strong class="app-name">`+shown) {
					t.Errorf("the sign-in page does not show the host of the client_id: %s", p.Text())
				}
				p = b.Follow(b.SignIn(p, "alice"))
				if want := `<h1><span class="document-host">` + shown + `</span>`; !strings.Contains(p.Body, want) {
					t.Errorf("the consent page does not show the host as its heading: %s", p.Body)
				}
				for _, want := range []string{"Claude", "app.example"} {
					if !strings.Contains(p.Text(), want) {
						t.Errorf("the consent page does not have %q", want)
					}
				}
				if got := strings.Contains(p.Body, `class="logo"`); got != (server == listed) {
					t.Errorf("logo on the page: %v, want %v", got, server == listed)
				}
				if got := strings.Contains(p.Text(), "not verified"); got != (server == s) {
					t.Errorf("warning on the page: %v, want %v", got, server == s)
				}
			}
		}).WithSettings(documentSettings...),
	servertest.Req("MC35b", "CIMD §6.7",
		"the operator vouches for a client with a document, which ends the warning until its description changes",
		func(t *testing.T, s *servertest.Server) {
			signInWithScopes(s)
			h := newDocumentHost(t)
			h.set("subject_type", "pairwise", "redirect_uris", []string{servertest.Callback, "https://other.example/cb"})
			warns := func() bool {
				b := s.Browser()
				p := b.Follow(b.SignIn(b.Follow(b.Authorize(h.client(), "scope", "read")), "alice"))
				if !strings.Contains(p.URL, "/consent") {
					t.Fatalf("the page is %s, want the consent page", p.URL)
				}
				return strings.Contains(p.Text(), "not verified")
			}
			before := warns()
			_, _, err := s.OAuth.Clients.Update(t.Context(), h.URL, []byte(`{"gatehouse_vouched":true}`))
			storagetest.Must(t, err)
			if c, err := s.Store.Client(t.Context(), h.URL); err != nil || c.Sector != "127.0.0.1" {
				t.Errorf("sector after the update = %q, %v; want that of the client_id", c.Sector, err)
			}
			vouched := warns()
			h.set("redirect_uris", []string{servertest.Callback}, "contacts", []string{"app@example.com"})
			s.Clock.Advance(6 * time.Minute)
			sameDescription := warns()
			h.set("client_name", "Your Bank", "gatehouse_vouched", true)
			s.Clock.Advance(6 * time.Minute)
			if renamed := warns(); !before || vouched || sameDescription || !renamed {
				t.Errorf("warnings = %v, vouched %v, same description %v, renamed %v; want true, false, false, true",
					before, vouched, sameDescription, renamed)
			}
		}).WithSettings(documentSettings...),
	servertest.Req("MC36", "CIMD §6.7",
		"the account page lists the client by host, and removing it ends the grants made under every version of its document",
		func(t *testing.T, s *servertest.Server) {
			user := signInWithScopes(s)
			h := newDocumentHost(t)
			first := tokensFor(s, h.client(), "scope", "read offline_access")
			h.set("redirect_uris", []string{servertest.Callback, "https://app.example/second"})
			s.Clock.Advance(6 * time.Minute)
			second := tokensFor(s, h.client(), "scope", "read offline_access")
			b := s.Browser()
			b.SignIn(b.Open("/login"), "alice")
			page := b.Open("/account")
			if host := strings.Split(h.URL, "/")[2]; !strings.Contains(page.Text(), host) {
				t.Errorf("the account page does not have %s: %s", host, page.Text())
			}
			list, err := s.Store.Consents(t.Context(), user.ID)
			storagetest.Must(t, err)
			if len(list) != 1 {
				t.Fatalf("%d consents, want one", len(list))
			}
			storagetest.Must(t, s.OAuth.WithdrawConsent(t.Context(), user.ID, list[0].ID))
			for _, r := range []servertest.Response{first, second} {
				s.Refresh(h.client(), r.Text("refresh_token")).Want(t, 400, "invalid_grant")
			}
		}).WithSettings(documentSettings...),
	servertest.Req("MC38", "OIDC Core §8.1",
		"pairwise subjects of a client with a document are those of the host of its client_id",
		func(t *testing.T, s *servertest.Server) {
			signInWithScopes(s)
			h := newDocumentHost(t)
			h.set("subject_type", "pairwise", "redirect_uris", []string{servertest.Callback, "https://other.example/cb"},
				"sector_identifier_uri", "https://10.0.0.1/sector.json")
			c := h.client()
			sub := claims(t, tokensFor(s, c, "scope", "read").Text("access_token"))["sub"]
			stored, err := s.Store.Client(t.Context(), h.URL)
			storagetest.Must(t, err)
			if stored.Sector != "127.0.0.1" || sub == nil {
				t.Errorf("sector = %q, want the host of the client_id", stored.Sector)
			}
			public := newDocumentHost(t)
			if other := claims(t, tokensFor(s, public.client(), "scope", "read").Text("access_token"))["sub"]; other == sub {
				t.Error("the pairwise sub equals the public one")
			}
		}).WithSettings(documentSettings...),
}
