package identity_test

import (
	"errors"
	"net/http"
	"testing"

	"gatehouse/identity"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestSignInFromBeforeChangeFails tests PE23: a password that was verified while another process changed it starts no
// session and no pending sign-in, and renews no session.
func TestSignInFromBeforeChangeFails(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, s, _ := newUsers(t, url)
		alice, b := user(t, p, "alice"), browser{}
		var session storage.AccountSession
		change := func() {
			stored, err := s.Password(t.Context(), alice.ID)
			storagetest.Must(t, err)
			if session.User, err = s.User(t.Context(), alice.ID); session.ID == "" {
				session.User = storage.User{}
			}
			storagetest.Must(t, err)
			storagetest.Must(t, s.ChangePassword(t.Context(), storage.PasswordChange{
				UserID: alice.ID, Previous: stored.Hash, Hash: stored.Hash, By: session,
			}))
		}
		begin := func(outdated bool) {
			t.Helper()
			verified, err := p.SignIn(t.Context(), "alice", password, identity.Device{})
			storagetest.Must(t, err)
			if outdated {
				change()
			}
			b.visit(t, func(w http.ResponseWriter, r *http.Request) error {
				a := identity.Authentication{ACR: identity.ACRPassword, AMR: []string{"pwd"}}
				signedIn, pending, err := p.BeginSignIn(w, r, verified, a, identity.SignInRequest{})
				switch {
				case outdated && !errors.Is(err, identity.ErrInvalidCredentials):
					t.Errorf("BeginSignIn after a change = %+v, %q, %v, want ErrInvalidCredentials", signedIn, pending, err)
				case !outdated && err != nil:
					t.Errorf("BeginSignIn = %v, want no error", err)
				case signedIn != nil:
					session.ID = signedIn.Session.ID
				}
				return nil
			})
		}
		begin(true)
		b.wantSignedIn(t, p)
		begin(false)
		b.wantSignedIn(t, p, "alice")
		before := sessionOf(t, p, b)
		begin(true) // the session of the browser stays, and is not renewed
		if after := sessionOf(t, p, b); after.Session.ID != before.Session.ID ||
			!after.Session.AuthTime.Equal(before.Session.AuthTime) {
			t.Errorf("the session after an outdated sign-in = %+v, want %+v", after.Session, before.Session)
		}
		storagetest.Must(t, s.SetTOTP(t.Context(), storage.TOTPSecret{ID: alice.ID}))
		begin(true)
		if n := storagetest.Count(t, s, url, "SELECT count(*) FROM pending_sign_ins"); n != 0 {
			t.Errorf("%d pending sign-ins after a change, want 0", n)
		}
	})
}

// sessionOf returns the user who is signed in to a browser.
func sessionOf(t *testing.T, p *identity.Users, b browser) (user *identity.SignedInUser) {
	t.Helper()
	b.visit(t, func(_ http.ResponseWriter, r *http.Request) (err error) {
		user, err = p.CurrentUser(r)
		return err
	})
	return user
}
