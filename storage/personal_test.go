package storage_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// session stores a session of the user from an address and returns the record that was passed to the store.
func session(t *testing.T, s *storage.Store, clock *storagetest.Clock, userID, token string) storage.BrowserSession {
	t.Helper()
	b := storage.BrowserSession{
		ID: uuid.NewString(), TokenHash: []byte(token), UserID: userID, UserEpoch: 1, AuthTime: clock.Now(),
		ACR: "1", AMR: storage.Strings{"pwd"}, Address: "203.0.113.77", UserAgent: "Browser/77",
		CreatedAt: clock.Now(), LastSeenAt: clock.Now(), ExpiresAt: clock.Now().Add(time.Hour),
	}
	storagetest.Must(t, s.CreateSession(t.Context(), &b))
	return b
}

// wantOrigin fails the test unless every way to read the session returns that address and user agent.
func wantOrigin(t *testing.T, s *storage.Store, token, address, userAgent string) {
	t.Helper()
	active, u, err := s.SessionByTokenHash(t.Context(), []byte(token), time.Hour)
	storagetest.Must(t, err)
	unended, err := s.SessionNotEnded(t.Context(), []byte(token))
	storagetest.Must(t, err)
	listed, err := s.Sessions(t.Context(), u, time.Hour)
	storagetest.Must(t, err)
	for _, b := range append(listed, active, unended) {
		if b.ID == active.ID && (b.Address != address || b.UserAgent != userAgent) {
			t.Errorf("the session is from %q with %q, want %q and %q", b.Address, b.UserAgent, address, userAgent)
		}
	}
}

func TestSessionOriginIsSealedAndErasable(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		b := session(t, f.Store, f.clock, f.user.ID, "a token")
		if b.Address != "203.0.113.77" || b.UserAgent != "Browser/77" {
			t.Errorf("CreateSession changed the address and user agent of the caller's record to %q and %q",
				b.Address, b.UserAgent)
		}
		wantOrigin(t, f.Store, "a token", "203.0.113.77", "Browser/77")
		b.TokenHash, b.Address = []byte("another token"), "203.0.113.78"
		storagetest.Must(t, f.RenewSession(t.Context(), &b))
		wantOrigin(t, f.Store, "another token", "203.0.113.78", "Browser/77")
		for _, clear := range []string{"203.0.113.", "Browser/77"} {
			if strings.Contains(storagetest.Dump(t, f.Store, url), clear) {
				t.Errorf("the database contains %q in clear", clear)
			}
		}

		// Sealed values belong to their row.
		other := session(t, f.Store, f.clock, f.user.ID, "a third token")
		storagetest.Exec(t, f.Store, url, "UPDATE browser_sessions SET (personal, personal_key) = "+
			"(SELECT personal, personal_key FROM browser_sessions WHERE id = '"+b.ID+"') WHERE id = '"+other.ID+"'")
		wantOrigin(t, f.Store, "a third token", "", "")

		// After a rekey they are readable only with the new root key.
		newKey := rootKey(t, "the new root key")
		both, err := withKeys(t, url, newKey, rootKey(t, ""))
		storagetest.Must(t, err)
		_, err = both.Rekey(t.Context(), func(int64, int64) {})
		storagetest.Must(t, err)
		alone, err := withKeys(t, url, newKey)
		storagetest.Must(t, err)
		sessions, err := alone.Sessions(t.Context(), f.user, time.Hour)
		storagetest.Must(t, err)
		if len(sessions) != 2 || sessions[0].Address+sessions[1].Address != "203.0.113.78" {
			t.Errorf("after the rekey the sessions are %+v, want 2, only the renewed one with its address", sessions)
		}

		n, err := f.EraseAddresses(t.Context(), f.user.ID)
		storagetest.Must(t, err)
		if n != 2 {
			t.Errorf("%d rows were erased, want the 2 sessions", n)
		}
		wantOrigin(t, f.Store, "another token", "", "")
		if n := storagetest.Count(t, f.Store, url, "SELECT count(*) FROM audit_events WHERE event = 'audit.erased'"); n != 1 {
			t.Errorf("%d audit rows of the erasure, want 1", n)
		}
	})
}
