package storagetest

import (
	"testing"
	"time"
)

// Eventually polls the condition until it is true, for what another process or goroutine does without a signal. what
// is the condition as a statement, such as "the server is ready".
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline, tick := time.After(2*time.Minute), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("timed out waiting until %s", what)
		}
	}
}
