package selfservice_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/identity"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// wantLocale fails the test unless a user has a language.
func (f *fixture) wantLocale(when, username, want string) {
	f.t.Helper()
	if u, err := f.Users.User(f.t.Context(), username); err != nil || u.Profile.Locale != want {
		f.t.Errorf("%s: the language of %s is %q, %v, want %q", when, username, u.Profile.Locale, err, want)
	}
}

// TestAccountHasLanguageOfPage tests PE25: emails to a user who created the account are in the language of the page, or
// of the invitation unless the user chose another.
func TestAccountHasLanguageOfPage(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		create := func(b *servertest.Browser, link, username, title string) {
			t.Helper()
			form := b.Open(link)
			f.want("the form of "+username, form, http.StatusOK, title)
			path, _, _ := strings.Cut(link, "?")
			if p := submit(b, form, path, "username", username, "password", "ten-tiny-otters", "terms", "1"); p.Status !=
				http.StatusOK {
				t.Errorf("the account of %s: %d %s", username, p.Status, p.Text())
			}
		}
		german := f.Browser()
		german.SetCookie("language", "de")
		submit(german, german.Open("/sign-up"), "/sign-up", "email", "greta@example.com")
		create(german, f.link(storage.MailVerifyEmail), "greta", "Konto anlegen")
		f.wantLocale("a sign-up in German", "greta", "de")
		invite := func(name, language string) string {
			t.Helper()
			_, _, err := f.Users.Invite(t.Context(), identity.NewInvitation{
				Email: name + "@example.com", Lifetime: 1e12, Mail: true, Language: language,
			})
			storagetest.Must(t, err)
			return f.link(storage.MailInvitation)
		}
		create(f.Browser(), invite("bob", "de"), "bob", "Konto anlegen")
		f.wantLocale("an invitation in German", "bob", "de")
		english := f.Browser()
		english.SetCookie("language", "en")
		create(english, invite("carol", "de"), "carol", "Create your account")
		f.wantLocale("an invitation in German on a page in English", "carol", "en")
		create(german, invite("dave", ""), "dave", "Konto anlegen")
		f.wantLocale("an invitation without a language", "dave", "de")
	})
}

// TestSignInAndChoiceSetLanguage tests PE25: a user whom the operator created without a language gets that of the
// browser at a sign-in, and the one that the user chooses later. A language that the pages do not have stays, and
// neither an app nor another site can set one.
func TestSignInAndChoiceSetLanguage(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		alice := f.User("alice")
		f.User("bob")
		app, b := f.App(), f.Browser()
		b.Code(app, "alice", "ui_locales", "de")
		f.wantLocale("a sign-in to an app with ui_locales", "alice", "")
		form := func(language string) url.Values { return url.Values{"language": {language}, "to": {"/account"}} }
		if p := b.SubmitFrom("https://evil.example", "/language", form("de")); p.Status != http.StatusForbidden {
			t.Errorf("a choice of another site: %d, want 403", p.Status)
		}
		f.wantLocale("a choice of another site", "alice", "")
		b.Submit("/language", form("xx"))
		f.wantLocale("an unknown language", "alice", "")
		for _, tag := range []string{"de", "en"} {
			b.Submit("/language", form(tag))
			f.wantLocale("a choice", "alice", tag)
		}
		changes := func() int64 {
			rows, err := f.Store.Audit.CountRows(t.Context(), audit.Filter{Event: audit.UserLanguageSet})
			storagetest.Must(t, err)
			return rows
		}
		for i := range 40 {
			b.Submit("/language", form([]string{"de", "en"}[i%2]))
		}
		if n := changes(); n > 30 {
			t.Errorf("%d changes of the language in a moment are in the audit log, want at most 30", n)
		}
		if p := b.Submit("/account/profile", b.Open("/account/profile").Fields()); p.Status != http.StatusTooManyRequests {
			t.Errorf("a change of the profile above the limit: %d, want 429", p.Status)
		}
		// A session that may not change the factors must not use up the changes of their user.
		security := url.Values{"form_token": {b.Open("/account/security").Fields().Get("form_token")}}
		if p := b.Submit("/account/security/unknown", security); p.Status != http.StatusNotFound {
			t.Errorf("an unknown change of the factors: %d, want 404 and not a limit", p.Status)
		}
		f.Clock.Advance(time.Hour)
		french := storage.Profile{Locale: "fr-CA"}
		_, err := f.Users.Update(t.Context(), alice, identity.Changes{Profile: &french})
		storagetest.Must(t, err)
		b.Submit("/language", form("de"))
		f.wantLocale("a choice of a user with a language that pages do not have", "alice", "fr-CA")
		f.Browser().Submit("/language", form("de")) // no user
		german := f.Browser()
		german.SetCookie("language", "de")
		german.Follow(signInAs(german, "bob", servertest.Password))
		f.wantLocale("a sign-in in a browser in German", "bob", "de")
		english := f.Browser()
		english.SetCookie("language", "en")
		english.Follow(signInAs(english, "bob", servertest.Password))
		f.wantLocale("a later sign-in in a browser in English", "bob", "de")
	})
}
