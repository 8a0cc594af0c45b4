package identity

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/sessions"

	"gatehouse/storage"
)

const (
	sessionCookie = "session"
	touchEvery    = time.Minute
	// maxPeople is how many may be signed in to one browser at once.
	maxPeople = 5
)

// SignedIn is one of the people who use a browser.
type SignedIn struct {
	Session storage.BrowserSession
	User    storage.User

	token string // the cookie's part that names the session
}

// rows is the sessions.Store of gorilla/sessions on browser_sessions: the cookie holds a random token for each person who
// is signed in, the one who was last chosen first, and the rows their SHA-256. Nothing the browser holds is ever trusted
// for more than finding the rows.
type rows struct{ people *People }

var _ sessions.Store = rows{}

// peopleKey is the value of a gorilla session: []*SignedIn.
const peopleKey = "people"

// Get returns the request's session, read once per request.
func (s rows) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New reads the sessions that the cookie names. Missing, unknown or dead ones are left out.
func (s rows) New(r *http.Request, name string) (*sessions.Session, error) {
	session := sessions.NewSession(s, name)
	session.IsNew = true
	people := []*SignedIn{}
	for _, token := range s.people.tokens(r) {
		who, err := s.people.signedIn(r, token)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return session, err
		}
		people = append(people, who)
	}
	session.IsNew = len(people) == 0
	session.Values[peopleKey] = people
	return session, nil
}

// tokens are the parts of the session cookie.
func (p *People) tokens(r *http.Request) []string {
	v := p.value(r, sessionCookie)
	if v == "" {
		return nil
	}
	parts := strings.Split(v, ".")
	return parts[:min(len(parts), maxPeople)]
}

func (p *People) signedIn(r *http.Request, token string) (*SignedIn, error) {
	row, user, err := p.store.SessionByToken(r.Context(), hash(token), p.options.SessionIdleTTL)
	if err != nil {
		return nil, err
	}
	if now := p.store.Now(); now.Sub(row.LastSeenAt) >= touchEvery {
		if err := p.store.TouchSession(r.Context(), row.ID); err != nil {
			return nil, err
		}
		row.LastSeenAt = now
	}
	return &SignedIn{Session: row, User: user, token: token}, nil
}

// Save sets the cookie, or clears it when nobody is left.
func (s rows) Save(_ *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	p := s.people
	people, _ := session.Values[peopleKey].([]*SignedIn)
	tokens := make([]string, 0, len(people))
	for _, who := range people {
		tokens = append(tokens, who.token)
	}
	life := p.options.SessionMaxTTL
	if len(tokens) == 0 {
		life = -time.Second
	}
	http.SetCookie(w, p.cookie(sessionCookie, strings.Join(tokens, "."), life))
	return nil
}

// All returns the people who are signed in to the browser, the one last chosen first. An error is a storage fault, never
// a bad cookie.
func (p *People) All(r *http.Request) ([]*SignedIn, error) {
	session, err := rows{p}.Get(r, sessionCookie)
	if err != nil {
		return nil, err
	}
	people, _ := session.Values[peopleKey].([]*SignedIn)
	return people, nil
}

// Current returns who was last chosen of the people signed in, or nil.
func (p *People) Current(r *http.Request) (*SignedIn, error) {
	people, err := p.All(r)
	if err != nil || len(people) == 0 {
		return nil, err
	}
	return people[0], nil
}

// save makes these the people of the browser.
func (p *People) save(w http.ResponseWriter, r *http.Request, people []*SignedIn) error {
	session, err := rows{p}.Get(r, sessionCookie)
	if err != nil {
		return err
	}
	session.Values[peopleKey] = people
	return session.Save(r, w)
}

// Begin signs a person in to the browser after they proved who they are by the given methods (RFC 8176). Their part of
// the cookie is new in any case. Their session in this browser goes on under it, expired or not, with the apps that are
// bound to it, so that signing out ends those too. Others who are signed in stay so, up to five people; then the one
// longest unused is signed out.
func (p *People) Begin(w http.ResponseWriter, r *http.Request, user storage.User, methods ...string) (*SignedIn, error) {
	others, err := p.All(r)
	if err != nil {
		return nil, err
	}
	before, err := p.sessionHere(r, user.ID)
	if err != nil {
		return nil, err
	}
	now, origin, token := p.store.Now(), storage.OriginOf(r.Context()), random()
	row := storage.BrowserSession{
		ID: uuid.NewString(), TokenHash: hash(token), UserID: user.ID, UserEpoch: user.Epoch,
		AuthTime: now, ACR: "1", AMR: methods, Address: origin.Address, UserAgent: origin.UserAgent,
		CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(p.options.SessionMaxTTL),
	}
	event := storage.Event{Type: storage.UserSignedIn, UserID: user.ID}
	err = storage.ErrNotFound
	if before != "" {
		fresh := row.ID
		row.ID = before
		if err = p.store.RenewSession(r.Context(), &row, event); errors.Is(err, storage.ErrNotFound) { // ended a moment ago
			row.ID = fresh
		}
	}
	if errors.Is(err, storage.ErrNotFound) {
		err = p.store.CreateSession(r.Context(), &row, event)
	}
	if err != nil {
		return nil, err
	}
	who := &SignedIn{Session: row, User: user, token: token}
	people := append([]*SignedIn{who}, slices.DeleteFunc(slices.Clone(others), func(o *SignedIn) bool { return o.User.ID == user.ID })...)
	for len(people) > maxPeople {
		if err := p.end(r, people[len(people)-1]); err != nil {
			return nil, err
		}
		people = people[:len(people)-1]
	}
	p.remember(w, r, user.ID)
	return who, p.save(w, r, people)
}

// sessionHere is the id of the person's session in this browser that nobody has ended, though it may have expired, or "".
func (p *People) sessionHere(r *http.Request, userID string) (string, error) {
	for _, token := range p.tokens(r) {
		b, err := p.store.UnendedSession(r.Context(), hash(token))
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return "", err
		}
		if err == nil && b.UserID == userID {
			return b.ID, nil
		}
	}
	return "", nil
}

// Select makes the person with that session the one last chosen. It returns storage.ErrNotFound when they are not signed
// in here.
func (p *People) Select(w http.ResponseWriter, r *http.Request, sessionID string) (*SignedIn, error) {
	people, err := p.All(r)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(people, func(who *SignedIn) bool { return who.Session.ID == sessionID })
	if i < 0 {
		return nil, storage.ErrNotFound
	}
	chosen := people[i]
	return chosen, p.save(w, r, append([]*SignedIn{chosen}, slices.Delete(slices.Clone(people), i, i+1)...))
}

// End signs these people out of the browser. Signing out twice is no error.
func (p *People) End(w http.ResponseWriter, r *http.Request, out ...*SignedIn) error {
	people, err := p.All(r)
	if err != nil {
		return err
	}
	for _, who := range out {
		if err := p.end(r, who); err != nil {
			return err
		}
	}
	return p.save(w, r, slices.DeleteFunc(slices.Clone(people), func(who *SignedIn) bool {
		return slices.ContainsFunc(out, func(o *SignedIn) bool { return o.Session.ID == who.Session.ID })
	}))
}

func (p *People) end(r *http.Request, who *SignedIn) error {
	err := p.store.EndSession(r.Context(), who.User.ID, who.Session.ID, storage.Event{Type: storage.SessionEnded})
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}

// Sessions lists a person's live sessions, the latest seen first.
func (p *People) Sessions(r *http.Request, user storage.User) ([]storage.BrowserSession, error) {
	return p.store.Sessions(r.Context(), user, p.options.SessionIdleTTL)
}
