package oauth_test

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
)

// resume opens an authorization request again, as after a sign-in, and follows the redirects to a page or the client.
func resume(b *servertest.Browser, request string) servertest.Page {
	return b.Follow(b.Open("/oauth2/authorize/" + request))
}

var promptRequests = []servertest.Requirement{
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
			if p := b.Authorize(c, "prompt", "none"); !hasCode(p) {
				t.Errorf("with a session and consent: redirected to %q, want a code", p.Header.Get("Location"))
			}
			moreScopes := b.Authorize(c, "prompt", "none", "scope", "read write offline_access")
			moreScopes.WantRedirectError(t, s, "consent_required")
			b.Authorize(c, "prompt", "none login").WantRedirectError(t, s, "invalid_request")
			b.Authorize(c, "prompt", "unknown").WantRedirectError(t, s, "invalid_request")
		}),
	servertest.Req("P27", "OIDC Core §3.1.2.1, GHSA-hp74-gm6m-2qm5",
		"prompt=login and an expired max_age require a new sign-in, and auth_time is updated",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			b := s.Browser()
			authTime := func(to *url.URL) float64 {
				t.Helper()
				token := s.Token(c, servertest.CodeForm(to, c)).OK(t).Text("access_token")
				return claims(t, token)["auth_time"].(float64)
			}
			previous := authTime(b.Code(c, "alice"))
			for _, change := range [][]string{
				{"prompt", "login"}, {"max_age", "60"}, {"max_age", "0"}, {"prompt", "login select_account"},
			} {
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
				// Without the form the request still needs a sign-in.
				if p := resume(b, page.Fields().Get("request")); !strings.Contains(p.URL, "/login") {
					t.Errorf("%v, without the form: got %s, want the sign-in page", change, p.URL)
				}
				s.Clock.Advance(time.Second)
				got := authTime(b.SignIn(page, "alice").Location())
				if got <= previous {
					t.Errorf("%v: auth_time after the sign-in = %v, want later than %v", change, got, previous)
				}
				previous = got
			}
			if p := b.Authorize(c, "max_age", "3600"); !hasCode(p) {
				t.Errorf("max_age=3600 after a recent sign-in: got %s, want a code", p.URL)
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
				wantSignIn := func(after string) {
					t.Helper()
					if p := resume(b, page.Fields().Get("request")); !strings.Contains(p.URL, "/login") {
						t.Fatalf("%v after %s: got %s %s, want the sign-in page", change, after, p.URL, p.Header.Get("Location"))
					}
				}
				s.Clock.Advance(time.Second)
				b.SignIn(b.Open("/login"), "alice")
				wantSignIn("a sign-in to the account page")
				s.Clock.Advance(time.Second)
				if p := b.SignIn(other, "alice"); !hasCode(p) {
					t.Fatalf("%v, sign-in for the other request: got %s, want a code", change, p.URL)
				}
				wantSignIn("a sign-in for another request")
				if p := b.SignIn(page, "alice"); !hasCode(p) {
					t.Errorf("%v, sign-in for this request: got %s, want a code", change, p.URL)
				}
			}
			// If one user signs in for the request, and then chooses another who was signed in before, that one must sign in.
			page := b.SignIn(b.Authorize(c, "prompt", "login"), "bob")
			if !strings.Contains(page.URL, "/consent") {
				t.Fatalf("after bob's sign-in: got %s, want the consent page", page.URL)
			}
			id := page.Fields().Get("request")
			form := b.Open("/select?request=" + id).Fields()
			for _, session := range b.Open("/select?request=" + id).Buttons("session") {
				form.Set("session", session)
				p := b.Follow(b.Submit("/select", form))
				aliceSignsIn := strings.Contains(p.URL, "/login") && strings.Contains(p.Body, `value="alice"`)
				bobConsents := strings.Contains(p.URL, "/consent") && strings.Contains(p.Text(), "bob")
				if !aliceSignsIn && !bobConsents {
					t.Errorf("a user chosen after a sign-in of bob: got %s, want the sign-in page for alice "+
						"or the consent page for bob: %s", p.URL, p.Text())
				}
			}
			// A request that requires no sign-in continues with the user who signed in in another tab.
			newBrowser := s.Browser()
			pending := newBrowser.Authorize(c).Fields().Get("request")
			newBrowser.SignIn(newBrowser.Open("/login"), "alice")
			if p := resume(newBrowser, pending); !hasCode(p) {
				t.Errorf("after a sign-in in another tab: got %s, want a code", p.URL)
			}
			chooser := newBrowser.Authorize(c, "prompt", "select_account").Fields().Get("request")
			p := newBrowser.SignIn(newBrowser.Open("/login?another=1&request="+chooser), "bob")
			if !strings.Contains(p.URL, "/consent") || !strings.Contains(p.Text(), "bob") {
				t.Errorf("select_account with another account: got %s %s, want bob's consent page", p.URL, p.Text())
			}
		}),
	servertest.Req("P27c", "OIDC Core §3.1.2.1, §3.1.3.7",
		"auth_time is never older than max_age when the code is issued, even if a page was open for long, and the user "+
			"signs in at most twice",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			phone := s.Client(`{"client_name":"Phone","token_endpoint_auth_method":"none","scope":"read write",
				"redirect_uris":["http://127.0.0.1/cb"]}`)
			for _, maxAge := range []int{1, 3} {
				for name, x := range map[string]struct {
					c       clientInformation
					changes []string
				}{
					"first consent":        {s.App(), nil},
					"prompt=consent":       {s.App(), []string{"prompt", "consent"}},
					"prompt=login consent": {s.App(), []string{"prompt", "login consent"}},
					"an app on a device":   {phone, nil},
				} {
					name = fmt.Sprintf("%s, max_age %d", name, maxAge)
					b := s.Browser()
					changes := append([]string{"max_age", strconv.Itoa(maxAge)}, x.changes...)
					page := b.SignIn(b.Authorize(x.c, changes...), "alice")
					s.Clock.Advance(6 * time.Second)
					page = b.Follow(b.Open(strings.TrimPrefix(page.URL, s.URL)))
					if !strings.Contains(page.URL, "/consent") {
						t.Fatalf("%s, reload: got %s, want the consent page", name, page.URL)
					}
					page = b.Follow(b.Decide(page, "approve"))
					if !strings.Contains(page.URL, "/login") {
						t.Fatalf("%s, approval 6 s after the sign-in: got %s, want the sign-in page", name, page.URL)
					}
					s.Clock.Advance(20 * time.Second)
					to := b.SignIn(page, "alice").Location()
					if to.Query().Get("code") == "" {
						t.Fatalf("%s, second sign-in: redirected to %s, want a code, as approved before", name, to)
					}
					got := claims(t, s.Token(x.c, servertest.CodeForm(to, x.c)).OK(t).Text("access_token"))
					if age := float64(s.Clock.Now().Unix()) - got["auth_time"].(float64); age > float64(maxAge) {
						t.Errorf("%s: auth_time is %v s old, want at most max_age", name, age)
					}
				}
			}
			// max_age=0 means prompt=login, because no sign-in time satisfies it.
			c := s.App()
			b := s.Browser()
			page := b.SignIn(b.Authorize(c, "max_age", "0"), "alice")
			s.Clock.Advance(6 * time.Second)
			if p := b.Decide(page, "approve"); !hasCode(p) {
				t.Errorf("max_age=0: redirected to %q, want a code", p.Header.Get("Location"))
			}
			// The approval of one user does not count for another user who signs in instead.
			s.User("bob")
			page = b.SignIn(b.Authorize(c, "max_age", "3", "prompt", "login consent"), "alice")
			s.Clock.Advance(6 * time.Second)
			page = b.Follow(b.Decide(page, "approve"))
			if p := b.SignIn(page, "bob"); !strings.Contains(p.URL, "/consent") {
				t.Errorf("bob's sign-in after alice's approval: got %s %s, want the consent page", p.URL, p.Header.Get("Location"))
			}
		}),
}
