package notify

import (
	"testing"
	"time"
)

func TestBackoffDoublesUpToMaximum(t *testing.T) {
	t.Parallel()
	for attempts, want := range map[int64]time.Duration{
		0: time.Second, 1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 12: 2048 * time.Second,
		13: time.Hour, 100: time.Hour,
	} {
		if got := backoff(attempts); got != want {
			t.Errorf("backoff(%d) = %v, want %v", attempts, got, want)
		}
	}
}
