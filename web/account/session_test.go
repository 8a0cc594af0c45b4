package account_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

// TestSessionInUseDoesNotExpireAsIdle uses a session more often than its idle lifetime, for the shortest that the
// settings allow and for the default.
func TestSessionInUseDoesNotExpireAsIdle(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		for _, idle := range []time.Duration{time.Minute, 90 * time.Second, 2 * time.Hour} {
			s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_SESSION_IDLE_TTL": idle.String()}})
			username := "alice" + strings.ReplaceAll(idle.String(), ".", "")
			s.User(username)
			b := s.Browser()
			b.SignIn(b.Open("/login"), username)
			for range 12 {
				s.Clock.Advance(idle * 7 / 10)
				if p := b.Open("/account"); p.Status != http.StatusOK {
					t.Fatalf("idle lifetime %s, session used every %s: status %d, want 200", idle, idle*7/10, p.Status)
				}
			}
			s.Clock.Advance(idle)
			if p := b.Open("/account"); p.Status == http.StatusOK {
				t.Errorf("idle lifetime %s, session unused for as long: status 200, want a redirect to the sign-in page", idle)
			}
		}
	})
}
