package oauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

var authorizationPages = []servertest.Requirement{
	servertest.Req("P21", "RFC 9700 §4.12",
		"the response to a form with a password or a decision is a redirect with 303",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			b := s.Browser()
			page := b.Authorize(s.App())
			form := page.Fields()
			form.Set("username", "alice")
			form.Set("password", servertest.Password)
			response := b.Submit("/login", form)
			decided := b.Decide(b.Follow(response), "approve")
			if response.Status != http.StatusSeeOther || decided.Status != http.StatusSeeOther {
				t.Errorf("got %d after the sign-in and %d after the decision, want 303", response.Status, decided.Status)
			}
		}),
	servertest.Req("P22", "RFC 9700 §4.2.4, §4.16",
		"pages cannot be framed or cached and send no Referer",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			b := s.Browser()
			login := b.Authorize(s.App())
			consent := b.SignIn(login, "alice")
			for _, p := range []servertest.Page{
				login, consent, b.Open("/account"), b.Open("/signed-out"), b.Open("/nothing"),
				b.Open("/oauth2/authorize?client_id=x"),
			} {
				for name, want := range map[string]string{
					"X-Frame-Options": "DENY", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
				} {
					if got := p.Header.Get(name); got != want {
						t.Errorf("%s: %s = %q, want %q", p.URL, name, got, want)
					}
				}
				csp := p.Header.Get("Content-Security-Policy")
				if !strings.Contains(csp, "frame-ancestors 'none'") || !strings.Contains(csp, "default-src 'none'") ||
					strings.Contains(csp, "unsafe") {
					t.Errorf("%s: Content-Security-Policy = %q, want no frames and nothing unsafe", p.URL, csp)
				}
			}
		}),
	servertest.Req("P22b", "CSP Level 3 §6.4.1",
		"forms can be submitted only to this server, except on pages whose form can redirect to a client",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.Client(`{"client_name":"App","redirect_uris":["` + servertest.Callback + `"],
				"post_logout_redirect_uris":["https://app.example/out"],"scope":"read"}`)
			b := s.Browser()
			login := b.Authorize(c, "scope", "read")
			form := login.Fields()
			form.Set("username", "alice")
			form.Set("password", "wrong")
			failed := b.Submit("/login", form)
			consent := b.SignIn(login, "alice")
			logout := url.Values{"client_id": {c.ClientID}, "post_logout_redirect_uri": {"https://app.example/out"}}
			for _, p := range []servertest.Page{
				login, failed, consent, b.Authorize(c, "scope", "read", "prompt", "select_account"),
				b.Authorize(c, "scope", "read", "prompt", "login"), b.Open("/oauth2/logout?" + logout.Encode()),
				b.Authorize(c, "scope", "read", "prompt", "none", "response_mode", "form_post"),
			} {
				csp := p.Header.Get("Content-Security-Policy")
				if p.Header.Get("X-Frame-Options") != "DENY" || !strings.Contains(csp, "default-src 'none'") ||
					strings.Contains(csp, "form-action") {
					t.Errorf("%d %s: headers = %v, want DENY and a policy without form-action", p.Status, p.URL, p.Header)
				}
			}
			for _, path := range []string{
				"/login", "/select", "/account", "/account/profile", "/signed-out", "/oauth2/logout", "/nothing",
				"/oauth2/authorize?client_id=x", "/consent?request=x",
			} {
				const want = "; form-action 'self'"
				if csp := b.Open(path).Header.Get("Content-Security-Policy"); !strings.HasSuffix(csp, want) {
					t.Errorf("%s: Content-Security-Policy = %q, want %q at the end", path, csp, want)
				}
			}
		}),
	servertest.Req("P23", "RFC 9700 §2.6",
		"the authorization endpoint and the pages send no CORS headers; protocol documents do",
		func(t *testing.T, s *servertest.Server) {
			for _, path := range []string{"/oauth2/authorize?client_id=x", "/login", "/account", "/signed-out"} {
				req := s.Request(http.MethodGet, path, nil)
				req.Header.Set("Origin", "https://evil.example")
				if got := s.Do(req).Header.Get("Access-Control-Allow-Origin"); got != "" {
					t.Errorf("%s: Access-Control-Allow-Origin = %q, want none", path, got)
				}
			}
			for _, path := range []string{
				"/.well-known/oauth-authorization-server", "/.well-known/jwks.json", "/oauth2/token", "/oauth2/revoke",
			} {
				h := s.Do(s.Request(http.MethodOptions, path, nil)).Header
				origin, credentials := h.Get("Access-Control-Allow-Origin"), h.Get("Access-Control-Allow-Credentials")
				if origin != "*" || credentials != "" {
					t.Errorf("%s: got origin %q, credentials %q, want * without credentials", path, origin, credentials)
				}
			}
		}),
	servertest.Req("P24", "RFC 9700 §4.7, CVE-2026-54618",
		"a decision needs the form of this session and of the request that was shown",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			s.User("mallory")
			c, other := s.App(), s.App()
			b := s.Browser()
			page := b.SignIn(b.Authorize(c), "alice")
			form := page.Fields()
			form.Set("decision", "approve")
			if p := b.SubmitFrom("https://evil.example", "/consent", form); p.Status != http.StatusForbidden {
				t.Errorf("from another site: got %d, want 403", p.Status)
			}
			incomplete := url.Values{"request": form["request"], "decision": {"approve"}}
			if p := b.Submit("/consent", incomplete); p.Status != http.StatusForbidden {
				t.Errorf("without a form token: got %d, want 403", p.Status)
			}
			approval := func(request, formToken url.Values) url.Values {
				return url.Values{
					"request": request["request"], "form_token": formToken["form_token"], "decision": {"approve"},
				}
			}
			// A form token of another request of the same user.
			second := b.Authorize(other).Fields()
			if p := b.Submit("/consent", approval(second, form)); p.Status != http.StatusForbidden {
				t.Errorf("with the form token of another request: got %d, want 403", p.Status)
			}
			// The attacker's form token in the victim's browser.
			attacker := s.Browser()
			stolen := attacker.SignIn(attacker.Authorize(c), "mallory").Fields()
			if p := b.Submit("/consent", approval(form, stolen)); p.Status != http.StatusForbidden {
				t.Errorf("with the form token of another user: got %d, want 403", p.Status)
			}
			if p := b.Submit("/consent", form); !hasCode(p) {
				t.Errorf("the form that was shown: got %d %s, want a code", p.Status, p.Text())
			}
		}),
	servertest.Req("P25", "RFC 6749 §4.1.2.1",
		"a denial redirects with access_denied, and its form is not accepted again",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			b := s.Browser()
			page := b.SignIn(b.Authorize(s.App()), "alice")
			b.Decide(page, "deny").WantRedirectError(t, s, "access_denied")
			if p := b.Decide(page, "approve"); p.Status != http.StatusGone {
				t.Errorf("approval after the denial: got %d %s, want 410", p.Status, p.Text())
			}
		}),
	servertest.Req("P28", "RFC 9700 §4.7, session fixation",
		"the session cookie changes at every sign-in, and the previous one is invalid",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			b := s.Browser()
			b.SetCookie("session", "planted-by-an-attacker-0000000000000000000000")
			b.SignIn(b.Open("/login"), "alice")
			first := b.Cookie("session")
			b.SignIn(b.Open("/login"), "alice")
			second := b.Cookie("session")
			if first == "" || first == second || strings.HasPrefix(first, "planted") {
				t.Fatalf("cookie after the first sign-in %q, after the second %q, want two new ones", first, second)
			}
			attacker := s.Browser()
			attacker.SetCookie("session", first)
			if p := attacker.Open("/account"); p.Status == http.StatusOK {
				t.Error("the cookie of the first sign-in is accepted after the second")
			}
		}),
	servertest.Req("P29", "RFC 9700 §4.7, RFC 8252 §8.6",
		"the consent page names the client, its scopes and the destination, and warns of clients on the device",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			storagetest.Must(t, s.Store.CreateScope(t.Context(), scope("files", "Read the files you share")))
			c := s.Client(`{"client_name":"File Viewer","gatehouse_owner":"Example Ltd","client_uri":"https://viewer.example",
				"token_endpoint_auth_method":"none","redirect_uris":["http://127.0.0.1/cb"],"scope":"files"}`)
			b := s.Browser()
			page := b.SignIn(b.Authorize(c, "scope", "files", "redirect_uri", "http://127.0.0.1:5555/cb"), "alice")
			for _, want := range []string{
				"File Viewer", "Example Ltd", "viewer.example", "Read the files you share", "127.0.0.1:5555", "pretend",
			} {
				if !strings.Contains(page.Text(), want) {
					t.Errorf("the consent page does not contain %q: %s", want, page.Text())
				}
			}
			// Such a client needs consent every time, also after an approval.
			b.Decide(page, "approve")
			page = b.Authorize(c, "scope", "files", "redirect_uri", "http://127.0.0.1:5556/cb")
			if !strings.Contains(page.URL, "/consent") {
				t.Errorf("after an approval: got %s, want the consent page", page.URL)
			}
		}),
	servertest.Req("P30", "CWE-79", "input is escaped wherever a page shows it", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		const script = `"><script>alert(1)</script>`
		c := s.Client(`{"client_name":"\"><script>alert(1)</script>","gatehouse_owner":"\"><script>alert(1)</script>",
			"redirect_uris":["https://app.example/callback"],"scope":"read"}`)
		b := s.Browser()
		login := b.Authorize(c, "scope", "read", "login_hint", script, "state", script)
		consent := b.SignIn(login, "alice")
		b.Decide(consent, "approve")
		pages := []servertest.Page{
			login, consent, b.Open("/account"), b.Open("/oauth2/authorize?client_id=" + url.QueryEscape(script)),
			b.Open("/login?request=" + url.QueryEscape(script)), b.Open("/" + url.PathEscape(script)),
			b.Submit("/login", url.Values{"username": {script}, "password": {script}, "request": {""}}),
		}
		for _, p := range pages {
			if strings.Count(p.Body, "<script") != 1 || strings.Contains(p.Body, "<script>") { // the one of every page
				t.Errorf("%s contains a script from the input", p.URL)
			}
		}
	}),
}
