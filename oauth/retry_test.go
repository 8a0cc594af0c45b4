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
// return the same successor, which is valid, and none detects reuse.
func wantSameSuccessor(t *testing.T, c client.Information, lost string, at ...*servertest.Server) {
	t.Helper()
	var last servertest.Response
	successor := ""
	for i, s := range at {
		last = s.Refresh(c, lost).OK(t)
		if got := last.Text("refresh_token"); i > 0 && got != successor || got == lost {
			t.Errorf("process %d returned the lost token, or another successor than the others", i)
		}
		successor = last.Text("refresh_token")
	}
	if !at[0].Active(c, last.Text("access_token")) {
		t.Error("the access token of the retry is not active")
	}
	at[0].Refresh(c, successor).OK(t)
	for _, s := range at {
		if n := s.Counted(audit.RefreshReused); n != 0 {
			t.Errorf("%d retries were recorded as reuse, want none", n)
		}
	}
}

// TestRefreshRetryAfterFailoverReturnsSameSuccessor drops the response of a committed rotation, makes the database
// unavailable for longer than the retry window, and retries at the process that recorded the outage and at one that
// did not.
func TestRefreshRetryAfterFailoverReturnsSameSuccessor(t *testing.T) {
	t.Parallel()
	// Outages of SQLite are restarts: TestRefreshRetryAfterRestartReturnsSameSuccessor
	storagetest.OnPostgres(t, func(t *testing.T, db string) {
		proxy := storagetest.NewProxy(t, db)
		env := map[string]string{"GATEHOUSE_REFRESH_GRACE": "10s"}
		for _, waits := range []bool{true, false} { // the retry is sent after or before the outage is recorded
			s := servertest.Start(t, proxy.URL, servertest.Options{Env: env})
			other := servertest.Start(t, db, servertest.Options{Issuer: s.Issuer, Clock: s.Clock, Env: env})
			name := fmt.Sprint("alice-", waits)
			s.User(name)
			c := s.App()
			old := s.Tokens(c, name).Text("refresh_token")
			proxy.DropResponseTo(audit.RefreshRotated)
			if r := s.Refresh(c, old); r.Status != http.StatusServiceUnavailable {
				t.Fatalf("a refresh without the database: %d %s, want 503", r.Status, r.Body)
			}
			storagetest.Eventually(t, "the process has detected the outage", func() bool { return !s.Store.Stats().DatabaseUp })
			s.Clock.Advance(16 * time.Second)
			proxy.Up()
			if waits {
				storagetest.Eventually(t, "the process has detected the end of the outage", func() bool {
					return s.Store.Stats().DatabaseUp
				})
			}
			storagetest.Eventually(t, "the process is ready again", func() bool {
				return s.Get("/readyz").Status == http.StatusOK
			})
			processes := []*servertest.Server{s}
			if waits {
				processes = append(processes, other) // it reads the record of the outage
			}
			wantSameSuccessor(t, c, old, processes...)
			wantRetryDetail(t, s, 16*time.Second)
		}
	})
}

// wantRetryDetail waits until the audit log has the reason why a retry succeeded.
func wantRetryDetail(t *testing.T, s *servertest.Server, outage time.Duration) {
	t.Helper()
	storagetest.Eventually(t, "the retry is in the audit log", func() bool {
		found := false
		for line := range strings.SplitSeq(storagetest.Dump(t, s.Store, s.DB), "\n") {
			if _, detail, ok := strings.Cut(line, `{"outage_ms":`); ok && strings.Contains(line, audit.TokenIssued) {
				var recorded struct {
					Outage int64 `json:"outage_ms"`
					Age    int64 `json:"rotated_ms_ago"`
					Retry  bool  `json:"refresh_retry"`
				}
				members, _, _ := strings.Cut(detail, "}")
				storagetest.Must(t, json.Unmarshal([]byte(`{"outage_ms":`+members+"}"), &recorded))
				longEnough := recorded.Outage >= outage.Milliseconds() && recorded.Age >= recorded.Outage
				found = found || recorded.Retry && longEnough
			}
		}
		return found
	})
}

// TestRefreshRetryAfterRestartReturnsSameSuccessor stops the only process after a rotation whose response is lost, and
// starts another one long after the retry window.
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
		again.Refresh(c, presented).Want(t, 400, "invalid_grant") // two generations old: an outage makes no exception
		if again.Counted(audit.RefreshReused) != 1 {
			t.Error("reuse of a token two generations old was not recorded once")
		}
	})
}

// TestRetryWindowIsAtMostTenMinutes retries after a stop that was longer than the longest window.
func TestRetryWindowIsAtMostTenMinutes(t *testing.T) {
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

// TestOnlyOperatorSetsRetryWindowOfClient sets the window per client: longer than the server's, or none. A client
// cannot set its own.
func TestOnlyOperatorSetsRetryWindowOfClient(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_REGISTRATION": "open"}})
		s.User("alice")
		long := registerRefreshClient(s, `"gatehouse_refresh_grace":"5m"`)
		off := registerRefreshClient(s, `"gatehouse_refresh_grace":0`)
		lost := s.Tokens(long, "alice").Text("refresh_token")
		first := s.Refresh(long, lost).OK(t).Text("refresh_token")
		strict := s.Tokens(off, "alice").Text("refresh_token")
		s.Refresh(off, strict).OK(t)
		s.Refresh(off, strict).Want(t, 400, "invalid_grant")
		s.Clock.Advance(4 * time.Minute)
		if again := s.Refresh(long, lost).OK(t); again.Text("refresh_token") != first {
			t.Error("a retry within the window of the client got another successor")
		}
		if info := updateClient(t, s, long.ClientID, `{"gatehouse_refresh_grace":null}`); info.RefreshGrace != nil {
			t.Errorf("the window is %v after it was removed, want none", *info.RefreshGrace)
		}
		for _, bad := range []string{`"11m"`, `-1`, `601`} {
			members := []byte(`{"gatehouse_refresh_grace":` + bad + `}`)
			if _, _, err := s.OAuth.Clients.Update(t.Context(), long.ClientID, members); err == nil {
				t.Errorf("a window of %s is accepted", bad)
			}
		}
		r := selfRegister(s, `{"redirect_uris":["https://self.example/cb"],"gatehouse_refresh_grace":600}`)
		if c, err := s.Store.Client(t.Context(), r.Text("client_id")); err != nil || c.RefreshGrace != nil {
			t.Errorf("a client set its own retry window: %d %s %v", r.Status, r.Body, err)
		}
	})
}

// TestUseOfSuccessorEndsRetryWindow uses a successor that does not rotate, because the operator disabled rotation.
func TestUseOfSuccessorEndsRetryWindow(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		s.User("alice")
		c := s.App()
		old := s.Tokens(c, "alice").Text("refresh_token")
		fresh := s.Refresh(c, old).OK(t).Text("refresh_token")
		updateClient(t, s, c.ClientID, `{"gatehouse_refresh_rotation":false}`)
		s.Refresh(c, fresh).OK(t)
		s.Refresh(c, old).Want(t, 400, "invalid_grant")
		s.Refresh(c, fresh).Want(t, 400, "invalid_grant")
	})
}
