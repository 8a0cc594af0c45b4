package oauth_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// wantSameSuccessor retries with a refresh token whose response was lost, at several processes, and fails unless all
// give the same successor, which works, and nothing was taken for theft.
func wantSameSuccessor(t *testing.T, c client.Information, lost string, at ...*servertest.Server) (last servertest.Response) {
	t.Helper()
	successor := ""
	for i, s := range at {
		last = s.Refresh(c, lost).OK(t)
		if got := last.Text("refresh_token"); i > 0 && got != successor || got == lost {
			t.Errorf("process %d gives another successor", i)
		}
		successor = last.Text("refresh_token")
	}
	if !at[0].Active(c, last.Text("access_token")) {
		t.Error("the access token of the retry is not active")
	}
	fresh := at[0].Refresh(c, successor).OK(t)
	for _, s := range at {
		if n := s.Counted(audit.RefreshReused); n != 0 {
			t.Errorf("%d retries were taken for theft", n)
		}
	}
	return fresh
}

// TestRefreshRetryAfterFailoverReturnsSameSuccessor loses the response of a committed rotation, keeps the database
// away for longer than the retry window, and retries at the process that noticed it and at one that did not.
func TestRefreshRetryAfterFailoverReturnsSameSuccessor(t *testing.T) {
	t.Parallel()
	// Outages of SQLite are restarts: TestRefreshRetryAfterRestartReturnsSameSuccessor
	storagetest.OnPostgres(t, func(t *testing.T, db string) {
		proxy := storagetest.NewProxy(t, db)
		for _, waits := range []bool{true, false} { // for the outage to be recorded, or the retry comes first
			s := servertest.Start(t, proxy.URL, servertest.Options{Env: map[string]string{"GATEHOUSE_REFRESH_GRACE": "10s"}})
			other := servertest.Start(t, db, servertest.Options{Issuer: s.Issuer, Clock: s.Clock, Env: map[string]string{"GATEHOUSE_REFRESH_GRACE": "10s"}})
			name := fmt.Sprint("alice-", waits)
			s.User(name)
			c := s.App()
			old := s.Tokens(c, name).Text("refresh_token")
			proxy.DropResponseTo(audit.RefreshRotated)
			if r := s.Refresh(c, old); r.Status != http.StatusServiceUnavailable {
				t.Fatalf("without the database: %d %s", r.Status, r.Body)
			}
			storagetest.Eventually(t, "the process notices", func() bool { return !s.Store.Stats().DatabaseUp })
			s.Clock.Advance(16 * time.Second)
			proxy.Up()
			if waits {
				storagetest.Eventually(t, "the process notices the end", func() bool { return s.Store.Stats().DatabaseUp })
			}
			storagetest.Eventually(t, "it is ready again", func() bool { return s.Get("/readyz").Status == http.StatusOK })
			processes := []*servertest.Server{s}
			if waits {
				processes = append(processes, other) // it reads of the outage in the database
			}
			wantSameSuccessor(t, c, old, processes...)
			wantRetryDetail(t, s, 16*time.Second)
		}
	})
}

// wantRetryDetail fails unless the audit log has the reason why a retry succeeded.
func wantRetryDetail(t *testing.T, s *servertest.Server, outage time.Duration) {
	t.Helper()
	storagetest.Eventually(t, "the retry is in the audit log", func() bool {
		found := false
		for line := range strings.SplitSeq(storagetest.Dump(t, s.Store, s.DB), "\n") {
			if _, detail, ok := strings.Cut(line, `{"outage_ms":`); ok && strings.Contains(line, audit.TokenIssued) {
				var is struct {
					Outage int64 `json:"outage_ms"`
					Age    int64 `json:"rotated_ms_ago"`
					Retry  bool  `json:"refresh_retry"`
				}
				text, _, _ := strings.Cut(detail, "}")
				storagetest.Must(t, json.Unmarshal([]byte(`{"outage_ms":`+text+"}"), &is))
				found = found || is.Retry && is.Outage >= outage.Milliseconds() && is.Age >= is.Outage
			}
		}
		return found
	})
}

// TestRefreshRetryAfterRestartReturnsSameSuccessor stops the only process after a rotation whose response is lost, and
// starts another one when the window is long over.
func TestRefreshRetryAfterRestartReturnsSameSuccessor(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		s.User("alice")
		c := s.App()
		lost := s.Tokens(c, "alice").Text("refresh_token")
		s.Refresh(c, lost).OK(t)
		presented := s.Tokens(c, "alice").Text("refresh_token")
		two := s.Refresh(c, presented).OK(t).Text("refresh_token")
		s.Refresh(c, two).OK(t)
		storagetest.Must(t, s.Store.Close(t.Context()))
		s.Clock.Advance(5 * time.Minute)
		again := s.StartAnother()
		wantSameSuccessor(t, c, lost, again, again.StartAnother())
		again.Refresh(c, presented).Want(t, 400, "invalid_grant") // two generations old: an outage excuses nothing
		if again.Counted(audit.RefreshReused) != 1 {
			t.Error("a replay two generations old was not noticed")
		}
	})
}

// TestRetryWindowEndsTenMinutesAfterAnyOutage retries after a stop that was longer than any window may be.
func TestRetryWindowEndsTenMinutesAfterAnyOutage(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_REFRESH_GRACE": "10m"}})
		s.User("alice")
		c := s.App()
		old := s.Tokens(c, "alice").Text("refresh_token")
		fresh := s.Refresh(c, old).OK(t).Text("refresh_token")
		storagetest.Must(t, s.Store.Close(t.Context()))
		s.Clock.Advance(10 * time.Minute)
		again := s.StartAnother()
		again.Refresh(c, old).Want(t, 400, "invalid_grant")
		again.Refresh(c, fresh).Want(t, 400, "invalid_grant")
	})
}

// TestRetryWindowOfAClient sets the window per client: longer than the server's, off, and never by the client itself.
func TestRetryWindowOfAClient(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_REGISTRATION": "open"}})
		s.User("alice")
		client := func(more string) client.Information {
			return s.Client(`{"grant_types":["authorization_code","refresh_token"],"redirect_uris":["` + servertest.Callback + `"],"scope":"read write offline_access"` + more + `}`)
		}
		long, off := client(`,"gatehouse_refresh_grace":"5m"`), client(`,"gatehouse_refresh_grace":0`)
		lost := s.Tokens(long, "alice").Text("refresh_token")
		first := s.Refresh(long, lost).OK(t).Text("refresh_token")
		strict := s.Tokens(off, "alice").Text("refresh_token")
		s.Refresh(off, strict).OK(t)
		s.Refresh(off, strict).Want(t, 400, "invalid_grant")
		s.Clock.Advance(4 * time.Minute)
		if again := s.Refresh(long, lost).OK(t); again.Text("refresh_token") != first {
			t.Error("another successor")
		}
		info, _, err := s.OAuth.Clients.Update(t.Context(), long.ClientID, []byte(`{"gatehouse_refresh_grace":null}`))
		storagetest.Must(t, err)
		if info.RefreshGrace != nil {
			t.Errorf("the window is %v after it was removed", *info.RefreshGrace)
		}
		for _, bad := range []string{`"11m"`, `-1`, `601`} {
			if _, _, err := s.OAuth.Clients.Update(t.Context(), long.ClientID, []byte(`{"gatehouse_refresh_grace":`+bad+`}`)); err == nil {
				t.Errorf("a window of %s is accepted", bad)
			}
		}
		body := `{"redirect_uris":["https://self.example/cb"],"gatehouse_refresh_grace":600}`
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/oauth2/register", strings.NewReader(body))
		storagetest.Must(t, err)
		req.Header.Set("Content-Type", "application/json")
		r := s.Do(req)
		id := r.Text("client_id")
		if c, err := s.Store.Client(t.Context(), id); err != nil || c.RefreshGrace != nil {
			t.Errorf("a client set its own retry window: %d %s %v", r.Status, r.Body, err)
		}
	})
}

// TestUseOfTheSuccessorEndsTheRetryWindow: also when it does not rotate, because rotation was turned off for the
// client.
func TestUseOfTheSuccessorEndsTheRetryWindow(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		s.User("alice")
		c := s.App()
		old := s.Tokens(c, "alice").Text("refresh_token")
		fresh := s.Refresh(c, old).OK(t).Text("refresh_token")
		_, _, err := s.OAuth.Clients.Update(t.Context(), c.ClientID, []byte(`{"gatehouse_refresh_rotation":false}`))
		storagetest.Must(t, err)
		s.Refresh(c, fresh).OK(t)
		s.Refresh(c, old).Want(t, 400, "invalid_grant")
		s.Refresh(c, fresh).Want(t, 400, "invalid_grant")
	})
}
