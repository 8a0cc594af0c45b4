package selfservice_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/identity"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// linksTo reports whether a page links to a path.
func linksTo(p servertest.Page, path string) bool {
	return slices.ContainsFunc(p.Links(), func(s string) bool { return strings.HasSuffix(s, path) })
}

// signedInAs returns a browser with the user.
func (f *fixture) signedInAs(name string) *servertest.Browser {
	f.t.Helper()
	b := f.Browser()
	b.Follow(b.SignIn(b.Open("/login?to=account"), name))
	return b
}

// TestPagesOfLinksNameConsequences covers PE23, PE27 and PE28 over HTTP: the page that undoes a change of address names
// everything that it does, an invitation is named as such, and a link that cannot be used leads to another one of its
// kind.
func TestPagesOfLinksNameConsequences(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		ctx := t.Context()
		alice, owner := f.User("alice"), f.Browser()
		b := f.signedInAs("alice")
		f.addApp(b, alice)
		requestChange := func(to string) string {
			t.Helper()
			storagetest.Must(t, f.Users.RequestEmailChange(ctx, f.Session(alice), to, identity.Origin{Language: "en"}))
			return f.link(storage.MailVerifyEmail)
		}
		change := requestChange("new@example.com")
		f.want("the new address", submit(b, b.Open(change), "/verify"), http.StatusOK, "is confirmed")
		undo := f.link(storage.MailEmailChanged)
		form := owner.Open(undo)
		for _, text := range []string{
			"gets the address alice@example.com again", "signed out everywhere, and all apps lose their access",
			"is removed: Authenticator app, Recovery codes", "Your password no longer works",
		} {
			f.want("the page to undo it", form, http.StatusOK, text)
		}
		done := submit(owner, form, "/verify")
		f.want("the undo", done, http.StatusOK, "Your old password no longer works")
		if used := owner.Open(undo); !linksTo(done, "/forgot") || !linksTo(used, "/forgot") || linksTo(used, "/sign-up") {
			t.Errorf("after the undo: links %v, and of the used link %v, want the reset", done.Links(), used.Links())
		}
		expired := requestChange("other@example.com")
		f.Clock.Advance(2 * time.Hour)
		p := owner.Open(expired)
		f.want("an expired change", p, http.StatusBadRequest, "Change your email address")
		if linksTo(p, "/sign-up") || !linksTo(owner.Open("/verify?token=x"), "/sign-up") {
			t.Errorf("an expired change links to %v, want no sign-up", p.Links())
		}
		f.User("bob")
		if p := f.signedInAs("bob").Open("/verify?token=x"); linksTo(p, "/sign-up") || !linksTo(p, "/account") {
			t.Errorf("an unknown link links to %v for a user who is signed in, want the account", p.Links())
		}
		for email, want := range map[string]string{
			"": "at Zephyr Library. Enter your email address", "fred@corp.example": "We will send a link to your address",
		} {
			_, link, err := f.Users.Invite(ctx, identity.NewInvitation{Email: email, Lifetime: time.Hour})
			storagetest.Must(t, err)
			f.want("an invitation for "+email, owner.Open(link), http.StatusOK, "You are invited")
			f.want("an invitation for "+email, owner.Open(link), http.StatusOK, want)
		}
	})
}

// TestPasswordPagesStateWhatEnds covers PE23 over HTTP: the current password is no new one, the page after a change
// states what has ended, and a reset, which signs out everywhere, offers to end the access of apps only.
func TestPasswordPagesStateWhatEnds(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		f.User("alice")
		b := f.signedInAs("alice")
		change := func(current, next string, more ...string) servertest.Page {
			return submit(b, b.Open("/account/password"), "/account/password",
				append(more, "current", current, "password", next)...)
		}
		f.want("the same password", change(servertest.Password, servertest.Password), http.StatusBadRequest,
			"This is your current password")
		f.want("a wrong password twice", change("incorrect", "incorrect"), http.StatusUnauthorized,
			"not your current password")
		p := change(servertest.Password, "ten-tiny-otters")
		f.want("a change", p, http.StatusOK, "You are signed out everywhere else.")
		if strings.Contains(p.Text(), "all apps") || !linksTo(p, "/account") {
			t.Errorf("after a change: %s with %v, want the account", p.Text(), p.Links())
		}
		p = change("ten-tiny-otters", "ten-more-otters", "end_everything", "1")
		f.want("a change that ends everything", p, http.StatusOK, "including here, and all apps lost their access")
		if linksTo(p, "/account") || !linksTo(p, "/login?to=account") {
			t.Errorf("after a change that ends everything: %v, want the sign-in page", p.Links())
		}
		f.QueuedMails()
		submit(b, b.Open("/forgot"), "/forgot", "username", "alice")
		if p := b.Open(f.link(storage.MailResetPassword)); strings.Contains(p.Text(), "sign out here") {
			t.Errorf("a reset: %s, want no choice about this browser", p.Text())
		}
	})
}

// TestDeletionStatesWhenAndSignInThatCancelsIt covers PE32 over HTTP: the pages have the waiting period and the date,
// and the page after a sign-in that cancels the deletion states that, for the account pages and for an app, also after
// a second factor.
func TestDeletionStatesWhenAndSignInThatCancelsIt(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		alice := f.User("alice")
		b := f.signedInAs("alice")
		until := f.Clock.Now().Add(7 * 24 * time.Hour).UTC()
		day, at := until.Format("2 January 2006"), until.Format("2 January 2006, 15:04 MST")
		f.want("the profile", b.Open("/account/profile"), http.StatusOK, "after a waiting period of 7 days")
		form := b.Open("/account/delete")
		f.want("the form", form, http.StatusOK, "after a waiting period of 7 days, on "+day)
		f.want("the deletion", submit(b, form, "/account/delete"), http.StatusOK, "sign in before "+at)
		login := b.Open("/login?then=profile").Fields()
		login.Set("username", "alice")
		login.Set("password", servertest.Password)
		cancelled := b.Submit("/login", login)
		f.want("a sign-in", cancelled, http.StatusOK, "would have been deleted on "+at)
		if !linksTo(cancelled, "/account/profile") || !linksTo(cancelled, "/account/delete") {
			t.Errorf("after a sign-in: links %v, want to the page and to the deletion", cancelled.Links())
		}
		if u, err := f.Store.User(t.Context(), alice.ID); err != nil || u.DeletionAt != nil {
			t.Errorf("the user = %+v, %v, want no deletion", u, err)
		}
		submit(b, b.Open("/account/delete"), "/account/delete")
		authenticator, c := f.TOTP(alice), f.App()
		cancelled = b.SubmitFactor(b.BeginSignIn(b.Authorize(c), "alice"), authenticator.Code())
		f.want("a sign-in to an app", cancelled, http.StatusOK, "Your account will not be deleted")
		for _, link := range cancelled.Links() {
			if strings.Contains(link, "/oauth2/authorize/") {
				f.want("the app", b.Follow(b.Open(link)), http.StatusOK, "wants access to your account")
			}
		}
		now := f.StartAnotherWith("GATEHOUSE_USER_DELETION_GRACE=0s").Browser()
		f.User("bob")
		now.SignIn(now.Open("/login?then=delete"), "bob")
		f.want("the form without a waiting period", now.Open("/account/delete"), http.StatusOK, "cannot be undone")
	})
}
