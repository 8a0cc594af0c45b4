package db

import (
	"testing"
	"time"
)

// manualClock is a clock that tests set.
type manualClock struct{ at time.Time }

func (m *manualClock) now() time.Time { return m.at }

func TestClockFollowsDatabase(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	host := &manualClock{at: start}
	c := clock{local: host.now}
	if got := c.now(); !got.Equal(start) {
		t.Errorf("before the first reading the time is %s, want that of the host, %s", got, start)
	}
	read := func(roundTrip, ahead time.Duration) {
		before := host.at
		host.at = before.Add(roundTrip)
		c.observe(before, before.Add(roundTrip/2).Add(-ahead), host.at)
	}
	want := func(what string, ahead time.Duration) {
		t.Helper()
		if got := host.at.Sub(c.now()); got != ahead {
			t.Errorf("%s: the host is ahead of the time by %s, want %s", what, got, ahead)
		}
	}
	read(2*time.Millisecond, 20*time.Minute)
	want("a fast host", 20*time.Minute)
	read(2*time.Millisecond, 20*time.Minute+time.Millisecond)
	want("a reading that agrees within its uncertainty", 20*time.Minute)
	read(10*time.Second, 0)
	want("a reading that took too long", 20*time.Minute)
	read(2*time.Millisecond, 20*time.Minute+3*time.Millisecond)
	want("drift", 20*time.Minute+3*time.Millisecond)
	host.at = host.at.Add(time.Hour)
	want("without a reading for an hour", 20*time.Minute+3*time.Millisecond)
	read(time.Millisecond, -time.Minute)
	want("a slow host", -time.Minute)
	if skew := time.Duration(c.skew.Load()); skew != -time.Minute {
		t.Errorf("the skew is %s, want %s", skew, -time.Minute)
	}
}
