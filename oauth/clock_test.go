package oauth_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/jwt"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/db"
	"gatehouse/storage/storagetest"
)

// startWithSkew starts three processes on one database. The clock of the last is ahead by d. With afterStart, it is set
// ahead only after the start, when no reading of the database's clock has corrected it yet.
func startWithSkew(t *testing.T, db string, d time.Duration, afterStart bool) (s1, s2, skewed *servertest.Server) {
	t.Helper()
	s1 = servertest.Start(t, db, servertest.Options{})
	s2 = s1.StartAnother()
	clock := s1.Clock.Skewed(d)
	if afterStart {
		clock = s1.Clock.Skewed(0)
	}
	skewed = servertest.Start(t, db, servertest.Options{Issuer: s1.Issuer, Clock: clock})
	if afterStart {
		clock.Advance(d)
	}
	return s1, s2, skewed
}

// testWithSkews runs a test on both engines with each of the skews, from the start and after it.
func testWithSkews(t *testing.T, skews []time.Duration, test func(t *testing.T, s1, s2, skewed *servertest.Server)) {
	t.Helper()
	storagetest.Each(t, func(t *testing.T, db string) {
		for _, d := range skews {
			for _, afterStart := range []bool{false, true} {
				t.Run(fmt.Sprint(d, afterStart), func(t *testing.T) {
					engine := storage.SQLite
					if !strings.HasPrefix(db, "sqlite:") {
						engine = storage.Postgres
					}
					s1, s2, skewed := startWithSkew(t, storagetest.URL(t, engine), d, afterStart)
					test(t, s1, s2, skewed)
				})
			}
		}
	})
}

// TestRevocationIgnoresClockSkew revokes at a process with a wrong clock and uses the token at the others.
func TestRevocationIgnoresClockSkew(t *testing.T) {
	t.Parallel()
	skews := []time.Duration{-6 * time.Second, -20 * time.Minute, 20 * time.Minute}
	testWithSkews(t, skews, func(t *testing.T, s1, s2, skewed *servertest.Server) {
		s1.User("alice")
		service, c := s1.Service("jobs"), s1.App()
		serviceToken := s1.ServiceToken(service)
		accessToken := s1.Tokens(c, "alice").Text("access_token")
		grant := s1.Tokens(c, "alice")
		skewed.Post("/oauth2/revoke", service, url.Values{"token": {serviceToken}}).OK(t)
		skewed.Post("/oauth2/revoke", c, url.Values{"token": {accessToken}}).OK(t)
		skewed.Post("/oauth2/revoke", c, url.Values{"token": {grant.Text("refresh_token")}}).OK(t)
		for i, s := range []*servertest.Server{s1, s2} {
			if s.Active(service, serviceToken) || s.Active(c, accessToken) || s.Active(c, grant.Text("access_token")) {
				t.Errorf("process %d accepts a token that another process revoked", i)
			}
		}
		s1.Refresh(c, grant.Text("refresh_token")).Want(t, 400, "invalid_grant")
	})
}

// TestClockSkewOfThirtySecondsIsTolerated sends each request of a flow to another process. The clock of one differs by
// half a minute.
func TestClockSkewOfThirtySecondsIsTolerated(t *testing.T) {
	t.Parallel()
	skews := []time.Duration{-30 * time.Second, 30 * time.Second}
	testWithSkews(t, skews, func(t *testing.T, s1, s2, skewed *servertest.Server) {
		s1.User("alice")
		c, service := s1.App(), s1.Service("jobs")
		for _, order := range [][]*servertest.Server{{s1, skewed}, {skewed, s1}} {
			from, to := order[0], order[1]
			b := from.Browser()
			tokens := to.Token(c, servertest.CodeForm(b.Code(c, "alice"), c)).OK(t)
			first := from.Refresh(c, tokens.Text("refresh_token")).OK(t)
			retry := to.Refresh(c, tokens.Text("refresh_token")).OK(t)
			if retry.Text("refresh_token") != first.Text("refresh_token") {
				t.Error("the retry returned another successor than the first request")
			}
			second := to.Refresh(c, first.Text("refresh_token")).OK(t)
			for i, s := range []*servertest.Server{s1, s2, skewed} {
				if !s.Active(c, second.Text("access_token")) ||
					!s.Active(service, from.ServiceToken(service)) || !s.Active(service, to.ServiceToken(service)) {
					t.Errorf("process %d does not accept a token that was just issued", i)
				}
			}
		}
		for i, s := range []*servertest.Server{s1, s2, skewed} {
			if n := s.Counted(audit.RefreshReused); n != 0 {
				t.Errorf("process %d counted %d reused refresh tokens, want 0", i, n)
			}
		}
	})
}

// TestCleanupWithWrongClockDeletesNothingNeeded runs the jobs of every minute and hour at a process whose clock is far
// ahead, and then checks that everything that is needed is still stored.
func TestCleanupWithWrongClockDeletesNothingNeeded(t *testing.T) {
	t.Parallel()
	skews := []time.Duration{20 * time.Minute, 100 * 24 * time.Hour}
	testWithSkews(t, skews, func(t *testing.T, s1, s2, skewed *servertest.Server) {
		s1.User("alice")
		c, service := s1.App(), s1.Service("jobs")
		key := clientKey(t, jwt.ES256, "1")
		assertion := url.Values{
			"grant_type":            {"client_credentials"},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
			"client_assertion":      {key.Sign(t, assertionClaims(s1, keyClient(t, s1, "", key)), nil)},
		}
		s1.Do(s1.Request(http.MethodPost, "/oauth2/token", assertion)).OK(t)
		revoked := s1.ServiceToken(service)
		s1.Post("/oauth2/revoke", service, url.Values{"token": {revoked}}).OK(t)
		b := s1.Browser()
		to := b.Code(c, "alice")
		tokens := s1.Token(c, servertest.CodeForm(to, c)).OK(t)
		rotated := s1.Refresh(c, tokens.Text("refresh_token")).OK(t)
		_, err := s1.Store.Audit.SealRows(t.Context())
		storagetest.Must(t, err)
		_, err = s2.Store.DeleteExpired(t.Context(), storagetest.UnusedClientTTL) // as every process does each minute
		storagetest.Must(t, err)
		rows := storagetest.Count(t, s1.Store, s1.DB, "SELECT count(*) FROM audit_events")

		runCleanup(t, skewed)

		if s1.Active(service, revoked) || s2.Active(service, revoked) {
			t.Error("a revoked token is active again")
		}
		s1.Do(s1.Request(http.MethodPost, "/oauth2/token", assertion)).Want(t, 401, "invalid_client")
		retry := s1.Refresh(c, tokens.Text("refresh_token")).OK(t)
		if retry.Text("refresh_token") != rotated.Text("refresh_token") {
			t.Error("the retry of a refresh returned another successor than the first request")
		}
		s2.Refresh(c, rotated.Text("refresh_token")).OK(t)
		s1.Token(c, servertest.CodeForm(to, c)).Want(t, 400, "invalid_grant")
		if s1.Counted(audit.CodeReplayed) != 1 {
			t.Errorf("%d replays of the code were counted, want 1", s1.Counted(audit.CodeReplayed))
		}
		if p := b.Open("/account"); p.Status != http.StatusOK {
			t.Errorf("/account: got %d, want 200, as signed in before", p.Status)
		}
		if n := storagetest.Count(t, s1.Store, s1.DB, "SELECT count(*) FROM audit_events"); n < rows {
			t.Errorf("%d audit rows, want at least %d as before", n, rows)
		}
	})
}

// runCleanup runs the jobs of every minute and hour that delete or clear what has expired.
func runCleanup(t *testing.T, s *servertest.Server) {
	t.Helper()
	_, err := s.Store.DeleteExpired(t.Context(), storagetest.UnusedClientTTL)
	storagetest.Must(t, err)
	storagetest.Must(t, s.Store.ClearSealedSuccessors(t.Context()))
	storagetest.Must(t, s.OAuth.Keyring.RotateDue(t.Context()))
	now, err := s.Store.AdvanceCleanupTime(t.Context())
	storagetest.Must(t, err)
	_, err = s.Store.Audit.Retire(t.Context(), now.Add(-24*time.Hour), func(int64, int64) {})
	storagetest.Must(t, err)
}

// TestClockSkewEndsReadiness checks that a process whose clock is off by more than the documented bound reports that it
// is not ready, until its clock is corrected.
func TestClockSkewEndsReadiness(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		if strings.HasPrefix(url, "sqlite:") {
			s := servertest.Start(t, url, servertest.Options{Clock: storagetest.NewClock().Skewed(time.Hour)})
			if r := s.Get("/readyz"); r.Status != http.StatusOK {
				t.Errorf("/readyz on SQLite: got %d, want 200", r.Status)
			}
			return
		}
		s1, _, skewed := startWithSkew(t, url, db.MaxClockSkew+time.Second, false)
		if r := skewed.Get("/readyz"); r.Status != http.StatusServiceUnavailable || !strings.Contains(r.Body, "clock") {
			t.Errorf("/readyz with a wrong clock: got %d %s, want 503 because of the clock", r.Status, r.Body)
		}
		if d := skewed.Store.Now().Sub(s1.Store.Now()); d.Abs() > time.Second {
			t.Errorf("the corrected times of two processes differ by %s, want at most 1s", d)
		}
		if r := s1.Get("/readyz"); r.Status != http.StatusOK {
			t.Errorf("/readyz of another process: got %d %s, want 200", r.Status, r.Body)
		}
		skewed.Clock.Advance(-2 * time.Second)
		storagetest.Eventually(t, "the clock is correct again", func() bool {
			return skewed.Get("/readyz").Status == http.StatusOK
		})
		skewed.Clock.Advance(-time.Hour)
		storagetest.Eventually(t, "the process has detected the step", func() bool {
			return skewed.Get("/readyz").Status == http.StatusServiceUnavailable
		})
	})
}
