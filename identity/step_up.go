package identity

import (
	"errors"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"gatehouse/storage"
)

// BeginStepUp returns the id of a pending sign-in that needs only the second factor of a user who is signed in, when
// that is all that is missing: the first factor is at most 10 minutes old, and the user has the second one. Otherwise
// it returns "", and the user signs in from the beginning. FinishSignIn completes it, with the throttle and the binding
// to the browser and user of every pending sign-in.
func (u *Users) BeginStepUp(
	w http.ResponseWriter, r *http.Request, user *SignedInUser, request SignInRequest,
) (pending string, err error) {
	s := user.Session
	if !u.IsRecent(user) || ACRSatisfies(s.ACR, request.ACR) || !ACRSatisfies(ACRSecondFactor, request.ACR) {
		return "", nil
	}
	f, err := u.store.Factors(r.Context(), user.User.ID)
	if err != nil || !f.HasSecondFactor() {
		return "", err
	}
	p := storage.PendingSignIn{
		ID: uuid.NewString(), BrowserHash: u.EnsureBrowser(w, r), UserID: user.User.ID, UserEpoch: user.User.Epoch,
		SignInEpoch: user.User.SignInEpoch, RequestID: request.RequestID, SessionID: s.ID, ACR: s.ACR, AMR: s.AMR,
		AuthTime: s.AuthTime, ExpiresAt: u.store.Now().Add(pendingTTL),
	}
	err = u.store.CreatePendingSignIn(r.Context(), p)
	if errors.Is(err, storage.ErrNotFound) { // the session has ended in the meantime
		return "", nil
	}
	return p.ID, err
}

// raise stores with set that the user has confirmed a second factor in this session, and raises the acr of the session
// if a step-up could begin now: the first factor is at most 10 minutes old, and was a password or a code. The token is
// new, so that a copy of the cookie from before is invalid and not raised as well; auth_time stays that of the first
// factor.
func (u *Users) raise(
	w http.ResponseWriter, r *http.Request, user *SignedInUser, method string,
	set func(s *storage.RaisedSession) (raised bool, err error),
) error {
	if !u.IsRecent(user) || ACRSatisfies(user.Session.ACR, ACRSecondFactor) {
		_, err := set(nil)
		return err
	}
	signedIn, err := u.SignedIn(r)
	if err != nil {
		return err
	}
	expired, err := u.expiredSessions(r)
	if err != nil {
		return err
	}
	a, token := secondFactor(user.Session.AMR, method), randomToken()
	raised, err := set(&storage.RaisedSession{
		ID: user.Session.ID, From: hash(user.token), TokenHash: hash(token), ACR: a.ACR, AMR: a.AMR,
	})
	if err != nil || !raised {
		return err
	}
	user.token, user.Session.TokenHash, user.Session.ACR, user.Session.AMR = token, hash(token), a.ACR, a.AMR
	return u.save(w, r, signedIn, expired)
}

// strongerSession returns the session of the user in this browser if it began after a pending sign-in and is stronger
// than that can become. A sign-in with a passkey in another tab must not be lowered by a code.
func (u *Users) strongerSession(r *http.Request, p storage.PendingSignIn) (*SignedInUser, error) {
	users, err := u.SignedIn(r)
	i := slices.IndexFunc(users, func(o *SignedInUser) bool {
		return o.User.ID == p.UserID && !o.Session.AuthTime.Before(p.CreatedAt) &&
			ACRSatisfies(o.Session.ACR, ACRPasskey)
	})
	if err != nil || i < 0 {
		return nil, err
	}
	return users[i], nil
}
