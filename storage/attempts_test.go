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
		limit := storage.SignInLimit{Free: 3, Longest: 30 * time.Second, Forget: time.Hour}
		account := []byte("an account")
		fail := func(want time.Duration) {
			t.Helper()
			storagetest.Must(t, s.CountSignInFailure(t.Context(), account, "net", limit))
			until, err := s.SignInBlocked(t.Context(), account, "net")
			storagetest.Must(t, err)
			if got := time.Duration(0); until != nil || want != 0 {
				if until != nil {
					got = until.Sub(clock.Now())
				}
				if got != want {
					t.Errorf("wait %v, want %v", got, want)
				}
			}
			if until, err := s.SignInBlocked(t.Context(), account, "another net"); until != nil || err != nil {
				t.Errorf("another network waits until %v (%v)", until, err)
			}
			clock.Advance(want)
			if until, err := s.SignInBlocked(t.Context(), account, "net"); until != nil || err != nil {
				t.Errorf("blocked after the wait until %v (%v)", until, err)
			}
		}
		for _, want := range []time.Duration{0, 0, 1, 2, 4, 8, 16, 30, 30} {
			fail(want * time.Second)
		}
		for range 30 { // far beyond what a shift can hold
			storagetest.Must(t, s.CountSignInFailure(t.Context(), account, "net", limit))
		}
		fail(30 * time.Second)
		clock.Advance(2 * time.Hour)
		fail(0)
		fail(0)
		fail(time.Second)
		storagetest.Must(t, s.ForgetSignInFailures(t.Context(), account, "net"))
		fail(0)
	})
}
