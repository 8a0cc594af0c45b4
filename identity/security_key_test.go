package identity_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/identity"
	"gatehouse/identity/passkey/passkeytest"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// addKey creates a security key, whose authenticator does not verify the user.
func (p *passkeyUsers) addKey(t *testing.T, user *identity.SignedInUser) *passkeytest.Authenticator {
	t.Helper()
	a := passkeytest.New(t, origin, "id.example.com")
	a.NoUV = true
	_, options, err := p.PasskeyCreation(t.Context(), user)
	storagetest.Must(t, err)
	if !strings.Contains(options, `"residentKey":"discouraged"`) ||
		!strings.Contains(options, `"userVerification":"preferred"`) {
		t.Errorf("creation options of a security key: %s, want no discoverable one and UV preferred", options)
	}
	_, err = p.AddSecurityKey(t.Context(), user, "", a.Create(options))
	storagetest.Must(t, err)
	return a
}

// request returns the request options for the security key of a pending sign-in.
func (p *passkeyUsers) request(t *testing.T, b browser, id string) (options string) {
	t.Helper()
	b.visit(t, func(_ http.ResponseWriter, r *http.Request) error {
		pending, _, err := p.PendingSignIn(r, id)
		if err != nil {
			return err
		}
		options, err = p.SecurityKeyRequest(r.Context(), pending)
		return err
	})
	return options
}

// use finishes a sign-in with the response of a security key.
func (p *passkeyUsers) use(
	t *testing.T, b browser, id string, response []byte,
) (signedIn *identity.SignedInUser, out error) {
	t.Helper()
	b.visit(t, func(w http.ResponseWriter, r *http.Request) error {
		signedIn, _, out = p.FinishSignInWithKey(w, r, id, response, false)
		return nil
	})
	return signedIn, out
}

// TestSecurityKeyIsSecondFactor signs in with a password and then a security key (PE1, PE5, PE8, GX49), which does not
// sign in alone and is not created by a response for a passkey.
func TestSecurityKeyIsSecondFactor(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		p := newPasskeyUsers(t, db, nil)
		alice, b := p.signedIn.User, browser{}
		if id := b.begin(t, p.Users, alice, ""); id != "" {
			t.Fatal("a second factor is required of a user who has none")
		}
		key := p.addKey(t, p.signedIn)
		list, err := p.Passkeys(t.Context(), alice.ID)
		if err != nil || len(list) != 1 || !list[0].SecondFactor || list[0].Name != "Security key" {
			t.Errorf("the passkeys are %+v, %v, want one security key", list, err)
		}
		b = browser{}
		id := b.begin(t, p.Users, alice, "")
		options := p.request(t, b, id)
		if o := passkeytest.ParseOptions(t, options); len(o.AllowCredentials) != 1 {
			t.Errorf("request options %s, want the security key of the user", options)
		}
		signedIn, err := p.use(t, b, id, key.Get(options))
		if err != nil || signedIn.Session.ACR != identity.ACRSecondFactor ||
			!slices.Equal(signedIn.Session.AMR, storage.Strings{"pwd", "hwk", "mfa"}) {
			t.Fatalf("FinishSignInWithKey = %+v, %v, want acr 2 and amr pwd hwk mfa", signedIn, err)
		}
		if _, err := p.use(t, b, id, key.Get(options)); !errors.Is(err, identity.ErrExpired) {
			t.Errorf("a finished sign-in again: %v, want ErrExpired", err)
		}
		key.NoUV = false
		var failed *identity.PasskeyError
		if _, err := p.signIn(t.Context(), "b", key.Get(p.PasskeyRequest([]byte("b")))); !errors.As(err, &failed) {
			t.Errorf("a security key alone: %v, want a *PasskeyError", err)
		}
		passkeyOptions, keyOptions, err := p.PasskeyCreation(t.Context(), p.signedIn)
		storagetest.Must(t, err)
		other := passkeytest.New(t, origin, "id.example.com")
		if err := p.AddPasskey(t.Context(), p.signedIn, "", other.Create(keyOptions)); !errors.As(err, &failed) {
			t.Errorf("a passkey with the options of a security key: %v, want a *PasskeyError", err)
		}
		_, err = p.AddSecurityKey(t.Context(), p.signedIn, "", other.Create(passkeyOptions))
		if !errors.As(err, &failed) {
			t.Errorf("a security key with the options of a passkey: %v, want a *PasskeyError", err)
		}
		storagetest.Must(t, p.DeletePasskey(t.Context(), p.signedIn, list[0].ID))
		if id := (browser{}).begin(t, p.Users, alice, ""); id != "" {
			t.Error("a second factor is required after the only one was deleted")
		}
	})
}

// TestSecurityKeyFailuresAreRefused changes one thing at a time in a valid second factor (PE3), and then waits.
func TestSecurityKeyFailuresAreRefused(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		p := newPasskeyUsers(t, db, nil)
		alice, b := p.signedIn.User, browser{}
		key := p.addKey(t, p.signedIn)
		foreign := p.addKey(t, browser{}.start(t, p.Users, user(t, p.Users, "bob")))
		id := b.begin(t, p.Users, alice, "")
		options := p.request(t, b, id)
		changed := func(change func(a *passkeytest.Authenticator)) []byte {
			other := *key
			change(&other)
			return other.Get(options)
		}
		another := browser{}
		failures := map[string][]byte{
			"the key of another user":   foreign.Get(options),
			"another pending sign-in":   key.Get(p.request(t, another, another.begin(t, p.Users, alice, ""))),
			"a challenge for a passkey": key.Get(p.PasskeyRequest([]byte("b"))),
			"another origin":            changed(func(a *passkeytest.Authenticator) { a.Origin = "https://evil.test" }),
			"another RP ID":             changed(func(a *passkeytest.Authenticator) { a.RPID = "example.com" }),
		}
		refused := func(why string, response []byte) {
			var failed *identity.PasskeyError
			if _, err := p.use(t, b, id, response); !errors.As(err, &failed) {
				t.Errorf("%s: %v, want a *PasskeyError", why, err)
			}
		}
		for why, response := range failures {
			refused(why, response)
		}
		var throttled *identity.ThrottledError
		if _, err := p.use(t, b, id, key.Get(options)); !errors.As(err, &throttled) {
			t.Errorf("a valid key after 5 failures: %v, want a wait", err)
		}
		p.clock.Advance(5 * time.Minute)
		refused("an expired challenge", key.Get(options))
		p.clock.Advance(time.Minute)
		storagetest.Must(t, p.store.DisableUser(t.Context(), alice.ID))
		if _, err := p.use(t, b, id, key.Get(options)); !errors.Is(err, identity.ErrExpired) {
			t.Errorf("a disabled user: %v, want ErrExpired", err)
		}
		rows, err := p.store.Audit.CountRows(t.Context(), audit.Filter{Event: audit.UserSignInFailed})
		if err != nil || rows != int64(len(failures)+1) {
			t.Errorf("%d failures are in the audit log, %v, want %d", rows, err, len(failures)+1)
		}
	})
}

// TestSignatureCounterOnlyIncreases uses a passkey concurrently with counters that were all higher when it was read
// (PE4): each is accepted or refused by the setting, the stored counter never decreases, and a challenge is used once.
func TestSignatureCounterOnlyIncreases(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) { wantIncreasingCounter(t, db, false) })
	storagetest.Each(t, func(t *testing.T, db string) { wantIncreasingCounter(t, db, true) })
}

func wantIncreasingCounter(t *testing.T, db string, refuse bool) {
	t.Helper()
	p := newPasskeyUsers(t, db, nil)
	a := passkeytest.New(t, origin, "id.example.com")
	a.Counter = 1
	storagetest.Must(t, p.add(t, a, ""))
	read, err := p.Passkeys(t.Context(), p.signedIn.User.ID)
	storagetest.Must(t, err)
	use := func(count int64, challenge string) error {
		return p.store.UsePasskey(t.Context(), storage.PasskeyUse{
			Passkey: read[0], SignCount: count, RefuseCounter: refuse, Scope: "b", Challenge: challenge,
			ChallengeExpiresAt: p.clock.Now().Add(time.Minute),
		})
	}
	storagetest.Must(t, use(9, "first"))
	if err := use(10, "first"); !errors.Is(err, storage.ErrConsumed) {
		t.Errorf("a challenge again: %v, want ErrConsumed", err)
	}
	if err := use(5, "second"); errors.Is(err, storage.ErrCounter) != refuse || !refuse && err != nil {
		t.Errorf("a lower counter, refused %t: %v", refuse, err)
	}
	storagetest.Concurrently(4, func(i int) { _ = use(int64(10+i), "concurrent "+string(rune('a'+i))) })
	list, err := p.Passkeys(t.Context(), p.signedIn.User.ID)
	if err != nil || list[0].SignCount != 13 {
		t.Errorf("the counter is %d, %v, want the highest, 13", list[0].SignCount, err)
	}
	rows, err := p.store.Audit.CountRows(t.Context(), audit.Filter{Event: audit.PasskeyCounterInvalid})
	if err != nil || rows == 0 {
		t.Errorf("%d counters that did not increase are in the audit log, %v, want at least 1", rows, err)
	}
}
