package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// refreshMetadata is a registration of a client that may use refresh tokens.
const refreshMetadata = `{"redirect_uris":["` + servertest.Callback + `"],
	"grant_types":["authorization_code","refresh_token"],"scope":"openid"}`

// advanceAndExpire advances the clock and deletes the rows that have expired.
func advanceAndExpire(t *testing.T, s *servertest.Server, d time.Duration) {
	t.Helper()
	s.Clock.Advance(d)
	storagetest.ResetCleanupTime(t, s.Store, s.DB)
	_, err := s.Store.DeleteExpired(context.Background(), storagetest.UnusedClientTTL)
	storagetest.Must(t, err)
}

// startWithRegistration starts a server without rate limits where clients register themselves, with these settings.
func startWithRegistration(t *testing.T, db string, settings map[string]string) *servertest.Server {
	t.Helper()
	env := map[string]string{
		"GATEHOUSE_REGISTRATION": "open", "GATEHOUSE_REGISTRATION_SCOPES": "openid,offline_access",
		"GATEHOUSE_RATE_LIMITS": "off",
	}
	maps.Copy(env, settings)
	return servertest.Start(t, db, servertest.Options{Env: env})
}

// registerWith registers a client with the metadata, as an untrusted client does.
func registerWith(t *testing.T, s *servertest.Server, metadata string) clientInformation {
	t.Helper()
	r := selfRegister(s, metadata)
	if r.Status != http.StatusCreated {
		t.Fatalf("registration: %d %s, want 201", r.Status, r.Body)
	}
	return clientOf(r)
}

// clientExists reports whether the client is in the database, and fails if the cache differs.
func clientExists(t *testing.T, s *servertest.Server, c clientInformation) bool {
	t.Helper()
	n := storagetest.Count(t, s.Store, s.DB, "SELECT count(*) FROM clients WHERE id = '"+c.ClientID+"'")
	_, err := s.Store.Client(t.Context(), c.ClientID)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		t.Fatal(err)
	}
	if (n == 1) != (err == nil) {
		t.Errorf("the database has %d rows of the client, but the error of the lookup is %v", n, err)
	}
	return n == 1
}

func TestDynamicallyRegisteredClientsExpireUnused(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := startWithRegistration(t, db, nil)
		s.User("alice")
		byOperator := s.App()
		register := func() clientInformation { return registerWith(t, s, refreshMetadata) }
		unused, opened, disabled, introspects := register(), register(), register(), register()
		s.Browser().Authorize(opened, "scope", "openid") // no user is signed in
		storagetest.Must(t, s.Store.DisableClient(t.Context(), disabled.ClientID))
		storagetest.Must(t, s.Store.CreateResource(t.Context(), storage.Resource{
			Identifier: "https://api.example", Name: "API",
			Introspectors: storage.Strings{introspects.ClientID}, CreatedAt: s.Clock.Now(),
		}))
		clients := map[string]clientInformation{
			"unused": unused, "opened": opened, "disabled": disabled, "introspects": introspects,
			"by the operator": byOperator,
		}
		for i := range 4 {
			c := register()
			s.Redeem(c, s.Browser().Code(c, "alice", "scope", "openid"))
			clients[fmt.Sprint("signed in ", i)] = c
		}
		want := func(when string, deleted ...string) {
			t.Helper()
			for name, c := range clients {
				if got, want := clientExists(t, s, c), !slices.Contains(deleted, name); got != want {
					t.Errorf("%s: client %q exists = %v, want %v", when, name, got, want)
				}
			}
		}
		advanceAndExpire(t, s, 23*time.Hour)
		want("before a day")
		advanceAndExpire(t, s, 2*time.Hour)
		want("after a day", "unused", "opened")
		s.Browser().Authorize(unused, "scope", "openid").WantErrorPage(t, http.StatusBadRequest)
	})
}

func TestUsedClientsExpireAfterNinetyUnusedDays(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := startWithRegistration(t, db, map[string]string{
			"GATEHOUSE_REFRESH_IDLE_TTL": "720h", "GATEHOUSE_REFRESH_MAX_TTL": "8760h",
		})
		s.User("alice")
		metadata := strings.Replace(refreshMetadata, `"openid"`, `"openid offline_access"`, 1)
		register := func() clientInformation { return registerWith(t, s, metadata) }
		once, again, refreshes := register(), register(), register()
		for _, c := range []clientInformation{once, again} {
			s.Browser().Code(c, "alice", "scope", "openid") // an issued code is a use, also if it is not redeemed
		}
		code := s.Browser().Code(refreshes, "alice", "scope", "openid offline_access")
		token := s.Redeem(refreshes, code).Text("refresh_token")
		for range 4 { // 88 days
			advanceAndExpire(t, s, 22*24*time.Hour)
			token = s.Refresh(refreshes, token).OK(t).Text("refresh_token")
		}
		s.Browser().Code(again, "alice", "scope", "openid") // without a page, by the stored consent
		if !clientExists(t, s, once) {
			t.Error("a client was deleted before 90 days")
		}
		advanceAndExpire(t, s, 3*24*time.Hour)
		if clientExists(t, s, once) {
			t.Error("a client without use for 91 days was not deleted")
		}
		if !clientExists(t, s, again) || !clientExists(t, s, refreshes) {
			t.Error("a client that was used within 90 days was deleted")
		}
		wantEvent(t, s, audit.ClientDeleted)
		advanceAndExpire(t, s, 87*24*time.Hour)
		if !clientExists(t, s, again) {
			t.Error("a client was deleted before 90 days after its last use")
		}
		advanceAndExpire(t, s, 2*24*time.Hour)
		if clientExists(t, s, again) || clientExists(t, s, refreshes) {
			t.Error("a client was not deleted 90 days after its last use, or after its refresh token expired")
		}
	})
}

func TestClientOfInitialAccessTokenExpiresLater(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := startWithRegistration(t, db, map[string]string{"GATEHOUSE_REGISTRATION": "token"})
		token, _, err := s.OAuth.Clients.CreateInitialAccessToken(t.Context(), "", 1, time.Hour)
		storagetest.Must(t, err)
		r := registrationRequest(s, http.MethodPost, s.URL+"/oauth2/register", token, refreshMetadata)
		if r.Status != 201 {
			t.Fatalf("registration with an initial access token: %d %s, want 201", r.Status, r.Body)
		}
		advanceAndExpire(t, s, 89*24*time.Hour)
		if !clientExists(t, s, clientOf(r)) {
			t.Error("the client was deleted before 90 days")
		}
		advanceAndExpire(t, s, 2*24*time.Hour)
		if clientExists(t, s, clientOf(r)) {
			t.Error("the client was not deleted after 91 days")
		}
	})
}

// TestClientCredentialsClientDoesNotExpire checks clients with the grant type client_credentials, which only the
// operator allows: only an authorization stores a use, and their token requests are none.
func TestClientCredentialsClientDoesNotExpire(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := startWithRegistration(t, db, nil)
		s.User("alice")
		c, used := registerWith(t, s, refreshMetadata), registerWith(t, s, refreshMetadata)
		s.Browser().Code(used, "alice", "scope", "openid")
		for _, id := range []string{c.ClientID, used.ClientID} {
			updateClient(t, s, id, `{"grant_types":["authorization_code","client_credentials"],"scope":"openid jobs"}`)
		}
		advanceAndExpire(t, s, 25*time.Hour)
		if !clientExists(t, s, c) {
			t.Fatal("a client without use was deleted after a day")
		}
		advanceAndExpire(t, s, 100*24*time.Hour)
		if !clientExists(t, s, used) {
			t.Error("a used client was deleted after 100 days")
		}
		s.ServiceToken(c)
	})
}

func TestClientUseIsStoredOnceADay(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := startWithRegistration(t, db, nil)
		s.User("alice")
		c := registerWith(t, s, refreshMetadata)
		used := func() time.Time {
			stored, err := s.Store.Client(t.Context(), c.ClientID)
			storagetest.Must(t, err)
			if stored.LastUsedAt == nil {
				t.Fatal("no use is stored")
			}
			return *stored.LastUsedAt
		}
		b := s.Browser()
		b.Code(c, "alice", "scope", "openid")
		first := used()
		s.Clock.Advance(23 * time.Hour)
		b.Code(c, "alice", "scope", "openid")
		if !used().Equal(first) {
			t.Error("a second use within a day is stored")
		}
		s.Clock.Advance(time.Hour)
		b.Code(c, "alice", "scope", "openid")
		if !used().After(first) {
			t.Error("a use after a day is not stored")
		}
	})
}

// TestClientInUseIsNotDeleted runs many approvals concurrently with the deletion: no client that got a code is deleted.
func TestClientInUseIsNotDeleted(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := startWithRegistration(t, db, nil)
		const n = 60
		ids := make([]string, n)
		for i := range ids {
			ids[i] = registerWith(t, s, refreshMetadata).ClientID
		}
		count := func(id, condition string) int64 {
			return storagetest.Count(t, s.Store, s.DB, "SELECT count(*) FROM clients WHERE id = '"+id+"' AND "+condition)
		}
		s.Clock.Advance(25 * time.Hour)
		storagetest.ResetCleanupTime(t, s.Store, s.DB)
		used := make([]bool, n)
		storagetest.Concurrently(n+4, func(i int) {
			if i >= n {
				_, err := s.Store.DeleteExpired(context.Background(), storagetest.UnusedClientTTL)
				storagetest.Must(t, err)
				return
			}
			if i%2 == 0 {
				return
			}
			storagetest.Must(t, s.Store.RecordClientUse(context.Background(), ids[i]))
			used[i] = count(ids[i], "last_used_at IS NOT NULL") == 1
		})
		for i, id := range ids {
			if exists := count(id, "true") == 1; exists != used[i] {
				t.Errorf("client %d: exists = %v, want %v, as its use was stored", i, exists, used[i])
			}
		}
	})
}
