package storage_test

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// passkey returns a passkey of the fixture's user.
func (f *fixture) passkey(id string) storage.Passkey {
	return storage.Passkey{
		ID: id, UserID: f.user.ID, CredentialID: []byte("credential " + id), PublicKey: []byte("key"), Name: id,
		Attestation: "none", CreatedAt: f.clock.Now(),
	}
}

// addFactors gives the fixture's user every factor.
func (f *fixture) addFactors(t *testing.T) {
	t.Helper()
	storagetest.Must(t, f.SetTOTP(t.Context(), storage.TOTPSecret{
		ID: f.user.ID, Secret: []byte("the TOTP secret"), Algorithm: "SHA1", Digits: 6, Period: 30,
	}))
	codes := [][]byte{[]byte("a"), []byte("b")}
	storagetest.Must(t, f.SetRecoveryCodes(t.Context(), f.user.ID, codes, storage.FactorAddition{}))
	synced, key := f.passkey("synced"), f.passkey("key")
	synced.BackupEligible, key.SecondFactor = true, true
	for _, p := range []storage.Passkey{synced, f.passkey("hardware"), key} {
		storagetest.Must(t, f.CreatePasskey(t.Context(), p, storage.FactorAddition{}))
	}
	u, err := f.User(t.Context(), f.user.ID)
	storagetest.Must(t, err)
	storagetest.Must(t, f.CreateRememberedBrowser(t.Context(), storage.RememberedBrowser{
		TokenHash: []byte("token"), UserID: u.ID, UserEpoch: u.Epoch, SignInEpoch: u.SignInEpoch,
		SessionID: f.session(t).ID, ExpiresAt: f.clock.Now().Add(time.Hour),
	}))
}

// wantFactors fails the test unless the fixture's user has these factors.
func (f *fixture) wantFactors(t *testing.T, when string, want storage.Factors) {
	t.Helper()
	got, err := f.Factors(t.Context(), f.user.ID)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%s: Factors = %v (-want +got):\n%s", when, err, diff)
	}
}

// TestFactorsAreResetAndDeleted resets the factors of a user (PE16), and deletes the user.
func TestFactorsAreResetAndDeleted(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		f.wantFactors(t, "at first", storage.Factors{Password: true})
		f.addFactors(t)
		f.wantFactors(t, "with every factor", storage.Factors{
			Password: true, TOTP: true, RecoveryCodes: 2, Passkeys: 2, SecurityKeys: 1, HardwarePasskeys: 1,
		})
		if dump := storagetest.Dump(t, f.Store, url); strings.Contains(dump, "the TOTP secret") {
			t.Error("the TOTP secret is in the database in clear")
		}
		storagetest.Must(t, f.ResetFactors(t.Context(), f.user.ID, "lost phone"))
		f.wantFactors(t, "after the reset", storage.Factors{Password: true})
		if u, err := f.User(t.Context(), f.user.ID); err != nil || u.Epoch != f.user.Epoch+1 {
			t.Errorf("the epoch after the reset = %d, %v, want %d", u.Epoch, err, f.user.Epoch+1)
		}
		if err := f.ResetFactors(t.Context(), "no user", "x"); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("ResetFactors of an unknown user = %v, want ErrNotFound", err)
		}
		f.addFactors(t)
		storagetest.Must(t, f.DeleteUser(t.Context(), f.user.ID, 0))
		f.wantFactors(t, "after the deletion", storage.Factors{})
		for _, table := range []string{"totp_secrets", "passkeys", "recovery_codes", "remembered_devices"} {
			if strings.Contains(storagetest.Dump(t, f.Store, url), table+":") {
				t.Errorf("rows of %s are left after the user was deleted", table)
			}
		}
	})
}

// TestLastWayToSignInIsNotRemovable deletes passkeys of a user without a password, two of them concurrently (PE8).
func TestLastWayToSignInIsNotRemovable(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		f.addFactors(t)
		err := f.CreatePasskey(t.Context(), f.passkey("key"), storage.FactorAddition{})
		if !errors.Is(err, storage.ErrConflict) {
			t.Errorf("CreatePasskey of a registered credential = %v, want ErrConflict", err)
		}
		storagetest.Exec(t, f.Store, url, "DELETE FROM passwords")
		var deleted atomic.Int64
		ids := []string{"synced", "hardware"}
		storagetest.Concurrently(2, func(i int) {
			err := f.DeletePasskey(t.Context(), f.user.ID, ids[i], storage.AccountSession{})
			if err == nil {
				deleted.Add(1)
			} else if !errors.Is(err, storage.ErrLastFactor) {
				t.Errorf("DeletePasskey = %v, want no error or ErrLastFactor", err)
			}
		})
		if n := deleted.Load(); n != 1 {
			t.Errorf("%d of the last 2 passkeys were deleted, want 1", n)
		}
		// It signs in only after a password.
		storagetest.Must(t, f.DeletePasskey(t.Context(), f.user.ID, "key", storage.AccountSession{}))
		f.wantFactors(t, "with TOTP", func() storage.Factors {
			got, err := f.Factors(t.Context(), f.user.ID)
			storagetest.Must(t, err)
			return storage.Factors{TOTP: true, RecoveryCodes: 2, Passkeys: 1, HardwarePasskeys: got.HardwarePasskeys}
		}())
		storagetest.Must(t, f.DeleteTOTP(t.Context(), f.user.ID, storage.AccountSession{}))
		got, err := f.Factors(t.Context(), f.user.ID)
		if err != nil || got.RecoveryCodes != 0 || got.HasSecondFactor() {
			t.Errorf("Factors without a second factor = %+v, %v, want no recovery codes", got, err)
		}
		for i := range 19 {
			storagetest.Must(t, f.CreatePasskey(t.Context(), f.passkey(strconv.Itoa(i)), storage.FactorAddition{}))
		}
		err = f.CreatePasskey(t.Context(), f.passkey("21"), storage.FactorAddition{})
		if !errors.Is(err, storage.ErrTooManyPasskeys) {
			t.Errorf("CreatePasskey of the 21st = %v, want ErrTooManyPasskeys", err)
		}
	})
}

// TestRecoveryCodeIsUsedOnce uses a code concurrently (PE13), and one of an earlier set.
func TestRecoveryCodeIsUsedOnce(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		f.addFactors(t)
		var used atomic.Int64
		storagetest.Concurrently(10, func(int) {
			left, err := f.UseRecoveryCode(t.Context(), f.user.ID, []byte("a"))
			if err == nil && left == 1 {
				used.Add(1)
			} else if !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("UseRecoveryCode = %d, %v, want 1 or ErrNotFound", left, err)
			}
		})
		if n := used.Load(); n != 1 {
			t.Errorf("%d of 10 concurrent uses of a recovery code succeeded, want 1", n)
		}
		storagetest.Must(t, f.SetRecoveryCodes(t.Context(), f.user.ID, [][]byte{[]byte("c")}, storage.FactorAddition{}))
		if _, err := f.UseRecoveryCode(t.Context(), f.user.ID, []byte("b")); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("UseRecoveryCode of an earlier set = %v, want ErrNotFound", err)
		}
	})
}

// TestConcurrentAttemptsAreLimited enters more codes at the same time than the limit allows (PE12, A46).
func TestConcurrentAttemptsAreLimited(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		count := storage.SignInCount{Account: []byte("factor"), Subnet: "*", Limit: storage.SignInLimit{
			FreeFailures: 5, MaxWait: time.Hour, Period: 24 * time.Hour,
		}}
		var admitted atomic.Int64
		storagetest.Concurrently(20, func(int) {
			retryAt, err := f.CountFactorAttempt(t.Context(), count)
			storagetest.Must(t, err)
			if retryAt == nil {
				admitted.Add(1)
			}
		})
		if n := admitted.Load(); n != 5 {
			t.Errorf("%d of 20 concurrent attempts were admitted, want 5", n)
		}
		storagetest.Must(t, f.ClearSignInFailures(t.Context(), count))
		if retryAt, err := f.CountFactorAttempt(t.Context(), count); err != nil || retryAt != nil {
			t.Errorf("an attempt after a correct one waits until %v, %v, want no wait", retryAt, err)
		}
	})
}

// TestSignInIsFinishedOnceInItsBrowser finishes a pending sign-in concurrently, in another browser, after it has
// expired and after the user was signed out everywhere (PE14).
func TestSignInIsFinishedOnceInItsBrowser(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		browser := []byte("a browser")
		begin := func(id string) {
			storagetest.Must(t, f.CreatePendingSignIn(t.Context(), storage.PendingSignIn{
				ID: id, BrowserHash: browser, UserID: f.user.ID, UserEpoch: f.user.Epoch, ACR: "1",
				AMR: storage.Strings{"pwd"}, AuthTime: f.clock.Now(), ExpiresAt: f.clock.Now().Add(10 * time.Minute),
			}))
		}
		refused := func(why, id string, browser []byte) {
			t.Helper()
			if _, _, err := f.PendingSignIn(t.Context(), id, browser); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("PendingSignIn %s = %v, want ErrNotFound", why, err)
			}
			if err := f.FinishSignIn(t.Context(), id, browser, storage.FactorUse{}); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("FinishSignIn %s = %v, want ErrNotFound", why, err)
			}
		}
		begin("one")
		refused("in another browser", "one", []byte("another"))
		p, u, err := f.PendingSignIn(t.Context(), "one", browser)
		if err != nil || u.ID != f.user.ID || !bytes.Equal(p.BrowserHash, browser) {
			t.Errorf("PendingSignIn = %+v of %q, %v, want that of %q", p, u.ID, err, f.user.ID)
		}
		var finished atomic.Int64
		storagetest.Concurrently(10, func(int) {
			if err := f.FinishSignIn(context.Background(), "one", browser, storage.FactorUse{}); err == nil {
				finished.Add(1)
			} else if !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("FinishSignIn = %v, want no error or ErrNotFound", err)
			}
		})
		if n := finished.Load(); n != 1 {
			t.Errorf("a sign-in was finished %d times, want once", n)
		}
		refused("that is finished", "one", browser)
		begin("expired")
		f.clock.Advance(10 * time.Minute)
		refused("that has expired", "expired", browser)
		begin("revoked")
		storagetest.Must(t, f.RevokeUserTokens(t.Context(), f.user.ID))
		refused("of a user who was signed out everywhere", "revoked", browser)
		if remembered, err := f.IsRemembered(t.Context(), f.user, []byte("token")); err != nil || remembered {
			t.Errorf("IsRemembered = %t, %v, want false", remembered, err)
		}
	})
}

// TestRememberedBrowserEndsWithEpoch signs a user out everywhere (PE15).
func TestRememberedBrowserEndsWithEpoch(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		want := func(when string, want bool) {
			t.Helper()
			u, err := f.User(t.Context(), f.user.ID)
			storagetest.Must(t, err)
			got, err := f.IsRemembered(t.Context(), u, []byte("unknown"), []byte("token"))
			if err != nil || got != want {
				t.Errorf("%s: IsRemembered = %t, %v, want %t", when, got, err, want)
			}
		}
		f.addFactors(t)
		want("remembered", true)
		other := f.user
		other.ID = "another user"
		if got, err := f.IsRemembered(t.Context(), other, []byte("token")); err != nil || got {
			t.Errorf("IsRemembered of another user = %t, %v, want false", got, err)
		}
		storagetest.Must(t, f.RevokeUserTokens(t.Context(), f.user.ID))
		want("signed out everywhere", false)
		if n, err := f.DeleteRememberedBrowsers(t.Context(), f.user.ID); err != nil || n != 1 {
			t.Errorf("DeleteRememberedBrowsers = %d, %v, want 1", n, err)
		}
	})
}
