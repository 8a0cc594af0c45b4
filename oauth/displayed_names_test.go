package oauth_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

func TestDisplayedNames(t *testing.T) { servertest.Run(t, displayedNames) }

// deceptiveHosts are hosts that browsers interpret differently from how they are written.
var deceptiveHosts = []string{
	"%D0%B0pple.com", "\u0430pple.com", "b%61nk.example", "bank.example%2eevil.example",
	"bank.example.", "bank..example", "0x7f.1", "2130706433", "127.1", "0177.0.0.1", "1.2.3.4.5",
	"bank%E3%80%82example", "%EF%BC%91.example", "xn--a", "[::ffff:1.2.3.4]", "[fe80::1%25eth0]",
	"bank.example\\.evil.example", "user@evil.example", "bank.example%09", "bank.example;evil",
}

// editClient changes the stored record of a client without the checks of an update.
func editClient(t *testing.T, s *servertest.Server, id string, change func(c *storage.Client)) {
	t.Helper()
	update := func(c *storage.Client) (storage.ClientUpdate, error) {
		change(c)
		return storage.ClientUpdate{}, nil
	}
	storagetest.Must(t, s.Store.UpdateClient(t.Context(), id, update))
}

// wantMetadataRefused fails the test when an operator can create a client with the metadata or change one to it.
func wantMetadataRefused(t *testing.T, s *servertest.Server, id string, metadata map[string]any) {
	t.Helper()
	raw, err := json.Marshal(metadata)
	storagetest.Must(t, err)
	m, err := client.ParseMetadata(raw)
	storagetest.Must(t, err)
	if _, _, err := s.OAuth.Clients.Create(t.Context(), m); err == nil {
		t.Errorf("a client was created with %s", raw)
	}
	if _, _, err := s.OAuth.Clients.Update(t.Context(), id, raw); err == nil {
		t.Errorf("a client was updated with %s", raw)
	}
}

// wantRegistrationRefused fails the test when a client can register with the metadata, or replace its own by it.
func wantRegistrationRefused(t *testing.T, s *servertest.Server, self servertest.Response, metadata map[string]any) {
	t.Helper()
	raw, err := json.Marshal(metadata)
	storagetest.Must(t, err)
	if r := selfRegister(s, string(raw)); r.Status != http.StatusBadRequest {
		t.Errorf("registration with %s: got %d, want 400", raw, r.Status)
	}
	metadata = maps.Clone(metadata)
	metadata["client_id"] = self.Text("client_id")
	if r := replaceMetadata(t, s, self, metadata); r.Status != http.StatusBadRequest {
		t.Errorf("replacing the metadata with %v: got %d, want 400", metadata, r.Status)
	}
}

// replaceMetadata sends an update request of a client to the registration management endpoint.
func replaceMetadata(
	t *testing.T, s *servertest.Server, self servertest.Response, metadata map[string]any,
) servertest.Response {
	t.Helper()
	raw, err := json.Marshal(metadata)
	storagetest.Must(t, err)
	return putMetadata(s, self, string(raw))
}

// displayedNames are in two files: names and hosts, here, and links and descriptions.
var displayedNames = slices.Concat(displayedHosts, displayedLinks)

var displayedHosts = []servertest.Requirement{
	servertest.Req("U1", "RFC 8252 §8.6, URL Standard §3",
		"a URL whose host browsers interpret differently from how it is written cannot be registered in any member",
		func(t *testing.T, s *servertest.Server) {
			known := s.App()
			registered := selfRegister(s, minimalMetadata)
			for _, member := range []string{
				"redirect_uris", "post_logout_redirect_uris", "client_uri", "policy_uri", "tos_uri", "logo_uri",
				"initiate_login_uri", "jwks_uri", "sector_identifier_uri", "backchannel_logout_uri", "request_uris",
			} {
				for _, host := range deceptiveHosts {
					metadata := map[string]any{"redirect_uris": []string{servertest.Callback}}
					metadata[member] = "https://" + host + "/x"
					if strings.HasSuffix(member, "s") {
						metadata[member] = []string{"https://" + host + "/x"}
					}
					wantMetadataRefused(t, s, known.ClientID, metadata)
					wantRegistrationRefused(t, s, registered, metadata)
				}
			}
			for _, uri := range []string{
				"https://xn--pple-43d.com/cb", "https://203.0.113.9/cb", "https://[2001:db8::1]/cb",
				"https://my_app.example:8443/cb",
			} {
				r := selfRegister(s, `{"redirect_uris":["`+uri+`"],"client_uri":"`+uri+`"}`)
				if r.Status != http.StatusCreated {
					t.Errorf("registration with %s: got %d %s, want 201", uri, r.Status, r.Body)
				}
			}
		}).WithSettings(openRegistration, "GATEHOUSE_RATE_LIMITS=off"),

	servertest.Req("U2", "RFC 8252 §8.6",
		"pages show the host that the browser opens as A-labels, also for a stored client whose URI breaks the rule",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			for _, c := range []struct{ uri, want string }{
				{"https://%D0%B0pple.com/cb", "xn--pple-43d.com"},
				{"https://2130706433/cb", "an address that cannot be displayed"},
			} {
				self := clientOf(selfRegister(s, minimalMetadata))
				editClient(t, s, self.ClientID, func(row *storage.Client) {
					row.RedirectURIs, row.URI = storage.Strings{c.uri}, c.uri
					row.PostLogoutRedirectURIs = storage.Strings{c.uri}
				})
				logout := url.Values{"client_id": {self.ClientID}, "post_logout_redirect_uri": {c.uri}}
				b := s.Browser()
				login := b.Authorize(self, "redirect_uri", c.uri, "scope", "openid")
				consent := b.SignIn(login, "alice")
				pages := []servertest.Page{
					login, consent,
					b.Authorize(self, "redirect_uri", c.uri, "scope", "openid", "prompt", "select_account"),
					b.Open("/oauth2/logout?" + logout.Encode()),
					b.Authorize(self, "redirect_uri", c.uri, "scope", "openid", "prompt", "none", "response_mode", "form_post"),
				}
				for _, p := range pages {
					text := p.Text()
					if p.Status != http.StatusOK || !strings.Contains(text, c.want) {
						t.Errorf("%s of %s: got %d %s, want 200 with %q", p.URL, c.uri, p.Status, text, c.want)
					}
					for _, deceptive := range []string{"\u0430pple", "%D0", "2130706433"} {
						if strings.Contains(text, deceptive) {
							t.Errorf("%s of %s contains %q: %s", p.URL, c.uri, deceptive, text)
						}
					}
				}
			}
		}).WithSettings(openRegistration),

	servertest.Req("U3", "RFC 8252 §7.1",
		"a private-use scheme is shown as a client on the device, never like a host",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			const uri, want = "bank.example://bank.example/cb", "an app on this device (bank · example)"
			c := clientOf(selfRegister(s, `{"redirect_uris":["`+uri+`"],"post_logout_redirect_uris":["`+uri+`"],
				"client_name":"Phone","token_endpoint_auth_method":"none"}`))
			b := s.Browser()
			login := b.Authorize(c, "redirect_uri", uri, "scope", "openid")
			consent := b.SignIn(login, "alice")
			query := url.Values{"client_id": {c.ClientID}, "post_logout_redirect_uri": {uri}}
			logout := b.Open("/oauth2/logout?" + query.Encode())
			chooser := b.Authorize(c, "redirect_uri", uri, "scope", "openid", "prompt", "select_account")
			for _, p := range []servertest.Page{login, consent, logout, chooser} {
				text := p.Text()
				if p.Status != http.StatusOK || !strings.Contains(text, want) || strings.Contains(text, "bank.example") {
					t.Errorf("%s: got %d %s, want 200 with %q and without the host", p.URL, p.Status, text, want)
				}
			}
		}).WithSettings(openRegistration),

	servertest.Req("U4", "RFC 7591 §2, §5",
		"a name that is blank, invisible or changes the text around it is refused, in every member that users or "+
			"operators see",
		func(t *testing.T, s *servertest.Server) {
			known := s.App()
			registered := selfRegister(s, minimalMetadata)
			for _, member := range []string{"client_name", "software_id", "software_version", "gatehouse_owner", "contacts"} {
				for _, name := range []string{
					" ", "\u200b", "Not\u200bes", "\u202eseton", "\u2066Notes\u2069", "Notes\u009b2J", "Notes\u001b[2J",
					"No\ntes", " Notes", "Notes ", "\u3164", "\u2800", "\u0301",
				} {
					metadata := map[string]any{"redirect_uris": []string{servertest.Callback}, member: name}
					if member == "contacts" {
						metadata[member] = []string{name}
					}
					wantMetadataRefused(t, s, known.ClientID, metadata)
					if member != "gatehouse_owner" { // ignored in requests of clients
						wantRegistrationRefused(t, s, registered, metadata)
					}
				}
			}
		}).WithSettings(openRegistration, "GATEHOUSE_RATE_LIMITS=off"),

	servertest.Req("U5", "RFC 7591 §5",
		"pages show the client_id and the username instead of a stored name that breaks the rule",
		func(t *testing.T, s *servertest.Server) {
			alice := s.User("alice")
			c := s.App()
			const hidden = "\u202eknaB"
			editClient(t, s, c.ClientID, func(row *storage.Client) { row.Name, row.Owner = hidden, hidden })
			_, err := s.Store.UpdateUser(t.Context(), alice.ID, func(u *storage.User) error { u.Name = hidden; return nil })
			storagetest.Must(t, err)
			storagetest.Must(t, s.Store.UpdateScope(t.Context(), "read", hidden))
			b := s.Browser()
			login := b.Authorize(c)
			consent := b.SignIn(login, "alice")
			b.Decide(consent, "approve")
			account := b.Open("/account")
			for _, p := range []servertest.Page{login, consent, account, b.Open("/oauth2/logout?client_id=" + c.ClientID)} {
				text := p.Text()
				if p.Status != http.StatusOK || !strings.Contains(text, c.ClientID) || strings.Contains(p.Body, hidden) {
					t.Errorf("%s: got %d %s, want 200 with the client_id and without the name", p.URL, p.Status, text)
				}
			}
			accountText, consentText := account.Text(), consent.Text()
			if !strings.Contains(accountText, "alice") || !strings.Contains(consentText, "alice") ||
				!strings.Contains(consentText, "read") {
				t.Errorf("the pages do not name the user and the scope: %s\n%s", accountText, consentText)
			}
		}),
}
