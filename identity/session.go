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
	// touchEvery is the minimum time between two writes of the last use of a session.
	touchEvery = time.Minute
	// maxSignedIn is how many users may be signed in to one browser.
	maxSignedIn = 5
)

// SignedInUser is a user who is signed in to a browser.
type SignedInUser struct {
	Session storage.BrowserSession
	User    storage.User

	token string // of the session, a part of the cookie
}

// rows is the sessions.Store of gorilla/sessions on browser_sessions. The cookie has a random token for each signed-in
// user, the last selected one first; the rows have their SHA-256. The cookie is used only to find the rows.
type rows struct{ users *Users }

var _ sessions.Store = rows{}

// The values of a gorilla session.
const (
	usersKey   = "users"   // []*SignedInUser
	dormantKey = "dormant" // []dormantSession
)

// dormantSession is a session in the cookie that has expired but was not ended. It signs no user in. When its user
// signs in again, it continues, together with the grants that are bound to it, so that signing out ends those too.
type dormantSession struct{ token, sessionID, userID string }

// Get returns the request's session, read once per request.
func (s rows) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New reads the sessions of the cookie and omits missing, unknown and ended ones. Reading a session is not a use of
// it: a session does not last longer because another user uses the browser.
func (s rows) New(r *http.Request, name string) (*sessions.Session, error) {
	session := sessions.NewSession(s, name)
	session.IsNew = true
	signedIn, dormant := []*SignedInUser{}, []dormantSession{}
	for _, token := range s.users.tokens(r) {
		row, user, err := s.users.store.SessionByToken(r.Context(), hash(token), s.users.options.SessionIdleTTL)
		if err == nil {
			signedIn = append(signedIn, &SignedInUser{Session: row, User: user, token: token})
			continue
		}
		if errors.Is(err, storage.ErrNotFound) {
			if row, err = s.users.store.UnendedSession(r.Context(), hash(token)); err == nil {
				dormant = append(dormant, dormantSession{token, row.ID, row.UserID})
			}
		}
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return session, err
		}
	}
	session.IsNew = len(signedIn) == 0
	session.Values[usersKey], session.Values[dormantKey] = signedIn, dormant
	return session, nil
}

// tokens returns the tokens in the session cookie.
func (p *Users) tokens(r *http.Request) []string {
	v := p.cookieValue(r, sessionCookie)
	if v == "" {
		return nil
	}
	parts := strings.Split(v, ".")
	return parts[:min(len(parts), maxSignedIn)]
}

// TouchSession stores when the session was last used, at most once a minute and at least four times in the idle
// lifetime, so that a session in use does not expire as idle.
func (p *Users) TouchSession(r *http.Request, user *SignedInUser) error {
	now := p.store.Now()
	if now.Sub(user.Session.LastSeenAt) < min(touchEvery, p.options.SessionIdleTTL/4) {
		return nil
	}
	if err := p.store.TouchSession(r.Context(), user.Session.ID); err != nil {
		return err
	}
	user.Session.LastSeenAt = now
	return nil
}

// Save sets the cookie, or clears it when no user is left.
func (s rows) Save(_ *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	p := s.users
	signedIn, _ := session.Values[usersKey].([]*SignedInUser)
	dormant, _ := session.Values[dormantKey].([]dormantSession)
	tokens := make([]string, 0, len(signedIn)+len(dormant))
	for _, user := range signedIn {
		tokens = append(tokens, user.token)
	}
	for _, d := range dormant {
		tokens = append(tokens, d.token)
	}
	ttl := p.options.SessionMaxTTL
	if len(tokens) == 0 {
		ttl = -time.Second
	}
	http.SetCookie(w, p.cookie(sessionCookie, strings.Join(tokens, "."), ttl))
	return nil
}

// SignedIn returns the users who are signed in to the browser, the last selected one first. It returns an error only
// when the store fails, not for an invalid cookie.
func (p *Users) SignedIn(r *http.Request) ([]*SignedInUser, error) {
	session, err := rows{p}.Get(r, sessionCookie)
	if err != nil {
		return nil, err
	}
	signedIn, _ := session.Values[usersKey].([]*SignedInUser)
	return signedIn, nil
}

// CurrentUser returns the last selected one of the users who are signed in, or nil.
func (p *Users) CurrentUser(r *http.Request) (*SignedInUser, error) {
	signedIn, err := p.SignedIn(r)
	if err != nil || len(signedIn) == 0 {
		return nil, err
	}
	return signedIn[0], nil
}

// save sets the users who are signed in to the browser. When there are too many sessions, the dormant ones leave the
// cookie first, but are not ended: no user requested that. Then the users longest unused are signed out.
func (p *Users) save(w http.ResponseWriter, r *http.Request, signedIn []*SignedInUser, dormant []dormantSession) error {
	session, err := rows{p}.Get(r, sessionCookie)
	if err != nil {
		return err
	}
	for len(signedIn)+len(dormant) > maxSignedIn {
		if n := len(dormant) - 1; n >= 0 {
			dormant = dormant[:n]
			continue
		}
		last := signedIn[len(signedIn)-1]
		signedIn = signedIn[:len(signedIn)-1]
		if err := p.end(r, last, signedIn[0]); err != nil {
			return err
		}
	}
	session.Values[usersKey], session.Values[dormantKey] = signedIn, dormant
	return session.Save(r, w)
}

// dormant returns the dormant sessions of the browser.
func (p *Users) dormant(r *http.Request) ([]dormantSession, error) {
	session, err := rows{p}.Get(r, sessionCookie)
	if err != nil {
		return nil, err
	}
	d, _ := session.Values[dormantKey].([]dormantSession)
	return slices.Clone(d), nil
}

// StartSession signs a user in to the browser after the user authenticated by the given methods (RFC 8176). The token
// in the cookie is always new. The user's session in this browser continues under it, expired or not, together with
// the grants that are bound to it, so that signing out ends those too. Other users stay signed in, up to five in
// total.
func (p *Users) StartSession(
	w http.ResponseWriter, r *http.Request, user storage.User, methods ...string,
) (*SignedInUser, error) {
	others, err := p.SignedIn(r)
	if err != nil {
		return nil, err
	}
	dormant, err := p.dormant(r)
	if err != nil {
		return nil, err
	}
	before := ""
	for _, d := range dormant {
		if d.userID == user.ID {
			before = d.sessionID
		}
	}
	for _, o := range others {
		if o.User.ID == user.ID {
			before = o.Session.ID
		}
	}
	now, request, token := p.store.Now(), reqevent.From(r.Context()), randomToken()
	row := storage.BrowserSession{
		ID: uuid.NewString(), TokenHash: hash(token), UserID: user.ID, UserEpoch: user.Epoch,
		AuthTime: now, ACR: "1", AMR: methods, Address: request.Address, UserAgent: request.UserAgent,
		CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(p.options.SessionMaxTTL),
	}
	err = storage.ErrNotFound
	if before != "" {
		fresh := row.ID
		row.ID = before
		if err = p.store.RenewSession(r.Context(), &row); errors.Is(err, storage.ErrNotFound) { // ended a moment ago
			row.ID = fresh
		}
	}
	if errors.Is(err, storage.ErrNotFound) {
		err = p.store.CreateSession(r.Context(), &row)
	}
	if err != nil {
		return nil, err
	}
	started := &SignedInUser{Session: row, User: user, token: token}
	signedIn := append([]*SignedInUser{started}, slices.DeleteFunc(slices.Clone(others), func(o *SignedInUser) bool {
		return o.User.ID == user.ID
	})...)
	p.addToDevice(w, r, user)
	dormant = slices.DeleteFunc(dormant, func(d dormantSession) bool { return d.userID == user.ID })
	return started, p.save(w, r, signedIn, dormant)
}

// SelectSession moves the user with that session to the first place. It returns storage.ErrNotFound when the session
// is not one of this browser's.
func (p *Users) SelectSession(w http.ResponseWriter, r *http.Request, sessionID string) (*SignedInUser, error) {
	signedIn, err := p.SignedIn(r)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(signedIn, func(user *SignedInUser) bool { return user.Session.ID == sessionID })
	if i < 0 {
		return nil, storage.ErrNotFound
	}
	dormant, err := p.dormant(r)
	if err != nil {
		return nil, err
	}
	selected := signedIn[i]
	signedIn = append([]*SignedInUser{selected}, slices.Delete(slices.Clone(signedIn), i, i+1)...)
	return selected, p.save(w, r, signedIn, dormant)
}

// SignOut signs users out of the browser. Signing out twice is not an error.
func (p *Users) SignOut(w http.ResponseWriter, r *http.Request, out ...*SignedInUser) error {
	signedIn, err := p.SignedIn(r)
	if err != nil {
		return err
	}
	dormant, err := p.dormant(r)
	if err != nil {
		return err
	}
	for _, user := range out {
		if err := p.end(r, user, user); err != nil {
			return err
		}
	}
	return p.save(w, r, slices.DeleteFunc(slices.Clone(signedIn), func(user *SignedInUser) bool {
		return slices.ContainsFunc(out, func(o *SignedInUser) bool { return o.Session.ID == user.Session.ID })
	}), dormant)
}

// end ends the session of a user. by is the user of the browser who caused it, the actor of the audit event.
func (p *Users) end(r *http.Request, user, by *SignedInUser) error {
	event := *reqevent.From(r.Context()) // a copy, because the request keeps its own actor
	event.Actor = "user:" + by.User.ID
	ctx := reqevent.With(r.Context(), &event)
	err := p.store.EndSession(ctx, user.User.ID, user.Session.ID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}

// Sessions returns the active sessions of a user, the last used one first.
func (p *Users) Sessions(r *http.Request, user storage.User) ([]storage.BrowserSession, error) {
	return p.store.Sessions(r.Context(), user, p.options.SessionIdleTTL)
}

// EndSession ends a session of the user, in this or another browser. It returns storage.ErrNotFound when the user has
// no such session.
func (p *Users) EndSession(ctx context.Context, userID, sessionID string) error {
	return p.store.EndSession(ctx, userID, sessionID)
}
