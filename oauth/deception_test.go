package oauth_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse/oauth"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
	"gatehouse/web/webtest"
)

func TestUsersAreNotDeceived(t *testing.T) { webtest.Run(t, deception) }

// deceptiveHosts are hosts that a browser reads in another way than they are written.
var deceptiveHosts = []string{
	"%D0%B0pple.com", "\u0430pple.com", "b%61nk.example", "bank.example%2eevil.example", "bank.example.", "bank..example", "0x7f.1", "2130706433", "127.1", "0177.0.0.1",
	"1.2.3.4.5", "bank%E3%80%82example", "%EF%BC%91.example", "xn--a", "[::ffff:1.2.3.4]", "[fe80::1%25eth0]", "bank.example\\.evil.example", "user@evil.example", "bank.example%09", "bank.example;evil",
}

// editClient changes the stored record of a client, as an earlier version may have left it.
func editClient(t *testing.T, s *webtest.Server, id string, change func(c *storage.Client)) {
	t.Helper()
	storagetest.Must(t, s.Store.UpdateClient(t.Context(), id, storagetest.Event("edit"), func(c *storage.Client) (bool, error) {
		change(c)
		return false, nil
	}))
}

var deception = []webtest.Requirement{
	webtest.Req("U1", "RFC 8252 §8.6, URL Standard §3", "a URL whose host a browser reads in another way than it is written cannot be registered, in any member", func(t *testing.T, s *webtest.Server) {
		known := s.App()
		registered := selfRegister(s, minimal)
		for _, member := range []string{
			"redirect_uris", "post_logout_redirect_uris", "client_uri", "policy_uri", "tos_uri", "logo_uri", "initiate_login_uri", "jwks_uri", "sector_identifier_uri",
			"backchannel_logout_uri", "request_uris",
		} {
			for _, host := range deceptiveHosts {
				metadata := map[string]any{"redirect_uris": []string{webtest.Callback}}
				metadata[member] = "https://" + host + "/x"
				if strings.HasSuffix(member, "s") {
					metadata[member] = []string{"https://" + host + "/x"}
				}
				raw, err := json.Marshal(metadata)
				storagetest.Must(t, err)
				if r := selfRegister(s, string(raw)); r.Status != http.StatusBadRequest {
					t.Errorf("registered with %s %s: %d", member, host, r.Status)
				}
				m, err := oauth.ParseMetadata(raw)
				storagetest.Must(t, err)
				if _, _, err := s.OAuth.CreateClient(t.Context(), m); err == nil {
					t.Errorf("created with %s %s", member, host)
				}
				if _, _, err := s.OAuth.UpdateClient(t.Context(), known.ClientID, raw); err == nil {
					t.Errorf("updated with %s %s", member, host)
				}
				metadata["client_id"] = registered.Text("client_id")
				raw, err = json.Marshal(metadata)
				storagetest.Must(t, err)
				if r := registrationRequest(s, http.MethodPut, registered.Text("registration_client_uri"), registered.Text("registration_access_token"), string(raw)); r.Status != http.StatusBadRequest {
					t.Errorf("replaced with %s %s: %d", member, host, r.Status)
				}
			}
		}
		for _, uri := range []string{"https://xn--pple-43d.com/cb", "https://203.0.113.9/cb", "https://[2001:db8::1]/cb", "https://my_app.example:8443/cb"} {
			if r := selfRegister(s, `{"redirect_uris":["`+uri+`"],"client_uri":"`+uri+`"}`); r.Status != http.StatusCreated {
				t.Errorf("%s: %d %s", uri, r.Status, r.Body)
			}
		}
	}).With(openRegistration, "GATEHOUSE_RATE_LIMITS=off"),

	webtest.Req("U2", "RFC 8252 §8.6", "pages show the host that the browser goes to as an A-label, also of a client that an earlier version registered", func(t *testing.T, s *webtest.Server) {
		s.User("alice")
		for _, c := range []struct{ uri, want string }{
			{"https://%D0%B0pple.com/cb", "xn--pple-43d.com"},
			{"https://2130706433/cb", "an address that cannot be shown"},
		} {
			self := clientOf(selfRegister(s, minimal))
			editClient(t, s, self.ClientID, func(row *storage.Client) {
				row.RedirectURIs, row.PostLogoutRedirectURIs, row.URI = storage.Strings{c.uri}, storage.Strings{c.uri}, c.uri
			})
			b := s.Browser()
			login := b.Authorize(self, "redirect_uri", c.uri, "scope", "openid")
			consent := b.SignIn(login, "alice")
			pages := []webtest.Page{
				login, consent, b.Authorize(self, "redirect_uri", c.uri, "scope", "openid", "prompt", "select_account"),
				b.Open("/oauth2/logout?" + url.Values{"client_id": {self.ClientID}, "post_logout_redirect_uri": {c.uri}}.Encode()),
				b.Authorize(self, "redirect_uri", c.uri, "scope", "openid", "prompt", "none", "response_mode", "form_post"),
			}
			for _, p := range pages {
				if text := p.Text(); p.Status != http.StatusOK || !strings.Contains(text, c.want) || strings.Contains(text, "\u0430pple") || strings.Contains(text, "%D0") || strings.Contains(text, "2130706433") {
					t.Errorf("%s of %s: %d %s", p.URL, c.uri, p.Status, text)
				}
			}
		}
	}).With(openRegistration),

	webtest.Req("U3", "RFC 8252 §7.1", "a private-use scheme is shown as a client on the device, never like a host", func(t *testing.T, s *webtest.Server) {
		s.User("alice")
		const uri, want = "bank.example://bank.example/cb", "an app on this device (bank · example)"
		r := selfRegister(s, `{"redirect_uris":["`+uri+`"],"post_logout_redirect_uris":["`+uri+`"],"client_name":"Phone","token_endpoint_auth_method":"none"}`)
		c := clientOf(r)
		b := s.Browser()
		login := b.Authorize(c, "redirect_uri", uri, "scope", "openid")
		consent := b.SignIn(login, "alice")
		logout := b.Open("/oauth2/logout?" + url.Values{"client_id": {c.ClientID}, "post_logout_redirect_uri": {uri}}.Encode())
		chooser := b.Authorize(c, "redirect_uri", uri, "scope", "openid", "prompt", "select_account")
		for _, p := range []webtest.Page{login, consent, logout, chooser} {
			if text := p.Text(); p.Status != http.StatusOK || !strings.Contains(text, want) || strings.Contains(text, "bank.example") {
				t.Errorf("%s: %d %s", p.URL, p.Status, text)
			}
		}
	}).With(openRegistration),

	webtest.Req("U4", "RFC 7591 §2, §5", "a name that is blank, invisible or changes the text around it is refused, in every member that users or operators see", func(t *testing.T, s *webtest.Server) {
		known := s.App()
		registered := selfRegister(s, minimal)
		for _, member := range []string{"client_name", "software_id", "software_version", "gatehouse_owner", "contacts"} {
			for _, name := range []string{" ", "\u200b", "Not\u200bes", "\u202eseton", "\u2066Notes\u2069", "Notes\u009b2J", "Notes\u001b[2J", "No\ntes", " Notes", "Notes ", "\u3164", "\u2800", "\u0301"} {
				metadata := map[string]any{"redirect_uris": []string{webtest.Callback}, member: name}
				if member == "contacts" {
					metadata[member] = []string{name}
				}
				raw, err := json.Marshal(metadata)
				storagetest.Must(t, err)
				m, err := oauth.ParseMetadata(raw)
				storagetest.Must(t, err)
				if _, _, err := s.OAuth.CreateClient(t.Context(), m); err == nil {
					t.Errorf("created with %s %q", member, name)
				}
				if _, _, err := s.OAuth.UpdateClient(t.Context(), known.ClientID, raw); err == nil {
					t.Errorf("updated with %s %q", member, name)
				}
				if member == "gatehouse_owner" { // ignored where the client writes it
					continue
				}
				if r := selfRegister(s, string(raw)); r.Status != http.StatusBadRequest {
					t.Errorf("registered with %s %q: %d", member, name, r.Status)
				}
				metadata["client_id"] = registered.Text("client_id")
				raw, err = json.Marshal(metadata)
				storagetest.Must(t, err)
				if r := registrationRequest(s, http.MethodPut, registered.Text("registration_client_uri"), registered.Text("registration_access_token"), string(raw)); r.Status != http.StatusBadRequest {
					t.Errorf("replaced with %s %q: %d", member, name, r.Status)
				}
			}
		}
	}).With(openRegistration, "GATEHOUSE_RATE_LIMITS=off"),

	webtest.Req("U5", "RFC 7591 §5", "pages show the client_id and the username instead of a name that an earlier version stored and that cannot be read", func(t *testing.T, s *webtest.Server) {
		alice := s.User("alice")
		c := s.App()
		const hidden = "\u202eknaB"
		editClient(t, s, c.ClientID, func(row *storage.Client) { row.Name, row.Owner = hidden, hidden })
		_, err := s.Store.UpdateUser(t.Context(), alice.ID, storagetest.Event("edit"), func(u *storage.User) error { u.Name = hidden; return nil })
		storagetest.Must(t, err)
		storagetest.Must(t, s.Store.DescribeScope(t.Context(), "read", hidden, storagetest.Event("edit")))
		b := s.Browser()
		login := b.Authorize(c)
		consent := b.SignIn(login, "alice")
		b.Decide(consent, "approve")
		account := b.Open("/account")
		for _, p := range []webtest.Page{login, consent, account, b.Open("/oauth2/logout?client_id=" + c.ClientID)} {
			if text := p.Text(); p.Status != http.StatusOK || !strings.Contains(text, c.ClientID) || strings.Contains(p.Body, hidden) {
				t.Errorf("%s: %d %s", p.URL, p.Status, text)
			}
		}
		if !strings.Contains(account.Text(), "alice") || !strings.Contains(consent.Text(), "alice") || !strings.Contains(consent.Text(), "read") {
			t.Errorf("the pages do not name the user and the scope: %s\n%s", account.Text(), consent.Text())
		}
	}),
}
