package identity_test

import (
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
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

func TestBrowserSessionsFollowTheirCookie(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, s, clock := newUsers(t, url)
		alice, bob, b := user(t, p, "alice"), user(t, p, "bob"), browser{}
		start := func(u storage.User) (out *identity.SignedInUser) {
			b.visit(t, func(w http.ResponseWriter, r *http.Request) (err error) {
				out, err = p.StartSession(w, r, u, "pwd")
				return err
			})
			return out
		}
		wantSignedIn := func(b browser, want ...string) {
			t.Helper()
			b.visit(t, func(_ http.ResponseWriter, r *http.Request) error {
				users, err := p.SignedIn(r)
				if len(users) != len(want) {
					t.Errorf("%d users are signed in, want %v", len(users), want)
					return err
				}
				for i, u := range users {
					if u.User.Username != want[i] {
						t.Errorf("user %d is %s, want %s", i, u.User.Username, want[i])
					}
				}
				current, err := p.CurrentUser(r)
				if (current == nil) != (len(want) == 0) || current != nil && current.User.Username != want[0] {
					t.Errorf("the current user is %+v, want the first of %v", current, want)
				}
				return err
			})
		}
		wantSignedIn(b)
		ofAlice := start(alice)
		stolen := maps.Clone(b) // a cookie from before the next sign-in
		start(bob)
		wantSignedIn(b, "bob", "alice")

		b.visit(t, func(w http.ResponseWriter, r *http.Request) error {
			if _, err := p.SelectSession(w, r, "no such session"); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("selecting an unknown session: %v, want ErrNotFound", err)
			}
			_, err := p.SelectSession(w, r, ofAlice.Session.ID)
			return err
		})
		wantSignedIn(b, "alice", "bob")

		// The session continues under a new token; the old one is invalid.
		if again := start(alice); again.Session.ID != ofAlice.Session.ID {
			t.Error("signing in again started another session")
		}
		wantSignedIn(stolen)

		// Use extends a session, at most once a minute.
		clock.Advance(2 * time.Minute)
		b.visit(t, func(_ http.ResponseWriter, r *http.Request) error {
			current, err := p.CurrentUser(r)
			storagetest.Must(t, err)
			before := current.Session.LastSeenAt
			storagetest.Must(t, p.TouchSession(r, current))
			touched := current.Session.LastSeenAt
			storagetest.Must(t, p.TouchSession(r, current))
			if !touched.After(before) || !current.Session.LastSeenAt.Equal(touched) {
				t.Errorf("last seen at %s, then %s, then %s", before, touched, current.Session.LastSeenAt)
			}
			sessions, err := p.Sessions(r, alice)
			if len(sessions) != 1 || sessions[0].Address != "192.0.2.1" {
				t.Errorf("the sessions of alice are %+v", sessions)
			}
			return err
		})

		storagetest.Must(t, p.EndSession(t.Context(), alice.ID, ofAlice.Session.ID))
		if err := p.EndSession(t.Context(), bob.ID, ofAlice.Session.ID); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("ending a session of another user: %v, want ErrNotFound", err)
		}
		wantSignedIn(b, "bob")
		b.visit(t, func(w http.ResponseWriter, r *http.Request) error {
			users, err := p.SignedIn(r)
			storagetest.Must(t, err)
			storagetest.Must(t, p.SignOut(w, r, users...))
			return p.SignOut(w, r, users...)
		})
		wantSignedIn(b)
		if n := storagetest.Count(t, s, url, "SELECT count(*) FROM browser_sessions WHERE ended_at IS NULL"); n != 0 {
			t.Errorf("%d sessions are active after the sign-out", n)
		}

		// A new password ends every session of the user.
		start(alice)
		storagetest.Must(t, p.SetPassword(t.Context(), alice, "another good password"))
		wantSignedIn(b)
	})
}

func TestBrowserCookieIsSetOnce(t *testing.T) {
	t.Parallel()
	p, _, _ := newUsers(t, storagetest.URL(t, storage.SQLite))
	b := browser{}
	b.visit(t, func(w http.ResponseWriter, r *http.Request) error {
		if h := p.Browser(r); h != nil {
			t.Errorf("a browser without the cookie has the hash %x", h)
		}
		if first := p.EnsureBrowser(w, r); len(first) != 32 {
			t.Errorf("the hash has %d bytes, want 32", len(first))
		}
		return nil
	})
	b.visit(t, func(w http.ResponseWriter, r *http.Request) error {
		known := p.Browser(r)
		if known == nil || string(p.EnsureBrowser(w, r)) != string(known) {
			t.Error("the second request of the browser has another hash")
		}
		if len(w.Header()) != 0 {
			t.Errorf("the cookie was set again: %v", w.Header())
		}
		return nil
	})
}
