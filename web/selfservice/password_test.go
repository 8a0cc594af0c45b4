package selfservice_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestFirstPasswordNeedsRecentSignIn covers PE17 for users without a password, such as imported ones: there is no
// current password to prove, so an old session must not be enough to set one.
func TestFirstPasswordNeedsRecentSignIn(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		alice, b := f.User("alice"), f.Browser()
		b.Follow(b.SignIn(b.Open("/login?to=account"), "alice"))
		storagetest.Exec(t, f.Store, db, "DELETE FROM passwords")
		form := b.Open("/account/password")
		f.want("the page after a recent sign-in", form, http.StatusOK, "New password")
		if form.Fields().Has("current") {
			t.Error("the page has a field for the current password of a user without one")
		}
		f.Clock.Advance(11 * time.Minute)
		f.want("the page after eleven minutes", b.Open("/account/password"), http.StatusOK, "sign in again first")
		f.want("a password after eleven minutes", submit(b, form, "/account/password", "password", "ten-tiny-otters"),
			http.StatusOK, "sign in again first")
		if _, err := f.Store.Password(t.Context(), alice.ID); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("the password after a refused change: %v, want none", err)
		}
		f.Clock.Advance(-11 * time.Minute)
		f.want("a password after a recent sign-in", submit(b, form, "/account/password", "password", "ten-tiny-otters"),
			http.StatusOK, "signed out everywhere else")
	})
}
