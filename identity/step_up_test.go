package identity_test

import (
	"net/http"
	"testing"
	"time"

	"gatehouse/identity"
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
		k := enrol(t, p, alice, clock.Now())
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
