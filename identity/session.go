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
	"gatehouse/storage/audit"
	"gatehouse/storage/reqevent"
)

const (
	sessionCookie = "session"
	// touchEvery is the minimum time between two writes of the last use of a session.
	touchEvery = time.Minute
	// maxPeople is how many may be signed in to one browser at once.
	maxPeople = 5
)

// SignedInUser is one of the people who use a browser.
type SignedInUser struct {
	Session storage.BrowserSession
	User    storage.User

	token string // the cookie's part that names the session
}

// rows is the sessions.Store of gorilla/sessions on browser_sessions: the cookie holds a random token for each person who
// is signed in, the one who was last chosen first, and the rows their SHA-256. Nothing the browser holds is ever trusted
// for more than finding the rows.
type rows struct{ users *Users }

var _ sessions.Store = rows{}

// The values of a gorilla session.
const (
	peopleKey  = "people"  // []*SignedInUser
	dormantKey = "dormant" // []dormant
)

// dormant is a session in the cookie that has expired and that nobody has ended. It signs nobody in; but when its person
// comes back it goes on, with the apps that are bound to it, so that their sign-out ends those too.
type dormant struct{ token, sessionID, userID string }

// Get returns the request's session, read once per request.
func (s rows) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New reads the sessions that the cookie names. Missing, unknown or ended ones are left out. To be read is not to be used:
// no session lives longer because somebody else uses the browser.
func (s rows) New(r *http.Request, name string) (*sessions.Session, error) {
	session := sessions.NewSession(s, name)
	session.IsNew = true
	people, asleep := []*SignedInUser{}, []dormant{}
	for _, token := range s.users.tokens(r) {
		row, user, err := s.users.store.SessionByToken(r.Context(), hash(token), s.users.options.SessionIdleTTL)
		if err == nil {
			people = append(people, &SignedInUser{Session: row, User: user, token: token})
			continue
		}
		if errors.Is(err, storage.ErrNotFound) {
			if row, err = s.users.store.UnendedSession(r.Context(), hash(token)); err == nil {
				asleep = append(asleep, dormant{token, row.ID, row.UserID})
			}
		}
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return session, err
		}
	}
	session.IsNew = len(people) == 0
	session.Values[peopleKey], session.Values[dormantKey] = people, asleep
	return session, nil
}

// tokens are the parts of the session cookie.
func (p *Users) tokens(r *http.Request) []string {
	v := p.value(r, sessionCookie)
	if v == "" {
		return nil
	}
	parts := strings.Split(v, ".")
	return parts[:min(len(parts), maxPeople)]
}

// TouchSession stores when the session was last used, at most once a minute and at least four times in the idle lifetime, so
// that a session in use does not expire as idle.
func (p *Users) TouchSession(r *http.Request, who *SignedInUser) error {
	now := p.store.Now()
	if now.Sub(who.Session.LastSeenAt) < min(touchEvery, p.options.SessionIdleTTL/4) {
		return nil
	}
	if err := p.store.TouchSession(r.Context(), who.Session.ID); err != nil {
		return err
	}
	who.Session.LastSeenAt = now
	return nil
}

// Save sets the cookie, or clears it when nobody is left.
func (s rows) Save(_ *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	p := s.users
	people, _ := session.Values[peopleKey].([]*SignedInUser)
	asleep, _ := session.Values[dormantKey].([]dormant)
	tokens := make([]string, 0, len(people)+len(asleep))
	for _, who := range people {
		tokens = append(tokens, who.token)
	}
	for _, d := range asleep {
		tokens = append(tokens, d.token)
	}
	life := p.options.SessionMaxTTL
	if len(tokens) == 0 {
		life = -time.Second
	}
	http.SetCookie(w, p.cookie(sessionCookie, strings.Join(tokens, "."), life))
	return nil
}

// SignedIn returns the users who are signed in to the browser, the one last chosen first. An error is a storage fault, never
// a bad cookie.
func (p *Users) SignedIn(r *http.Request) ([]*SignedInUser, error) {
	session, err := rows{p}.Get(r, sessionCookie)
	if err != nil {
		return nil, err
	}
	people, _ := session.Values[peopleKey].([]*SignedInUser)
	return people, nil
}

// CurrentUser returns who was last chosen of the people signed in, or nil.
func (p *Users) CurrentUser(r *http.Request) (*SignedInUser, error) {
	people, err := p.SignedIn(r)
	if err != nil || len(people) == 0 {
		return nil, err
	}
	return people[0], nil
}

// save makes these the people of the browser. Where that is too many the dormant sessions leave the cookie, which gave
// nobody a right to end them, and then the people longest unused are signed out.
func (p *Users) save(w http.ResponseWriter, r *http.Request, people []*SignedInUser, asleep []dormant) error {
	session, err := rows{p}.Get(r, sessionCookie)
	if err != nil {
		return err
	}
	for len(people)+len(asleep) > maxPeople {
		if n := len(asleep) - 1; n >= 0 {
			asleep = asleep[:n]
			continue
		}
		last := people[len(people)-1]
		people = people[:len(people)-1]
		if err := p.end(r, last, people[0]); err != nil {
			return err
		}
	}
	session.Values[peopleKey], session.Values[dormantKey] = people, asleep
	return session.Save(r, w)
}

// asleep are the dormant sessions of the browser.
func (p *Users) asleep(r *http.Request) ([]dormant, error) {
	session, err := rows{p}.Get(r, sessionCookie)
	if err != nil {
		return nil, err
	}
	d, _ := session.Values[dormantKey].([]dormant)
	return slices.Clone(d), nil
}

// StartSession signs a person in to the browser after they proved who they are by the given methods (RFC 8176). Their part of
// the cookie is new in any case. Their session in this browser goes on under it, expired or not, with the apps that are
// bound to it, so that signing out ends those too. Others who are signed in stay so, up to five people.
func (p *Users) StartSession(w http.ResponseWriter, r *http.Request, user storage.User, methods ...string) (*SignedInUser, error) {
	others, err := p.SignedIn(r)
	if err != nil {
		return nil, err
	}
	asleep, err := p.asleep(r)
	if err != nil {
		return nil, err
	}
	before := ""
	for _, d := range asleep {
		if d.userID == user.ID {
			before = d.sessionID
		}
	}
	for _, o := range others {
		if o.User.ID == user.ID {
			before = o.Session.ID
		}
	}
	now, request, token := p.store.Now(), reqevent.From(r.Context()), random()
	row := storage.BrowserSession{
		ID: uuid.NewString(), TokenHash: hash(token), UserID: user.ID, UserEpoch: user.Epoch,
		AuthTime: now, ACR: "1", AMR: methods, Address: request.Address, UserAgent: request.UserAgent,
		CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(p.options.SessionMaxTTL),
	}
	event := audit.Event{Type: audit.UserSignedIn, UserID: user.ID}
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
	who := &SignedInUser{Session: row, User: user, token: token}
	people := append([]*SignedInUser{who}, slices.DeleteFunc(slices.Clone(others), func(o *SignedInUser) bool { return o.User.ID == user.ID })...)
	p.remember(w, r, user)
	return who, p.save(w, r, people, slices.DeleteFunc(asleep, func(d dormant) bool { return d.userID == user.ID }))
}

// SelectSession makes the person with that session the one last chosen. It returns storage.ErrNotFound when they are not signed
// in here.
func (p *Users) SelectSession(w http.ResponseWriter, r *http.Request, sessionID string) (*SignedInUser, error) {
	people, err := p.SignedIn(r)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(people, func(who *SignedInUser) bool { return who.Session.ID == sessionID })
	if i < 0 {
		return nil, storage.ErrNotFound
	}
	asleep, err := p.asleep(r)
	if err != nil {
		return nil, err
	}
	chosen := people[i]
	return chosen, p.save(w, r, append([]*SignedInUser{chosen}, slices.Delete(slices.Clone(people), i, i+1)...), asleep)
}

// SignOut signs these people out of the browser. Signing out twice is no error.
func (p *Users) SignOut(w http.ResponseWriter, r *http.Request, out ...*SignedInUser) error {
	people, err := p.SignedIn(r)
	if err != nil {
		return err
	}
	asleep, err := p.asleep(r)
	if err != nil {
		return err
	}
	for _, who := range out {
		if err := p.end(r, who, who); err != nil {
			return err
		}
	}
	return p.save(w, r, slices.DeleteFunc(slices.Clone(people), func(who *SignedInUser) bool {
		return slices.ContainsFunc(out, func(o *SignedInUser) bool { return o.Session.ID == who.Session.ID })
	}), asleep)
}

// end ends one person's session, by the doing of them or of another who uses the browser.
func (p *Users) end(r *http.Request, who, by *SignedInUser) error {
	event := *reqevent.From(r.Context()) // a copy, because the request keeps its own actor
	event.Actor = "user:" + by.User.ID
	err := p.store.EndSession(reqevent.With(r.Context(), &event), who.User.ID, who.Session.ID, audit.Event{Type: audit.SessionEnded})
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}

// Sessions lists a person's live sessions, the latest seen first.
func (p *Users) Sessions(r *http.Request, user storage.User) ([]storage.BrowserSession, error) {
	return p.store.Sessions(r.Context(), user, p.options.SessionIdleTTL)
}

// EndSession ends a session of the user, in this or another browser. It returns storage.ErrNotFound when the user has no
// such session.
func (p *Users) EndSession(ctx context.Context, userID, sessionID string) error {
	return p.store.EndSession(ctx, userID, sessionID, audit.Event{Type: audit.SessionEnded})
}
