package limit_test

import (
	"fmt"
	"testing"
	"time"

	"gatehouse/config"
	"gatehouse/web/limit"
)

func TestTake(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	l := limit.New(map[string]config.Rate{"x": {Count: 3, Period: time.Minute}}, func() time.Time { return now })
	for i := range 3 {
		if ok, _ := l.Take("x", "a"); !ok {
			t.Errorf("event %d is over the limit", i+1)
		}
	}
	ok, wait := l.Take("x", "a")
	if ok || wait < 19*time.Second || wait > 21*time.Second {
		t.Errorf("the fourth: %t, wait %v", ok, wait)
	}
	if ok, _ := l.Take("x", "b"); !ok {
		t.Error("another key is over the limit")
	}
	if ok, _ := l.Take("unknown", "a"); !ok {
		t.Error("a name without a rate is limited")
	}
	now = now.Add(20 * time.Second)
	if ok, _ := l.Take("x", "a"); !ok {
		t.Error("still over the limit after the wait")
	}
	for i := range 120_000 { // more keys than it keeps
		l.Take("x", fmt.Sprint(i))
	}
	if ok, _ := (*limit.Limits)(nil).Take("x", "a"); !ok {
		t.Error("limits that are off limit")
	}
}
