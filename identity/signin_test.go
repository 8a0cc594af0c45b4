package identity_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"gatehouse/identity"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

const password = "correct horse"

// newLimitedUsers returns a Users with a limit on the names that fail from one subnet.
func newLimitedUsers(s *storage.Store, names int) *identity.Users {
	return identity.New(s, identity.Options{
		SessionIdleTTL: time.Hour, SessionMaxTTL: 24 * time.Hour, PasswordMinLength: 10, Concurrency: 1,
		NamesLimit: ratelimit.Rate{Count: names, Period: time.Hour},
	})
}

func user(t *testing.T, p *identity.Users, name string) storage.User {
	t.Helper()
	u, err := p.Create(t.Context(), identity.NewUser{Username: name, Email: name + "@example.com", Password: password})
	storagetest.Must(t, err)
	return u
}

// resultOf returns what the response to a sign-in shows.
func resultOf(
	ctx context.Context, p *identity.Users, s *storage.Store, name, password string, device identity.Device,
) string {
	_, err := p.SignIn(ctx, name, password, device)
	var throttled *identity.ThrottledError
	switch {
	case err == nil:
		return "signed in"
	case errors.Is(err, identity.ErrInvalidCredentials):
		return "invalid credentials"
	case errors.As(err, &throttled) && throttled.Subnet:
		return "subnet waits " + throttled.RetryAt.Sub(s.Now()).String()
	case errors.As(err, &throttled):
		return "waits " + throttled.RetryAt.Sub(s.Now()).String()
	}
	return err.Error()
}

// TestThrottlingOfAccountIsNotVisible fails sign-ins with the username from many subnets. The responses for the
// email address do not change, which would reveal that both names belong to one account, but the account is
// protected.
func TestThrottlingOfAccountIsNotVisible(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, s, clock := newUsers(t, url)
		alice := user(t, p, "alice")
		device := knownDevice(t, p, alice)
		for i := range 120 {
			ctx := requestFrom(t, fmt.Sprintf("192.0.%d.1", i))
			storagetest.Must(t, p.CountFailure(ctx, "alice"))
			storagetest.Must(t, p.CountFailure(ctx, "unknown"))
		}
		fresh := requestFrom(t, "198.51.100.1")
		for _, names := range [][2]string{
			{"alice", "unknown"}, {"ALICE", "Unknown"}, {"alice@example.com", "unknown@example.com"},
		} {
			for range 6 {
				attacked := resultOf(fresh, p, s, names[0], "a guess", identity.Device{})
				unknown := resultOf(fresh, p, s, names[1], "a guess", identity.Device{})
				if attacked != unknown {
					t.Errorf("sign-in as %s: %s, as %s: %s, want equal results", names[0], attacked, names[1], unknown)
				}
			}
		}
		wantResult := func(when, address, name string, device identity.Device, want string) {
			t.Helper()
			if got := resultOf(requestFrom(t, address), p, s, name, password, device); got != want {
				t.Errorf("%s: %s, want %s", when, got, want)
			}
		}
		wantResult("sign-in with the attacked name", "198.51.101.1", "alice", identity.Device{}, "waits 1m0s")
		wantResult("correct password with the other name during the attack", "198.51.101.1", "alice@example.com",
			identity.Device{}, "invalid credentials")
		events, err := s.Audit.Rows(t.Context(), audit.Filter{Event: audit.UserSignInFailed, UserID: alice.ID, Limit: 1})
		storagetest.Must(t, err)
		if len(events) != 1 || events[0].Detail != `{"reason":"too many failed sign-ins on the account"}` {
			t.Errorf("the audit rows are %+v, want one with the reason", events)
		}
		wantResult("sign-in in a browser known to the account", "198.51.102.1", "alice@example.com", device, "signed in")
		clock.Advance(time.Minute)
		wantResult("sign-in after the wait", "198.51.101.1", "alice@example.com", identity.Device{}, "signed in")
	})
}

func TestSprayingFromOneSubnetIsSlowed(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		clock := storagetest.NewClock()
		s, another := storagetest.Open(t, url, clock), storagetest.Open(t, url, clock)
		p := newLimitedUsers(s, 3)
		alice := user(t, p, "alice")
		device := knownDevice(t, p, alice)
		subnet, sameSubnet := requestFrom(t, "192.0.2.1"), requestFrom(t, "192.0.2.200")
		elsewhere := requestFrom(t, "198.51.100.1")
		for range 2 { // a name counts once
			for i := range 3 {
				got := resultOf(subnet, p, s, fmt.Sprint("user", min(i, 1)), "Spring2026!", identity.Device{})
				if got != "invalid credentials" {
					t.Errorf("attempt within the limit: %s, want invalid credentials", got)
				}
			}
		}
		if got := resultOf(subnet, p, s, "alice", "Spring2026!", identity.Device{}); got != "invalid credentials" {
			t.Errorf("attempt with the third name: %s, want invalid credentials", got)
		}
		for _, c := range []struct {
			when   string
			ctx    context.Context
			p      *identity.Users
			device identity.Device
			want   string
		}{
			{"in the same subnet", subnet, p, identity.Device{}, "subnet waits 1s"},
			{"in the same /24", sameSubnet, p, identity.Device{}, "subnet waits 1s"},
			{"in another process", subnet, newLimitedUsers(another, 3), identity.Device{}, "subnet waits 1s"},
			{"with the limit off", subnet, newLimitedUsers(s, 0), identity.Device{}, "signed in"},
			{"in another subnet", elsewhere, p, identity.Device{}, "signed in"},
			{"in a known browser", subnet, p, device, "signed in"}, // which ends the wait
			{"in the subnet in which a user signed in", subnet, p, identity.Device{}, "signed in"},
		} {
			if got := resultOf(c.ctx, c.p, s, "alice", password, c.device); got != c.want {
				t.Errorf("%s: %s, want %s", c.when, got, c.want)
			}
		}

		// Without another account that signs in the waits double.
		flood := requestFrom(t, "203.0.113.1")
		for i := range 16 {
			storagetest.Must(t, p.CountFailure(flood, fmt.Sprint("name", i)))
			want := map[int]string{2: "1s", 3: "2s", 4: "4s", 10: "4m16s", 12: "15m0s", 15: "15m0s"}[i]
			if want == "" {
				continue
			}
			if got := resultOf(flood, p, s, "alice", password, identity.Device{}); got != "subnet waits "+want {
				t.Errorf("after %d names: %s, want %s", i+1, got, want)
			}
		}
		events, err := s.Audit.Rows(t.Context(), audit.Filter{Event: audit.SignInLimited})
		storagetest.Must(t, err)
		if len(events) != 1 || events[0].Address != "192.0.2.1" || s.Stats().Audit.Events[audit.SignInLimited] != 1 {
			t.Errorf("the audit events are %+v, want one for 192.0.2.1", events)
		}
	})
}

// TestUsersBehindOneAddressAreNotSlowed lets every user mistype the password once, many of them before the first signs
// in.
func TestUsersBehindOneAddressAreNotSlowed(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		s := storagetest.Open(t, url, storagetest.NewClock())
		p := newLimitedUsers(s, 3)
		office := requestFrom(t, "192.0.2.1")
		const users = 8
		for i := range users {
			user(t, p, fmt.Sprint("user", i))
		}
		for i := range users {
			name := fmt.Sprint("user", i)
			if i >= 2 {
				name = fmt.Sprint("user", i-2)
				if got := resultOf(office, p, s, name, password, identity.Device{}); got != "signed in" {
					t.Errorf("sign-in of %s: %s, want signed in", name, got)
				}
				name = fmt.Sprint("user", i)
			}
			if got := resultOf(office, p, s, name, "a typo in it", identity.Device{}); got != "invalid credentials" {
				t.Errorf("mistyped password of %s: %s, want invalid credentials", name, got)
			}
		}
	})
}
