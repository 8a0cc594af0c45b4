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
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

var displayedLinks = []servertest.Requirement{
	servertest.Req("U6", "RFC 7591 §5, OIDC Core §4",
		"the account page shows a self-registered client by the host that the user agreed to, as not checked, and "+
			"links to no other host",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			const other = "https://other.example/cb"
			hasStartLink := func(b *servertest.Browser) bool {
				isStart := func(href string) bool { return strings.Contains(href, "/start?") }
				return slices.ContainsFunc(b.Open("/account").Links(), isStart)
			}
			// Another host than that of the redirect URI, and another port.
			for _, uri := range []string{"https://evil.example/start", "https://app.example:8443/start"} {
				r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],"initiate_login_uri":"`+uri+`"}`)
				if r.Status != http.StatusBadRequest {
					t.Errorf("registration with %s: got %d, want 400", uri, r.Status)
				}
			}
			c := clientOf(selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`","`+other+`"],"client_name":"Bank",
				"client_uri":"https://bank.example/","policy_uri":"https://policy.example/p",
				"initiate_login_uri":"https://app.example/start"}`))
			b := s.Browser()
			login := b.Authorize(c, "scope", "openid")
			if !strings.Contains(login.Text(), "(policy.example)") {
				t.Errorf("the sign-in page does not contain the host of the policy: %s", login.Text())
			}
			b.Decide(b.SignIn(login, "alice"), "approve")
			account := b.Open("/account")
			appLinks := slices.DeleteFunc(account.Links(), func(href string) bool {
				return !strings.Contains(href, "/account/apps/")
			})
			for _, p := range []servertest.Page{account, b.Open(appLinks[0])} {
				text := p.Text()
				for _, want := range []string{"Bank", "app.example", "This app is not verified"} {
					if !strings.Contains(text, want) {
						t.Errorf("%s does not contain %q: %s", p.URL, want, text)
					}
				}
				if strings.Contains(text, "bank.example") || strings.Contains(text, "other.example") {
					t.Errorf("%s contains a host that the user did not approve: %s", p.URL, text)
				}
			}
			if !hasStartLink(b) {
				t.Error("the account page does not link the client, although the user approved its host")
			}
			// After consent with a redirect to the other host the page shows that host, and links nothing.
			b.Decide(b.Authorize(c, "scope", "openid", "prompt", "consent", "redirect_uri", other), "approve")
			text := b.Open("/account").Text()
			if !strings.Contains(text, "other.example") || strings.Contains(text, "app.example") || hasStartLink(b) {
				t.Errorf("after consent at the other host: got %s, want other.example and no link", text)
			}
			// A consent without a stored redirect URI, to a client with two hosts.
			storagetest.Exec(t, s.Store, s.DB, "UPDATE consents SET redirect_uri = ''")
			text = b.Open("/account").Text()
			if strings.Contains(text, "other.example") || strings.Contains(text, "app.example") || hasStartLink(b) {
				t.Errorf("consent without a redirect URI: got %s, want no host and no link", text)
			}
			// A stored row that breaks the rule.
			b.Decide(b.Authorize(c, "scope", "openid", "prompt", "consent"), "approve")
			editClient(t, s, c.ClientID, func(row *storage.Client) { row.InitiateLoginURI = "https://evil.example/start" })
			if hasStartLink(b) {
				t.Error("the account page links an initiate_login_uri of another host")
			}
			// A client that the operator created may have other hosts.
			own := s.Client(`{"client_name":"Own","client_uri":"https://own.example/","scope":"read",
				"initiate_login_uri":"https://start.example/start","redirect_uris":["` + servertest.Callback + `"]}`)
			b.Decide(b.Authorize(own, "scope", "read"), "approve")
			if text := b.Open("/account").Text(); !strings.Contains(text, "own.example") || !hasStartLink(b) {
				t.Errorf("a client of the operator: got %s, want own.example and a link", text)
			}
		}).WithSettings(openRegistration),

	servertest.Req("U8", "OIDC RP-Initiated Logout §4",
		"an error page describes the sessions of the browser correctly and links every page that it names",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			invalid := []string{
				"/oauth2/logout?client_id=unknown", "/oauth2/logout?client_id=a&client_id=b",
				"/oauth2/logout?request=damaged",
				"/oauth2/logout?post_logout_redirect_uri=https%3A%2F%2Fevil.example",
			}
			b := s.Browser()
			for _, path := range invalid {
				p := b.Open(path)
				text := p.Text()
				if p.Status != http.StatusBadRequest || !strings.Contains(text, "You are not signed in") ||
					strings.Contains(text, "still signed in") || strings.Contains(text, "account page") {
					t.Errorf("%s without a session: got %d %s, want 400, not signed in", path, p.Status, text)
				}
			}
			b.SignIn(b.Open("/login"), "alice")
			for _, path := range invalid {
				p := b.Open(path)
				text := p.Text()
				if p.Status != http.StatusBadRequest || !strings.Contains(text, "You are still signed in") ||
					!slices.Contains(p.Links(), "/account") {
					t.Errorf("%s with a session: got %d %s, want 400, still signed in, with a link", path, p.Status, text)
				}
			}
			for _, p := range []servertest.Page{
				b.Open("/nothing"), b.Open("/oauth2/logout"), b.Open("/signed-out"), b.Authorize(s.App()),
				b.Submit("/account/profile", url.Values{"name": {"a", "b"}}),
				b.Submit("/account/sign-out", url.Values{"form_token": {"x"}}),
			} {
				text := p.Text()
				if strings.Contains(text, "account page") && !slices.Contains(p.Links(), "/account") {
					t.Errorf("%s names the account page without a link: %s", p.URL, text)
				}
				if strings.Contains(p.URL, "/account") && strings.Contains(text, "sign-in link") {
					t.Errorf("%s names a sign-in link, although it is not part of a sign-in: %s", p.URL, text)
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
				t.Fatalf("got %s and %s, want two sign-in pages", first.URL, account.URL)
			}
			b.SignIn(b.Authorize(c), "alice")
			if p := b.Follow(b.Open(first.URL)); !strings.Contains(p.URL, "/consent") {
				t.Errorf("reload of the request's page: got %s, want the consent page", p.URL)
			}
			if p := b.Follow(b.Open(account.URL)); !strings.HasSuffix(p.URL, "/account") {
				t.Errorf("reload of the account's page: got %s, want /account", p.URL)
			}
			chooser := b.Authorize(c, "prompt", "select_account")
			other := slices.DeleteFunc(chooser.Links(), func(href string) bool { return !strings.Contains(href, "/login") })
			if len(other) != 1 {
				t.Fatalf("links of the account chooser = %v, want one to the sign-in page", chooser.Links())
			}
			p := b.SignIn(b.Follow(b.Open(other[0])), "bob")
			if !strings.Contains(p.URL, "/consent") || !strings.Contains(p.Text(), "bob") {
				t.Errorf("sign-in with another account: got %s %s, want bob's consent page", p.URL, p.Text())
			}
			// An earlier sign-in does not satisfy prompt=login.
			if p := b.Follow(b.Open(b.Authorize(c, "prompt", "login").URL)); !strings.Contains(p.URL, "/login") {
				t.Errorf("prompt=login: got %s, want the sign-in page", p.URL)
			}
		}),

	servertest.Req("U7", "RFC 7592 §2.2, RFC 7591 §5",
		"a client that changes its description or its sign-in URL needs consent again, and until then no page links to it",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			metadata := map[string]any{
				"redirect_uris": []string{servertest.Callback}, "client_name": "Notes", "client_uri": "https://app.example/",
				"initiate_login_uri": "https://app.example/start", "logo_uri": "https://app.example/logo.png",
				"policy_uri": "https://app.example/policy", "tos_uri": "https://app.example/tos",
			}
			for member, value := range map[string]any{
				"client_name": "Bank", "client_uri": "https://bank.example/",
				"initiate_login_uri": "https://app.example/other", "logo_uri": "https://app.example/other.png",
				"policy_uri": "https://app.example/other", "tos_uri": "https://app.example/other",
				"redirect_uris": []string{servertest.Callback, "https://bank.example/cb"},
			} {
				raw, err := json.Marshal(metadata)
				storagetest.Must(t, err)
				registered := selfRegister(s, string(raw))
				c := clientOf(registered)
				b := s.Browser()
				b.Decide(b.SignIn(b.Authorize(c, "scope", "openid"), "alice"), "approve")
				if p := b.Authorize(c, "scope", "openid"); !hasCode(p) {
					t.Fatalf("before %s changes: got %s, want a code", member, p.Text())
				}
				changed := maps.Clone(metadata)
				changed["client_id"], changed[member] = c.ClientID, value
				s.Clock.Advance(time.Second)
				if r := replaceMetadata(t, s, registered, changed); r.Status != http.StatusOK {
					t.Fatalf("changing %s: got %d %s, want 200", member, r.Status, r.Body)
				}
				account := b.Open("/account")
				isOfClient := func(href string) bool {
					return strings.Contains(href, c.ClientID) || strings.Contains(href, "app.example")
				}
				if !strings.Contains(account.Text(), "has changed its description") ||
					slices.ContainsFunc(account.Links(), isOfClient) {
					t.Errorf("after %s changed: got %s, want a notice and no link to the client", member, account.Text())
				}
				p := b.Authorize(c, "scope", "openid")
				if !strings.Contains(p.URL, "/consent") {
					t.Errorf("after %s changed: got %s %s, want the consent page", member, p.URL, p.Header.Get("Location"))
					continue
				}
				b.Decide(p, "approve")
				if strings.Contains(b.Open("/account").Text(), "has changed its description") {
					t.Errorf("the account page still reports a change of %s after the user approved it", member)
				}
				storagetest.Must(t, s.Store.DeleteClient(t.Context(), c.ClientID))
			}
		}).WithSettings(openRegistration, "GATEHOUSE_RATE_LIMITS=off"),
}
