package identity_test

import (
	"encoding/base32"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/identity"
	"gatehouse/identity/totp"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

var byPassword = identity.Authentication{ACR: identity.ACRPassword, AMR: []string{"pwd"}}

// begin takes the first factor of a user and returns the id of the pending sign-in, or "" for a session.
func (b browser) begin(t *testing.T, p *identity.Users, u storage.User, acr string) (pending string) {
	t.Helper()
	b.visit(t, func(w http.ResponseWriter, r *http.Request) error {
		signedIn, id, err := p.BeginSignIn(w, r, u, byPassword, identity.SignInRequest{RequestID: "r", ACR: acr})
		if (signedIn == nil) != (id != "") {
			t.Errorf("BeginSignIn = %v, %q, want one of them", signedIn, id)
		}
		pending = id
		return err
	})
	return pending
}

// finish enters a code and returns the error.
func (b browser) finish(
	t *testing.T, p *identity.Users, id, code string, remembered bool,
) (signedIn *identity.SignedInUser, out error) {
	t.Helper()
	b.visit(t, func(w http.ResponseWriter, r *http.Request) error {
		signedIn, _, out = p.FinishSignIn(w, r, id, code, remembered)
		return nil
	})
	return signedIn, out
}

// confirmTOTP confirms the TOTP authenticator of a user whose session is not recent.
func confirmTOTP(t *testing.T, p *identity.Users, u storage.User, token, code string) error {
	t.Helper()
	r, signedIn := httptest.NewRequest(http.MethodPost, "/", nil), browser{}.start(t, p, u)
	signedIn.Session.AuthTime = time.Time{}
	_, err := p.ConfirmTOTP(httptest.NewRecorder(), r, signedIn, token, code)
	return err
}

// setUpTOTP gives a user a TOTP authenticator and returns its key.
func setUpTOTP(t *testing.T, p *identity.Users, u storage.User, now time.Time) totp.Key {
	t.Helper()
	e, err := p.BeginTOTP(u, "Gatehouse")
	storagetest.Must(t, err)
	k := totp.New()
	k.Secret, err = base32.StdEncoding.DecodeString(strings.ReplaceAll(e.Secret, " ", ""))
	storagetest.Must(t, err)
	if err := confirmTOTP(t, p, u, e.Token, "12345"); !errors.Is(err, identity.ErrIncorrectCode) {
		t.Errorf("ConfirmTOTP with an incorrect code = %v, want ErrIncorrectCode", err)
	}
	again, err := p.ContinueTOTP(u, "Gatehouse", e.Token)
	if err != nil || again.Secret != e.Secret || again.QR.Path == "" {
		t.Errorf("ContinueTOTP = %+v, %v, want the same secret", again, err)
	}
	storagetest.Must(t, confirmTOTP(t, p, u, again.Token, k.Code(k.Step(now))))
	return k
}

// TestTOTPCountsWhenConfirmed sets up a TOTP authenticator (PE11): with a form that has expired or belongs to another
// user it is refused.
func TestTOTPCountsWhenConfirmed(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, _, clock := newUsers(t, url)
		alice, bob := user(t, p, "alice"), user(t, p, "bob")
		_, err := p.BeginTOTP(alice, "Gatehouse")
		storagetest.Must(t, err)
		if f, err := p.Factors(t.Context(), alice.ID); err != nil || f.TOTP {
			t.Errorf("a TOTP authenticator counts before a code confirmed it: %+v, %v", f, err)
		}
		setUpTOTP(t, p, alice, clock.Now())
		if f, err := p.Factors(t.Context(), alice.ID); err != nil || !f.TOTP || !f.HasSecondFactor() {
			t.Errorf("Factors after the confirmation = %+v, %v, want TOTP", f, err)
		}
		e, err := p.BeginTOTP(alice, "Gatehouse")
		storagetest.Must(t, err)
		for why, err := range map[string]error{
			"of another user": confirmTOTP(t, p, bob, e.Token, "123456"),
			"without a token": confirmTOTP(t, p, alice, "", "123456"),
		} {
			if !errors.Is(err, identity.ErrExpired) {
				t.Errorf("ConfirmTOTP %s = %v, want ErrExpired", why, err)
			}
		}
		clock.Advance(15 * time.Minute)
		if err := confirmTOTP(t, p, alice, e.Token, "123456"); !errors.Is(err, identity.ErrExpired) {
			t.Errorf("ConfirmTOTP after 15 minutes = %v, want ErrExpired", err)
		}
	})
}

// TestSecondFactorFinishesSignIn signs in with a password and a code (PE14): before that the browser has no session,
// another browser cannot finish the sign-in, and each code is valid once (PE12, A46).
func TestSecondFactorFinishesSignIn(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, s, clock := newUsers(t, url)
		alice, b := user(t, p, "alice"), browser{}
		if id := b.begin(t, p, alice, ""); id != "" {
			t.Errorf("without a second factor the sign-in is pending: %s", id)
		}
		k := setUpTOTP(t, p, alice, clock.Now())
		code := func() string { return k.Code(k.Step(clock.Now())) }
		b = browser{}
		storagetest.Eventually(t, "the incorrect code of the set-up is in the audit log", func() bool {
			rows, err := s.Audit.CountRows(t.Context(), audit.Filter{Event: audit.TOTPRefused})
			return err == nil && rows == 1
		})
		id := b.begin(t, p, alice, "")
		b.wantSignedIn(t, p)
		if _, err := b.finish(t, p, id, code(), false); !errors.Is(err, identity.ErrIncorrectCode) {
			t.Errorf("the code that confirmed the factor: %v, want ErrIncorrectCode", err)
		}
		clock.Advance(time.Minute)
		other := browser{}
		other.begin(t, p, user(t, p, "bob"), "") // gets the cookies of a browser
		if _, err := other.finish(t, p, id, code(), false); !errors.Is(err, identity.ErrExpired) {
			t.Errorf("a code in another browser: %v, want ErrExpired", err)
		}
		signedIn, err := b.finish(t, p, id, code(), false)
		if err != nil || signedIn.Session.ACR != identity.ACRSecondFactor ||
			!slices.Equal(signedIn.Session.AMR, []string{"pwd", "otp", "mfa"}) {
			t.Errorf("FinishSignIn = %+v, %v, want a session with the second factor", signedIn, err)
		}
		b.wantSignedIn(t, p, "alice")
		if _, err := b.finish(t, p, id, code(), false); !errors.Is(err, identity.ErrExpired) {
			t.Errorf("a finished sign-in again: %v, want ErrExpired", err)
		}
		id = b.begin(t, p, alice, "")
		if _, err := b.finish(t, p, id, code(), false); !errors.Is(err, identity.ErrIncorrectCode) {
			t.Errorf("a code of the same step again: %v, want ErrIncorrectCode", err)
		}
		clock.Advance(10 * time.Minute)
		if _, err := b.finish(t, p, id, code(), false); !errors.Is(err, identity.ErrExpired) {
			t.Errorf("a code after 10 minutes: %v, want ErrExpired", err)
		}
		rows, err := s.Audit.CountRows(t.Context(), audit.Filter{Event: audit.UserSignInFailed})
		storagetest.Must(t, err)
		if rows != 2 {
			t.Errorf("%d failed sign-ins are in the audit log, want 2", rows)
		}
	})
}

// TestIncorrectCodesMustWait enters codes until the user must wait (PE12): the correct code is then refused, in every
// sign-in of the account, but not in a browser that the user signed in with before.
func TestIncorrectCodesMustWait(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, _, clock := newUsers(t, url)
		alice, own, attacker := user(t, p, "alice"), browser{}, browser{}
		own.start(t, p, alice)
		k := setUpTOTP(t, p, alice, clock.Now())
		clock.Advance(time.Minute)
		code := func() string { return k.Code(k.Step(clock.Now())) }
		var throttled *identity.ThrottledError
		for range 5 {
			if _, err := attacker.finish(t, p, attacker.begin(t, p, alice, ""), "000000x", false); errors.As(err, &throttled) {
				t.Fatalf("the user must wait before 5 incorrect codes: %v", err)
			}
		}
		if _, err := attacker.finish(t, p, attacker.begin(t, p, alice, ""), code(), false); !errors.As(err, &throttled) {
			t.Errorf("a correct code after 5 incorrect ones: %v, want a wait", err)
		}
		if _, err := own.finish(t, p, own.begin(t, p, alice, ""), code(), false); err != nil {
			t.Errorf("a correct code in a known browser: %v, want no error", err)
		}
		clock.Advance(time.Minute)
		if _, err := attacker.finish(t, p, attacker.begin(t, p, alice, ""), code(), false); err != nil {
			t.Errorf("a correct code after the wait: %v, want no error", err)
		}
	})
}

// TestRecoveryCodesWorkOnce signs in with recovery codes (PE13): each once, in any spelling, and none of an earlier
// set.
func TestRecoveryCodesWorkOnce(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, s, clock := newUsers(t, url)
		alice, b := user(t, p, "alice"), browser{}
		setUpTOTP(t, p, alice, clock.Now())
		signedIn := browser{}.start(t, p, alice)
		old, err := p.NewRecoveryCodes(t.Context(), signedIn)
		storagetest.Must(t, err)
		codes, err := p.NewRecoveryCodes(t.Context(), signedIn)
		storagetest.Must(t, err)
		if len(codes) != 10 || len(codes[0]) != 19 {
			t.Errorf("the recovery codes are %v, want 10 of 80 bits", codes)
		}
		if dump := storagetest.Dump(t, s, url); strings.Contains(dump, codes[0]) ||
			strings.Contains(dump, strings.ReplaceAll(codes[0], "-", "")) {
			t.Error("a recovery code is in the database in clear")
		}
		for _, c := range []struct {
			what, code string
			want       error
		}{
			{"of an earlier set", old[0], identity.ErrIncorrectCode},
			{"unused", codes[0], nil},
			{"used", codes[0], identity.ErrIncorrectCode},
			{"without separators", strings.ToUpper(strings.ReplaceAll(codes[1], "-", "")), nil},
			{"with letters for digits", strings.NewReplacer("0", "O", "1", "l").Replace(codes[2]) + " ", nil},
			{"of another length", codes[3] + "0", identity.ErrIncorrectCode},
		} {
			if _, err := b.finish(t, p, b.begin(t, p, alice, ""), c.code, false); !errors.Is(err, c.want) {
				t.Errorf("a recovery code %s: %v, want %v", c.what, err, c.want)
			}
		}
		if f, err := p.Factors(t.Context(), alice.ID); err != nil || f.RecoveryCodes != 7 {
			t.Errorf("Factors = %+v, %v, want 7 recovery codes", f, err)
		}
	})
}

// TestRememberedBrowserSignsInWithoutCode signs in without a code for 30 days (PE15): only the user, only in this
// browser, not where a second factor is required, and not after the user was signed out everywhere or changed the
// factor.
func TestRememberedBrowserSignsInWithoutCode(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, s, clock := newUsers(t, url)
		alice, bob := user(t, p, "alice"), user(t, p, "bob")
		keys := map[string]totp.Key{
			alice.ID: setUpTOTP(t, p, alice, clock.Now()), bob.ID: setUpTOTP(t, p, bob, clock.Now()),
		}
		trust := func(b browser, u storage.User) {
			t.Helper()
			clock.Advance(time.Minute)
			k := keys[u.ID]
			_, err := b.finish(t, p, b.begin(t, p, u, identity.ACRSecondFactor), k.Code(k.Step(clock.Now())), true)
			storagetest.Must(t, err)
		}
		want := func(when string, b browser, u storage.User, acr string, prompted bool) {
			t.Helper()
			current, err := s.User(t.Context(), u.ID)
			storagetest.Must(t, err)
			if got := maps.Clone(b).begin(t, p, current, acr) != ""; got != prompted {
				t.Errorf("%s: the user is prompted for a second factor: %t, want %t", when, got, prompted)
			}
		}
		b := browser{}
		trust(b, alice)
		want("the same browser", b, alice, "", false)
		want("another browser", browser{}, alice, "", true)
		want("another user", b, bob, "", true)
		want("a second factor is required", b, alice, identity.ACRSecondFactor, true)
		trust(b, bob)
		want("two users", b, alice, "", false)
		want("two users", b, bob, "", false)
		storagetest.Must(t, s.RevokeUserTokens(t.Context(), alice.ID))
		want("signed out everywhere", b, alice, "", true)
		clock.Advance(time.Minute)
		setUpTOTP(t, p, bob, clock.Now())
		want("another TOTP authenticator", b, bob, "", true)
		alice, err := s.User(t.Context(), alice.ID)
		storagetest.Must(t, err)
		trust(b, alice)
		clock.Advance(30 * 24 * time.Hour)
		want("after 30 days", b, alice, "", true)
		storagetest.Must(t, p.RemoveTOTP(t.Context(), browser{}.start(t, p, alice)))
		want("without a factor", b, alice, "", false)
	})
}
