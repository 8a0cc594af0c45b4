package identity_test

import (
	"encoding/base32"
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/identity"
	"gatehouse/identity/totp"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// stepUp begins a sign-in with only the second factor of the current user.
func (b browser) stepUp(t *testing.T, p *identity.Users, acr string) (pending string) {
	t.Helper()
	b.visit(t, func(w http.ResponseWriter, r *http.Request) error {
		user, err := p.CurrentUser(r)
		if err != nil {
			return err
		}
		pending, err = p.BeginStepUp(w, r, user, identity.SignInRequest{ACR: acr})
		return err
	})
	return pending
}

// TestStepUpNeedsOnlyTheMissingFactor covers PE14 and PE17: a code completes a recent sign-in with a password, and
// never a passkey's requirement, an old sign-in or the session of a user without the factor. A session that became
// stronger in another tab stays as it is.
func TestStepUpNeedsOnlyTheMissingFactor(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, _, clock := newUsers(t, url)
		alice, b := user(t, p, "alice"), browser{}
		b.begin(t, p, alice, "")
		if id := b.stepUp(t, p, identity.ACRSecondFactor); id != "" {
			t.Error("a user without a second factor can step up")
		}
		k := setUpTOTP(t, p, alice, clock.Now())
		clock.Advance(time.Minute)
		if id := b.stepUp(t, p, identity.ACRPasskey); id != "" {
			t.Error("a code is enough where a passkey is required")
		}
		id := b.stepUp(t, p, identity.ACRSecondFactor)
		signedIn, err := b.finish(t, p, id, k.Code(k.Step(clock.Now())), false)
		if err != nil || signedIn.Session.ACR != identity.ACRSecondFactor {
			t.Errorf("the code of a step-up: %v, %v, want a session with the second factor", signedIn, err)
		}
		if id := b.stepUp(t, p, identity.ACRSecondFactor); id != "" {
			t.Error("a session with the second factor steps up again")
		}
		b = browser{}
		b.visit(t, func(w http.ResponseWriter, r *http.Request) error {
			_, err := p.StartSession(w, r, alice, byPassword)
			return err
		})
		id = b.stepUp(t, p, identity.ACRSecondFactor)
		b.visit(t, func(w http.ResponseWriter, r *http.Request) error {
			_, err := p.StartSession(w, r, alice, identity.Authentication{ACR: identity.ACRPasskey, AMR: []string{"swk"}})
			return err
		})
		clock.Advance(time.Minute)
		if s, err := b.finish(t, p, id, k.Code(k.Step(clock.Now())), false); err != nil ||
			s.Session.ACR != identity.ACRPasskey {
			t.Errorf("a code after a passkey in another tab: %+v, %v, want the session of the passkey", s, err)
		}
		b = browser{}
		b.visit(t, func(w http.ResponseWriter, r *http.Request) error {
			_, err := p.StartSession(w, r, alice, byPassword)
			return err
		})
		clock.Advance(10*time.Minute + time.Second)
		if id := b.stepUp(t, p, identity.ACRSecondFactor); id != "" {
			t.Error("a code is enough 10 minutes after the password")
		}
	})
}

// TestStepUpEndsWithItsSession covers PE14: after the user has signed out, a code alone does not finish a step-up.
func TestStepUpEndsWithItsSession(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, _, clock := newUsers(t, url)
		alice, b := user(t, p, "alice"), browser{}
		k := setUpTOTP(t, p, alice, clock.Now())
		b.visit(t, func(w http.ResponseWriter, r *http.Request) error {
			_, err := p.StartSession(w, r, alice, byPassword)
			return err
		})
		id := b.stepUp(t, p, identity.ACRSecondFactor)
		b.visit(t, func(w http.ResponseWriter, r *http.Request) error {
			users, err := p.SignedIn(r)
			storagetest.Must(t, err)
			return p.SignOut(w, r, users...)
		})
		clock.Advance(time.Minute)
		if _, err := b.finish(t, p, id, k.Code(k.Step(clock.Now())), false); !errors.Is(err, identity.ErrExpired) {
			t.Errorf("a code after the session was signed out: %v, want ErrExpired", err)
		}
	})
}

// TestConfirmedTOTPRaisesRecentSession covers PE11 and PE17: the session in which the user sets up an authenticator has
// both factors afterwards, under a new cookie and with the auth_time of the password. An old session and a stronger one
// stay as they are.
func TestConfirmedTOTPRaisesRecentSession(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, store, clock := newUsers(t, url)
		for _, x := range []struct {
			name, acr string
			age       time.Duration
			want      string // the acr afterwards
			raised    bool
		}{
			{"recent", identity.ACRPassword, 10 * time.Minute, identity.ACRSecondFactor, true},
			{"old", identity.ACRPassword, 10*time.Minute + time.Second, identity.ACRPassword, false},
			{"passkey", identity.ACRPasskey, time.Minute, identity.ACRPasskey, false},
		} {
			u, b := user(t, p, x.name), browser{}
			var before *identity.SignedInUser
			b.visit(t, func(w http.ResponseWriter, r *http.Request) (err error) {
				before, err = p.StartSession(w, r, u, identity.Authentication{ACR: x.acr, AMR: []string{"pwd"}})
				return err
			})
			stolen := maps.Clone(b)
			clock.Advance(x.age)
			e, err := p.BeginTOTP(u, "Gatehouse")
			storagetest.Must(t, err)
			k := totp.New()
			k.Secret, err = base32.StdEncoding.DecodeString(strings.ReplaceAll(e.Secret, " ", ""))
			storagetest.Must(t, err)
			b.visit(t, func(w http.ResponseWriter, r *http.Request) error {
				current, err := p.CurrentUser(r)
				storagetest.Must(t, err)
				_, err = p.ConfirmTOTP(w, r, current, e.Token, k.Code(k.Step(clock.Now())))
				return err
			})
			for _, c := range []struct {
				whose string
				browser
				want string
			}{{"the user", b, x.want}, {"a copy of the cookie", stolen, map[bool]string{false: x.want}[x.raised]}} {
				c.visit(t, func(_ http.ResponseWriter, r *http.Request) error {
					got, err := p.CurrentUser(r)
					if (got != nil) != (c.want != "") || got != nil && (got.Session.ACR != c.want ||
						!got.Session.AuthTime.Equal(before.Session.AuthTime)) {
						t.Errorf("%s session, %s: %+v, want the acr %q and the auth_time as before", x.name, c.whose, got, c.want)
					}
					return err
				})
			}
			rows, err := store.Audit.Rows(t.Context(), audit.Filter{Event: audit.UserTOTPSet, UserID: u.ID})
			const raised = `"session_raised":true`
			if err != nil || len(rows) != 1 || strings.Contains(rows[0].Detail, raised) != x.raised {
				t.Errorf("%s session: audit rows %+v, %v, want session_raised only if it was", x.name, rows, err)
			}
		}
	})
}
