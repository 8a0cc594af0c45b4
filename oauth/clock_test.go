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

// threeClocks starts three processes on one database. The clock of the last is ahead by d. With later, it is set ahead
// only after the start, when no reading of the database's clock has corrected it yet.
func threeClocks(t *testing.T, db string, d time.Duration, later bool) (one, two, off *servertest.Server) {
	t.Helper()
	one = servertest.Start(t, db, servertest.Options{})
	two = one.StartAnother()
	clock := one.Clock.Skewed(d)
	if later {
		clock = one.Clock.Skewed(0)
	}
	off = servertest.Start(t, db, servertest.Options{Issuer: one.Issuer, Clock: clock})
	if later {
		clock.Advance(d)
	}
	return one, two, off
}

func eachSkew(t *testing.T, skews []time.Duration, test func(t *testing.T, one, two, off *servertest.Server)) {
	storagetest.Each(t, func(t *testing.T, db string) {
		for _, d := range skews {
			for _, later := range []bool{false, true} {
				t.Run(fmt.Sprint(d, later), func(t *testing.T) {
					engine := storage.SQLite
					if !strings.HasPrefix(db, "sqlite:") {
						engine = storage.Postgres
					}
					one, two, off := threeClocks(t, storagetest.URL(t, engine), d, later)
					test(t, one, two, off)
				})
			}
		}
	})
}

// TestRevocationIgnoresClockSkew revokes at a process with a wrong clock and uses the token at the others.
func TestRevocationIgnoresClockSkew(t *testing.T) {
	t.Parallel()
	eachSkew(t, []time.Duration{-6 * time.Second, -20 * time.Minute, 20 * time.Minute}, func(t *testing.T, one, two, off *servertest.Server) {
		one.User("alice")
		m, c := one.Service("jobs"), one.App()
		serviceToken := one.ServiceToken(m)
		tokens, line := one.Tokens(c, "alice"), one.Tokens(c, "alice")
		off.Post("/oauth2/revoke", m, url.Values{"token": {serviceToken}}).OK(t)
		off.Post("/oauth2/revoke", c, url.Values{"token": {tokens.Text("access_token")}}).OK(t)
		off.Post("/oauth2/revoke", c, url.Values{"token": {line.Text("refresh_token")}}).OK(t)
		for i, s := range []*servertest.Server{one, two} {
			if s.Active(m, serviceToken) || s.Active(c, tokens.Text("access_token")) || s.Active(c, line.Text("access_token")) {
				t.Errorf("process %d accepts a token that another one revoked", i)
			}
		}
		one.Refresh(c, line.Text("refresh_token")).Want(t, 400, "invalid_grant")
	})
}

// TestClockSkewOfThirtySecondsIsTolerated sends each request of a flow to another process, one of which is half a
// minute off.
func TestClockSkewOfThirtySecondsIsTolerated(t *testing.T) {
	t.Parallel()
	eachSkew(t, []time.Duration{-30 * time.Second, 30 * time.Second}, func(t *testing.T, one, two, off *servertest.Server) {
		one.User("alice")
		c, m := one.App(), one.Service("jobs")
		for _, order := range [][]*servertest.Server{{one, off}, {off, one}} {
			from, to := order[0], order[1]
			b := from.Browser()
			tokens := to.Token(c, servertest.CodeForm(b.Code(c, "alice"), c)).OK(t)
			first := from.Refresh(c, tokens.Text("refresh_token")).OK(t)
			retry := to.Refresh(c, tokens.Text("refresh_token")).OK(t)
			if retry.Text("refresh_token") != first.Text("refresh_token") {
				t.Error("the retry returned another successor")
			}
			second := to.Refresh(c, first.Text("refresh_token")).OK(t)
			for _, s := range []*servertest.Server{one, two, off} {
				if !s.Active(c, second.Text("access_token")) || !s.Active(m, from.ServiceToken(m)) || !s.Active(m, to.ServiceToken(m)) {
					t.Error("a fresh token is not active")
				}
			}
		}
		for _, s := range []*servertest.Server{one, two, off} {
			if n := s.Counted(audit.RefreshReused); n != 0 {
				t.Errorf("%d retries were handled as theft", n)
			}
		}
	})
}

// TestCleanupWithWrongClockDeletesNothingNeeded has a process whose clock is far ahead do the jobs of every minute and
// hour, and then checks that everything valid is still there.
func TestCleanupWithWrongClockDeletesNothingNeeded(t *testing.T) {
	t.Parallel()
	eachSkew(t, []time.Duration{20 * time.Minute, 100 * 24 * time.Hour}, func(t *testing.T, one, two, off *servertest.Server) {
		one.User("alice")
		c, m := one.App(), one.Service("jobs")
		key := clientKey(t, jwt.ES256, "1")
		keyed := keyClient(t, one, "", key)
		assertion := url.Values{
			"grant_type": {"client_credentials"}, "client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
			"client_assertion": {key.Sign(t, assertionClaims(one, keyed), nil)},
		}
		one.Do(one.Request(http.MethodPost, "/oauth2/token", assertion)).OK(t)
		revoked := one.ServiceToken(m)
		one.Post("/oauth2/revoke", m, url.Values{"token": {revoked}}).OK(t)
		b := one.Browser()
		to := b.Code(c, "alice")
		tokens := one.Token(c, servertest.CodeForm(to, c)).OK(t)
		rotated := one.Refresh(c, tokens.Text("refresh_token")).OK(t)
		_, err := one.Store.Audit.SealRows(t.Context())
		storagetest.Must(t, err)
		_, err = two.Store.DeleteExpired(t.Context()) // as every process does each minute
		storagetest.Must(t, err)
		rows := storagetest.Count(t, one.Store, one.DB, "SELECT count(*) FROM audit_events")

		_, err = off.Store.DeleteExpired(t.Context())
		storagetest.Must(t, err)
		storagetest.Must(t, off.Store.ClearSealedSuccessors(t.Context()))
		storagetest.Must(t, off.OAuth.Keyring.RotateDue(t.Context()))
		now, err := off.Store.AdvanceCleanupTime(t.Context())
		storagetest.Must(t, err)
		_, err = off.Store.Audit.Retire(t.Context(), now.Add(-24*time.Hour), func(int64, int64) {})
		storagetest.Must(t, err)

		if one.Active(m, revoked) || two.Active(m, revoked) {
			t.Error("a revoked token is active again")
		}
		one.Do(one.Request(http.MethodPost, "/oauth2/token", assertion)).Want(t, 401, "invalid_client")
		if again := one.Refresh(c, tokens.Text("refresh_token")).OK(t); again.Text("refresh_token") != rotated.Text("refresh_token") {
			t.Error("the sealed successor is gone")
		}
		two.Refresh(c, rotated.Text("refresh_token")).OK(t)
		one.Token(c, servertest.CodeForm(to, c)).Want(t, 400, "invalid_grant")
		if one.Counted(audit.CodeReplayed) != 1 {
			t.Error("the replay of the code is not detected")
		}
		if p := b.Open("/account"); p.Status != http.StatusOK {
			t.Errorf("the session is gone: %d", p.Status)
		}
		if now := storagetest.Count(t, one.Store, one.DB, "SELECT count(*) FROM audit_events"); now < rows {
			t.Errorf("%d audit rows of %d are left", now, rows)
		}
	})
}

// TestClockSkewEndsReadiness: beyond the documented bound a process takes itself out of the cluster until its clock is
// right.
func TestClockSkewEndsReadiness(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		if strings.HasPrefix(url, "sqlite:") {
			if r := servertest.Start(t, url, servertest.Options{Clock: storagetest.NewClock().Skewed(time.Hour)}).Get("/readyz"); r.Status != http.StatusOK {
				t.Errorf("/readyz on SQLite: %d", r.Status)
			}
			return
		}
		one, _, off := threeClocks(t, url, db.MaxClockSkew+time.Second, false)
		if r := off.Get("/readyz"); r.Status != http.StatusServiceUnavailable || !strings.Contains(r.Body, "clock") {
			t.Errorf("with a wrong clock: %d %s", r.Status, r.Body)
		}
		if d := off.Store.Now().Sub(one.Store.Now()); d.Abs() > time.Second {
			t.Errorf("its time differs by %s", d)
		}
		if r := one.Get("/readyz"); r.Status != http.StatusOK {
			t.Errorf("the others: %d %s", r.Status, r.Body)
		}
		off.Clock.Advance(-2 * time.Second)
		storagetest.Eventually(t, "the clock is right again", func() bool {
			return off.Get("/readyz").Status == http.StatusOK
		})
		off.Clock.Advance(-time.Hour)
		storagetest.Eventually(t, "a step is noticed", func() bool {
			return off.Get("/readyz").Status == http.StatusServiceUnavailable
		})
	})
}
