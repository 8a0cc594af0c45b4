package oauth_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

func TestAccountPages(t *testing.T) { servertest.Run(t, accountPageRequirements) }

// signedIn returns a browser in which the user is signed in.
func signedIn(s *servertest.Server, username string) *servertest.Browser {
	if _, err := s.Users.User(s.T.Context(), username); err != nil {
		s.User(username)
	}
	b := s.Browser()
	b.SignIn(b.Open("/login"), username)
	return b
}

// formOf returns the action of the first form of a page below a path, and its hidden fields.
func formOf(t *testing.T, p servertest.Page, below string) (action string, form url.Values) {
	t.Helper()
	pattern := regexp.MustCompile(
		`action="(` + below + `[^"]*)"[^>]*>\s*<input type="hidden" name="form_token" value="(\w+)"`)
	m := pattern.FindStringSubmatch(p.Body)
	if m == nil {
		t.Fatalf("no form below %s on the page: %s", below, p.Body)
	}
	return m[1], url.Values{"form_token": {m[2]}}
}

var accountPageRequirements = []servertest.Requirement{
	servertest.Req("U10", "[decision 65](decisions/0065-account-pages.md)",
		"sign out everywhere else ends every other session of the user and no session of another user",
		func(t *testing.T, s *servertest.Server) {
			here, there, other := signedIn(s, "alice"), signedIn(s, "alice"), signedIn(s, "bob")
			path, form := formOf(t, here.Open("/account/sessions"), "/account/sessions/end-others")
			if p := there.Submit(path, form); p.Status != http.StatusForbidden {
				t.Errorf("the form of another session: status %d, want 403", p.Status)
			}
			if p := here.Submit(path, form); p.Status != http.StatusSeeOther {
				t.Fatalf("sign out everywhere else: status %d, want 303: %s", p.Status, p.Text())
			}
			if !isSignedIn(here) || isSignedIn(there) || !isSignedIn(other) {
				t.Errorf("signed in: here %t, there %t, other user %t, want true, false, true",
					isSignedIn(here), isSignedIn(there), isSignedIn(other))
			}
		}),
	servertest.Req("U11", "[decision 65](decisions/0065-account-pages.md)",
		"users see the sign-ins, failures and changes of their account, and state which they did not cause, which ends "+
			"every other session and is in the audit log",
		func(t *testing.T, s *servertest.Server) {
			b := signedIn(s, "alice")
			intruder := signedIn(s, "alice")
			other := s.Browser()
			failed := other.Open("/login").Fields()
			failed.Set("username", "alice")
			failed.Set("password", "a wrong password")
			other.Submit("/login", failed)
			p := b.Open("/account/activity")
			for _, text := range []string{"Signed in", "Failed attempt to sign in", "Account created"} {
				if !strings.Contains(p.Text(), text) {
					t.Errorf("the activity %s, want %q in it", p.Text(), text)
				}
			}
			path, form := formOf(t, p, "/account/activity/")
			form.Set("decision", "not-mine")
			if p := b.Submit(path, form); p.Status != http.StatusSeeOther {
				t.Fatalf("this was not me: status %d, want 303: %s", p.Status, p.Text())
			}
			if isSignedIn(intruder) || !isSignedIn(b) {
				t.Error("the report did not end exactly the other sessions")
			}
			rows, err := s.Store.Audit.Rows(t.Context(), audit.Filter{Event: audit.ActivityReported})
			storagetest.Must(t, err)
			if len(rows) != 1 || !strings.Contains(path, "/account/activity/") ||
				!strings.Contains(rows[0].Detail, strings.TrimPrefix(path, "/account/activity/")) {
				t.Errorf("rows of the report: %+v, want one with the reported event", rows)
			}
			if p := signedIn(s, "bob").Open("/account/activity"); strings.Contains(p.Text(), "Failed attempt") {
				t.Error("a user sees the activity of another user")
			}
		}),
	servertest.Req("U12", "[decision 65](decisions/0065-account-pages.md)",
		"a page weighs less than 100 KB with everything that it loads",
		func(t *testing.T, s *servertest.Server) {
			b := signedIn(s, "alice")
			for _, path := range []string{"/login?another=1", "/account", "/account/profile", "/account/activity"} {
				p := b.Open(path)
				size := len(p.Body)
				for _, m := range regexp.MustCompile(`(?:href|src)="(/static/[^"]+)"`).FindAllStringSubmatch(p.Body, -1) {
					size += len(s.Get(m[1]).Body)
				}
				if p.Status != http.StatusOK || size < 10_000 || size > 100_000 {
					t.Errorf("%s: status %d, %d bytes, want 200 and at most 100 KB", path, p.Status, size)
				}
			}
		}),
}
