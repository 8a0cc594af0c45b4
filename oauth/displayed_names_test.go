package oauth_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

func TestDisplayedNames(t *testing.T) { servertest.Run(t, displayedNames) }

// deceptiveHosts are hosts that a browser reads in another way than they are written.
var deceptiveHosts = []string{
	"%D0%B0pple.com", "\u0430pple.com", "b%61nk.example", "bank.example%2eevil.example", "bank.example.", "bank..example", "0x7f.1", "2130706433", "127.1", "0177.0.0.1",
	"1.2.3.4.5", "bank%E3%80%82example", "%EF%BC%91.example", "xn--a", "[::ffff:1.2.3.4]", "[fe80::1%25eth0]", "bank.example\\.evil.example", "user@evil.example", "bank.example%09", "bank.example;evil",
}

// editClient changes the stored record of a client without the checks of an update.
func editClient(t *testing.T, s *servertest.Server, id string, change func(c *storage.Client)) {
	t.Helper()
	storagetest.Must(t, s.Store.UpdateClient(t.Context(), id, func(c *storage.Client) (update storage.ClientUpdate, err error) {
		change(c)
		return update, nil
	}))
}

var displayedNames = []servertest.Requirement{
	servertest.Req("U1", "RFC 8252 §8.6, URL Standard §3",
		"a URL whose host browsers interpret differently from how it is written cannot be registered in any member",
		func(t *testing.T, s *servertest.Server) {
			known := s.App()
			registered := selfRegister(s, minimalMetadata)
			for _, member := range []string{
				"redirect_uris", "post_logout_redirect_uris", "client_uri", "policy_uri", "tos_uri", "logo_uri", "initiate_login_uri", "jwks_uri", "sector_identifier_uri",
				"backchannel_logout_uri", "request_uris",
			} {
				for _, host := range deceptiveHosts {
					metadata := map[string]any{"redirect_uris": []string{servertest.Callback}}
					metadata[member] = "https://" + host + "/x"
					if strings.HasSuffix(member, "s") {
						metadata[member] = []string{"https://" + host + "/x"}
					}
					raw, err := json.Marshal(metadata)
					storagetest.Must(t, err)
					if r := selfRegister(s, string(raw)); r.Status != http.StatusBadRequest {
						t.Errorf("registered with %s %s: %d", member, host, r.Status)
					}
					m, err := client.ParseMetadata(raw)
					storagetest.Must(t, err)
					if _, _, err := s.OAuth.Clients.Create(t.Context(), m); err == nil {
						t.Errorf("created with %s %s", member, host)
					}
					if _, _, err := s.OAuth.Clients.Update(t.Context(), known.ClientID, raw); err == nil {
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
					row.RedirectURIs, row.PostLogoutRedirectURIs, row.URI = storage.Strings{c.uri}, storage.Strings{c.uri}, c.uri
				})
				b := s.Browser()
				login := b.Authorize(self, "redirect_uri", c.uri, "scope", "openid")
				consent := b.SignIn(login, "alice")
				pages := []servertest.Page{
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
		}).WithSettings(openRegistration),

	servertest.Req("U3", "RFC 8252 §7.1",
		"a private-use scheme is shown as a client on the device, never like a host",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			const uri, want = "bank.example://bank.example/cb", "an app on this device (bank · example)"
			r := selfRegister(s, `{"redirect_uris":["`+uri+`"],"post_logout_redirect_uris":["`+uri+`"],"client_name":"Phone","token_endpoint_auth_method":"none"}`)
			c := clientOf(r)
			b := s.Browser()
			login := b.Authorize(c, "redirect_uri", uri, "scope", "openid")
			consent := b.SignIn(login, "alice")
			logout := b.Open("/oauth2/logout?" + url.Values{"client_id": {c.ClientID}, "post_logout_redirect_uri": {uri}}.Encode())
			chooser := b.Authorize(c, "redirect_uri", uri, "scope", "openid", "prompt", "select_account")
			for _, p := range []servertest.Page{login, consent, logout, chooser} {
				if text := p.Text(); p.Status != http.StatusOK || !strings.Contains(text, want) || strings.Contains(text, "bank.example") {
					t.Errorf("%s: %d %s", p.URL, p.Status, text)
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
				for _, name := range []string{" ", "\u200b", "Not\u200bes", "\u202eseton", "\u2066Notes\u2069", "Notes\u009b2J", "Notes\u001b[2J", "No\ntes", " Notes", "Notes ", "\u3164", "\u2800", "\u0301"} {
					metadata := map[string]any{"redirect_uris": []string{servertest.Callback}, member: name}
					if member == "contacts" {
						metadata[member] = []string{name}
					}
					raw, err := json.Marshal(metadata)
					storagetest.Must(t, err)
					m, err := client.ParseMetadata(raw)
					storagetest.Must(t, err)
					if _, _, err := s.OAuth.Clients.Create(t.Context(), m); err == nil {
						t.Errorf("created with %s %q", member, name)
					}
					if _, _, err := s.OAuth.Clients.Update(t.Context(), known.ClientID, raw); err == nil {
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
				if text := p.Text(); p.Status != http.StatusOK || !strings.Contains(text, c.ClientID) || strings.Contains(p.Body, hidden) {
					t.Errorf("%s: %d %s", p.URL, p.Status, text)
				}
			}
			if !strings.Contains(account.Text(), "alice") || !strings.Contains(consent.Text(), "alice") || !strings.Contains(consent.Text(), "read") {
				t.Errorf("the pages do not name the user and the scope: %s\n%s", account.Text(), consent.Text())
			}
		}),

	servertest.Req("U6", "RFC 7591 §5, OIDC Core §4",
		"the account page shows a self-registered client by the host that the user agreed to, as not checked, and "+
			"links to no other host",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			const other = "https://other.example/cb"
			open := func(b *servertest.Browser) bool {
				return slices.ContainsFunc(b.Open("/account").Links(), func(href string) bool { return strings.Contains(href, "/start?") })
			}
			for name, body := range map[string]string{
				"another host": `"initiate_login_uri":"https://evil.example/start"`, "another port": `"initiate_login_uri":"https://app.example:8443/start"`,
			} {
				if r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],`+body+`}`); r.Status != http.StatusBadRequest {
					t.Errorf("registered with %s: %d", name, r.Status)
				}
			}
			registered := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`","`+other+`"],"client_name":"Bank","client_uri":"https://bank.example/","policy_uri":"https://policy.example/p","initiate_login_uri":"https://app.example/start"}`)
			c := clientOf(registered)
			b := s.Browser()
			login := b.Authorize(c, "scope", "openid")
			if !strings.Contains(login.Text(), "(policy.example)") {
				t.Errorf("the sign-in page does not show where the policy is: %s", login.Text())
			}
			b.Decide(b.SignIn(login, "alice"), "approve")
			account := b.Open("/account")
			withdraw := b.Open(slices.DeleteFunc(account.Links(), func(href string) bool { return !strings.Contains(href, "/account/apps/") })[0])
			for _, p := range []servertest.Page{account, withdraw} {
				if text := p.Text(); !strings.Contains(text, "Bank") || !strings.Contains(text, "app.example") || !strings.Contains(text, "This app is not verified") || strings.Contains(text, "bank.example") || strings.Contains(text, "other.example") {
					t.Errorf("%s: %s", p.URL, text)
				}
			}
			if !open(b) {
				t.Error("the client cannot be opened where the user agreed to go")
			}
			// Consent at the other host: that is what is shown, and there is nothing to open there.
			b.Decide(b.Authorize(c, "scope", "openid", "prompt", "consent", "redirect_uri", other), "approve")
			if text := b.Open("/account").Text(); !strings.Contains(text, "other.example") || strings.Contains(text, "app.example") || open(b) {
				t.Errorf("after consent at the other host: %s", text)
			}
			// A consent that is older than the record of where it led, of a client with two hosts.
			storagetest.Exec(t, s.Store, s.DB, "UPDATE consents SET redirect_uri = ''")
			if text := b.Open("/account").Text(); strings.Contains(text, "other.example") || strings.Contains(text, "app.example") || open(b) {
				t.Errorf("an old consent: %s", text)
			}
			// A stored row that breaks the rule.
			b.Decide(b.Authorize(c, "scope", "openid", "prompt", "consent"), "approve")
			editClient(t, s, c.ClientID, func(row *storage.Client) { row.InitiateLoginURI = "https://evil.example/start" })
			if open(b) {
				t.Error("an initiate_login_uri of another host is opened")
			}
			// What the operator registered is as it was.
			own := s.Client(`{"client_name":"Own","client_uri":"https://own.example/","initiate_login_uri":"https://start.example/start","redirect_uris":["` + servertest.Callback + `"],"scope":"read"}`)
			b.Decide(b.Authorize(own, "scope", "read"), "approve")
			if text := b.Open("/account").Text(); !strings.Contains(text, "own.example") || !open(b) {
				t.Errorf("a client of the operator: %s", text)
			}
		}).WithSettings(openRegistration),

	servertest.Req("U8", "OIDC RP-Initiated Logout §4",
		"an error page describes the sessions of the browser correctly and links every page that it names",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			faulty := []string{"/oauth2/logout?client_id=unknown", "/oauth2/logout?client_id=a&client_id=b", "/oauth2/logout?request=damaged", "/oauth2/logout?post_logout_redirect_uri=https%3A%2F%2Fevil.example"}
			b := s.Browser()
			for _, path := range faulty {
				p := b.Open(path)
				if text := p.Text(); p.Status != http.StatusBadRequest || strings.Contains(text, "still signed in") || strings.Contains(text, "account page") || !strings.Contains(text, "You are not signed in") {
					t.Errorf("%s without a session: %d %s", path, p.Status, text)
				}
			}
			b.SignIn(b.Open("/login"), "alice")
			for _, path := range faulty {
				p := b.Open(path)
				if text := p.Text(); p.Status != http.StatusBadRequest || !strings.Contains(text, "You are still signed in") || !slices.Contains(p.Links(), "/account") {
					t.Errorf("%s with a session: %d %s", path, p.Status, text)
				}
			}
			for _, p := range []servertest.Page{
				b.Open("/nothing"), b.Open("/oauth2/logout"), b.Open("/signed-out"), b.Authorize(s.App()), b.Submit("/account/profile", url.Values{"name": {"a", "b"}}),
				b.Submit("/account/sign-out", url.Values{"form_token": {"x"}}),
			} {
				if text := p.Text(); strings.Contains(text, "account page") && !slices.Contains(p.Links(), "/account") || strings.Contains(p.URL, "/account") && strings.Contains(text, "sign-in link") {
					t.Errorf("%s: %s", p.URL, text)
				}
			}
		}),

	servertest.Req("U9", "OIDC Core §3.1.2.3",
		"a reloaded sign-in page continues when the user signed in concurrently, and shows the form when another "+
			"account was requested",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			s.User("bob")
			c := s.App()
			b := s.Browser()
			first, account := b.Authorize(c), b.Follow(b.Open("/account"))
			if !strings.Contains(first.URL, "/login") || !strings.Contains(account.URL, "/login") {
				t.Fatalf("%s %s", first.URL, account.URL)
			}
			b.SignIn(b.Authorize(c), "alice")
			if p := b.Follow(b.Open(first.URL)); !strings.Contains(p.URL, "/consent") {
				t.Errorf("the reloaded page of the request leads to %s", p.URL)
			}
			if p := b.Follow(b.Open(account.URL)); !strings.HasSuffix(p.URL, "/account") {
				t.Errorf("the reloaded page of the account leads to %s", p.URL)
			}
			chooser := b.Authorize(c, "prompt", "select_account")
			other := slices.DeleteFunc(chooser.Links(), func(href string) bool { return !strings.Contains(href, "/login") })
			if len(other) != 1 {
				t.Fatalf("the chooser links %v", chooser.Links())
			}
			if p := b.SignIn(b.Follow(b.Open(other[0])), "bob"); !strings.Contains(p.URL, "/consent") || !strings.Contains(p.Text(), "bob") {
				t.Errorf("another account: %s %s", p.URL, p.Text())
			}
			// A sign-in that must be new is not met by one of before.
			if p := b.Follow(b.Open(b.Authorize(c, "prompt", "login").URL)); !strings.Contains(p.URL, "/login") {
				t.Errorf("prompt=login leads to %s", p.URL)
			}
		}),

	servertest.Req("U7", "RFC 7592 §2.2, RFC 7591 §5",
		"a client that changes its description or its sign-in URL needs consent again and is not linked before",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			metadata := map[string]any{
				"redirect_uris": []string{servertest.Callback}, "client_name": "Notes", "client_uri": "https://app.example/", "initiate_login_uri": "https://app.example/start",
				"logo_uri": "https://app.example/logo.png", "policy_uri": "https://app.example/policy", "tos_uri": "https://app.example/tos",
			}
			for member, value := range map[string]any{
				"client_name": "Bank", "client_uri": "https://bank.example/", "initiate_login_uri": "https://app.example/other", "logo_uri": "https://app.example/other.png",
				"policy_uri": "https://app.example/other", "tos_uri": "https://app.example/other", "redirect_uris": []string{servertest.Callback, "https://bank.example/cb"},
			} {
				raw, err := json.Marshal(metadata)
				storagetest.Must(t, err)
				registered := selfRegister(s, string(raw))
				c := clientOf(registered)
				b := s.Browser()
				b.Decide(b.SignIn(b.Authorize(c, "scope", "openid"), "alice"), "approve")
				if p := b.Authorize(c, "scope", "openid"); p.Location().Query().Get("code") == "" {
					t.Fatalf("%s: prompted again without a change: %s", member, p.Text())
				}
				changed := maps.Clone(metadata)
				changed["client_id"], changed[member] = c.ClientID, value
				raw, err = json.Marshal(changed)
				storagetest.Must(t, err)
				s.Clock.Advance(time.Second)
				if r := registrationRequest(s, http.MethodPut, registered.Text("registration_client_uri"), registered.Text("registration_access_token"), string(raw)); r.Status != http.StatusOK {
					t.Fatalf("%s: %d %s", member, r.Status, r.Body)
				}
				account := b.Open("/account")
				if !strings.Contains(account.Text(), "has changed its description") || slices.ContainsFunc(account.Links(), func(href string) bool {
					return strings.Contains(href, c.ClientID) || strings.Contains(href, "app.example")
				}) {
					t.Errorf("%s changed: %s", member, account.Text())
				}
				p := b.Authorize(c, "scope", "openid")
				if !strings.Contains(p.URL, "/consent") {
					t.Errorf("%s changed: not prompted again: %s %s", member, p.URL, p.Header.Get("Location"))
					continue
				}
				b.Decide(p, "approve")
				if strings.Contains(b.Open("/account").Text(), "has changed its description") {
					t.Errorf("%s: still shown as changed after the user agreed", member)
				}
				storagetest.Must(t, s.Store.DeleteClient(t.Context(), c.ClientID))
			}
		}).WithSettings(openRegistration, "GATEHOUSE_RATE_LIMITS=off"),
}
