package lograte_test

import (
	"testing"
	"time"

	"gatehouse/lograte"
)

func TestLimiterAllowsOneLinePerInterval(t *testing.T) {
	t.Parallel()
	var l lograte.Limiter
	if l.Reset() {
		t.Error("Reset of a new limiter = true, want false")
	}
	for i, want := range []bool{true, false, false} {
		if got := l.Allow(); got != want {
			t.Errorf("call %d: Allow() = %v, want %v", i+1, got, want)
		}
	}
	if !l.Reset() {
		t.Error("Reset after a line = false, want true")
	}
	if !l.Allow() {
		t.Error("Allow after Reset = false, want true")
	}
}

func TestLimiterAllowsAgainAfterInterval(t *testing.T) {
	t.Parallel()
	l := lograte.Limiter{Interval: time.Nanosecond}
	for i := range 3 {
		if !l.Allow() {
			t.Errorf("call %d: Allow() = false, want true", i+1)
		}
		for start := time.Now(); !time.Now().After(start); { // until the clock advances
		}
	}
}
