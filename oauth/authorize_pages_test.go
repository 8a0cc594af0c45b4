package oauth_test

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

var authorizationPages = []servertest.Requirement{
	servertest.Req("P21", "RFC 9700 §4.12",
		"a form with a password or a decision gets 303",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			b := s.Browser()
			page := b.Authorize(s.App())
			form := page.Fields()
			form.Set("username", "alice")
			form.Set("password", servertest.Password)
			signedIn := b.Submit("/login", form)
			decided := b.Decide(b.Follow(signedIn), "approve")
			if signedIn.Status != http.StatusSeeOther || decided.Status != http.StatusSeeOther {
				t.Errorf("got %d and %d, want 303", signedIn.Status, decided.Status)
			}
		}),
	servertest.Req("P22", "RFC 9700 §4.2.4, §4.16",
		"pages cannot be framed or cached and send no Referer",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			b := s.Browser()
			login := b.Authorize(s.App())
			consent := b.SignIn(login, "alice")
			for _, p := range []servertest.Page{login, consent, b.Open("/account"), b.Open("/signed-out"), b.Open("/nothing"), b.Open("/oauth2/authorize?client_id=x")} {
				csp := p.Header.Get("Content-Security-Policy")
				if !strings.Contains(csp, "frame-ancestors 'none'") || !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") ||
					p.Header.Get("X-Frame-Options") != "DENY" || p.Header.Get("Cache-Control") != "no-store" || p.Header.Get("Referrer-Policy") != "no-referrer" {
					t.Errorf("%s: %v", p.URL, p.Header)
				}
			}
		}),
	servertest.Req("P22b", "CSP Level 3 §6.4.1",
		"forms can be submitted only to this server, except on pages whose form can redirect to a client",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.Client(`{"client_name":"App","redirect_uris":["` + servertest.Callback + `"],"post_logout_redirect_uris":["https://app.example/out"],"scope":"read"}`)
			b := s.Browser()
			login := b.Authorize(c, "scope", "read")
			wrong := login.Fields()
			wrong.Set("username", "alice")
			wrong.Set("password", "wrong")
			failed := b.Submit("/login", wrong)
			consent := b.SignIn(login, "alice")
			leaving := []servertest.Page{
				login, failed, consent, b.Authorize(c, "scope", "read", "prompt", "select_account"),
				b.Authorize(c, "scope", "read", "prompt", "login"), b.Open("/oauth2/logout?client_id=" + c.ClientID + "&post_logout_redirect_uri=https%3A%2F%2Fapp.example%2Fout"),
				b.Authorize(c, "scope", "read", "prompt", "none", "response_mode", "form_post"),
			}
			for _, p := range leaving {
				if csp := p.Header.Get("Content-Security-Policy"); p.Header.Get("X-Frame-Options") != "DENY" || !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "form-action") {
					t.Errorf("%d %s: %v", p.Status, p.URL, p.Header)
				}
			}
			for _, path := range []string{"/login", "/select", "/account", "/account/profile", "/signed-out", "/oauth2/logout", "/nothing", "/oauth2/authorize?client_id=x", "/consent?request=x"} {
				if csp := b.Open(path).Header.Get("Content-Security-Policy"); !strings.HasSuffix(csp, "; form-action 'self'") {
					t.Errorf("%s: %s", path, csp)
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
					t.Errorf("%s allows %s", path, got)
				}
			}
			for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/jwks.json", "/oauth2/token", "/oauth2/revoke"} {
				r := s.Do(s.Request(http.MethodOptions, path, nil))
				if r.Header.Get("Access-Control-Allow-Origin") != "*" || r.Header.Get("Access-Control-Allow-Credentials") != "" {
					t.Errorf("%s: %v", path, r.Header)
				}
			}
		}),
	servertest.Req("P24", "RFC 9700 §4.7, CVE-2026-54618",
		"consent needs a form of this session and of the request that was shown",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			s.User("mallory")
			c, other := s.App(), s.App()
			b := s.Browser()
			page := b.SignIn(b.Authorize(c), "alice")
			form := page.Fields()
			form.Set("decision", "approve")
			if p := b.SubmitFrom("https://evil.example", "/consent", form); p.Status != http.StatusForbidden {
				t.Errorf("from another site: %d, want 403", p.Status)
			}
			wrong := url.Values{"request": form["request"], "decision": {"approve"}}
			if p := b.Submit("/consent", wrong); p.Status != http.StatusForbidden {
				t.Errorf("without a token: %d, want 403", p.Status)
			}
			// A token of another request of the same user.
			second := b.Authorize(other)
			mixed := url.Values{"request": second.Fields()["request"], "form_token": form["form_token"], "decision": {"approve"}}
			if p := b.Submit("/consent", mixed); p.Status != http.StatusForbidden {
				t.Errorf("with another request's token: %d, want 403", p.Status)
			}
			// The attacker's own token in the victim's browser.
			m := s.Browser()
			stolen := m.SignIn(m.Authorize(c), "mallory").Fields()
			mixed = url.Values{"request": form["request"], "form_token": stolen["form_token"], "decision": {"approve"}}
			if p := b.Submit("/consent", mixed); p.Status != http.StatusForbidden {
				t.Errorf("with another user's token: %d, want 403", p.Status)
			}
			if p := b.Submit("/consent", form); p.Location().Query().Get("code") == "" {
				t.Errorf("the honest form: %d %s", p.Status, p.Text())
			}
		}),
	servertest.Req("P25", "RFC 6749 §4.1.2.1",
		"a denial is access_denied by redirect; an internal error discloses nothing",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			b := s.Browser()
			page := b.SignIn(b.Authorize(s.App()), "alice")
			b.Decide(page, "deny").WantRedirectError(t, s, "access_denied")
			// Submitted once: the same form is not accepted again.
			if p := b.Decide(page, "approve"); p.Status != http.StatusGone {
				t.Errorf("after the denial: %d %s", p.Status, p.Text())
			}
		}),
	servertest.Req("P26", "OIDC Core §3.1.2.6",
		"prompt=none returns login_required or consent_required, and cannot be combined with another value",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			b := s.Browser()
			b.Authorize(c, "prompt", "none").WantRedirectError(t, s, "login_required")
			b.SignIn(b.Open("/login"), "alice")
			b.Authorize(c, "prompt", "none").WantRedirectError(t, s, "consent_required")
			b.Code(c, "alice")
			if p := b.Authorize(c, "prompt", "none"); p.Location().Query().Get("code") == "" {
				t.Errorf("with both: %s", p.Header.Get("Location"))
			}
			b.Authorize(c, "prompt", "none", "scope", "read write offline_access").WantRedirectError(t, s, "consent_required")
			b.Authorize(c, "prompt", "none login").WantRedirectError(t, s, "invalid_request")
			b.Authorize(c, "prompt", "dance").WantRedirectError(t, s, "invalid_request")
		}),
	servertest.Req("P27", "OIDC Core §3.1.2.1, GHSA-hp74-gm6m-2qm5",
		"prompt=login and an expired max_age require a new sign-in, and auth_time is updated",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			b := s.Browser()
			first := claims(t, s.Token(c, servertest.CodeForm(b.Code(c, "alice"), c)).OK(t).Text("access_token"))
			for _, change := range [][]string{{"prompt", "login"}, {"max_age", "60"}, {"max_age", "0"}, {"prompt", "login select_account"}} {
				s.Clock.Advance(2 * time.Minute)
				page := b.Authorize(c, change...)
				if strings.Contains(page.URL, "/select") {
					form := page.Fields()
					form.Set("session", page.Buttons("session")[0])
					page = b.Follow(b.Submit("/select", form))
				}
				if !strings.Contains(page.URL, "/login") {
					t.Fatalf("%v: got %s, want the sign-in page", change, page.URL)
				}
				// Going around the form is no way to the code.
				if p := b.Follow(b.Open("/oauth2/authorize/" + page.Fields().Get("request"))); !strings.Contains(p.URL, "/login") {
					t.Errorf("%v: skipped to %s", change, p.URL)
				}
				s.Clock.Advance(time.Second)
				to := b.SignIn(page, "alice").Location()
				again := claims(t, s.Token(c, servertest.CodeForm(to, c)).OK(t).Text("access_token"))
				if again["auth_time"].(float64) <= first["auth_time"].(float64) {
					t.Errorf("%v: auth_time stayed %v", change, again["auth_time"])
				}
				first = again
			}
			if p := b.Authorize(c, "max_age", "3600"); p.Location().Query().Get("code") == "" {
				t.Errorf("a recent sign-in was not enough: %s", p.URL)
			}
			b.Authorize(c, "max_age", "-1").WantRedirectError(t, s, "invalid_request")
			b.Authorize(c, "max_age", "soon").WantRedirectError(t, s, "invalid_request")
		}),
	servertest.Req("P27b", "OIDC Core §3.1.2.1",
		"only a sign-in for the same request satisfies prompt=login; any sign-in satisfies other requests",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			s.User("bob")
			c := s.App()
			b := s.Browser()
			b.Code(c, "alice")
			for _, change := range [][]string{{"prompt", "login"}, {"max_age", "0"}} {
				page := b.Authorize(c, change...)
				other := b.Authorize(c, change...)
				again := func(after string) {
					t.Helper()
					if p := b.Follow(b.Open("/oauth2/authorize/" + page.Fields().Get("request"))); !strings.Contains(p.URL, "/login") {
						t.Fatalf("%v: met by %s: %s %s", change, after, p.URL, p.Header.Get("Location"))
					}
				}
				s.Clock.Advance(time.Second)
				b.SignIn(b.Open("/login"), "alice")
				again("a sign-in to the account page")
				s.Clock.Advance(time.Second)
				if p := b.SignIn(other, "alice"); p.Location().Query().Get("code") == "" {
					t.Fatalf("%v: the other request: %s", change, p.URL)
				}
				again("a sign-in for another request")
				if p := b.SignIn(page, "alice"); p.Location().Query().Get("code") == "" {
					t.Errorf("%v: its own sign-in: %s", change, p.URL)
				}
			}
			// Nor by the sign-in of another user for this request, when the user chooses one who was signed in before.
			page := b.SignIn(b.Authorize(c, "prompt", "login"), "bob")
			if !strings.Contains(page.URL, "/consent") {
				t.Fatalf("bob is at %s", page.URL)
			}
			id := page.Fields().Get("request")
			form := b.Open("/select?request=" + id).Fields()
			for _, session := range b.Open("/select?request=" + id).Buttons("session") {
				form.Set("session", session)
				p := b.Follow(b.Submit("/select", form))
				if strings.Contains(b.Open("/login?another=1&request="+id).Body, `value="alice"`) && !strings.Contains(p.URL, "/login") {
					t.Errorf("alice is at %s after a sign-in of bob", p.URL)
				}
			}
			// A request that requires no sign-in continues with the user who signed in in another tab.
			fresh := s.Browser()
			waiting := fresh.Authorize(c)
			fresh.SignIn(fresh.Open("/login"), "alice")
			if p := fresh.Follow(fresh.Open("/oauth2/authorize/" + waiting.Fields().Get("request"))); p.Location().Query().Get("code") == "" {
				t.Errorf("single sign-on: %s", p.URL)
			}
			choose := fresh.Authorize(c, "prompt", "select_account")
			p := fresh.SignIn(fresh.Open("/login?another=1&request="+choose.Fields().Get("request")), "bob")
			if !strings.Contains(p.URL, "/consent") || !strings.Contains(p.Text(), "bob") {
				t.Errorf("select_account and another account: %s %s", p.URL, p.Text())
			}
		}),
	servertest.Req("P27c", "OIDC Core §3.1.2.1, §3.1.3.7",
		"auth_time is never older than max_age when the code is issued, even if a page was open for long, and the user "+
			"signs in at most twice",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			phone := s.Client(`{"client_name":"Phone","token_endpoint_auth_method":"none","redirect_uris":["http://127.0.0.1/cb"],"scope":"read write"}`)
			for _, maxAge := range []int{1, 3} {
				for name, x := range map[string]struct {
					c       clientInformation
					changes []string
				}{
					"first time": {s.App(), nil}, "prompt=consent": {s.App(), []string{"prompt", "consent"}}, "prompt=login consent": {s.App(), []string{"prompt", "login consent"}},
					"an app on a device": {phone, nil},
				} {
					b := s.Browser()
					page := b.SignIn(b.Authorize(x.c, append([]string{"max_age", strconv.Itoa(maxAge)}, x.changes...)...), "alice")
					s.Clock.Advance(6 * time.Second)
					page = b.Follow(b.Open(strings.TrimPrefix(page.URL, s.URL))) // a reload shows the page, and not the sign-in
					if !strings.Contains(page.URL, "/consent") {
						t.Fatalf("%s: %s", name, page.URL)
					}
					page = b.Follow(b.Decide(page, "approve"))
					if !strings.Contains(page.URL, "/login") {
						t.Fatalf("%s, max_age %d: a sign-in of 6 s ago ends at %s", name, maxAge, page.URL)
					}
					s.Clock.Advance(20 * time.Second)
					to := b.SignIn(page, "alice").Location()
					if to.Query().Get("code") == "" {
						t.Fatalf("%s, max_age %d: the approval was lost: %s", name, maxAge, to)
					}
					got := claims(t, s.Token(x.c, servertest.CodeForm(to, x.c)).OK(t).Text("access_token"))
					if age := float64(s.Clock.Now().Unix()) - got["auth_time"].(float64); age > float64(maxAge) {
						t.Errorf("%s, max_age %d: auth_time is %v s old", name, maxAge, age)
					}
				}
			}
			// max_age=0 means prompt=login, because no sign-in time satisfies it.
			c := s.App()
			b := s.Browser()
			page := b.SignIn(b.Authorize(c, "max_age", "0"), "alice")
			s.Clock.Advance(6 * time.Second)
			if p := b.Decide(page, "approve"); p.Location().Query().Get("code") == "" {
				t.Errorf("max_age=0: %s", p.Header.Get("Location"))
			}
			// The approval of one user does not count for another user who signs in instead.
			s.User("bob")
			page = b.SignIn(b.Authorize(c, "max_age", "3", "prompt", "login consent"), "alice")
			s.Clock.Advance(6 * time.Second)
			page = b.Follow(b.Decide(page, "approve"))
			if p := b.SignIn(page, "bob"); !strings.Contains(p.URL, "/consent") {
				t.Errorf("alice's approval counts for bob: %s %s", p.URL, p.Header.Get("Location"))
			}
		}),
	servertest.Req("P28", "RFC 9700 §4.7, session fixation",
		"the session cookie changes at every sign-in, and the old one is invalid",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			b := s.Browser()
			b.SetCookie("session", "planted-by-an-attacker-0000000000000000000000")
			b.SignIn(b.Open("/login"), "alice")
			one := b.Cookie("session")
			b.SignIn(b.Open("/login"), "alice")
			two := b.Cookie("session")
			if one == "" || one == two || strings.HasPrefix(one, "planted") {
				t.Fatalf("the cookie went from %q to %q", one, two)
			}
			attacker := s.Browser()
			attacker.SetCookie("session", one)
			if p := attacker.Open("/account"); p.Status == http.StatusOK {
				t.Error("the cookie of before still works")
			}
		}),
	servertest.Req("P29", "RFC 9700 §4.7, RFC 8252 §8.6",
		"the consent page names the client, its scopes and the destination, and warns of clients on the device",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			storagetest.Must(t, s.Store.CreateScope(t.Context(), scope("files", "Read the files you share")))
			c := s.Client(`{"client_name":"File Viewer","gatehouse_owner":"Example Ltd","client_uri":"https://viewer.example","token_endpoint_auth_method":"none","redirect_uris":["http://127.0.0.1/cb"],"scope":"files"}`)
			b := s.Browser()
			page := b.SignIn(b.Authorize(c, "scope", "files", "redirect_uri", "http://127.0.0.1:5555/cb"), "alice")
			for _, want := range []string{"File Viewer", "Example Ltd", "viewer.example", "Read the files you share", "127.0.0.1:5555", "pretend"} {
				if !strings.Contains(page.Text(), want) {
					t.Errorf("no %q in: %s", want, page.Text())
				}
			}
			// With or without a consent, such a client needs consent every time.
			b.Decide(page, "approve")
			if p := b.Authorize(c, "scope", "files", "redirect_uri", "http://127.0.0.1:5556/cb"); !strings.Contains(p.URL, "/consent") {
				t.Errorf("the second time: %s", p.URL)
			}
		}),
	servertest.Req("P30", "CWE-79", "input is escaped wherever a page shows it", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		const script = `"><script>alert(1)</script>`
		c := s.Client(`{"client_name":"\"><script>alert(1)</script>","gatehouse_owner":"\"><script>alert(1)</script>","redirect_uris":["https://app.example/callback"],"scope":"read"}`)
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
			if strings.Contains(p.Body, "<script") {
				t.Errorf("%s: a script got through", p.URL)
			}
		}
	}),
}
