package identity_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/identity"
	"gatehouse/identity/migration"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// oldWebhook is an old server whose users have the password test123.
type oldWebhook struct {
	mu    sync.Mutex
	users map[string]string // claims by name
	names []string          // of all requests
	down  bool
}

// ServeHTTP implements http.Handler.
func (o *oldWebhook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var request struct{ Username, Password string }
	_ = json.NewDecoder(r.Body).Decode(&request)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.names = append(o.names, request.Username)
	claims, ok := o.users[request.Username]
	switch {
	case o.down:
		w.WriteHeader(http.StatusBadGateway)
	case ok && request.Password == importedPassword:
		_, _ = io.WriteString(w, `{"authenticated":true,`+claims+`}`)
	default:
		_, _ = io.WriteString(w, `{"authenticated":false}`)
	}
}

func (o *oldWebhook) setDown(down bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down = down
}

// called returns the names of the requests since the last call.
func (o *oldWebhook) called() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	names := o.names
	o.names = nil
	return names
}

const oldID = "2a117809-8285-4718-a131-bd61fb57cd1f"

// newMigratingUsers returns a Users with an old server, which is called for 30 days.
func newMigratingUsers(t *testing.T, url string) (*identity.Users, *storage.Store, *storagetest.Clock, *oldWebhook) {
	t.Helper()
	clock := storagetest.NewClock()
	s := storagetest.Open(t, url, clock)
	old := &oldWebhook{users: map[string]string{
		"olga":    `"sub":"` + oldID + `","preferred_username":"olga","email":"olga@example.com","groups":["dev","admins"]`,
		"otto":    `"sub":"otto-1","preferred_username":"otto","email":"otto@example.com"`,
		"taken":   `"sub":"taken-1","preferred_username":"taken","email":"Alice@example.com"`,
		"nomail":  `"sub":"nomail-1","preferred_username":"nomail"`,
		"alice":   `"sub":"alice-1","preferred_username":"alice","email":"other@example.com"`,
		"o@x.org": `"sub":"o-1","preferred_username":"Alice","email":"o@x.org","email_verified":true`,
	}}
	server := httptest.NewServer(old)
	t.Cleanup(server.Close)
	client, err := migration.New(migration.Options{
		Kind: migration.KindWebhook, URL: server.URL, Secret: "s", Timeout: time.Minute,
	})
	storagetest.Must(t, err)
	for _, name := range []string{"staff", "dev", "admins"} {
		storagetest.Must(t, s.CreateGroup(t.Context(), storage.Group{Name: name, CreatedAt: clock.Now()}))
	}
	return identity.New(s, identity.Options{
		SessionIdleTTL: time.Hour, SessionMaxTTL: 24 * time.Hour, PasswordMinLength: 10, Concurrency: 1,
		PasswordCost: identity.PasswordCost{Memory: 64, Passes: 1}, FactorKey: s.Vault.Key("factor"),
		NamesLimit: ratelimit.Rate{Count: 1000, Period: time.Hour},
		Migration: identity.Migration{
			Server: client, Source: "old", Until: clock.Now().Add(30 * 24 * time.Hour), Groups: []string{"Staff", "missing"},
			MatchedGroups: []string{"dev"},
		},
	}), s, clock, old
}

// TestUserMovesAtFirstSignIn checks that the first sign-in creates the user with the id, the password and the groups of
// the settings, in one transaction with its event, and that the old server is not called for the user again (PE58).
func TestUserMovesAtFirstSignIn(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, s, clock, old := newMigratingUsers(t, url)
		var wait sync.WaitGroup
		for range 4 {
			wait.Go(func() {
				u, err := p.SignIn(t.Context(), "olga", importedPassword, identity.Device{})
				if err != nil || u.ID != oldID || u.Username != "olga" || u.EmailVerifiedAt != nil || u.Admin {
					t.Errorf("one of four concurrent first sign-ins = %+v, %v, want olga", u, err)
				}
			})
		}
		wait.Wait()
		old.called()
		wantPassword(t, s, oldID, "", "$argon2id$v=19$m=64,t=1,p=1$")
		groups, err := s.UserGroups(t.Context(), oldID)
		storagetest.Must(t, err)
		if !slices.Equal(groups, []string{"dev", "staff"}) {
			t.Errorf("groups = %q, want those of the settings: dev and staff", groups)
		}
		rows, err := s.Audit.Rows(t.Context(), audit.Filter{Event: audit.UserMigrated, Limit: 10})
		storagetest.Must(t, err)
		if len(rows) != 1 || rows[0].UserID != oldID || rows[0].Detail != `{"groups":["dev","staff"],"source":"old"}` {
			t.Errorf("audit rows = %+v, want one of olga", rows)
		}
		if n, err := s.CountExternalIDs(t.Context(), "old"); n != 1 || err != nil {
			t.Errorf("CountExternalIDs = %d, %v, want 1", n, err)
		}
		for name, want := range map[string]string{"OLGA": importedPassword, "olga@example.com": importedPassword} {
			if _, err := p.SignIn(t.Context(), name, want, identity.Device{}); err != nil {
				t.Errorf("next sign-in as %s = %v, want no error", name, err)
			}
		}
		if names := old.called(); len(names) > 0 {
			t.Errorf("the old server was called with %q for a user who has moved, want no call", names)
		}
		if up, called := p.OldServerUp(); !up || !called {
			t.Errorf("OldServerUp = %v, %v, want true", up, called)
		}
		storagetest.Must(t, s.DeleteUser(t.Context(), oldID, 24*time.Hour))
		_, err = p.SignIn(t.Context(), "olga", importedPassword, identity.Device{})
		if !errors.Is(err, identity.ErrInvalidCredentials) || err.Error() != "the old server's user: the username is taken" {
			t.Errorf("sign-in of a user who was deleted here = %v, want it refused", err)
		}
		old.called()
		clock.Advance(30 * 24 * time.Hour)
		_, err = p.SignIn(t.Context(), "otto", importedPassword, identity.Device{})
		if names := old.called(); !errors.Is(err, identity.ErrInvalidCredentials) || len(names) > 0 {
			t.Errorf("first sign-in after the last day = %v with the calls %q, want it refused without a call", err, names)
		}
	})
}

// TestOldServerDoesNotDecideForUsersHere checks that an account here never opens with a password of the old server, and
// that users there who conflict with it are refused or get another name (PE58).
func TestOldServerDoesNotDecideForUsersHere(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, s, _, old := newMigratingUsers(t, url)
		alice := user(t, p, "alice")
		for name, reason := range map[string]string{
			"alice":   "incorrect password",
			"taken":   "the old server's user: the email address is taken",
			"nomail":  "the old server's user has no valid username or email address",
			"unknown": "unknown user",
		} {
			_, err := p.SignIn(t.Context(), name, importedPassword, identity.Device{})
			if !errors.Is(err, identity.ErrInvalidCredentials) || err.Error() != reason {
				t.Errorf("sign-in as %s = %v, want ErrInvalidCredentials: %s", name, err, reason)
			}
			if names := old.called(); len(names) != 1 || (names[0] == name) != (name != "alice") {
				t.Errorf("sign-in as %s called the old server with %q, want one call, with a random name for alice", name, names)
			}
		}
		moved, err := p.SignIn(t.Context(), " o@x.org ", importedPassword, identity.Device{})
		if err != nil || moved.ID == alice.ID || !strings.HasPrefix(moved.Username, "Alice-") ||
			moved.EmailVerifiedAt == nil {
			t.Errorf("sign-in of a user with a taken username = %+v, %v, want a user with another username", moved, err)
		}
		old.users["olaf"] = old.users["o@x.org"] // another name of the same user there
		if _, err := p.SignIn(t.Context(), "olaf", importedPassword, identity.Device{}); err == nil ||
			err.Error() != "the name is neither the username nor the email address of the old server's user" {
			t.Errorf("sign-in with another name there = %v, want it refused", err)
		}
		old.called()
		_, err = p.SignIn(t.Context(), "ol\u00adaf", importedPassword, identity.Device{})
		if names := old.called(); !errors.Is(err, identity.ErrInvalidCredentials) || len(names) != 1 ||
			strings.Contains(names[0], "af") {
			t.Errorf("sign-in with a soft hyphen = %v with the calls %q, want one with a random name", err, names)
		}
		if n, err := s.CountExternalIDs(t.Context(), "old"); n != 1 || err != nil {
			t.Errorf("CountExternalIDs = %d, %v, want 1", n, err)
		}
		device := knownDevice(t, p, alice)
		old.called()
		_, err = p.SignIn(t.Context(), "alice", "a guess", device)
		if names := old.called(); !errors.Is(err, identity.ErrInvalidCredentials) || len(names) > 0 {
			t.Errorf("incorrect password in a browser of alice = %v with the calls %q, want none", err, names)
		}
	})
}

// TestOldServerRevealsNoAccount compares the results for a user here, a user there and an unknown name: while the old
// server responds and while it does not. A failure of the old server counts no failure of a user there, and passwords
// of users here stay limited (PE58).
func TestOldServerRevealsNoAccount(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, s, clock, old := newMigratingUsers(t, url)
		user(t, p, "alice")
		old.setDown(true)
		network := requestFrom(t, "198.51.100.1")
		for i := range 8 {
			for _, name := range []string{"alice", "otto", "unknown"} {
				if _, err := p.SignIn(network, name, "a guess", identity.Device{}); !errors.Is(err, identity.ErrOldServer) {
					t.Errorf("sign-in %d as %s while the old server is down = %v, want ErrOldServer", i+1, name, err)
				}
			}
		}
		_, err := p.SignIn(network, "alice", password, identity.Device{})
		if !errors.Is(err, identity.ErrOldServer) {
			t.Errorf("correct password of alice after many attempts = %v, want the result for other names", err)
		}
		if up, called := p.OldServerUp(); up || !called {
			t.Errorf("OldServerUp = %v, %v, want false", up, called)
		}
		old.setDown(false)
		if _, err := p.SignIn(network, "otto", importedPassword, identity.Device{}); err != nil {
			t.Errorf("first sign-in when the old server responds again = %v, want no error", err)
		}
		clock.Advance(time.Hour)
		if _, err := p.SignIn(network, "alice", password, identity.Device{}); err != nil {
			t.Errorf("sign-in of alice an hour later = %v, want no error", err)
		}
		for i := range 8 {
			results := map[string]bool{}
			for _, name := range []string{"alice", "olga", "unknown"} {
				results[resultOf(network, p, s, name, "a guess", identity.Device{})] = true
			}
			if len(results) != 1 {
				t.Errorf("results of attempt %d: %v, want one for all names", i+1, results)
			}
		}
		if got := resultOf(network, p, s, "olga", importedPassword, identity.Device{}); !strings.HasPrefix(got, "waits") {
			t.Errorf("first sign-in after many failures: %s, want it throttled", got)
		}
	})
}

// TestOldServerCallsAreBounded checks that no more than 16 sign-ins call the old server concurrently, and four of one
// network, that they do not delay the sign-in of a user here, and that attempts whose connection is closed during the
// call are counted.
func TestOldServerCallsAreBounded(t *testing.T) {
	t.Parallel()
	p, _, _, old := newMigratingUsers(t, storagetest.URL(t, storage.SQLite))
	user(t, p, "alice")
	old.mu.Lock()
	attacker, closeConnection := context.WithCancel(requestFrom(t, "198.51.100.1"))
	var wait sync.WaitGroup
	for i := range 20 {
		ctx, name := requestFrom(t, fmt.Sprintf("192.0.%d.1", i)), fmt.Sprint("unknown", i)
		if i >= 11 && i < 18 { // four that call, and three that wait although a slot is free
			ctx, name = attacker, "alice"
		}
		switch i {
		case 11:
			storagetest.Eventually(t, "11 sign-ins call", func() bool { return p.OldServerFree() == 5 })
		case 18:
			storagetest.Eventually(t, "one network has its share", func() bool {
				return p.OldServerQueue() == 3 && p.OldServerFree() == 1
			})
		}
		wait.Go(func() { _, _ = p.SignIn(ctx, name, "a guess", identity.Device{}) })
	}
	storagetest.Eventually(t, "4 sign-ins wait for the old server", func() bool { return p.OldServerQueue() == 4 })
	closeConnection()
	if _, err := p.SignIn(t.Context(), "alice", password, identity.Device{}); err != nil {
		t.Errorf("sign-in of a user here = %v, want no error", err)
	}
	old.mu.Unlock()
	wait.Wait()
	_, err := p.SignIn(requestFrom(t, "198.51.100.1"), "alice", password, identity.Device{})
	if !errors.Is(err, identity.ErrInvalidCredentials) {
		t.Errorf("correct password after 7 closed attempts = %v, want ErrInvalidCredentials, as after 7 failures", err)
	}
}
