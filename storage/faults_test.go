package storage_test

import (
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

var clientCredentialsForm = url.Values{"grant_type": {"client_credentials"}}

// TestFullOrReadOnlyDiskIs503 checks that requests that write get 503 and requests that only read succeed. After the
// repair the database is intact, and no refused request has changed a part of it.
func TestFullOrReadOnlyDiskIs503(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(*storage.Store, *testing.T) (func() error, error){
		"full": func(s *storage.Store, t *testing.T) (func() error, error) { return s.SimulateFullDisk(t.Context()) },
		"read-only": func(s *storage.Store, t *testing.T) (func() error, error) {
			return s.SimulateReadOnlyDisk(t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := servertest.Start(t, storagetest.URL(t, storage.SQLite), servertest.Options{})
			s.User("alice")
			c, m := s.App(), s.Service("jobs")
			b := s.Browser()
			tokens := s.Token(c, servertest.CodeForm(b.Code(c, "alice"), c)).OK(t)
			code := b.Code(c, "alice")
			serviceToken := s.ServiceToken(m)
			repair, err := damage(s.Store, t)
			storagetest.Must(t, err)

			tokens = writeUntilRefused(t, s, c, m, tokens)
			if r := s.Token(c, servertest.CodeForm(code, c)); r.Status != http.StatusServiceUnavailable {
				t.Errorf("code exchange: status %d, want 503: %s", r.Status, r.Body)
			}
			if !s.Active(m, serviceToken) {
				t.Error("introspection, which only reads, does not return an active token as active")
			}
			if r := s.Get("/.well-known/jwks.json"); r.Status != http.StatusOK {
				t.Errorf("GET /.well-known/jwks.json: status %d, want 200: %s", r.Status, r.Body)
			}
			storagetest.Must(t, repair())
			s.Token(c, servertest.CodeForm(code, c)).OK(t)
			s.Refresh(c, tokens.Text("refresh_token")).OK(t)
			s.Post("/oauth2/revoke", m, url.Values{"token": {serviceToken}}).OK(t)
			if s.Active(m, serviceToken) {
				t.Error("the token is active after its revocation")
			}
			n := storagetest.Count(t, s.Store, s.DB,
				"SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'")
			if n != 0 {
				t.Errorf("the integrity check of the database found %d problems, want none", n)
			}
		})
	}
}

// writeUntilRefused refreshes and revokes tokens until both are refused with 503, and returns the response with the
// latest refresh token. Small writes use existing pages, until those are full too.
func writeUntilRefused(
	t *testing.T, s *servertest.Server, app, service client.Information, tokens servertest.Response,
) servertest.Response {
	t.Helper()
	refused := map[string]int{}
	for range 400 {
		for what, r := range map[string]servertest.Response{
			"refresh": s.Refresh(app, tokens.Text("refresh_token")),
			"revoke":  s.Post("/oauth2/revoke", service, url.Values{"token": {s.ServiceToken(service)}}),
		} {
			switch {
			case r.Status == http.StatusServiceUnavailable:
				r.Want(t, 503, "temporarily_unavailable")
				refused[what]++
			case r.Status != http.StatusOK:
				t.Fatalf("%s: status %d, want 200 or 503: %s", what, r.Status, r.Body)
			case what == "refresh":
				tokens = r
			}
		}
		if refused["refresh"] > 2 && refused["revoke"] > 2 {
			return tokens
		}
	}
	t.Fatalf("refused are %v of 400 requests each, want more than 2", refused)
	return tokens
}

// TestRemovedDatabaseFileStopsWrites removes the file, to which SQLite would continue to write although all of it is
// lost at the restart. No write is acknowledged until the file is put back.
func TestRemovedDatabaseFileStopsWrites(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(path string) error{
		"renamed": func(path string) error { return os.Rename(path, path+".old") },
		"replaced": func(path string) error {
			return errors.Join(os.Rename(path, path+".old"), os.WriteFile(path, nil, 0o600))
		},
		"directory renamed": func(path string) error { return os.Rename(filepath.Dir(path), filepath.Dir(path)+".old") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "data", "gatehouse.db")
			s := servertest.Start(t, "sqlite:"+path, servertest.Options{})
			s.User("alice")
			c, m := s.App(), s.Service("jobs")
			b := s.Browser()
			tokens := s.Token(c, servertest.CodeForm(b.Code(c, "alice"), c)).OK(t)
			code := b.Code(c, "alice")
			serviceToken := s.ServiceToken(m)
			storagetest.Must(t, remove(path))
			for what, r := range map[string]servertest.Response{
				"client credentials": s.Token(m, clientCredentialsForm),
				"code":               s.Token(c, servertest.CodeForm(code, c)),
				"refresh":            s.Refresh(c, tokens.Text("refresh_token")),
				"revocation":         s.Post("/oauth2/revoke", m, url.Values{"token": {serviceToken}}),
			} {
				if r.Status != http.StatusServiceUnavailable || r.Text("error") != "temporarily_unavailable" {
					t.Errorf("%s: status %d, want 503 temporarily_unavailable: %s", what, r.Status, r.Body)
				}
			}
			if r := s.Get("/readyz"); r.Status != http.StatusServiceUnavailable {
				t.Errorf("GET /readyz: status %d, want 503", r.Status)
			}
			if r := s.Get("/healthz"); r.Status != http.StatusOK {
				t.Errorf("GET /healthz: status %d, want 200", r.Status)
			}
			if name == "directory renamed" {
				storagetest.Must(t, os.Rename(filepath.Dir(path)+".old", filepath.Dir(path)))
			} else {
				storagetest.Must(t, os.Rename(path+".old", path))
			}
			s.Token(m, clientCredentialsForm).OK(t)
			s.Token(c, servertest.CodeForm(code, c)).OK(t)
			s.Refresh(c, tokens.Text("refresh_token")).OK(t)
		})
	}
}

// TestDecisionsSurviveClockJumps sets the clock back and forward. After it was set back, no ended token or session
// becomes active again and no user is locked out. After it was set forward, everything is older.
func TestDecisionsSurviveClockJumps(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		s.User("alice")
		c, m := s.App(), s.Service("jobs")
		b := s.Browser()
		tokens := s.Token(c, servertest.CodeForm(b.Code(c, "alice"), c)).OK(t)
		serviceToken, revoked := s.ServiceToken(m), s.ServiceToken(m)
		s.Post("/oauth2/revoke", m, url.Values{"token": {revoked}}).OK(t)
		used := tokens.Text("refresh_token")
		tokens = s.Refresh(c, used).OK(t)

		s.Clock.Advance(-time.Hour) // by hand, or by a time server that was wrong before
		s.Token(m, clientCredentialsForm).OK(t)
		if s.Active(m, revoked) {
			t.Error("a revoked token is active after the clock was set back")
		}
		second := s.Refresh(c, tokens.Text("refresh_token")).OK(t)
		if r := s.Refresh(c, second.Text("refresh_token")); r.Status != http.StatusOK {
			t.Errorf("refresh after the clock was set back: status %d, want 200: %s", r.Status, r.Body)
		} else {
			tokens = r
		}
		invalid := m
		invalid.ClientSecret = s.Service("jobs").ClientSecret
		for range 30 {
			s.Token(invalid, clientCredentialsForm)
		}
		s.Token(m, clientCredentialsForm).OK(t)
		if _, err := s.Store.DeleteExpired(t.Context(), storagetest.UnusedClientTTL); err != nil {
			t.Error(err)
		}
		storagetest.Must(t, s.Store.Audit.Record(t.Context(), storagetest.Event("in_the_past")))
		if _, err := s.Store.Audit.SealRows(t.Context()); err != nil {
			t.Error(err)
		}
		report, err := s.Store.Audit.Verify(t.Context(), audit.Seal{}, func(int64, int64) {})
		if err != nil || report.Count != 0 {
			t.Errorf("Verify = %+v, %v, want no problem", report, err)
		}

		s.Clock.Advance(26 * time.Hour)
		if s.Active(m, serviceToken) {
			t.Error("a token is active after its lifetime: the clock was set forward by 26 hours")
		}
		s.Token(m, clientCredentialsForm).OK(t)
		s.Refresh(c, tokens.Text("refresh_token")).OK(t)
		if p := b.Open("/account"); p.Status != http.StatusSeeOther {
			t.Errorf("GET /account with a session of yesterday: status %d, want 303", p.Status)
		}
	})
}
