package sample

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func newApp(t *testing.T) *app {
	t.Helper()
	sealer, err := newSealer()
	if err != nil {
		t.Fatal(err)
	}
	return &app{config: Config{URL: "https://app.example"}, sealer: sealer, sessions: map[string]*session{}}
}

func signInAs(a *app, sub string, cookies ...*http.Cookie) (id string, err error) {
	r := httptest.NewRequest(http.MethodGet, "/callback", nil)
	for _, c := range cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	if err := a.storeSession(w, r, &session{sub: sub, created: time.Now()}); err != nil {
		return "", err
	}
	return w.Result().Cookies()[0].Value, nil
}

func TestFullSessionStoreEvictsNoUser(t *testing.T) {
	t.Parallel()
	a := newApp(t)
	first, err := signInAs(a, "user 0")
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < maxSessions; i++ {
		if _, err := signInAs(a, fmt.Sprint("user ", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := signInAs(a, "another"); !errors.Is(err, errFull) {
		t.Errorf("storeSession in a full store = %v, want %v", err, errFull)
	}
	if len(a.sessions) != maxSessions || a.sessions[first] == nil {
		t.Errorf("%d sessions, the first is stored: %t, want all %d", len(a.sessions), a.sessions[first] != nil, maxSessions)
	}
	// A signed-in user can sign in again, and an expired session is replaced.
	again, err := signInAs(a, "user 0", &http.Cookie{Name: "__Host-" + sessionCookie, Value: first})
	if err != nil || again == first || a.sessions[first] != nil {
		t.Errorf("storeSession with the cookie of a session: %v, old session stored: %t, want it replaced",
			err, a.sessions[first] != nil)
	}
	a.sessions[again].created = time.Now().Add(-sessionLifetime)
	if _, err := signInAs(a, "another"); err != nil {
		t.Errorf("storeSession after a session expired = %v, want nil", err)
	}
}

func TestManySessionsOfUserEvictOldest(t *testing.T) {
	t.Parallel()
	a := newApp(t)
	other, err := signInAs(a, "other")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for i := range maxUserSessions + 3 {
		id, err := signInAs(a, "user")
		if err != nil {
			t.Fatal(err)
		}
		a.sessions[id].created = time.Now().Add(time.Duration(i-100) * time.Second)
		ids = append(ids, id)
	}
	evicted, stored := a.sessions[ids[2]] == nil, a.sessions[ids[3]] != nil && a.sessions[other] != nil
	if len(a.sessions) != maxUserSessions+1 || !evicted || !stored {
		t.Errorf("%d sessions, that of another user is stored: %t, want %d, with only the oldest of the user evicted",
			len(a.sessions), a.sessions[other] != nil, maxUserSessions+1)
	}
}

func TestSealedCookieIsBoundToItsName(t *testing.T) {
	t.Parallel()
	a := newApp(t)
	w := httptest.NewRecorder()
	a.setSealed(w, noticeCookie, []pending{{State: "x", Started: time.Now()}}, time.Minute)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.AddCookie(&http.Cookie{Name: "__Host-" + pendingCookie, Value: w.Result().Cookies()[0].Value})
	if got := a.pendingOf(r); len(got) != 0 {
		t.Errorf("pendingOf with the value of another cookie = %v, want none", got)
	}
}

func TestAPIChallengesAreOneHeaderLine(t *testing.T) {
	t.Parallel()
	a := newApp(t)
	a.server = &provider{} // a malformed token is refused before the JWKS is needed
	for authorization, want := range map[string]string{
		"": `Bearer realm="notes"`,
		"Bearer abc": `Bearer realm="notes", error="invalid_token", ` +
			`error_description="The access token is invalid, expired or not intended for this API."`,
	} {
		r := httptest.NewRequest(http.MethodGet, "/api/notes", nil)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		w := httptest.NewRecorder()
		newAPI(a).ServeHTTP(w, r)
		if got := w.Header().Get("WWW-Authenticate"); w.Code != http.StatusUnauthorized || got != want {
			t.Errorf("GET /api/notes with Authorization %q: %d, WWW-Authenticate %q, want 401, %q",
				authorization, w.Code, got, want)
		}
	}
}
