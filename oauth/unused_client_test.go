package oauth_test

import (
	"context"
	"errors"
	"net/http"
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
	_, err := s.Store.DeleteExpired(context.Background())
	storagetest.Must(t, err)
}

// exists reports whether the client is there, in the database and for a request.
func exists(t *testing.T, s *servertest.Server, c clientInformation) bool {
	t.Helper()
	n := storagetest.Count(t, s.Store, s.DB, "SELECT count(*) FROM clients WHERE id = '"+c.ClientID+"'")
	_, err := s.Store.Client(t.Context(), c.ClientID)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		t.Fatal(err)
	}
	if (n == 1) != (err == nil) {
		t.Errorf("the database has %d, and the cache: %v", n, err)
	}
	return n == 1
}

func TestDynamicallyRegisteredClientsExpireUnused(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_REGISTRATION": "open", "GATEHOUSE_REGISTRATION_SCOPES": "openid,offline_access", "GATEHOUSE_RATE_LIMITS": "off"}})
		s.User("alice")
		operators := s.App()
		var clients []clientInformation
		for range 8 {
			r := selfRegister(s, refreshMetadata)
			if r.Status != 201 {
				t.Fatal(r.Body)
			}
			clients = append(clients, clientOf(r))
		}
		unused, opened, signedIn, disabled, introspects, refreshes, removed, loses := clients[0], clients[1], clients[2], clients[3], clients[4], clients[5], clients[6], clients[7]
		s.Browser().Authorize(opened, "scope", "openid") // no user is signed in
		s.Redeem(signedIn, s.Browser().Code(signedIn, "alice", "scope", "openid"))
		storagetest.Must(t, s.Store.DisableClient(t.Context(), disabled.ClientID))
		storagetest.Must(t, s.Store.CreateResource(t.Context(), storage.Resource{
			Identifier: "https://api.example", Name: "API", Introspectors: storage.Strings{introspects.ClientID}, CreatedAt: s.Clock.Now(),
		}))
		s.Redeem(refreshes, s.Browser().Code(refreshes, "alice", "scope", "openid"))
		s.Redeem(removed, s.Browser().Code(removed, "alice", "scope", "openid"))
		s.Redeem(loses, s.Browser().Code(loses, "alice", "scope", "openid"))
		want := func(when string, stays ...clientInformation) {
			t.Helper()
			for i, c := range append(clients, operators) {
				expected := c.ClientID == operators.ClientID
				for _, other := range stays {
					expected = expected || other.ClientID == c.ClientID
				}
				if exists(t, s, c) != expected {
					t.Errorf("%s: client %d exists: %v", when, i, !expected)
				}
			}
		}
		advanceAndExpire(t, s, 23*time.Hour)
		want("before a day", clients...)
		advanceAndExpire(t, s, 2*time.Hour)
		want("after a day", signedIn, disabled, introspects, refreshes, removed, loses)
		s.Browser().Authorize(unused, "scope", "openid").WantErrorPage(t, http.StatusBadRequest)
	})
}

func TestUsedClientsExpireAfterNinetyUnusedDays(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{
			"GATEHOUSE_REGISTRATION": "open", "GATEHOUSE_REGISTRATION_SCOPES": "openid,offline_access", "GATEHOUSE_RATE_LIMITS": "off",
			"GATEHOUSE_REFRESH_IDLE_TTL": "720h", "GATEHOUSE_REFRESH_MAX_TTL": "8760h",
		}})
		s.User("alice")
		register := func() clientInformation {
			r := selfRegister(s, strings.Replace(refreshMetadata, `"openid"`, `"openid offline_access"`, 1))
			if r.Status != 201 {
				t.Fatal(r.Body)
			}
			return clientOf(r)
		}
		once, again, refreshes := register(), register(), register()
		for _, c := range []clientInformation{once, again} {
			s.Browser().Code(c, "alice", "scope", "openid") // a code that is not even redeemed
		}
		token := s.Redeem(refreshes, s.Browser().Code(refreshes, "alice", "scope", "openid offline_access")).Text("refresh_token")
		for range 4 { // 88 days
			advanceAndExpire(t, s, 22*24*time.Hour)
			token = s.Refresh(refreshes, token).OK(t).Text("refresh_token")
		}
		s.Browser().Code(again, "alice", "scope", "openid") // allowed before: no consent page
		if !exists(t, s, once) {
			t.Error("deleted before 90 days")
		}
		advanceAndExpire(t, s, 3*24*time.Hour)
		if exists(t, s, once) || !exists(t, s, again) || !exists(t, s, refreshes) {
			t.Errorf("after 91 days: once %v, again %v, refreshes %v", exists(t, s, once), exists(t, s, again), exists(t, s, refreshes))
		}
		wantEvent(t, s, audit.ClientDeleted)
		advanceAndExpire(t, s, 87*24*time.Hour)
		if !exists(t, s, again) {
			t.Error("deleted before 90 days after the last use")
		}
		advanceAndExpire(t, s, 2*24*time.Hour)
		if exists(t, s, again) || exists(t, s, refreshes) {
			t.Error("not deleted 90 days after the last use, or after the refresh token expired")
		}
	})
}

func TestClientOfInitialAccessTokenExpiresLater(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_REGISTRATION": "token", "GATEHOUSE_REGISTRATION_SCOPES": "openid"}})
		token, _, err := s.OAuth.Clients.CreateInitialAccessToken(t.Context(), "", 1, time.Hour)
		storagetest.Must(t, err)
		r := registrationRequest(s, http.MethodPost, s.URL+"/oauth2/register", token, refreshMetadata)
		if r.Status != 201 {
			t.Fatal(r.Body)
		}
		advanceAndExpire(t, s, 89*24*time.Hour)
		if !exists(t, s, clientOf(r)) {
			t.Error("deleted before 90 days")
		}
		advanceAndExpire(t, s, 2*24*time.Hour)
		if exists(t, s, clientOf(r)) {
			t.Error("not deleted after 91 days")
		}
	})
}

// TestClientCredentialsClientDoesNotExpire: only the operator allows client_credentials, and its tokens are no
// authorization by which a use is stored.
func TestClientCredentialsClientDoesNotExpire(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_REGISTRATION": "open", "GATEHOUSE_REGISTRATION_SCOPES": "openid"}})
		s.User("alice")
		c, used := clientOf(selfRegister(s, refreshMetadata)), clientOf(selfRegister(s, refreshMetadata))
		s.Browser().Code(used, "alice", "scope", "openid")
		for _, id := range []string{c.ClientID, used.ClientID} {
			_, _, err := s.OAuth.Clients.Update(t.Context(), id, []byte(`{"grant_types":["authorization_code","client_credentials"],"scope":"openid jobs"}`))
			storagetest.Must(t, err)
		}
		advanceAndExpire(t, s, 25*time.Hour)
		if !exists(t, s, c) {
			t.Fatal("deleted after a day")
		}
		advanceAndExpire(t, s, 100*24*time.Hour)
		if !exists(t, s, used) {
			t.Error("deleted after 100 days")
		}
		s.ServiceToken(c)
	})
}

func TestClientUseIsStoredOnceADay(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_REGISTRATION": "open", "GATEHOUSE_REGISTRATION_SCOPES": "openid"}})
		s.User("alice")
		c := clientOf(selfRegister(s, refreshMetadata))
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

// TestClientInUseIsNotDeleted has many approvals race the deletion: none of a client that got a code is deleted.
func TestClientInUseIsNotDeleted(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_REGISTRATION": "open", "GATEHOUSE_REGISTRATION_SCOPES": "openid", "GATEHOUSE_RATE_LIMITS": "off"}})
		const n = 60
		ids := make([]string, n)
		for i := range ids {
			ids[i] = clientOf(selfRegister(s, refreshMetadata)).ClientID
		}
		s.Clock.Advance(25 * time.Hour)
		storagetest.ResetCleanupTime(t, s.Store, s.DB)
		used := make([]bool, n)
		storagetest.Concurrently(n+4, func(i int) {
			if i >= n {
				_, err := s.Store.DeleteExpired(context.Background())
				storagetest.Must(t, err)
				return
			}
			if i%2 == 0 {
				return
			}
			storagetest.Must(t, s.Store.RecordClientUse(context.Background(), ids[i]))
			used[i] = storagetest.Count(t, s.Store, s.DB, "SELECT count(*) FROM clients WHERE last_used_at IS NOT NULL AND id = '"+ids[i]+"'") == 1
		})
		for i, id := range ids {
			if left := storagetest.Count(t, s.Store, s.DB, "SELECT count(*) FROM clients WHERE id = '"+id+"'") == 1; left != used[i] {
				t.Errorf("client %d: used %v, there %v", i, used[i], left)
			}
		}
	})
}
