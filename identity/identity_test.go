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
	return identity.New(s, identity.Options{
		SessionIdleTTL: time.Hour, SessionMaxTTL: 24 * time.Hour, PasswordMinLength: 10, Concurrency: 1,
		FactorKey: s.Vault.Key("factor"),
	}), s, clock
}

func TestNamesShareOneNormalisedNamespace(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, _, _ := newUsers(t, url)
		alice, err := p.Create(t.Context(), identity.NewUser{
			Username: "Älice", Email: "Alice@Example.com", Password: password,
		})
		storagetest.Must(t, err)
		for _, name := range []string{
			"älice", "ÄLICE", "A\u0308lice", " Älice ", "alice@example.com", "ALICE@EXAMPLE.COM",
			alice.ID, strings.ToUpper(alice.ID),
		} {
			if u, err := p.User(t.Context(), name); err != nil || u.ID != alice.ID {
				t.Errorf("User(%q) = %s, %v, want %s", name, u.ID, err, alice.ID)
			}
		}
		for _, n := range []identity.NewUser{
			{Username: "älice", Email: "x@example.com"}, {Username: "x", Email: "alice@EXAMPLE.com"},
			{Username: "a@b", Email: "x@example.com"}, {Username: "victim＠example.com", Email: "x@example.com"},
			{Username: "", Email: "x@example.com"}, {Username: "a b", Email: "x@example.com"},
			{Username: "x", Email: "x"}, {Username: "x", Email: "X <x@example.com>"},
			{Username: "x\u200b", Email: "x@example.com"}, {Username: "x", Email: "x@example.com", Name: "a\nb"},
		} {
			n.Password = password
			wantCreateRefused(t, p, n)
		}
	})
}

func TestWeakPasswordsAreRefused(t *testing.T) {
	t.Parallel()
	p, _, _ := newUsers(t, storagetest.URL(t, storage.SQLite))
	for _, password := range []string{
		"short", "xxxxxxxxxxxx", "someusername", strings.Repeat("a b", 400), "bad\xffutf8 text",
		"password123", "P4$$word-2026", "SomeUserName99", "s.smith@corp.example", "carolsmith!!", "Gatehouse2026",
	} {
		wantCreateRefused(t, p, identity.NewUser{
			Username: "someusername", Email: "s.smith@corp.example", Name: "Carol Smith", Password: password,
		})
	}
	carol := user(t, p, "carol")
	var refused *identity.PasswordError
	if err := p.SetPassword(t.Context(), carol, "dragon2026"); !errors.As(err, &refused) ||
		refused.Rule != identity.TooCommon || !strings.Contains(err.Error(), "choose several unrelated words") {
		t.Errorf("SetPassword with a common password = %v, want an error with what to do", err)
	}
}

// wantCreateRefused fails the test unless the input of a new user is refused.
func wantCreateRefused(t *testing.T, p *identity.Users, n identity.NewUser) {
	t.Helper()
	var problem *identity.InputError
	if _, err := p.Create(t.Context(), n); !errors.As(err, &problem) {
		t.Errorf("Create(%+v) = %v, want *InputError", n, err)
	}
}

func TestUnprintableNamesAreRefused(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, _, _ := newUsers(t, url)
		carol := user(t, p, "carol")
		for _, bad := range []string{
			"\u200b", "Car\u200bol", "\u202elorac", "Carol\u009b2J", "Carol\x1b[2J", "Car\nol", "\u3164", "\u2800", "\u0301",
		} {
			for _, n := range []identity.NewUser{
				{Username: bad, Email: "x@example.com"}, {Username: "x", Email: bad + "x@example.com"},
				{Username: "x", Email: "x@example.com", Name: bad},
			} {
				n.Password = password
				wantCreateRefused(t, p, n)
			}
			for what, c := range profileChanges(bad) {
				if what == "website" && bad == "\u0301" || what == "street" && bad == "Car\nol" {
					continue // an accent on a letter, and two lines
				}
				var problem *identity.InputError
				if _, err := p.Update(t.Context(), carol, c); !errors.As(err, &problem) {
					t.Errorf("Update with the %s %q = %v, want *InputError", what, bad, err)
				}
			}
		}
	})
}

// profileChanges returns changes that each set one property of a profile to the value.
func profileChanges(value string) map[string]identity.Changes {
	changes := map[string]identity.Changes{"name": {Name: &value}}
	for what, profile := range map[string]storage.Profile{
		"given name":  {GivenName: value},
		"family name": {FamilyName: value},
		"middle name": {MiddleName: value},
		"nickname":    {Nickname: value},
		"gender":      {Gender: value},
		"website":     {Website: "https://a.example/" + value + "x"},
		"street":      {Address: storage.Address{Street: value}},
		"city":        {Address: storage.Address{Locality: value}},
		"address": {Address: storage.Address{
			Street: value, Locality: value, Region: value, PostalCode: value, Country: value,
		}},
	} {
		changes[what] = identity.Changes{Profile: &profile}
	}
	return changes
}

func TestPasswordsMatchInEveryUnicodeForm(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, s, _ := newUsers(t, url)
		bob, err := p.Create(t.Context(), identity.NewUser{
			Username: "bob", Email: "bob@example.com", Password: "Ångström pass",
		})
		storagetest.Must(t, err)
		for password, want := range map[string]bool{
			"Ångström pass": true, "A\u030angstro\u0308m pass": true,
			"ångström pass": false, "": false, "Ångström pass ": false,
		} {
			if _, err := p.SignIn(t.Context(), "bob", password, identity.Device{}); (err == nil) != want {
				t.Errorf("SignIn with the password %q = %v, want accepted = %t", password, err, want)
			}
		}
		stored, err := s.Password(t.Context(), bob.ID)
		storagetest.Must(t, err)
		if prefix := "$argon2id$v=19$m=19456,t=2,p=1$"; !strings.HasPrefix(stored.Hash, prefix) {
			t.Errorf("the stored hash is %s, want one with the prefix %s", stored.Hash, prefix)
		}
	})
}

// TestBurstOfSignInsIsBounded checks that of many concurrent attempts only one computes a hash at a time, that the
// others wait or are refused, and that the memory is that of one. It is not parallel, because it measures the memory of
// the process, which has that of other tests too.
func TestBurstOfSignInsIsBounded(t *testing.T) {
	p, _, _ := newUsers(t, storagetest.URL(t, storage.SQLite))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var busy, failed atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	storagetest.Concurrently(400, func(int) {
		_, err := p.SignIn(ctx, "unknown", "a guess", identity.Device{})
		var throttled *identity.ThrottledError
		switch {
		case errors.Is(err, identity.ErrBusy):
			busy.Add(1)
		case errors.Is(err, identity.ErrInvalidCredentials), errors.As(err, &throttled),
			errors.Is(err, context.DeadlineExceeded):
			failed.Add(1)
		default:
			t.Errorf("SignIn = %v, want it busy, throttled, failed or timed out", err)
		}
	})
	runtime.ReadMemStats(&after)
	if busy.Load() == 0 || busy.Load()+failed.Load() != 400 {
		t.Errorf("%d attempts were refused as busy and %d failed, want some busy ones and 400 in total",
			busy.Load(), failed.Load())
	}
	if grown := int64(after.Sys) - int64(before.Sys); grown > 150<<20 {
		t.Errorf("the memory grew by %d MiB, want at most 150", grown>>20)
	}
}
