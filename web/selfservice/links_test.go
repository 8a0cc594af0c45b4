package selfservice_test

import (
	"net/http"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/identity"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestOpenedLinksUseNothingAndExpire covers PE20, PE27 and PE28: opening an invitation or the link that undoes a change
// of address uses nothing, an invitation and a sign-up expire, also for a form that is open, and expired sign-ups are
// deleted.
func TestOpenedLinksUseNothingAndExpire(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		b, ctx := f.Browser(), t.Context()
		f.User("alice")
		session := f.Browser()
		session.Follow(session.SignIn(session.Open("/login?to=account"), "alice"))
		submit(session, session.Open("/account/email"), "/account/email", "email", "new@example.com")
		change := f.link(storage.MailVerifyEmail)
		f.want("the new address", submit(session, session.Open(change), "/verify"), http.StatusOK, "is confirmed")
		undo := f.link(storage.MailEmailChanged)
		for range 2 {
			f.want("opening the link to undo it", b.Open(undo), http.StatusOK, "Restore your email address")
		}
		if u, err := f.Users.User(ctx, "alice"); err != nil || u.Email != "new@example.com" {
			t.Errorf("after the link was opened: %s, %v, want the new address", u.Email, err)
		}
		f.want("the form of it", submit(b, b.Open(undo), "/verify"), http.StatusOK, "is restored")

		invite := func(email string) string {
			_, _, err := f.Users.Invite(ctx, identity.NewInvitation{Email: email, Lifetime: time.Hour, Mail: true})
			storagetest.Must(t, err)
			return f.link(storage.MailInvitation)
		}
		values := []string{"username", "bob", "password", "ten-tiny-otters", "terms", "1"}
		link := invite("bob@example.com")
		b.Open(link)
		f.want("an opened invitation", submit(b, b.Open(link), "/invite", values...), http.StatusOK, "is ready")
		late := invite("carol@example.com")
		opened := b.Open(late)
		sent := submit(b, b.Open("/sign-up"), "/sign-up", "email", "dave@example.com")
		f.want("a sign-up", sent, http.StatusOK, "A message is on its way")
		signUp := f.link(storage.MailVerifyEmail)
		values[1] = "late"
		f.Clock.Advance(time.Hour + time.Second)
		f.want("an expired invitation", b.Open(late), http.StatusBadRequest, "This invitation was already used")
		f.want("its form", submit(b, opened, "/invite", values...), http.StatusBadRequest, "This invitation was already used")
		opened = b.Open(signUp)
		f.want("the link of the sign-up", opened, http.StatusOK, "Create your account")
		f.Clock.Advance(23 * time.Hour)
		f.want("an expired sign-up", b.Open(signUp), http.StatusBadRequest, "This link no longer works")
		f.want("its form", submit(b, opened, "/verify", values...), http.StatusBadRequest, "This link no longer works")
		if _, err := f.Users.User(ctx, "late"); err == nil {
			t.Error("an expired link created an account")
		}
		storagetest.ResetCleanupTime(t, f.Store, f.DB)
		_, err := f.Store.DeleteExpired(ctx, storagetest.UnusedClientTTL)
		storagetest.Must(t, err)
		if n := storagetest.Count(t, f.Store, f.DB, "SELECT count(*) FROM sign_ups"); n != 0 {
			t.Errorf("%d rows of sign-ups after they expired, want 0", n)
		}
	})
}

// TestSignUpNeedsPolicyThatAllowsIt covers PE27: with the policies off and invite neither the page nor the form of
// another process creates an account.
func TestSignUpNeedsPolicyThatAllowsIt(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		b := f.Browser()
		form := b.Open("/sign-up")
		for _, policy := range []string{"off", "invite"} {
			b.Server = f.StartAnotherWith("GATEHOUSE_SIGN_UP=" + policy)
			for what, p := range map[string]servertest.Page{
				"the page": b.Open("/sign-up"), "the form": submit(b, form, "/sign-up", "email", "new@example.com"),
			} {
				f.want(policy+": "+what, p, http.StatusForbidden, "You cannot create an account yourself")
			}
		}
		if mails := f.QueuedMails(); len(mails) != 0 {
			t.Errorf("%d emails, want none", len(mails))
		}
	})
}
