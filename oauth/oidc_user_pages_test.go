package oauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
)

var userPages = []servertest.Requirement{
	servertest.Req("C16", "OIDC Core §5.1",
		"users change their own profile, within the formats of the claims",
		func(t *testing.T, s *servertest.Server) {
			s.UserWithClaims("alice")
			c := s.RelyingParty()
			b := s.Browser()
			r := s.Redeem(c, b.Code(c, "alice", "scope", servertest.AllScopes))
			page := b.Open("/account/profile")
			if page.Status != 200 || !strings.Contains(page.Body, `value="Europe/Paris"`) {
				t.Fatalf("/account/profile: %d %s, want 200 with the time zone", page.Status, page.Text())
			}
			form := page.Fields()
			form.Set("name", "Alice <b>New</b>")
			form.Set("phone_number", "+44 20 7946 0000")
			form.Set("zoneinfo", "Europe/London")
			if p := b.Submit("/account/profile", form); p.Status != http.StatusSeeOther {
				t.Fatalf("the changed profile: %d %s, want 303", p.Status, p.Text())
			}
			wantClaims(t, "userinfo", s.Userinfo(r.Text("access_token")).OK(t).JSON, map[string]any{
				"name": "Alice <b>New</b>", "zoneinfo": "Europe/London", "birthdate": nil, "phone_number_verified": false,
			})
			if strings.Contains(b.Open("/account").Body, "<b>New") {
				t.Error("the account page does not escape the name")
			}
			for field, value := range map[string]string{
				"birthdate": "1990-02-30", "zoneinfo": "Mars/Olympus", "locale": "not a language",
				"picture": "javascript:alert(1)", "website": "ftp://x", "phone_number": "12",
				"name": strings.Repeat("x", 201), "given_name": "a\x01b",
			} {
				invalid := url.Values{"form_token": form["form_token"], field: {value}}
				p := b.Submit("/account/profile", invalid)
				if p.Status != http.StatusBadRequest || !strings.Contains(p.Text(), "Nothing was saved") {
					t.Errorf("%s %q: %d %s, want 400 and Nothing was saved", field, value, p.Status, p.Text())
				}
			}
			if p := b.Submit("/account/profile", url.Values{"name": {"x"}}); p.Status != http.StatusForbidden {
				t.Errorf("without a form token: status = %d, want 403", p.Status)
			}
			if p := s.Browser().Open("/account/profile"); p.Status != http.StatusSeeOther {
				t.Errorf("without a signed-in user: status = %d, want 303", p.Status)
			}
		}),
	servertest.Req("C17", "OIDC Registration §2",
		"logo, policy and terms are shown at sign-in and consent; the logo is fetched by the server and must be an image",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			host := servertest.NewHost(t)
			host.Serve("/logo.png", "text/html", "\x89PNG\r\n\x1a\n and more")
			host.Serve("/logo.svg", "image/svg+xml",
				`<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`)
			host.Serve("/page", "image/png", "<html><script>alert(1)</script></html>")
			host.Serve("/large", "image/png", "\x89PNG\r\n\x1a\n"+strings.Repeat("x", 24<<10-7))
			const policy, terms = "https://app.example/policy", "https://app.example/tos"
			c := s.RelyingParty(`"logo_uri":"`+host.URL+`/logo.png"`, `"policy_uri":"`+policy+`"`, `"tos_uri":"`+terms+`"`)
			b := s.Browser()
			login := b.Authorize(c, "scope", "openid")
			for _, p := range []servertest.Page{login, b.SignIn(login, "alice")} {
				for _, part := range []string{`src="/logo/` + c.ClientID + `"`, policy, terms} {
					if !strings.Contains(p.Body, part) {
						t.Errorf("%s: %s, want %s in it", p.URL, p.Body, part)
					}
				}
				if strings.Contains(p.Body, host.URL) {
					t.Errorf("%s: the browser would request the logo from %s", p.URL, host.URL)
				}
			}
			checkLogo(t, s.Get("/logo/"+c.ClientID))
			s.Get("/logo/" + c.ClientID)
			if n := host.Requests("/logo.png"); n != 1 {
				t.Errorf("the logo was fetched %d times, want once", n)
			}
			for _, path := range []string{"/logo.svg", "/page", "/large", "/nothing"} {
				other := s.RelyingParty(`"logo_uri":"` + host.URL + path + `"`)
				if r := s.Get("/logo/" + other.ClientID); r.Status != 404 || strings.Contains(r.Body, "script") {
					t.Errorf("the logo %s: %d %s, want 404 without a script", path, r.Status, r.Body)
				}
			}
			if r := s.Get("/logo/unknown"); r.Status != 404 {
				t.Errorf("the logo of an unknown client: status = %d, want 404", r.Status)
			}
		}).WithSettings("GATEHOUSE_FETCH_ALLOW_HOSTS=127.0.0.1"),
}

// checkLogo checks that the response is a PNG image that a browser neither interprets as a page nor gives any rights.
func checkLogo(t *testing.T, r servertest.Response) {
	t.Helper()
	if r.Status != 200 {
		t.Errorf("the logo: status = %d, want 200", r.Status)
	}
	for name, want := range map[string]string{"Content-Type": "image/png", "X-Content-Type-Options": "nosniff"} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("the logo: %s = %q, want %s", name, got, want)
		}
	}
	if policy := r.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "sandbox") {
		t.Errorf("the logo: Content-Security-Policy = %q, want sandbox in it", policy)
	}
}
