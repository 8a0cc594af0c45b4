package identity_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/identity"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

func newUsers(t testing.TB, url string) (*identity.Users, *storage.Store, *storagetest.Clock) {
	t.Helper()
	clock := storagetest.NewClock()
	s := storagetest.Open(t, url, clock)
	return identity.New(s, identity.Options{SessionIdleTTL: time.Hour, SessionMaxTTL: 24 * time.Hour, PasswordMinLength: 10, Concurrency: 1}), s, clock
}

func TestNamesShareOneNormalisedNamespace(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, _, _ := newUsers(t, url)
		made, err := p.Create(t.Context(), identity.NewUser{Username: "Älice", Email: "Alice@Example.com", Password: "correct horse"})
		storagetest.Must(t, err)
		for _, name := range []string{"älice", "ÄLICE", "A\u0308lice", " Älice ", "alice@example.com", "ALICE@EXAMPLE.COM", made.ID, strings.ToUpper(made.ID)} {
			if u, err := p.User(t.Context(), name); err != nil || u.ID != made.ID {
				t.Errorf("%q: %v", name, err)
			}
		}
		for _, n := range []identity.NewUser{
			{Username: "älice", Email: "x@example.com"}, {Username: "x", Email: "alice@EXAMPLE.com"}, {Username: "a@b", Email: "x@example.com"}, {Username: "victim＠example.com", Email: "x@example.com"}, {Username: "", Email: "x@example.com"},
			{Username: "a b", Email: "x@example.com"}, {Username: "x", Email: "x"}, {Username: "x", Email: "X <x@example.com>"}, {Username: "x\u200b", Email: "x@example.com"}, {Username: "x", Email: "x@example.com", Name: "a\nb"},
		} {
			n.Password = "correct horse"
			var problem *identity.InputError
			if _, err := p.Create(t.Context(), n); !errors.As(err, &problem) {
				t.Errorf("%+v: %v", n, err)
			}
		}
		for _, password := range []string{"short", "xxxxxxxxxxxx", "someusername", strings.Repeat("a b", 400), "bad\xffutf8 text"} {
			var problem *identity.InputError
			if _, err := p.Create(t.Context(), identity.NewUser{Username: "someusername", Email: "s@example.com", Password: password}); !errors.As(err, &problem) {
				t.Errorf("%q: %v", password, err)
			}
		}
	})
}

func TestUnprintableNamesAreRefused(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, _, _ := newUsers(t, url)
		made, err := p.Create(t.Context(), identity.NewUser{Username: "carol", Email: "carol@example.com", Password: "correct horse"})
		storagetest.Must(t, err)
		for _, bad := range []string{"\u200b", "Car\u200bol", "\u202elorac", "Carol\u009b2J", "Carol\x1b[2J", "Car\nol", "\u3164", "\u2800", "\u0301"} {
			for what, n := range map[string]identity.NewUser{
				"username": {Username: bad, Email: "x@example.com"}, "email": {Username: "x", Email: bad + "x@example.com"}, "name": {Username: "x", Email: "x@example.com", Name: bad},
			} {
				n.Password = "correct horse"
				var problem *identity.InputError
				if _, err := p.Create(t.Context(), n); !errors.As(err, &problem) {
					t.Errorf("created with the %s %q: %v", what, bad, err)
				}
			}
			address := storage.Address{Street: bad, Locality: bad, Region: bad, PostalCode: bad, Country: bad}
			for what, c := range map[string]identity.Changes{
				"name": {Name: &bad}, "given name": {Profile: &storage.Profile{GivenName: bad}}, "family name": {Profile: &storage.Profile{FamilyName: bad}},
				"middle name": {Profile: &storage.Profile{MiddleName: bad}}, "nickname": {Profile: &storage.Profile{Nickname: bad}}, "gender": {Profile: &storage.Profile{Gender: bad}},
				"website": {Profile: &storage.Profile{Website: "https://a.example/" + bad + "x"}}, "street": {Profile: &storage.Profile{Address: storage.Address{Street: bad}}},
				"town": {Profile: &storage.Profile{Address: storage.Address{Locality: bad}}}, "address": {Profile: &storage.Profile{Address: address}},
			} {
				if what == "website" && bad == "\u0301" || what == "street" && bad == "Car\nol" {
					continue // an accent on a letter, and two lines
				}
				var problem *identity.InputError
				if _, err := p.Update(t.Context(), made, c); !errors.As(err, &problem) {
					t.Errorf("updated with the %s %q: %v", what, bad, err)
				}
			}
		}
	})
}

func TestPasswordsMatchInEveryUnicodeForm(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, s, _ := newUsers(t, url)
		_, err := p.Create(t.Context(), identity.NewUser{Username: "bob", Email: "bob@example.com", Password: "Ångström pass"})
		storagetest.Must(t, err)
		for password, ok := range map[string]bool{"Ångström pass": true, "A\u030angstro\u0308m pass": true, "ångström pass": false, "": false, "Ångström pass ": false} {
			if _, err := p.SignIn(t.Context(), "bob", password, identity.Device{}); (err == nil) != ok {
				t.Errorf("%q: %v", password, err)
			}
		}
		stored, err := s.Password(t.Context(), func() string { u, _ := p.User(t.Context(), "bob"); return u.ID }())
		storagetest.Must(t, err)
		if !strings.HasPrefix(stored.Hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
			t.Errorf("stored as %s", stored.Hash)
		}
	})
}

// TestBurstOfSignInsIsBounded: of many concurrent attempts only one computes at a time, the rest waits or is turned
// away, and memory stays that of one.
func TestBurstOfSignInsIsBounded(t *testing.T) {
	t.Parallel()
	p, _, _ := newUsers(t, storagetest.URL(t, storage.SQLite))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var busy, wrong atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	storagetest.Concurrently(400, func(int) {
		_, err := p.SignIn(ctx, "nobody", "a guess", identity.Device{})
		var throttled *identity.ThrottledError
		switch {
		case errors.Is(err, identity.ErrBusy):
			busy.Add(1)
		case errors.Is(err, identity.ErrInvalidCredentials), errors.As(err, &throttled), errors.Is(err, context.DeadlineExceeded):
			wrong.Add(1)
		default:
			t.Errorf("got %v", err)
		}
	})
	runtime.ReadMemStats(&after)
	if busy.Load() == 0 || busy.Load()+wrong.Load() != 400 {
		t.Errorf("%d turned away, %d checked", busy.Load(), wrong.Load())
	}
	if grown := int64(after.Sys) - int64(before.Sys); grown > 150<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
}
