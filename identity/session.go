package identity

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/sessions"

	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

const (
	sessionCookie = "session"
	// touchInterval is the minimum time between two writes of the last use of a session.
	touchInterval = time.Minute
	// maxSignedIn is how many users may be signed in to one browser.
	maxSignedIn = 5
)

// SignedInUser is a user who is signed in to a browser.
type SignedInUser struct {
	Session storage.BrowserSession
	User    storage.User
	// CancelledDeletion is when the user would have been deleted, if this sign-in has cancelled that.
	CancelledDeletion *time.Time

	token string // of the session, a part of the cookie
}

// sessionStore is the sessions.Store of gorilla/sessions on browser_sessions. The cookie has a random token for each
// signed-in user, the last selected one first; the rows have their SHA-256. The cookie is used only to find the rows.
type sessionStore struct{ users *Users }

var _ sessions.Store = sessionStore{}

// The values of a gorilla session.
const (
	usersKey   = "users"   // []*SignedInUser
	expiredKey = "expired" // []expiredSession
)

// expiredSession is a session in the cookie that has expired but was not ended. It signs no user in. When its user
// signs in again, it continues, together with the grants that are bound to it, so that signing out ends those too.
type expiredSession struct{ token, sessionID, userID string }

// Get returns the request's session, read once per request.
func (s sessionStore) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New reads the sessions of the cookie and omits missing, unknown and ended ones. Reading a session is not a use of
// it: a session does not last longer because another user uses the browser.
func (s sessionStore) New(r *http.Request, name string) (*sessions.Session, error) {
	session := sessions.NewSession(s, name)
	session.IsNew = true
	signedIn, expired := []*SignedInUser{}, []expiredSession{}
	for _, token := range s.users.tokens(r) {
		row, user, err := s.users.store.SessionByTokenHash(r.Context(), hash(token), s.users.options.SessionIdleTTL)
		if err == nil {
			signedIn = append(signedIn, &SignedInUser{Session: row, User: user, token: token})
			continue
		}
		if errors.Is(err, storage.ErrNotFound) {
			if row, err = s.users.store.SessionNotEnded(r.Context(), hash(token)); err == nil {
				expired = append(expired, expiredSession{token, row.ID, row.UserID})
			}
		}
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return session, err
		}
	}
	session.IsNew = len(signedIn) == 0
	session.Values[usersKey], session.Values[expiredKey] = signedIn, expired
	return session, nil
}

// tokens returns the tokens in the session cookie.
func (u *Users) tokens(r *http.Request) []string {
	v := u.cookieValue(r, sessionCookie)
	if v == "" {
		return nil
	}
	parts := strings.Split(v, ".")
	return parts[:min(len(parts), maxSignedIn)]
}

// TouchSession stores when the session was last used, at most once a minute and at least four times in the idle
// lifetime, so that a session in use does not expire as idle.
func (u *Users) TouchSession(r *http.Request, user *SignedInUser) error {
	now := u.store.Now()
	if now.Sub(user.Session.LastSeenAt) < min(touchInterval, u.options.SessionIdleTTL/4) {
		return nil
	}
	if err := u.store.TouchSession(r.Context(), user.Session.ID); err != nil {
		return err
	}
	user.Session.LastSeenAt = now
	return nil
}

// Save sets the cookie, or clears it when no user is left.
func (s sessionStore) Save(_ *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	u := s.users
	signedIn, _ := session.Values[usersKey].([]*SignedInUser)
	expired, _ := session.Values[expiredKey].([]expiredSession)
	tokens := make([]string, 0, len(signedIn)+len(expired))
	for _, user := range signedIn {
		tokens = append(tokens, user.token)
	}
	for _, e := range expired {
		tokens = append(tokens, e.token)
	}
	ttl := u.options.SessionMaxTTL
	if len(tokens) == 0 {
		ttl = -time.Second
	}
	http.SetCookie(w, u.cookie(sessionCookie, strings.Join(tokens, "."), ttl))
	return nil
}

// SignedIn returns the users who are signed in to the browser, the last selected one first. It returns an error only
// when the store fails, not for an invalid cookie.
func (u *Users) SignedIn(r *http.Request) ([]*SignedInUser, error) {
	session, err := sessionStore{u}.Get(r, sessionCookie)
	if err != nil {
		return nil, err
	}
	signedIn, _ := session.Values[usersKey].([]*SignedInUser)
	return signedIn, nil
}

// CurrentUser returns the last selected one of the users who are signed in, or nil.
func (u *Users) CurrentUser(r *http.Request) (*SignedInUser, error) {
	signedIn, err := u.SignedIn(r)
	if err != nil || len(signedIn) == 0 {
		return nil, err
	}
	return signedIn[0], nil
}

// save sets the users who are signed in to the browser. When there are too many sessions, the expired ones leave the
// cookie first, but are not ended: no user requested that. Then the users longest unused are signed out.
func (u *Users) save(w http.ResponseWriter, r *http.Request, signedIn []*SignedInUser, expired []expiredSession) error {
	session, err := sessionStore{u}.Get(r, sessionCookie)
	if err != nil {
		return err
	}
	for len(signedIn)+len(expired) > maxSignedIn {
		if n := len(expired) - 1; n >= 0 {
			expired = expired[:n]
			continue
		}
		last := signedIn[len(signedIn)-1]
		signedIn = signedIn[:len(signedIn)-1]
		if err := u.endSession(r, last, signedIn[0]); err != nil {
			return err
		}
	}
	session.Values[usersKey], session.Values[expiredKey] = signedIn, expired
	return session.Save(r, w)
}

// expiredSessions returns the expired sessions of the browser.
func (u *Users) expiredSessions(r *http.Request) ([]expiredSession, error) {
	session, err := sessionStore{u}.Get(r, sessionCookie)
	if err != nil {
		return nil, err
	}
	expired, _ := session.Values[expiredKey].([]expiredSession)
	return slices.Clone(expired), nil
}

// Authentication is how a user authenticated.
type Authentication struct {
	ACR string   // the authentication context class (OIDC Core §2)
	AMR []string // the methods (RFC 8176)
}

// StartSession signs a user in to the browser after the user authenticated completely. The token in the cookie is
// always new. The user's session in this browser continues under it, expired or not, together with
// the grants that are bound to it, so that signing out ends those too. Other users stay signed in, up to five in
// total. It returns ErrInvalidCredentials when the password changed or everything was ended after user was read.
func (u *Users) StartSession(
	w http.ResponseWriter, r *http.Request, user storage.User, a Authentication,
) (*SignedInUser, error) {
	return u.startSession(w, r, user, a, "")
}

// startSession does the same as StartSession. With the id of a session, it continues that one only: a second factor
// that was entered to make it stronger starts no other one when it has ended.
func (u *Users) startSession(
	w http.ResponseWriter, r *http.Request, user storage.User, a Authentication, only string,
) (*SignedInUser, error) {
	others, err := u.SignedIn(r)
	if err != nil {
		return nil, err
	}
	expired, err := u.expiredSessions(r)
	if err != nil {
		return nil, err
	}
	before := only
	if before == "" {
		before = sessionOf(user, others, expired)
	}
	now, request, token := u.store.Now(), reqevent.FromContext(r.Context()), randomToken()
	row := storage.BrowserSession{
		ID: uuid.NewString(), TokenHash: hash(token), UserID: user.ID, UserEpoch: user.Epoch,
		SignInEpoch: user.SignInEpoch, AuthTime: now, ACR: a.ACR, AMR: a.AMR, Address: request.Address,
		UserAgent: request.UserAgent, CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(u.options.SessionMaxTTL),
	}
	err = storage.ErrNotFound
	if before != "" {
		fresh := row.ID
		row.ID = before
		if err = u.store.RenewSession(r.Context(), &row); errors.Is(err, storage.ErrNotFound) { // ended a moment ago
			row.ID = fresh
		}
	}
	if errors.Is(err, storage.ErrNotFound) && only == "" {
		err = u.createSession(r, &row, user)
	}
	if errors.Is(err, storage.ErrNotFound) {
		err = u.recordOutdatedSignIn(r.Context(), user)
	}
	if err != nil {
		return nil, err
	}
	deletion := user.DeletionAt
	if deletion != nil { // signing in cancels it
		if err := u.store.CancelDeletion(r.Context(), user.ID); err != nil {
			return nil, err
		}
		user.DeletionAt = nil
	}
	started := &SignedInUser{Session: row, User: user, CancelledDeletion: deletion, token: token}
	signedIn := append([]*SignedInUser{started}, slices.DeleteFunc(slices.Clone(others), func(o *SignedInUser) bool {
		return o.User.ID == user.ID
	})...)
	u.addToDevice(w, r, user)
	expired = slices.DeleteFunc(expired, func(e expiredSession) bool { return e.userID == user.ID })
	return started, u.save(w, r, signedIn, expired)
}

// sessionOf returns the id of a user's session in the browser, expired or not, or "".
func sessionOf(user storage.User, signedIn []*SignedInUser, expired []expiredSession) (id string) {
	for _, e := range expired {
		if e.userID == user.ID {
			id = e.sessionID
		}
	}
	for _, o := range signedIn {
		if o.User.ID == user.ID {
			id = o.Session.ID
		}
	}
	return id
}

// SelectSession moves the user with that session to the first place. It returns storage.ErrNotFound when the session
// is not one of this browser's.
func (u *Users) SelectSession(w http.ResponseWriter, r *http.Request, sessionID string) (*SignedInUser, error) {
	signedIn, err := u.SignedIn(r)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(signedIn, func(user *SignedInUser) bool { return user.Session.ID == sessionID })
	if i < 0 {
		return nil, storage.ErrNotFound
	}
	expired, err := u.expiredSessions(r)
	if err != nil {
		return nil, err
	}
	selected := signedIn[i]
	signedIn = append([]*SignedInUser{selected}, slices.Delete(slices.Clone(signedIn), i, i+1)...)
	return selected, u.save(w, r, signedIn, expired)
}

// SignOut signs users out of the browser. Signing out twice is not an error.
func (u *Users) SignOut(w http.ResponseWriter, r *http.Request, out ...*SignedInUser) error {
	signedIn, err := u.SignedIn(r)
	if err != nil {
		return err
	}
	expired, err := u.expiredSessions(r)
	if err != nil {
		return err
	}
	for _, user := range out {
		if err := u.endSession(r, user, user); err != nil {
			return err
		}
	}
	return u.save(w, r, slices.DeleteFunc(slices.Clone(signedIn), func(user *SignedInUser) bool {
		return slices.ContainsFunc(out, func(o *SignedInUser) bool { return o.Session.ID == user.Session.ID })
	}), expired)
}

// endSession ends the session of a user. by is the user of the browser who caused it, the actor of the audit event.
func (u *Users) endSession(r *http.Request, user, by *SignedInUser) error {
	event := *reqevent.FromContext(r.Context()) // a copy, because the request keeps its own actor
	event.Actor = "user:" + by.User.ID
	ctx := reqevent.NewContext(r.Context(), &event)
	err := u.store.EndSession(ctx, user.User.ID, user.Session.ID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}

// Sessions returns the active sessions of a user, the last used one first.
func (u *Users) Sessions(r *http.Request, user storage.User) ([]storage.BrowserSession, error) {
	return u.store.Sessions(r.Context(), user, u.options.SessionIdleTTL)
}

// EndSession ends a session of a signed-in user, in this or another browser. With one in another browser, even if that
// has ended already, it ends every remembered browser, and a link to change the address. It returns storage.ErrNotFound
// when the user has no such session, and ErrSessionEnded when this session has ended.
func (u *Users) EndSession(ctx context.Context, user *SignedInUser, sessionID string) error {
	return u.store.EndAccountSession(ctx, user.User.ID, sessionID, user.Session.ID)
}

// EndOtherSessions ends every session of a user but this one, and every remembered browser. report is the id of an
// event of the audit log that the user did not cause, or empty. It returns ErrSessionEnded when this session has ended.
func (u *Users) EndOtherSessions(ctx context.Context, user *SignedInUser, report string) error {
	_, err := u.store.EndOtherSessions(ctx, user.User.ID, user.Session.ID, report)
	return err
}
