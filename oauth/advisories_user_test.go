package oauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

var userAdvisories = []servertest.Requirement{
	servertest.Req("A24", "CVE-2026-33544 (Tinyauth)",
		"concurrent sign-ins of two users never mix",
		func(t *testing.T, s *servertest.Server) {
			ids := map[string]string{"alice": s.User("alice").ID, "bob": s.User("bob").ID}
			c := s.App()
			var mu sync.Mutex
			var wrong []string
			storagetest.Concurrently(40, func(i int) {
				name := []string{"alice", "bob"}[i%2]
				tokens := s.Tokens(c, name)
				if sub := claims(t, tokens.Text("access_token"))["sub"]; sub != ids[name] {
					mu.Lock()
					wrong = append(wrong, name)
					mu.Unlock()
				}
			})
			if wrong != nil {
				t.Errorf("mixed up: %v", wrong)
			}
		}),
	servertest.Req("A25", "CVE-2025-12390 (Keycloak), CVE-2026-7507",
		"a cookie planted before the sign-in is invalid after it",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			s.User("mallory")
			m := s.Browser()
			m.SignIn(m.Open("/login"), "mallory")
			planted := m.Cookie("session")
			victim := s.Browser()
			victim.SetCookie("session", planted)
			victim.SignIn(victim.Open("/login"), "alice")
			if strings.Contains(m.Open("/account").Text(), "alice@") || victim.Cookie("session") == planted {
				t.Error("the planted session became alice's")
			}
		}),
	servertest.Req("A26",
		"CVE-2023-22492, CVE-2024-47000, CVE-2024-46999 (Zitadel); CVE-2025-64521 (authentik); CVE-2026-43983 (Pocket "+
			"ID); CVE-2026-8922 (Keycloak)",
		"a disabled user or client loses all access immediately",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			c, m := s.App(), s.Service("jobs")
			b := s.Browser()
			tokens := s.Token(c, servertest.CodeForm(b.Code(c, "alice"), c)).OK(t)
			serviceToken := s.ServiceToken(m)
			storagetest.Must(t, s.Store.DisableUser(t.Context(), u.ID))
			if s.Active(c, tokens.Text("access_token")) || b.Open("/account").Status == 200 {
				t.Error("the disabled user still has access")
			}
			s.Refresh(c, tokens.Text("refresh_token")).Want(t, 400, "invalid_grant")
			form := b.Open("/login").Fields()
			form.Set("username", "alice")
			form.Set("password", servertest.Password)
			if p := b.Submit("/login", form); p.Status != http.StatusUnauthorized {
				t.Errorf("sign-in of a disabled user: %d", p.Status)
			}
			if p := b.Authorize(c, "prompt", "none"); p.Location().Query().Get("error") != "login_required" {
				t.Errorf("%s", p.Header.Get("Location"))
			}
			introspector := s.Service("jobs")
			storagetest.Must(t, s.Store.DisableClient(t.Context(), m.ClientID))
			s.Token(m, clientCredentialsForm).Want(t, 401, "invalid_client")
			if s.Introspect(introspector, serviceToken).JSON["active"] == true {
				t.Error("a disabled service's token is active")
			}
			s.Post("/oauth2/introspect", m, url.Values{"token": {serviceToken}}).Want(t, 401, "invalid_client")
		}),
	servertest.Req("A29", "CVE-2022-3916, CVE-2026-1486 (Keycloak)",
		"the next user of a browser gets no access of the previous one",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			bob := s.User("bob")
			c := s.App()
			b := s.Browser()
			b.Code(c, "alice", "scope", "read offline_access")
			page := b.Authorize(c, "prompt", "login")
			s.Clock.Advance(time.Second)
			page = b.SignIn(page, "bob")
			if !strings.Contains(page.URL, "/consent") {
				t.Fatalf("alice's consent counted for bob: %s", page.URL)
			}
			to := b.Decide(page, "approve").Location()
			if got := claims(t, s.Token(c, servertest.CodeForm(to, c)).OK(t).Text("access_token"))["sub"]; got != bob.ID {
				t.Errorf("sub is %v", got)
			}
			if strings.Contains(b.Open("/account").Text(), "alice") {
				t.Error("bob sees alice's account")
			}
		}),
	servertest.Req("A37", "CVE-2026-119128, CVE-2026-109373 (Zitadel)",
		"an edited cookie is no session",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			b := s.Browser()
			b.SignIn(b.Open("/login"), "alice")
			good := b.Cookie("session")
			for _, bad := range []string{good[:len(good)-1], good + "A", otherCharacter(good[0]) + good[1:], strings.ToUpper(good), "", "null"} {
				x := s.Browser()
				x.SetCookie("session", bad)
				if p := x.Open("/account"); p.Status == 200 {
					t.Errorf("%q is a session", bad)
				}
			}
		}),
	servertest.Req("A41", "CVE-2025-24358, CVE-2025-47909 (gorilla/csrf)",
		"a form sent from another site is 403",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			b := s.Browser()
			b.Code(s.App(), "alice")
			form := b.Open("/login").Fields()
			form.Set("username", "alice")
			form.Set("password", servertest.Password)
			account := b.Open("/account").Fields()
			for _, site := range []string{"https://evil.example", "http://evil.example", "null", strings.Replace(s.URL, "http:", "https:", 1) + "0"} {
				for path, f := range map[string]url.Values{"/login": form, "/account/sign-out": account, "/consent": form} {
					if p := b.SubmitFrom(site, path, f); p.Status != http.StatusForbidden {
						t.Errorf("%s from %s: %d", path, site, p.Status)
					}
				}
			}
			if b.Open("/account").Status != 200 {
				t.Error("alice was signed out nevertheless")
			}
		}),
	servertest.Req("A42", "CVE-2019-8400 (Hydra), CVE-2026-33525 (Authelia)",
		"no script in an error is executed by a page",
		func(t *testing.T, s *servertest.Server) {
			const script = "<script>alert(1)</script>"
			for _, name := range []string{"client_id", "error", "error_hint", "error_description", "redirect_uri", "scope", "state", "login_hint"} {
				q := servertest.AuthorizeForm(s.App(), name, script)
				if p := s.Browser().Open("/oauth2/authorize?" + q.Encode()); strings.Contains(p.Body, script) {
					t.Errorf("%s is reflected", name)
				}
			}
		}),
	servertest.Req("A45",
		"CVE-2026-18963 (Keycloak), CVE-2026-9090 (Casdoor), CVE-2026-32246 (Tinyauth), Pocket ID GHSA-hp74-gm6m-2qm5, "+
			"see P27 too",
		"an incomplete sign-in leads to no code",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			b := s.Browser()
			page := b.Authorize(c)
			id := page.Fields().Get("request")
			wrong := page.Fields()
			wrong.Set("username", "alice")
			wrong.Set("password", "not the password")
			if p := b.Submit("/login", wrong); p.Status != http.StatusUnauthorized || b.Cookie("session") != "" {
				t.Errorf("wrong password: %d, cookie %q", p.Status, b.Cookie("session"))
			}
			for _, p := range []servertest.Page{b.Follow(b.Open("/consent?request=" + id)), b.Follow(b.Open("/oauth2/authorize/" + id)), b.Follow(b.Submit("/consent", url.Values{"request": {id}, "decision": {"approve"}}))} {
				if !strings.Contains(p.URL, "/login") {
					t.Errorf("reached %s", p.URL)
				}
			}
		}),
	servertest.Req("A46", "CVE-2025-64102 (Zitadel), CVE-2025-24806 (Authelia), CVE-2026-9798 (Keycloak)",
		"failed attempts count per account, by whatever name, and lock out no other user",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			known := s.Browser()
			known.SignIn(known.Open("/login"), "alice")
			b := s.Browser()
			form := b.Open("/login").Fields()
			guess := func(name, password string, want int) {
				t.Helper()
				form.Set("username", name)
				form.Set("password", password)
				p := b.Submit("/login", form)
				if p.Status != want || want == http.StatusTooManyRequests && p.Header.Get("Retry-After") == "" {
					t.Errorf("%s with %q: %d, Retry-After %q, want %d", name, password, p.Status, p.Header.Get("Retry-After"), want)
				}
			}
			for i := range 8 { // four of each name, in two spellings
				guess([]string{"alice", "ALICE", "alice@example.com", " Alice@Example.com"}[i%4], "guess", http.StatusUnauthorized)
			}
			// The account has had too many, though no name has: the response does not disclose it, and the correct password is
			// not accepted.
			guess("alice@example.com", servertest.Password, http.StatusUnauthorized)
			guess("alice", servertest.Password, http.StatusUnauthorized)
			guess("Alice", servertest.Password, http.StatusTooManyRequests)
			guess("alice@EXAMPLE.com", servertest.Password, http.StatusTooManyRequests)
			// The user, in a browser of an earlier sign-in, in the same network.
			known.SignIn(known.Open("/login"), "alice")
			s.Clock.Advance(15 * time.Minute)
			b.SignIn(b.Open("/login"), "alice")
		}),
	servertest.Req("A47", "CVE-2026-23511, CVE-2024-41952 (Zitadel)",
		"an unknown user and a wrong password get the same response, also from the limits",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			try := func(name string) []string {
				b := s.Browser()
				form := b.Open("/login").Fields()
				var out []string
				for range 7 {
					form.Set("username", name)
					form.Set("password", "guess")
					p := b.Submit("/login", form)
					text := strings.NewReplacer(name, "NAME").Replace(p.Text())
					text, _, _ = strings.Cut(text, " Request ")
					out = append(out, http.StatusText(p.Status)+" "+p.Header.Get("Retry-After")+" "+text)
				}
				return out
			}
			known, unknown := try("alice"), try("nobody")
			known, unknown = append(known, try("alice@example.com")...), append(unknown, try("unknown@example.com")...) // of one account, and not
			for i := range known {
				if known[i] != unknown[i] {
					t.Errorf("attempt %d: %q and %q", i+1, known[i], unknown[i])
				}
			}
		}),
}
