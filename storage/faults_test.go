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
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

var clientCredentialsForm = url.Values{"grant_type": {"client_credentials"}}

// TestFullOrReadOnlyDiskIsAFailure: what writes is 503, what only reads continues, and afterwards all is as it
// was: nothing is damaged, and nothing happened by halves.
func TestFullOrReadOnlyDiskIsAFailure(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(*storage.Store, *testing.T) (func() error, error){
		"full":      func(s *storage.Store, t *testing.T) (func() error, error) { return s.Fill(t.Context()) },
		"read-only": func(s *storage.Store, t *testing.T) (func() error, error) { return s.Freeze(t.Context()) },
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

			refused := map[string]int{}
			for i := range 400 { // small writes use existing pages, until they are full too
				for what, r := range map[string]servertest.Response{
					"refresh": s.Refresh(c, tokens.Text("refresh_token")), "revoke": s.Post("/oauth2/revoke", m, url.Values{"token": {s.ServiceToken(m)}}),
				} {
					switch {
					case r.Status == http.StatusServiceUnavailable:
						r.Want(t, 503, "temporarily_unavailable")
						refused[what]++
					case r.Status != http.StatusOK:
						t.Fatalf("%s: %d %s", what, r.Status, r.Body)
					case what == "refresh":
						tokens = r
					}
				}
				if refused["refresh"] > 2 && refused["revoke"] > 2 {
					break
				}
				if i == 399 {
					t.Fatalf("nothing was refused: %v", refused)
				}
			}
			if r := s.Token(c, servertest.CodeForm(code, c)); r.Status != http.StatusServiceUnavailable {
				t.Errorf("a code: %d %s", r.Status, r.Body)
			}
			if !s.Active(m, serviceToken) || s.Get("/.well-known/jwks.json").Status != http.StatusOK {
				t.Error("what needs only reading does not work either")
			}
			storagetest.Must(t, repair())
			s.Token(c, servertest.CodeForm(code, c)).OK(t)
			s.Refresh(c, tokens.Text("refresh_token")).OK(t)
			s.Post("/oauth2/revoke", m, url.Values{"token": {serviceToken}}).OK(t)
			if s.Active(m, serviceToken) {
				t.Error("the token is still active")
			}
			if n := storagetest.Count(t, s.Store, s.DB, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"); n != 0 {
				t.Errorf("the database is damaged in %d places", n)
			}
		})
	}
}

// TestRemovedDatabaseFileStopsWrites removes the file, to which SQLite would continue to write although all of it is
// lost at the restart. No write is acknowledged until the file is back.
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
					t.Errorf("%s: %d %s, want 503", what, r.Status, r.Body)
				}
			}
			if r := s.Get("/readyz"); r.Status != http.StatusServiceUnavailable {
				t.Errorf("/readyz: %d, want 503", r.Status)
			}
			if r := s.Get("/healthz"); r.Status != http.StatusOK {
				t.Errorf("/healthz: %d, want 200", r.Status)
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

// TestRemovedDatabaseFileBeginsNoTransaction: what a transaction commits to a file without a name is refused, and would be there
// nevertheless when the file is back: a code would be consumed without tokens.
func TestRemovedDatabaseFileBeginsNoTransaction(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	s := storagetest.Open(t, "sqlite:"+path, storagetest.NewClock())
	storagetest.Must(t, os.Rename(path, path+".old"))
	err := s.Tx(t.Context(), func(*storage.Store) error {
		t.Error("a transaction began")
		return nil
	})
	if !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	storagetest.Must(t, os.Rename(path+".old", path))
	storagetest.Must(t, s.Tx(t.Context(), func(*storage.Store) error { return nil }))
}

// TestDecisionsSurviveClockJumps: set forward, everything ages; set back, nothing that ended becomes active again and no user is locked out.
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
			t.Error("a revoked token is back")
		}
		second := s.Refresh(c, tokens.Text("refresh_token")).OK(t)
		if r := s.Refresh(c, second.Text("refresh_token")); r.Status != http.StatusOK {
			t.Errorf("a refresh after the clock was set back: %d %s", r.Status, r.Body)
		} else {
			tokens = r
		}
		wrong := m
		wrong.ClientSecret = s.Service("jobs").ClientSecret
		for range 30 {
			s.Token(wrong, clientCredentialsForm)
		}
		s.Token(m, clientCredentialsForm).OK(t)
		if _, err := s.Store.DeleteExpired(t.Context()); err != nil {
			t.Error(err)
		}
		storagetest.Must(t, s.Store.Audit.Record(t.Context(), storagetest.Event("in_the_past")))
		if _, err := s.Store.Audit.SealRows(t.Context()); err != nil {
			t.Error(err)
		}
		if report, err := s.Store.Audit.Verify(t.Context(), audit.Seal{}, func(int64, int64) {}); err != nil || report.Count != 0 {
			t.Errorf("verify: got %+v, %v, want no problem", report, err)
		}

		s.Clock.Advance(26 * time.Hour)
		if s.Active(m, serviceToken) {
			t.Error("a token does not expire when the clock is set forward")
		}
		s.Token(m, clientCredentialsForm).OK(t)
		s.Refresh(c, tokens.Text("refresh_token")).OK(t)
		if p := b.Open("/account"); p.Status != http.StatusSeeOther {
			t.Errorf("a session of yesterday: %d", p.Status)
		}
	})
}
