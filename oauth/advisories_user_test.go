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
		"after concurrent sign-ins of two users each client has a token of its own user",
		func(t *testing.T, s *servertest.Server) {
			ids := map[string]string{"alice": s.User("alice").ID, "bob": s.User("bob").ID}
			c := s.App()
			var mu sync.Mutex
			var mixedUp []string
			storagetest.Concurrently(40, func(i int) {
				name := []string{"alice", "bob"}[i%2]
				tokens := s.Tokens(c, name)
				if sub := claims(t, tokens.Text("access_token"))["sub"]; sub != ids[name] {
					mu.Lock()
					mixedUp = append(mixedUp, name)
					mu.Unlock()
				}
			})
			if mixedUp != nil {
				t.Errorf("these sign-ins returned a token of another user: %v", mixedUp)
			}
		}),
	servertest.Req("A25", "CVE-2025-12390 (Keycloak), CVE-2026-7507",
		"a session cookie that an attacker set before the sign-in does not become the session of the user",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			s.User("mallory")
			attacker := s.Browser()
			attacker.SignIn(attacker.Open("/login"), "mallory")
			planted := attacker.Cookie("session")
			victim := s.Browser()
			victim.SetCookie("session", planted)
			victim.SignIn(victim.Open("/login"), "alice")
			if strings.Contains(attacker.Open("/account").Text(), "alice@") || victim.Cookie("session") == planted {
				t.Error("the planted session became alice's")
			}
		}),
	servertest.Req("A26",
		"CVE-2023-22492, CVE-2024-47000, CVE-2024-46999 (Zitadel); CVE-2025-64521 (authentik); CVE-2026-43983 (Pocket "+
			"ID); CVE-2026-8922 (Keycloak)",
		"a disabled user or client loses all access immediately",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			c, service := s.App(), s.Service("jobs")
			b := s.Browser()
			tokens := s.Token(c, servertest.CodeForm(b.Code(c, "alice"), c)).OK(t)
			serviceToken := s.ServiceToken(service)
			storagetest.Must(t, s.Store.DisableUser(t.Context(), u.ID))
			if s.Active(c, tokens.Text("access_token")) || b.Open("/account").Status == 200 {
				t.Error("the disabled user still has access")
			}
			s.Refresh(c, tokens.Text("refresh_token")).Want(t, 400, "invalid_grant")
			form := b.Open("/login").Fields()
			form.Set("username", "alice")
			form.Set("password", servertest.Password)
			if p := b.Submit("/login", form); p.Status != http.StatusUnauthorized {
				t.Errorf("sign-in of a disabled user: got %d, want 401", p.Status)
			}
			if p := b.Authorize(c, "prompt", "none"); p.Location().Query().Get("error") != "login_required" {
				t.Errorf("prompt=none of a disabled user: redirected to %q, want login_required", p.Header.Get("Location"))
			}
			introspector := s.Service("jobs")
			storagetest.Must(t, s.Store.DisableClient(t.Context(), service.ClientID))
			s.Token(service, clientCredentialsForm).Want(t, 401, "invalid_client")
			if s.Introspect(introspector, serviceToken).JSON["active"] == true {
				t.Error("the token of a disabled client is active")
			}
			s.Post("/oauth2/introspect", service, url.Values{"token": {serviceToken}}).Want(t, 401, "invalid_client")
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
				t.Fatalf("after bob signed in: got %s, want the consent page", page.URL)
			}
			to := b.Decide(page, "approve").Location()
			tokens := s.Token(c, servertest.CodeForm(to, c)).OK(t)
			if got := claims(t, tokens.Text("access_token"))["sub"]; got != bob.ID {
				t.Errorf("sub = %v, want that of bob, %s", got, bob.ID)
			}
			if strings.Contains(b.Open("/account").Text(), "alice") {
				t.Error("the account page of bob contains alice's name")
			}
		}),
	servertest.Req("A37", "CVE-2026-119128, CVE-2026-109373 (Zitadel)",
		"a modified session cookie is not accepted",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			b := s.Browser()
			b.SignIn(b.Open("/login"), "alice")
			valid := b.Cookie("session")
			for _, modified := range []string{
				valid[:len(valid)-1], valid + "A", otherCharacter(valid[0]) + valid[1:], strings.ToUpper(valid), "", "null",
			} {
				attacker := s.Browser()
				attacker.SetCookie("session", modified)
				if p := attacker.Open("/account"); p.Status == 200 {
					t.Errorf("the session cookie %q is accepted", modified)
				}
			}
		}),
	servertest.Req("A41", "CVE-2025-24358, CVE-2025-47909 (gorilla/csrf)",
		"a form that is submitted from another site gets 403",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			b := s.Browser()
			b.Code(s.App(), "alice")
			form := b.Open("/login").Fields()
			form.Set("username", "alice")
			form.Set("password", servertest.Password)
			account := b.Open("/account").Fields()
			similar := strings.Replace(s.URL, "http:", "https:", 1) + "0"
			for _, site := range []string{"https://evil.example", "http://evil.example", "null", similar} {
				for path, f := range map[string]url.Values{"/login": form, "/account/sign-out": account, "/consent": form} {
					if p := b.SubmitFrom(site, path, f); p.Status != http.StatusForbidden {
						t.Errorf("%s from %s: got %d, want 403", path, site, p.Status)
					}
				}
			}
			if b.Open("/account").Status != 200 {
				t.Error("a form of another site signed alice out")
			}
		}),
	servertest.Req("A42", "CVE-2019-8400 (Hydra), CVE-2026-33525 (Authelia)",
		"an error page contains no script from a parameter",
		func(t *testing.T, s *servertest.Server) {
			const script = "<script>alert(1)</script>"
			for _, name := range []string{
				"client_id", "error", "error_hint", "error_description", "redirect_uri", "scope", "state", "login_hint",
			} {
				q := servertest.AuthorizeForm(s.App(), name, script)
				if p := s.Browser().Open("/oauth2/authorize?" + q.Encode()); strings.Contains(p.Body, script) {
					t.Errorf("the page contains the script from the parameter %s", name)
				}
			}
		}),
	servertest.Req("A45",
		"CVE-2026-18963 (Keycloak), CVE-2026-9090 (Casdoor), CVE-2026-32246 (Tinyauth), Pocket ID GHSA-hp74-gm6m-2qm5, "+
			"see also P27",
		"an incomplete sign-in gets no code",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			b := s.Browser()
			page := b.Authorize(c)
			id := page.Fields().Get("request")
			form := page.Fields()
			form.Set("username", "alice")
			form.Set("password", "not the password")
			if p := b.Submit("/login", form); p.Status != http.StatusUnauthorized || b.Cookie("session") != "" {
				t.Errorf("wrong password: got %d, cookie %q, want 401 without a cookie", p.Status, b.Cookie("session"))
			}
			for _, p := range []servertest.Page{
				b.Follow(b.Open("/consent?request=" + id)), b.Follow(b.Open("/oauth2/authorize/" + id)),
				b.Follow(b.Submit("/consent", url.Values{"request": {id}, "decision": {"approve"}})),
			} {
				if !strings.Contains(p.URL, "/login") {
					t.Errorf("before the sign-in: got %s, want the sign-in page", p.URL)
				}
			}
		}),
	servertest.Req("A46", "CVE-2025-64102 (Zitadel), CVE-2025-24806 (Authelia), CVE-2026-9798 (Keycloak)",
		"failed sign-ins count per account, under every name of it, and do not lock the user out of a known browser",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			known := s.Browser()
			known.SignIn(known.Open("/login"), "alice")
			b := s.Browser()
			form := b.Open("/login").Fields()
			signIn := func(name, password string, want int) {
				t.Helper()
				form.Set("username", name)
				form.Set("password", password)
				p := b.Submit("/login", form)
				retryAfter := p.Header.Get("Retry-After")
				if p.Status != want || want == http.StatusTooManyRequests && retryAfter == "" {
					t.Errorf("%s with %q: got %d, Retry-After %q, want %d", name, password, p.Status, retryAfter, want)
				}
			}
			spellings := []string{"alice", "ALICE", "alice@example.com", " Alice@Example.com"}
			for i := range 8 { // four of each name, in two spellings
				signIn(spellings[i%4], "guess", http.StatusUnauthorized)
			}
			// The account has reached its limit, and neither name has: the response does not disclose the limit, and the
			// correct password is not accepted.
			signIn("alice@example.com", servertest.Password, http.StatusUnauthorized)
			signIn("alice", servertest.Password, http.StatusUnauthorized)
			signIn("Alice", servertest.Password, http.StatusTooManyRequests)
			signIn("alice@EXAMPLE.com", servertest.Password, http.StatusTooManyRequests)
			// The user can sign in with a browser of an earlier sign-in, in the same subnet.
			known.SignIn(known.Open("/login"), "alice")
			s.Clock.Advance(15 * time.Minute)
			b.SignIn(b.Open("/login"), "alice")
		}),
	servertest.Req("A47", "CVE-2026-23511, CVE-2024-41952 (Zitadel)",
		"an unknown user and a wrong password get the same response, also from the limits",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			signInRepeatedly := func(name string) (responses []string) {
				b := s.Browser()
				form := b.Open("/login").Fields()
				for range 7 {
					form.Set("username", name)
					form.Set("password", "guess")
					p := b.Submit("/login", form)
					text := strings.NewReplacer(name, "NAME").Replace(p.Text())
					text, _, _ = strings.Cut(text, " Request ")
					responses = append(responses, http.StatusText(p.Status)+" "+p.Header.Get("Retry-After")+" "+text)
				}
				return responses
			}
			known, unknown := signInRepeatedly("alice"), signInRepeatedly("nobody")
			// The email address of the same account, and another unknown name.
			known = append(known, signInRepeatedly("alice@example.com")...)
			unknown = append(unknown, signInRepeatedly("unknown@example.com")...)
			for i := range known {
				if known[i] != unknown[i] {
					t.Errorf("attempt %d: got %q for a known user and %q for an unknown one, want the same", i+1, known[i], unknown[i])
				}
			}
		}),
}
