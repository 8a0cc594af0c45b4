package selfservice_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/identity"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// english matches words that no German text has.
var english = regexp.MustCompile(`\b(the|your|you|must|this|is|of|to|a|with|no|not|password|username)\b`)

// wantGerman fails the test unless a page in German has a problem, at a field if one is named, and no English words.
func (f *fixture) wantGerman(what string, p servertest.Page, field string) {
	f.t.Helper()
	if p.Status < http.StatusBadRequest || field != "" && !strings.Contains(p.Body, `id="`+field+`-problem"`) {
		f.t.Errorf("%s: %d %s, want a problem at the field %q", what, p.Status, p.Text(), field)
	}
	_, text, _ := strings.Cut(p.Text(), "Zum Inhalt")
	text, _, _ = strings.Cut(text, "Sprache:")
	if found := english.FindString(text); found != "" || text == "" {
		f.t.Errorf("%s: the page in German has %q: %s", what, found, text)
	}
}

// TestProblemsAreInLanguageOfPage tests PE25 for pages: no page in German has a problem in English, and a problem
// stands at its field. The log has no value that was entered: it can be a password in the wrong field.
func TestProblemsAreInLanguageOfPage(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		f.User("alice")
		b := f.Browser()
		b.SetCookie("language", "de")
		want := f.wantGerman
		for _, path := range []string{"/reset", "/verify", "/invite"} {
			want("a link that does not exist", b.Open(path+"?token=x"), "")
			want("a malformed link", b.Open(path+"?token=x&token=y"), "")
			want("no form token", b.Submit(path, url.Values{}), "")
		}
		form := b.Open("/sign-up")
		want("no address", submit(b, form, "/sign-up", "email", "typed secret"), "email")
		want("another domain", submit(b, form, "/sign-up", "email", "x@evil.example"), "")
		create := func(what, field string, changes ...string) {
			t.Helper()
			_, _, err := f.Users.Invite(t.Context(), identity.NewInvitation{
				Email: what + "@example.com", Lifetime: 1e12, Mail: true,
			})
			storagetest.Must(t, err)
			values := append([]string{"username", "bob", "password", servertest.Password, "terms", "1"}, changes...)
			want(what, submit(b, b.Open(f.link(storage.MailInvitation)), "/invite", values...), field)
		}
		for _, c := range [][]string{
			{"taken", "username", "username", "alice"},
			{"username", "username", "username", "a b"},
			{"name", "name", "name", "\u202e"},
			{"short", "password", "password", "x"},
			{"common", "password", "password", "password123"},
			{"long", "password", "password", strings.Repeat("x", 1025)},
			{"personal", "password", "password", "gatehouse-2026"},
			{"brand", "password", "password", "zephyr-library-26"},
			{"terms", "", "terms", ""},
		} {
			create(c[0], c[1], c[2:]...)
		}

		b.Follow(b.SignIn(b.Open("/login?to=account"), "alice"))
		password := b.Open("/account/password")
		want("the current password", submit(b, password, "/account/password", "current", "x", "password", "x"), "current")
		want("a weak password", submit(b, password, "/account/password", "current", servertest.Password, "password", "x"),
			"password")
		want("no address", submit(b, b.Open("/account/email"), "/account/email", "email", "typed secret"), "email")
		want("no form", submit(b, password, "/account/email"), "")
		submit(b, b.Open("/account/email"), "/account/email", "email", "late@example.com")
		late := b.Open(f.link(storage.MailVerifyEmail))
		_, err := f.Users.Create(t.Context(), identity.NewUser{
			Username: "late", Email: "late@example.com", Password: servertest.Password,
		})
		storagetest.Must(t, err)
		want("an address that is taken by now", submit(b, late, "/verify"), "")
		f.wantNothingEnteredInLog(b)
	})
}

// wantNothingEnteredInLog enters invalid values in the profile. The log must have none of those that the test entered.
func (f *fixture) wantNothingEnteredInLog(b *servertest.Browser) {
	f.t.Helper()
	profile := submit(b, b.Open("/account/profile"), "/account/profile", "birthdate", "typed secret", "website",
		"typed secret")
	if profile.Status != http.StatusBadRequest {
		f.t.Errorf("an invalid profile: %d, want 400", profile.Status)
	}
	for _, typed := range []string{"typed secret", "gatehouse-2026", "zephyr-library-26", "late@example.com"} {
		if strings.Contains(f.Log.String(), typed) {
			f.t.Errorf("the log has %q, which a user entered", typed)
		}
	}
}
