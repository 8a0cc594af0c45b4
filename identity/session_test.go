package identity_test

import (
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"gatehouse/identity"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// browser has the cookies that responses set.
type browser map[string]*http.Cookie

// visit calls fn with a new request of the browser and stores the cookies of the response.
func (b browser) visit(t *testing.T, fn func(w http.ResponseWriter, r *http.Request) error) {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(requestFrom(t, "192.0.2.1"), http.MethodGet, "/", nil)
	for _, c := range b {
		r.AddCookie(c)
	}
	storagetest.Must(t, fn(w, r))
	for _, c := range w.Result().Cookies() {
		if b[c.Name] = c; c.MaxAge < 0 {
			delete(b, c.Name)
		}
	}
}

// start signs a user in and returns the session.
func (b browser) start(t *testing.T, p *identity.Users, u storage.User) (out *identity.SignedInUser) {
	t.Helper()
	b.visit(t, func(w http.ResponseWriter, r *http.Request) (err error) {
		out, err = p.StartSession(w, r, u, identity.Authentication{ACR: identity.ACRPassword, AMR: []string{"pwd"}})
		return err
	})
	return out
}

// wantSignedIn fails the test unless exactly these users are signed in, the first of them as the current user.
func (b browser) wantSignedIn(t *testing.T, p *identity.Users, want ...string) {
	t.Helper()
	b.visit(t, func(_ http.ResponseWriter, r *http.Request) error {
		users, err := p.SignedIn(r)
		var got []string
		for _, u := range users {
			got = append(got, u.User.Username)
		}
		if !slices.Equal(got, want) {
			t.Errorf("signed in are %v, want %v", got, want)
			return err
		}
		current, err := p.CurrentUser(r)
		if (current == nil) != (len(want) == 0) || current != nil && current.User.Username != want[0] {
			t.Errorf("the current user is %+v, want the first of %v", current, want)
		}
		return err
	})
}

func TestBrowserSessionsFollowTheirCookie(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, s, _ := newUsers(t, url)
		alice, bob, b := user(t, p, "alice"), user(t, p, "bob"), browser{}
		b.wantSignedIn(t, p)
		ofAlice := b.start(t, p, alice)
		stolen := maps.Clone(b) // a cookie from before the next sign-in
		ofBob := b.start(t, p, bob)
		b.wantSignedIn(t, p, "bob", "alice")

		b.visit(t, func(w http.ResponseWriter, r *http.Request) error {
			if _, err := p.SelectSession(w, r, "no such session"); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("SelectSession of an unknown session = %v, want ErrNotFound", err)
			}
			_, err := p.SelectSession(w, r, ofAlice.Session.ID)
			return err
		})
		b.wantSignedIn(t, p, "alice", "bob")

		// The session continues under a new token; the old one is invalid.
		if next := b.start(t, p, alice); next.Session.ID != ofAlice.Session.ID {
			t.Errorf("the session after another sign-in is %s, want %s", next.Session.ID, ofAlice.Session.ID)
		}
		stolen.wantSignedIn(t, p)

		storagetest.Must(t, p.EndSession(t.Context(), ofAlice, ofAlice.Session.ID))
		if err := p.EndSession(t.Context(), ofBob, ofAlice.Session.ID); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("EndSession of a session of another user = %v, want ErrNotFound", err)
		}
		b.wantSignedIn(t, p, "bob")
		b.visit(t, func(w http.ResponseWriter, r *http.Request) error {
			users, err := p.SignedIn(r)
			storagetest.Must(t, err)
			storagetest.Must(t, p.SignOut(w, r, users...))
			return p.SignOut(w, r, users...)
		})
		b.wantSignedIn(t, p)
		if n := storagetest.Count(t, s, url, "SELECT count(*) FROM browser_sessions WHERE ended_at IS NULL"); n != 0 {
			t.Errorf("%d sessions are active after the sign-out, want 0", n)
		}
	})
}

func TestNewPasswordEndsSessions(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, _, _ := newUsers(t, url)
		alice, b := user(t, p, "alice"), browser{}
		b.start(t, p, alice)
		b.wantSignedIn(t, p, "alice")
		storagetest.Must(t, p.SetPassword(t.Context(), alice, "another good password"))
		b.wantSignedIn(t, p)
	})
}

// TestUseExtendsSession uses a session twice within a minute, in which it is extended once.
func TestUseExtendsSession(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, _, clock := newUsers(t, url)
		alice, b := user(t, p, "alice"), browser{}
		b.start(t, p, alice)
		clock.Advance(2 * time.Minute)
		b.visit(t, func(_ http.ResponseWriter, r *http.Request) error {
			current, err := p.CurrentUser(r)
			storagetest.Must(t, err)
			before := current.Session.LastSeenAt
			storagetest.Must(t, p.TouchSession(r, current))
			touched := current.Session.LastSeenAt
			storagetest.Must(t, p.TouchSession(r, current))
			if last := current.Session.LastSeenAt; !touched.After(before) || !last.Equal(touched) {
				t.Errorf("the session was last seen at %s, then %s, then %s, want only the first use to count",
					before, touched, last)
			}
			sessions, err := p.Sessions(r, alice)
			if len(sessions) != 1 || sessions[0].Address != "192.0.2.1" {
				t.Errorf("the sessions of alice are %+v, want one from 192.0.2.1", sessions)
			}
			return err
		})
	})
}

func TestBrowserCookieIsSetOnce(t *testing.T) {
	t.Parallel()
	p, _, _ := newUsers(t, storagetest.URL(t, storage.SQLite))
	b := browser{}
	b.visit(t, func(w http.ResponseWriter, r *http.Request) error {
		if h := p.Browser(r); h != nil {
			t.Errorf("the hash of a browser without the cookie = %x, want none", h)
		}
		if first := p.EnsureBrowser(w, r); len(first) != 32 {
			t.Errorf("the hash has %d bytes, want 32", len(first))
		}
		return nil
	})
	b.visit(t, func(w http.ResponseWriter, r *http.Request) error {
		hash := p.Browser(r)
		if next := p.EnsureBrowser(w, r); hash == nil || string(next) != string(hash) {
			t.Errorf("EnsureBrowser in the second request = %x, want %x", next, hash)
		}
		if len(w.Header()) != 0 {
			t.Errorf("the cookie was set again: %v", w.Header())
		}
		return nil
	})
}
