package storage_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// addition returns an addition of a factor by the fixture's user in a session of now, with a link.
func (f *fixture) addition(t *testing.T, hash string) storage.FactorAddition {
	t.Helper()
	return storage.FactorAddition{
		AccountSession: f.session(t), UndoHash: []byte(hash), Link: "/verify?token=" + hash,
	}
}

// setTOTP gives the fixture's user a TOTP authenticator with a link, as an attacker may.
func (f *fixture) setTOTP(t *testing.T, hash string) {
	t.Helper()
	secret := storage.TOTPSecret{ID: f.user.ID, Secret: []byte(hash), Algorithm: "SHA1", Digits: 6, Period: 30}
	_, err := f.SetTOTPInSession(t.Context(), secret, nil, f.addition(t, hash))
	storagetest.Must(t, err)
}

// attack does what an attacker with the password of the fixture's user can do. The names of links begin with n.
func (f *fixture) attack(t *testing.T, n string) {
	t.Helper()
	for _, key := range []bool{false, true} {
		p := f.passkey(n + map[bool]string{false: "passkey", true: "key"}[key])
		p.SecondFactor = key
		storagetest.Must(t, f.CreatePasskey(t.Context(), p, f.addition(t, p.ID)))
		f.clock.Advance(time.Second)
	}
	f.setTOTP(t, n+"first")
	f.clock.Advance(time.Second)
	f.setTOTP(t, n+"second")
	codes := [][]byte{[]byte("code")}
	storagetest.Must(t, f.SetRecoveryCodes(t.Context(), f.user.ID, codes, f.addition(t, n+"codes")))
	f.clock.Advance(time.Second)
	f.token(t, storage.ChangeEmail, n+"change", n+"evil@example.com", nil)
	_, err := f.ChangeEmail(t.Context(), []byte(n+"change"), storage.EmailChange{
		UndoHash: []byte(n + "undo"), UndoExpiresAt: f.Now().Add(storage.UndoWindow),
		Notice: func(u storage.User) storage.Mail {
			return storage.Mail{Kind: storage.MailEmailChanged, UserID: u.ID, To: u.Email}
		},
	})
	storagetest.Must(t, err)
	f.clock.Advance(time.Second)
	p := f.passkey(n + "later")
	storagetest.Must(t, f.CreatePasskey(t.Context(), p, f.addition(t, n+"later")))
	storagetest.Must(t, f.SetPassword(t.Context(), f.user.ID, "hash"))
	_, err = f.EndOtherSessions(t.Context(), f.user.ID, "", "report")
	storagetest.Must(t, err)
	f.token(t, storage.ResetPassword, n+"reset", "evil@example.com", nil)
}

// TestLinkRemovesAddedFactors tests PE19: an attacker with the password of a user without factors adds them, changes
// the address and the password, and requests links. Each link that the user got still removes all of it, once.
func TestLinkRemovesAddedFactors(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := mailFixture(t, url)
		f.ctx = t.Context()
		for _, hash := range []string{"passkey", "codes"} {
			f.attack(t, hash+" ")
			before := f.addition(t, "").User
			recent, _, err := f.RecentFactors(t.Context(), f.user.ID)
			if err != nil || len(recent) != 5 {
				t.Errorf("RecentFactors = %+v, %v, want two passkeys, a key, an app and codes", recent, err)
			}
			onlyOne(t, "a link to remove factors", func(int) error {
				_, err := f.UndoFactors(t.Context(), []byte(hash+" "+hash))
				return err
			})
			f.wantFactors(t, "after the link of the "+hash, storage.Factors{})
			if u := f.addition(t, "").User; u.Epoch <= before.Epoch {
				t.Errorf("the epoch = %d, want more than %d", u.Epoch, before.Epoch)
			}
			_, err = f.EmailToken(t.Context(), []byte(hash+" reset"))
			wantLinkRefused(t, "a link that was requested before", err, "unknown, or replaced by a newer one")
			_, err = f.EmailToken(t.Context(), []byte(hash+" later"))
			wantLinkRefused(t, "a later link, at the changed address", err, "unknown, or replaced by a newer one")
			if _, err = f.EmailToken(t.Context(), []byte(hash+" undo")); err != nil {
				t.Errorf("the link that restores the address = %v, want it to stay valid", err)
			}
		}
		f.attack(t, "address ")
		_, err := f.UndoEmailChange(t.Context(), []byte("address undo"))
		storagetest.Must(t, err)
		f.wantFactors(t, "after the address was restored", storage.Factors{})
		f.attack(t, "late ")
		f.clock.Advance(storage.UndoWindow + time.Second)
		_, err = f.UndoFactors(t.Context(), []byte("late passkey"))
		wantLinkRefused(t, "a link after seven days", err, "expired")
		rows, err := f.Audit.Rows(t.Context(), audit.Filter{Event: audit.UserFactorsUndone})
		if err != nil || len(rows) != 3 {
			t.Errorf("%d audit rows of removed factors, %v, want 3", len(rows), err)
		}
	})
}

// TestLinkRemovesNoOlderProtection tests PE23: an attacker who reads only the mails of a user, and so has every link,
// removes no second factor of a user who has had one for longer than seven days, also not after it was replaced.
func TestLinkRemovesNoOlderProtection(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := mailFixture(t, url)
		f.ctx = t.Context()
		reset := func(token string) {
			f.token(t, storage.ResetPassword, token, f.user.Email, nil)
			storagetest.Must(t, f.ResetPassword(t.Context(), []byte(token), storage.PasswordChange{
				UserID: f.user.ID, Hash: token, EndEverything: true, RemoveFactors: true,
				Notice: storage.Mail{Kind: storage.MailPasswordChanged, UserID: f.user.ID, To: f.user.Email},
			}))
		}
		f.setTOTP(t, "old")
		f.clock.Advance(storage.UndoWindow + time.Second)
		key := f.passkey("key")
		key.SecondFactor = true
		storagetest.Must(t, f.CreatePasskey(t.Context(), key, f.addition(t, "key")))
		reset("with an old app")
		f.wantFactors(t, "an added key", storage.Factors{Password: true, TOTP: true})

		storagetest.Must(t, f.CreatePasskey(t.Context(), f.passkey("passkey"), f.addition(t, "passkey")))
		f.setTOTP(t, "new") // a new phone
		f.setTOTP(t, "newer")
		codes := [][]byte{[]byte("a"), []byte("b")}
		storagetest.Must(t, f.SetRecoveryCodes(t.Context(), f.user.ID, codes, f.addition(t, "codes")))
		recent, retained, err := f.RecentFactors(t.Context(), f.user.ID)
		isTOTP := func(r storage.RecentFactor) bool { return r.Kind == storage.TOTPFactor }
		if err != nil || !retained || len(recent) != 2 || slices.ContainsFunc(recent, isTOTP) {
			t.Errorf("RecentFactors = %+v, %v, %v, want the passkey and the codes", recent, retained, err)
		}
		_, err = f.UndoFactors(t.Context(), []byte("new"))
		storagetest.Must(t, err)
		f.wantFactors(t, "a replaced app", storage.Factors{TOTP: true})

		storagetest.Must(t, f.CreatePasskey(t.Context(), key, f.addition(t, "second key")))
		storagetest.Must(t, f.DeleteTOTP(t.Context(), f.user.ID, storage.AccountSession{})) // from an app to a key
		reset("with a key alone")
		f.wantFactors(t, "a key in place of the app", storage.Factors{Password: true, SecurityKeys: 1})
		storagetest.Must(t, f.ResetFactors(t.Context(), f.user.ID, "lost key"))
		_, err = f.UndoFactors(t.Context(), []byte("second key"))
		wantLinkRefused(t, "a link from before the operator acted", err, "unknown, or replaced by a newer one")
	})
}

// TestChangeEndsConcurrentSignIns creates sessions and pending sign-ins while the password changes: each is refused or
// ended (PE23).
func TestChangeEndsConcurrentSignIns(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		for range 5 {
			u, err := f.User(t.Context(), f.user.ID)
			storagetest.Must(t, err)
			stored, err := f.Password(t.Context(), u.ID)
			storagetest.Must(t, err)
			storagetest.Concurrently(8, func(i int) {
				id := uuid.NewString()
				now := f.Now()
				var err error
				switch {
				case i == 4:
					err = f.ChangePassword(t.Context(), storage.PasswordChange{
						UserID: u.ID, Previous: stored.Hash, Hash: stored.Hash,
					})
				case i%2 == 0:
					err = f.CreateSession(t.Context(), &storage.BrowserSession{
						ID: id, TokenHash: []byte(id), UserID: u.ID, UserEpoch: u.Epoch, SignInEpoch: u.SignInEpoch,
						AuthTime: now, CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(time.Hour),
					})
				default:
					err = f.CreatePendingSignIn(t.Context(), storage.PendingSignIn{
						ID: id, BrowserHash: []byte(id), UserID: u.ID, UserEpoch: u.Epoch, SignInEpoch: u.SignInEpoch,
						AuthTime: now, ExpiresAt: now.Add(time.Hour),
					})
				}
				if err != nil && (i == 4 || !errors.Is(err, storage.ErrNotFound)) {
					t.Errorf("the change or a concurrent sign-in = %v", err)
				}
			})
			n := storagetest.Count(t, f.Store, url, `SELECT (SELECT count(*) FROM browser_sessions WHERE ended_at IS NULL)
				+ (SELECT count(*) FROM pending_sign_ins)`)
			if n != 0 {
				t.Fatalf("%d sign-ins outlast the change, want 0", n)
			}
		}
	})
}
