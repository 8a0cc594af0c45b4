package identity

import (
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/sessions"

	"gatehouse/storage"
)

const (
	sessionCookie = "session"
	touchEvery    = time.Minute
)

// SignedIn is who uses a browser.
type SignedIn struct {
	Session storage.BrowserSession
	User    storage.User
}

// rows is the sessions.Store of gorilla/sessions on browser_sessions: the cookie holds a random token, the row its
// SHA-256. Nothing the browser holds is ever trusted for more than finding the row.
type rows struct{ people *People }

var _ sessions.Store = rows{}

// values of a gorilla session.
const (
	whoKey   = "who"   // *SignedIn
	tokenKey = "token" // the cookie to set
)

// Get returns the request's session, read once per request.
func (s rows) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New reads the session that the cookie names. A missing, unknown or dead one gives a new, empty session.
func (s rows) New(r *http.Request, name string) (*sessions.Session, error) {
	session := sessions.NewSession(s, name)
	session.IsNew = true
	token := s.people.value(r, name)
	if token == "" {
		return session, nil
	}
	p := s.people
	row, user, err := p.store.SessionByToken(r.Context(), hash(token), p.options.SessionIdleTTL)
	if errors.Is(err, storage.ErrNotFound) {
		return session, nil
	}
	if err != nil {
		return session, err
	}
	if now := p.store.Now(); now.Sub(row.LastSeenAt) >= touchEvery {
		if err := p.store.TouchSession(r.Context(), row.ID); err != nil {
			return session, err
		}
		row.LastSeenAt = now
	}
	session.IsNew = false
	session.Values[whoKey] = &SignedIn{Session: row, User: user}
	return session, nil
}

// Save sets or clears the cookie.
func (s rows) Save(_ *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	p := s.people
	if session.Options != nil && session.Options.MaxAge < 0 {
		http.SetCookie(w, p.cookie(sessionCookie, "", -time.Second))
		return nil
	}
	token, ok := session.Values[tokenKey].(string)
	if !ok {
		return errors.New("a session without a token cannot be saved")
	}
	http.SetCookie(w, p.cookie(sessionCookie, token, p.options.SessionMaxTTL))
	return nil
}

// Current returns who is signed in, or nil. An error is a storage fault, never a bad cookie.
func (p *People) Current(r *http.Request) (*SignedIn, error) {
	session, err := rows{p}.Get(r, sessionCookie)
	if err != nil {
		return nil, err
	}
	who, _ := session.Values[whoKey].(*SignedIn)
	return who, nil
}

// Begin signs a person in to the browser after they proved who they are by the given methods (RFC 8176). The cookie is
// new in any case. The same person's session goes on under it, expired or not, with the apps that are bound to it, so
// that signing out ends those too; another person's is ended.
func (p *People) Begin(w http.ResponseWriter, r *http.Request, user storage.User, methods ...string) error {
	before, err := p.store.UnendedSession(r.Context(), hash(p.value(r, sessionCookie)))
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	session, err := rows{p}.Get(r, sessionCookie)
	if err != nil {
		return err
	}
	now, origin, token := p.store.Now(), storage.OriginOf(r.Context()), random()
	row := storage.BrowserSession{
		ID: uuid.NewString(), TokenHash: hash(token), UserID: user.ID, UserEpoch: user.Epoch,
		AuthTime: now, ACR: "1", AMR: methods, Address: origin.Address, UserAgent: origin.UserAgent,
		CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(p.options.SessionMaxTTL),
	}
	event := storage.Event{Type: storage.UserSignedIn, UserID: user.ID}
	switch before.UserID {
	case user.ID:
		fresh := row.ID
		row.ID = before.ID
		if err = p.store.RenewSession(r.Context(), &row, event); errors.Is(err, storage.ErrNotFound) { // ended a moment ago
			row.ID = fresh
			err = p.store.CreateSession(r.Context(), &row, nil, event)
		}
	case "":
		err = p.store.CreateSession(r.Context(), &row, nil, event)
	default:
		err = p.store.CreateSession(r.Context(), &row, &before, event)
	}
	if err != nil {
		return err
	}
	session.Values[whoKey] = &SignedIn{Session: row, User: user}
	session.Values[tokenKey] = token
	p.remember(w, r, user.ID)
	return session.Save(r, w)
}

// End signs the browser out. Signing out twice is no error.
func (p *People) End(w http.ResponseWriter, r *http.Request) error {
	who, err := p.Current(r)
	if err != nil {
		return err
	}
	if who != nil {
		err := p.store.EndSession(r.Context(), who.User.ID, who.Session.ID, storage.Event{Type: storage.SessionEnded})
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
	}
	session, err := rows{p}.Get(r, sessionCookie)
	if err != nil {
		return err
	}
	session.Options = &sessions.Options{MaxAge: -1}
	delete(session.Values, whoKey)
	return session.Save(r, w)
}

// Sessions lists a person's live sessions, the latest seen first.
func (p *People) Sessions(r *http.Request, user storage.User) ([]storage.BrowserSession, error) {
	return p.store.Sessions(r.Context(), user, p.options.SessionIdleTTL)
}
