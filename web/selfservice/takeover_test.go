package selfservice_test

import (
	"encoding/base32"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/identity/totp"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// addApp adds an authenticator app and recovery codes to the user of a browser, as an attacker with the password does,
// and returns the link of the only notice.
func (f *fixture) addApp(b *servertest.Browser, u storage.User) string {
	f.t.Helper()
	f.QueuedMails()
	page := b.Open("/account/security")
	page = b.Submit("/account/security/totp", url.Values{"form_token": {page.Fields().Get("form_token")}})
	shown := regexp.MustCompile(`[A-Z2-7]{4}( [A-Z2-7]{4}){7}`).FindString(page.Text())
	k := totp.New()
	var err error
	k.Secret, err = base32.StdEncoding.DecodeString(strings.ReplaceAll(shown, " ", ""))
	storagetest.Must(f.t, err)
	form := page.Fields()
	form.Set("code", k.Code(k.Step(f.Clock.Now())))
	f.want("the app", b.Submit("/account/security/totp-confirm", form), http.StatusOK, "Save your recovery codes")
	mails := f.QueuedMails()
	if len(mails) != 1 || mails[0].Kind != storage.MailFactorAdded || mails[0].To != u.Email ||
		mails[0].Values[storage.MailValueChange] != "user.totp_set.with_codes" {
		f.t.Fatalf("the emails are %+v, want one about the app and the codes", mails)
	}
	return mails[0].Values[storage.MailLink]
}

// signInAs submits the sign-in form.
func signInAs(b *servertest.Browser, name, password string) servertest.Page {
	form := b.Open("/login?another=1").Fields()
	form.Set("username", name)
	form.Set("password", password)
	return b.Submit("/login", form)
}

// report states "This was not me" on the newest event with a text.
func (f *fixture) report(b *servertest.Browser, text string) servertest.Page {
	f.t.Helper()
	activity := b.Open("/account/activity").Body
	_, after, found := strings.Cut(activity, text)
	m := regexp.MustCompile(`(?s)action="([^"]*)".*?name="form_token" value="([^"]*)"`).FindStringSubmatch(after)
	if !found || m == nil {
		f.t.Fatalf("the page of activity has no form for %q: %s", text, activity)
	}
	return b.Submit(m[1], url.Values{"form_token": {m[2]}, "decision": {"not-mine"}})
}

// TestTakeoverWithAddedFactorEnds tests PE19 and PE23 over HTTP: an attacker with the password of a user without
// factors adds one, with which the user could not sign in. The link of the notice, or a reset, removes it and ends
// everything; a session without the factor does not.
func TestTakeoverWithAddedFactorEnds(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		reset := func(b *servertest.Browser, name, password string, changes ...string) servertest.Page {
			submit(b, b.Open("/forgot"), "/forgot", "username", name)
			form := b.Open(f.link(storage.MailResetPassword))
			if offered := strings.Contains(form.Body, "remove_factors"); offered !=
				(len(changes) > 0) {
				t.Errorf("the reset of %s offers to remove factors: %v, want %v", name, offered, len(changes) > 0)
			}
			return submit(b, form, "/reset", append(changes, "password", password)...)
		}
		alice, attacker, owner := f.User("alice"), f.Browser(), f.Browser()
		attacker.Follow(signInAs(attacker, "alice", servertest.Password))
		link := f.addApp(attacker, alice)
		f.want("opening the link", owner.Open(link), http.StatusOK, "Authenticator app")
		undo := owner.Open(link)
		f.want("opening it again", undo, http.StatusOK, "Remove and sign out everywhere")
		f.want("the link", submit(owner, undo, "/verify"), http.StatusOK, "Now choose a new password")
		f.want("the link again", submit(owner, undo, "/verify"), http.StatusBadRequest, "This link no longer works")
		if p := attacker.Open("/account"); p.Status != http.StatusSeeOther {
			t.Errorf("the attacker's session after the link: %d, want the sign-in page", p.Status)
		}
		f.want("the reset", reset(owner, "alice", "owners-new-otters"), http.StatusOK, "Your password is changed")
		owner.Follow(signInAs(owner, "alice", "owners-new-otters"))
		f.want("the security page", owner.Open("/account/security"), http.StatusOK, "Set up an app")

		bob, session := f.User("bob"), f.Browser()
		session.Follow(signInAs(session, "bob", servertest.Password))
		attacker.Follow(signInAs(attacker, "bob", servertest.Password))
		link = f.addApp(attacker, bob)
		next := f.report(session, "Authenticator app added")
		f.want("after the report", session.Follow(next), http.StatusOK, "open the link in the message about it")
		if links := session.Open(next.Header.Get("Location")).Links(); !slices.ContainsFunc(links, func(s string) bool {
			return strings.HasSuffix(s, "/forgot")
		}) {
			t.Errorf("after the report the page links to %v, want the reset", links)
		}
		if p := signInAs(f.Browser(), "bob", servertest.Password); !strings.Contains(p.Header.Get("Location"), "factor") {
			t.Errorf("a sign-in after the report: %s, want that of the second factor", p.Header.Get("Location"))
		}
		f.QueuedMails()
		f.want("a reset that removes factors", reset(f.Browser(), "bob", "owners-new-otters", "remove_factors", "1"),
			http.StatusOK, "Your password is changed")
		if p := signInAs(f.Browser(), "bob", "owners-new-otters"); strings.Contains(p.Header.Get("Location"), "factor") {
			t.Errorf("a sign-in after the reset: %s, want no second factor", p.Header.Get("Location"))
		}
		// The link of the notice is not ended by the reset.
		f.want("the link after a reset", f.Browser().Open(link), http.StatusOK, "Nothing that was added")
	})
}

// TestSessionCannotEndResetLink tests PE23: an attacker in a session, who changes the password, ends everything,
// reports events or deletes the account, does not end the link with which the user is resetting the password. The reset
// ends the session.
func TestSessionCannotEndResetLink(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		for name, attack := range map[string]func(b *servertest.Browser){
			"password": func(b *servertest.Browser) {
				submit(b, b.Open("/account/password"), "/account/password", "current", servertest.Password, "password",
					"attackers-new-otters")
			},
			"everything": func(b *servertest.Browser) {
				submit(b, b.Open("/account/password"), "/account/password", "current", servertest.Password, "password",
					"attackers-new-otters", "end_everything", "1")
			},
			"report": func(b *servertest.Browser) { f.report(b, "Signed in") },
			"deletion": func(b *servertest.Browser) {
				submit(b, b.Open("/account/delete"), "/account/delete")
			},
		} {
			f.User(name)
			attacker, owner := f.Browser(), f.Browser()
			attacker.Follow(signInAs(attacker, name, servertest.Password))
			submit(owner, owner.Open("/forgot"), "/forgot", "username", name)
			form := owner.Open(f.link(storage.MailResetPassword))
			attack(attacker)
			f.want("a reset after "+name, submit(owner, form, "/reset", "password", "owners-new-otters"), http.StatusOK,
				"Your password is changed")
			if p := attacker.Open("/account"); p.Status != http.StatusSeeOther {
				t.Errorf("%s: the attacker's session after the reset: %d, want the sign-in page", name, p.Status)
			}
			f.QueuedMails()
		}
	})
}

// TestNewPasswordMakesBrowsersUnknown covers PE19 over HTTP: browsers from before a change or reset of the password, a
// deletion of the account, an undone change, or from before the user reported an event, are new again. The browser in
// which the user did that is not.
func TestNewPasswordMakesBrowsersUnknown(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		carol := f.User("carol")
		f.Clock.Advance(25 * time.Hour) // the account is not new
		isNew := func(b *servertest.Browser, password string) bool {
			t.Helper()
			b.Submit("/account/sign-out", b.Open("/account").Fields())
			f.QueuedMails()
			b.Follow(signInAs(b, "carol", password))
			return slices.ContainsFunc(f.QueuedMails(), func(m storage.OpenedMail) bool {
				return m.Kind == storage.MailNewDevice
			})
		}
		want := func(when string, b *servertest.Browser, password string, want bool) {
			t.Helper()
			if got := isNew(b, password); got != want {
				t.Errorf("%s: the browser is new: %v, want %v", when, got, want)
			}
		}
		one, other := f.Browser(), f.Browser()
		want("a first sign-in", one, servertest.Password, true)
		want("a first sign-in", other, servertest.Password, true)
		want("another sign-in", other, servertest.Password, false)
		f.want("the change", submit(one, one.Open("/account/password"), "/account/password", "current",
			servertest.Password, "password", "carols-new-otters"), http.StatusOK, "Your password is changed")
		want("where the password changed", one, "carols-new-otters", false)
		want("elsewhere", other, "carols-new-otters", true)
		f.report(other, "Signed in")
		want("where the event was reported", other, "carols-new-otters", false)
		want("elsewhere", one, "carols-new-otters", true)
		f.want("the deletion", submit(one, one.Open("/account/delete"), "/account/delete"), http.StatusOK, "will be deleted")
		want("where the deletion is cancelled", one, "carols-new-otters", false)
		want("elsewhere", other, "carols-new-otters", true)
		reset := func(b *servertest.Browser, password string) {
			t.Helper()
			submit(b, b.Open("/forgot"), "/forgot", "username", "carol")
			f.want("the reset", submit(b, b.Open(f.link(storage.MailResetPassword)), "/reset", "password", password),
				http.StatusOK, "Your password is changed")
		}
		reset(one, "ten-quiet-badgers")
		want("where the password was reset", one, "ten-quiet-badgers", false)
		want("elsewhere", other, "ten-quiet-badgers", true)
		unknown := f.Browser()
		reset(unknown, "two-quiet-badgers")
		want("a reset in an unknown browser", unknown, "two-quiet-badgers", true)
		undo := f.addApp(unknown, carol)
		f.want("the undo", submit(unknown, unknown.Open(undo), "/verify"), http.StatusOK, "Now choose a new password")
		reset(unknown, "six-quiet-badgers")
		want("where an addition was undone", unknown, "six-quiet-badgers", false)
	})
}
