package storage_test

import (
	"errors"
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
		for i, want := range []time.Duration{0, 0, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second} {
			if _, err := s.AttemptSignIn(t.Context(), account, "net", limit); err != nil {
				t.Fatalf("attempt %d: %v", i+1, err)
			}
			if want == 0 {
				continue
			}
			at, err := s.AttemptSignIn(t.Context(), account, "net", limit)
			if !errors.Is(err, storage.ErrBusy) || at.Sub(clock.Now()) != want {
				t.Errorf("after %d failures: wait %v (%v), want %v", i+1, at.Sub(clock.Now()), err, want)
			}
			if _, err := s.AttemptSignIn(t.Context(), account, "another net", storage.SignInLimit{Free: 100, Longest: time.Second, Forget: time.Hour}); err != nil {
				t.Errorf("another network: %v", err)
			}
			clock.Advance(want)
		}
		clock.Advance(2 * time.Hour)
		for range 2 {
			if _, err := s.AttemptSignIn(t.Context(), account, "net", limit); err != nil {
				t.Errorf("after they are forgotten: %v", err)
			}
		}
	})
}

func TestAttemptsThatComeTogetherAreCounted(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		s := storagetest.Open(t, url, storagetest.NewClock())
		results := make(chan error, 40)
		storagetest.Do(40, func(int) {
			_, err := s.AttemptSignIn(t.Context(), []byte("an account"), "net", storage.SignInLimit{Free: 5, Longest: time.Minute, Forget: time.Hour})
			results <- err
		})
		let := 0
		for range 40 {
			if err := <-results; err == nil {
				let++
			} else if !errors.Is(err, storage.ErrBusy) {
				t.Error(err)
			}
		}
		if let != 5 {
			t.Errorf("%d of 40 parallel attempts were let through, want 5", let)
		}
	})
}
