package selfservice_test

import (
	"net/http"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestPreHijackingLeavesNothing covers PE27 and PE36 over HTTP, as far as there is no upstream sign-in: an attacker who
// had an account with the address of its owner first keeps nothing after the owner signs up or resets the password.
// The forms are those of Sudhodanan and Paverd (2022), without the two of upstream identity providers.
func TestPreHijackingLeavesNothing(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		attacker, owner := f.Browser(), f.Browser()
		signIn := func(b *servertest.Browser, username, password string) servertest.Page {
			form := b.Open("/login?another=1").Fields()
			form.Set("username", username)
			form.Set("password", password)
			return b.Submit("/login", form)
		}
		// Classic: the attacker begins first, with a chosen password.
		submit(attacker, attacker.Open("/sign-up"), "/sign-up", "email", "olga@example.com", "username", "olga",
			"password", "attackers-old-otters")
		first := f.link(storage.MailVerifyEmail)
		submit(owner, owner.Open("/sign-up"), "/sign-up", "email", "olga@example.com")
		f.want("the first link", owner.Open(first), http.StatusBadRequest, "This link no longer works")
		f.want("the owner's account", submit(owner, owner.Open(f.link(storage.MailVerifyEmail)), "/verify", "username",
			"olga", "password", servertest.Password, "terms", "1"), http.StatusOK, "Your account is ready")
		if p := signIn(attacker, "olga", "attackers-old-otters"); p.Status != http.StatusUnauthorized {
			t.Errorf("the attacker's password: %d, want 401", p.Status)
		}
		// The attacker had the password of an account that the operator created for the owner.
		f.User("oleg")
		attacker.Follow(signIn(attacker, "oleg", servertest.Password))
		// Unexpired change of address, whose link the attacker gets, and a trojan identifier: an address of the attacker.
		submit(attacker, attacker.Open("/account/email"), "/account/email", "email", "attacker@example.com")
		pending := f.link(storage.MailVerifyEmail)
		open := attacker.Open(pending)
		submit(owner, owner.Open("/forgot"), "/forgot", "username", "oleg@example.com")
		f.want("the reset", submit(owner, owner.Open(f.link(storage.MailResetPassword)), "/reset", "password",
			"owners-new-otters"), http.StatusOK, "Your password is changed")
		if p := attacker.Open("/account"); p.Status != http.StatusSeeOther {
			t.Errorf("the attacker's unexpired session: %d, want the sign-in page", p.Status)
		}
		f.want("the attacker's pending change", submit(attacker, open, "/verify"), http.StatusBadRequest,
			"This link no longer works")
		if p := signIn(attacker, "attacker@example.com", servertest.Password); p.Status != http.StatusUnauthorized {
			t.Errorf("the attacker's address: %d, want 401", p.Status)
		}
		if p := signIn(owner, "oleg@example.com", "owners-new-otters"); p.Status != http.StatusSeeOther {
			t.Errorf("the owner's sign-in: %d, want 303", p.Status)
		}
	})
}
