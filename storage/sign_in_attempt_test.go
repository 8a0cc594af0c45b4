package storage_test

import (
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// wantWait fails the test unless a sign-in with the counts is blocked for the time from now, or not at all for 0.
func wantWait(t *testing.T, s *storage.Store, when string, want time.Duration, counts ...storage.SignInCount) {
	t.Helper()
	until, err := s.SignInBlockedUntil(t.Context(), counts...)
	storagetest.Must(t, err)
	got := time.Duration(0)
	if until != nil {
		got = until.Sub(s.Now())
	}
	if got != want || until != nil && want == 0 {
		t.Errorf("%s: blocked for %s, want %s", when, got, want)
	}
}

func TestFailedSignInsSlowNextAttempt(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		clock := storagetest.NewClock()
		s := storagetest.Open(t, url, clock)
		limit := storage.SignInLimit{FreeFailures: 3, MaxWait: 30 * time.Second, Period: time.Hour}
		count := storage.SignInCount{Account: []byte("an account"), Subnet: "net", Limit: limit}
		other := storage.SignInCount{Account: count.Account, Subnet: "another net", Limit: limit}
		countOne := func() error {
			_, err := s.CountSignInFailures(t.Context(), []storage.SignInCount{count}, nil)
			return err
		}
		fail := func(want time.Duration) {
			t.Helper()
			storagetest.Must(t, countOne())
			wantWait(t, s, "after a failure", want, count)
			wantWait(t, s, "in another subnet", 0, other)
			clock.Advance(want)
			wantWait(t, s, "after the wait", 0, count)
		}
		for _, want := range []time.Duration{0, 0, 1, 2, 4, 8, 16, 30, 30} {
			fail(want * time.Second)
		}
		for range 30 { // more than the bits of the duration, if the wait were computed by a shift
			storagetest.Must(t, countOne())
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

func TestSignInIsBlockedUntilLatestCount(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		clock := storagetest.NewClock()
		s := storagetest.Open(t, url, clock)
		count := func(account string, maxWait time.Duration) storage.SignInCount {
			limit := storage.SignInLimit{FreeFailures: 1, MaxWait: maxWait, Period: time.Hour}
			return storage.SignInCount{Account: []byte(account), Subnet: "net", Limit: limit}
		}
		short, long, none := count("a", time.Second), count("b", time.Minute), count("c", time.Minute)
		for range 8 {
			_, err := s.CountSignInFailures(t.Context(), []storage.SignInCount{short, long}, nil)
			storagetest.Must(t, err)
		}
		wantWait(t, s, "with the short wait", time.Second, short)
		wantWait(t, s, "with all counts", time.Minute, short, none, long)
		wantWait(t, s, "without failures", 0, none)
	})
}

func TestFailedNamesCountOnceAndSuccessesSubtract(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		clock := storagetest.NewClock()
		s := storagetest.Open(t, url, clock)
		limit := storage.SignInLimit{FreeFailures: 3, MaxWait: time.Minute, Period: time.Hour}
		names := storage.SignInCount{Account: []byte("names"), Subnet: "net", Limit: limit}
		fail := func(name string) storage.SubnetFailures {
			t.Helper()
			account := storage.SignInCount{Account: []byte(name), Subnet: "net", Limit: limit}
			found, err := s.CountSignInFailures(t.Context(), []storage.SignInCount{account}, &names)
			storagetest.Must(t, err)
			return found
		}
		succeed := func(name string) {
			t.Helper()
			account := storage.SignInCount{Account: []byte(name), Subnet: "success"}
			storagetest.Must(t, s.CreditSignIn(t.Context(), names, account, 2))
		}
		wantBlocked := func(name string, count int64, wait time.Duration) {
			t.Helper()
			found := fail(name)
			until := clock.Now().Add(wait)
			if found.Names != count || found.BlockedUntil == nil || !found.BlockedUntil.Equal(until) {
				t.Errorf("failure of %s: %+v, want %d names and a block until %s", name, found, count, until)
			}
		}
		wantNames := func(when, name string, count int64) {
			t.Helper()
			if found := fail(name); found.Names != count {
				t.Errorf("%s: %+v, want %d names", when, found, count)
			}
		}
		succeed("before any failure")
		for range 5 {
			if found := fail("alice"); found.BlockedUntil != nil {
				t.Errorf("failure of the only name: %+v, want no block", found)
			}
		}
		fail("bob")
		wantBlocked("carol", 3, time.Second)
		wantBlocked("dave", 4, 2*time.Second)
		succeed("erin")
		wantWait(t, s, "after a sign-in", 0, names)
		succeed("erin") // the second sign-in of a user changes nothing
		wantNames("after a sign-in and a failure", "frank", 3)
		clock.Advance(61 * time.Minute)
		fail("frank")
		fail("grace")
		succeed("erin")
		wantNames("an hour later", "heidi", 1)
	})
}

// TestClockSetBackEndsSignInBlock counts a failure while the clock is ahead. It must not block after the clock was set
// back.
func TestClockSetBackEndsSignInBlock(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		clock := storagetest.NewClock()
		s := storagetest.Open(t, url, clock)
		limit := storage.SignInLimit{FreeFailures: 1, MaxWait: 30 * time.Second, Period: time.Hour}
		count := storage.SignInCount{Account: []byte("an account"), Subnet: "net", Limit: limit}
		fail := func() {
			t.Helper()
			_, err := s.CountSignInFailures(t.Context(), []storage.SignInCount{count}, nil)
			storagetest.Must(t, err)
			if until, err := s.SignInBlockedUntil(t.Context(), count); err != nil || until == nil {
				t.Errorf("SignInBlockedUntil after a failure = %v, %v, want a time", until, err)
			}
		}
		clock.Advance(100 * 24 * time.Hour)
		fail()
		clock.Advance(-100 * 24 * time.Hour)
		wantWait(t, s, "after the clock was set back", 0, count)
		fail()
	})
}
