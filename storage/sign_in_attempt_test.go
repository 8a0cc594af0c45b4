package storage_test

import (
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

func TestFailedSignInsSlowTheNextAttempt(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		clock := storagetest.NewClock()
		s := storagetest.Open(t, url, clock)
		limit := storage.SignInLimit{FreeFailures: 3, MaxWait: 30 * time.Second, Period: time.Hour}
		count := storage.SignInCount{Account: []byte("an account"), Network: "net", Limit: limit}
		other := storage.SignInCount{Account: count.Account, Network: "another net", Limit: limit}
		one := func() error {
			_, err := s.CountSignInFailures(t.Context(), []storage.SignInCount{count}, nil)
			return err
		}
		fail := func(want time.Duration) {
			t.Helper()
			storagetest.Must(t, one())
			until, err := s.SignInBlockedUntil(t.Context(), count)
			storagetest.Must(t, err)
			if got := time.Duration(0); until != nil || want != 0 {
				if until != nil {
					got = until.Sub(clock.Now())
				}
				if got != want {
					t.Errorf("wait %v, want %v", got, want)
				}
			}
			if until, err := s.SignInBlockedUntil(t.Context(), other); until != nil || err != nil {
				t.Errorf("another network waits until %v (%v)", until, err)
			}
			clock.Advance(want)
			if until, err := s.SignInBlockedUntil(t.Context(), count); until != nil || err != nil {
				t.Errorf("blocked after the wait until %v (%v)", until, err)
			}
		}
		for _, want := range []time.Duration{0, 0, 1, 2, 4, 8, 16, 30, 30} {
			fail(want * time.Second)
		}
		for range 30 { // far beyond what a shift can hold
			storagetest.Must(t, one())
		}
		fail(30 * time.Second)
		clock.Advance(2 * time.Hour)
		fail(0)
		fail(0)
		fail(time.Second)
		storagetest.Must(t, s.ClearSignInFailures(t.Context(), count))
		fail(0)
	})
}

func TestSignInIsBlockedUntilTheLatestCount(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		clock := storagetest.NewClock()
		s := storagetest.Open(t, url, clock)
		count := func(account string, longest time.Duration) storage.SignInCount {
			return storage.SignInCount{Account: []byte(account), Network: "net", Limit: storage.SignInLimit{FreeFailures: 1, MaxWait: longest, Period: time.Hour}}
		}
		short, long, none := count("a", time.Second), count("b", time.Minute), count("c", time.Minute)
		for range 8 {
			_, err := s.CountSignInFailures(t.Context(), []storage.SignInCount{short, long}, nil)
			storagetest.Must(t, err)
		}
		for _, c := range []struct {
			counts []storage.SignInCount
			want   time.Duration
		}{{[]storage.SignInCount{short}, time.Second}, {[]storage.SignInCount{short, none, long}, time.Minute}, {[]storage.SignInCount{none}, 0}} {
			until, err := s.SignInBlockedUntil(t.Context(), c.counts...)
			storagetest.Must(t, err)
			if got := time.Duration(0); until != nil || c.want != 0 {
				if until != nil {
					got = until.Sub(clock.Now())
				}
				if got != c.want {
					t.Errorf("%d counts: wait %v, want %v", len(c.counts), got, c.want)
				}
			}
		}
	})
}

func TestFailedNamesCountOnceAndSuccessesSubtract(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		clock := storagetest.NewClock()
		s := storagetest.Open(t, url, clock)
		limit := storage.SignInLimit{FreeFailures: 3, MaxWait: time.Minute, Period: time.Hour}
		names := storage.SignInCount{Account: []byte("names"), Network: "net", Limit: limit}
		fail := func(name string) storage.NetworkFailures {
			t.Helper()
			found, err := s.CountSignInFailures(t.Context(), []storage.SignInCount{{Account: []byte(name), Network: "net", Limit: limit}}, &names)
			storagetest.Must(t, err)
			return found
		}
		succeed := func(name string) {
			t.Helper()
			storagetest.Must(t, s.CreditSignIn(t.Context(), names, storage.SignInCount{Account: []byte(name), Network: "success"}, 2))
		}
		succeed("before any failure")
		for range 5 {
			if fail("alice").BlockedUntil != nil {
				t.Error("one failed name blocks the network")
			}
		}
		fail("bob")
		if found := fail("carol"); found.Names != 3 || found.BlockedUntil == nil || !found.BlockedUntil.Equal(clock.Now().Add(time.Second)) {
			t.Errorf("the third name: %+v", found)
		}
		if found := fail("dave"); found.Names != 4 || found.BlockedUntil == nil || !found.BlockedUntil.Equal(clock.Now().Add(2*time.Second)) {
			t.Errorf("the fourth name: %+v", found)
		}
		succeed("erin")
		if until, err := s.SignInBlockedUntil(t.Context(), names); until != nil || err != nil {
			t.Errorf("after a sign-in: %v (%v)", until, err)
		}
		succeed("erin") // the second time changes nothing
		if found := fail("frank"); found.Names != 3 {
			t.Errorf("after a sign-in and a failure: %+v, want 3", found)
		}
		clock.Advance(61 * time.Minute)
		fail("frank")
		fail("grace")
		succeed("erin")
		if found := fail("heidi"); found.Names != 1 {
			t.Errorf("an hour later: %+v, want 1", found)
		}
	})
}

// TestClockSetBackEndsSignInBlock counts a failure while the clock is ahead. It must not block after the clock was set
// back.
func TestClockSetBackEndsSignInBlock(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		clock := storagetest.NewClock()
		s := storagetest.Open(t, url, clock)
		count := storage.SignInCount{Account: []byte("an account"), Network: "net", Limit: storage.SignInLimit{FreeFailures: 1, MaxWait: 30 * time.Second, Period: time.Hour}}
		fail := func() {
			t.Helper()
			_, err := s.CountSignInFailures(t.Context(), []storage.SignInCount{count}, nil)
			storagetest.Must(t, err)
			if until, err := s.SignInBlockedUntil(t.Context(), count); err != nil || until == nil {
				t.Errorf("blocked until %v (%v)", until, err)
			}
		}
		clock.Advance(100 * 24 * time.Hour)
		fail()
		clock.Advance(-100 * 24 * time.Hour)
		if until, err := s.SignInBlockedUntil(t.Context(), count); until != nil || err != nil {
			t.Errorf("blocked until %s (%v)", until, err)
		}
		fail()
	})
}
