package storage_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestUseOnce uses something single use concurrently, and then the same id of another kind and scope (seams.md 2).
func TestUseOnce(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		expires := f.clock.Now().Add(time.Minute)
		var used atomic.Int64
		storagetest.Concurrently(20, func(int) {
			err := f.UseOnce(t.Context(), storage.UseOfAssertion, "gc1", "an id", expires)
			if err == nil {
				used.Add(1)
			} else if !errors.Is(err, storage.ErrConsumed) {
				t.Errorf("UseOnce = %v, want no error or ErrConsumed", err)
			}
		})
		if n := used.Load(); n != 1 {
			t.Errorf("%d of 20 concurrent uses succeeded, want 1", n)
		}
		for _, c := range []struct{ kind, scope, id string }{
			{storage.UseOfAssertion, "gc2", "an id"}, {storage.UseOfAssertion, "gc1", "another id"},
			{storage.UseOfTOTPStep, "gc1", "an id"}, {storage.UseOfAssertion, "gc", "1an id"},
		} {
			if err := f.UseOnce(t.Context(), c.kind, c.scope, c.id, expires); err != nil {
				t.Errorf("UseOnce(%s, %s, %s) = %v, want no error", c.kind, c.scope, c.id, err)
			}
		}
	})
}

func TestRegistrationTokenHasLimitedUsesAndLifetime(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		now := f.clock.Now()
		for _, r := range []storage.RegistrationToken{
			{ID: "three uses", Hash: []byte("three uses"), UsesLeft: 3, CreatedAt: now, ExpiresAt: now.Add(time.Hour)},
			{ID: "short", Hash: []byte("short"), UsesLeft: 3, CreatedAt: now, ExpiresAt: now.Add(time.Minute)},
		} {
			storagetest.Must(t, f.CreateRegistrationToken(t.Context(), &r))
		}
		want := func(hash string, usable bool) {
			t.Helper()
			if got, err := f.HasRegistrationToken(t.Context(), []byte(hash)); err != nil || got != usable {
				t.Errorf("HasRegistrationToken(%s) = %t, %v, want %t", hash, got, err, usable)
			}
		}
		want("unknown", false)
		want("short", true)
		f.clock.Advance(time.Minute)
		want("short", false)
		if _, err := f.ConsumeRegistrationToken(t.Context(), []byte("short")); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("ConsumeRegistrationToken of an expired token = %v, want ErrNotFound", err)
		}
		want("three uses", true)
		var consumed atomic.Int64
		storagetest.Concurrently(20, func(int) {
			id, err := f.ConsumeRegistrationToken(t.Context(), []byte("three uses"))
			if err == nil && id == "three uses" {
				consumed.Add(1)
			} else if !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("ConsumeRegistrationToken = %q, %v, want the id or ErrNotFound", id, err)
			}
		})
		if n := consumed.Load(); n != 3 {
			t.Errorf("%d of 20 concurrent uses succeeded, want 3", n)
		}
		want("three uses", false)
	})
}

// TestAuthorizationRequestIsDecidedOnce decides a request in two ways.
func TestAuthorizationRequestIsDecidedOnce(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		now, browser := f.clock.Now(), []byte("a browser")
		r := storage.AuthorizationRequest{ID: "r", ClientID: "gc1", CreatedAt: now, ExpiresAt: now.Add(time.Hour)}
		storagetest.Must(t, f.CreateRequest(t.Context(), &r))
		_, err := f.ClaimRequest(t.Context(), "r", browser)
		storagetest.Must(t, err)
		storagetest.Must(t, f.RecordSignIn(t.Context(), "r", browser, "one session"))
		storagetest.Must(t, f.SelectSession(t.Context(), "r", browser, "another session"))
		got, err := f.ClaimedRequest(t.Context(), "r", browser)
		if err != nil || got.SignedInAt != nil {
			t.Errorf("the request after the selection of another session = %+v, %v, want it without the sign-in", got, err)
		}
		if err := f.SelectSession(t.Context(), "r", []byte("another"), "s"); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("SelectSession in another browser = %v, want ErrNotFound", err)
		}
		denial := storage.Denial{RequestID: "r", ClientID: "gc1", UserID: f.user.ID, Scopes: storage.Strings{"read"}}
		storagetest.Must(t, f.DenyRequest(t.Context(), denial))
		if err := f.DenyRequest(t.Context(), denial); !errors.Is(err, storage.ErrConsumed) {
			t.Errorf("the second DenyRequest = %v, want ErrConsumed", err)
		}
		if err := f.SelectSession(t.Context(), "r", browser, "s"); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("SelectSession of a decided request = %v, want ErrNotFound", err)
		}
	})
}

// TestUnusedClientsAreDeleted creates dynamically registered clients and one of the operator, of which none has grants.
func TestUnusedClientsAreDeleted(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url) // gc1 is the operator's
		for _, id := range []string{"used", "unused"} {
			c := *f.client
			c.ID, c.Secrets, c.RegistrationHash = id, nil, []byte("the hash of the registration access token")
			storagetest.Must(t, f.CreateClient(t.Context(), &c, nil))
		}
		storagetest.Must(t, f.RecordClientUse(t.Context(), "used"))
		want := func(when string, ids ...string) {
			t.Helper()
			storagetest.ResetCleanupTime(t, f.Store, url)
			_, err := f.DeleteExpired(t.Context(), storagetest.UnusedClientTTL)
			storagetest.Must(t, err)
			clients, _, err := f.ClientPage(t.Context(), "", storage.Position{}, 10)
			storagetest.Must(t, err)
			if len(clients) != len(ids) {
				t.Errorf("%s: %d clients are left, want %v", when, len(clients), ids)
			}
		}
		want("at first", "gc1", "unused", "used")
		f.clock.Advance(25 * time.Hour)
		want("after a day", "gc1", "used")
		storagetest.Must(t, f.RecordClientUse(t.Context(), "used"))
		storagetest.Must(t, f.RecordClientUse(t.Context(), "unused")) // does nothing for a deleted client
		f.clock.Advance(89 * 24 * time.Hour)
		want("89 days after the last use", "gc1", "used")
		f.clock.Advance(2 * 24 * time.Hour)
		want("91 days after the last use", "gc1")
	})
}
