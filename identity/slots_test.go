package identity

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// mustEnqueue queues an attempt or fails the test.
func mustEnqueue(t *testing.T, q *slots, c caller) *waiter {
	t.Helper()
	w, ok := q.enqueue(c)
	if !ok {
		t.Fatalf("the queue is full for %+v with %d waiting", c, q.waiting())
	}
	return w
}

func isReady(w *waiter) bool {
	select {
	case <-w.ready:
		return true
	default:
		return false
	}
}

// fill queues attempts of a caller until its share is full, and returns them.
func fill(q *slots, c caller) (all []*waiter) {
	for {
		w, ok := q.enqueue(c)
		if !ok {
			return all
		}
		all = append(all, w)
	}
}

func TestKnownBrowserAcquiresNextSlotOfFullQueue(t *testing.T) {
	t.Parallel()
	q := newSlots(1, 0)
	if acquired := mustEnqueue(t, q, caller{name: "first"}); !isReady(acquired) {
		t.Fatal("a free slot was not granted")
	}
	for i := 0; q.waiting() < maxWaiting; i++ {
		fill(q, caller{name: fmt.Sprint("subnet ", i)})
	}
	if _, ok := q.enqueue(caller{name: "one more subnet"}); ok {
		t.Errorf("%d wait, want no more than %d", q.waiting(), maxWaiting)
	}
	known := mustEnqueue(t, q, caller{"alice", true})
	q.release(caller{})
	if !isReady(known) {
		t.Error("the known browser did not get the released slot")
	}
}

func TestKnownAndNewBrowsersAlternate(t *testing.T) {
	t.Parallel()
	q := newSlots(1, 0)
	mustEnqueue(t, q, caller{name: "first"})
	known, others := fill(q, caller{"mallory", true}), fill(q, caller{name: "subnet"})
	if len(known) != maxKnownPerAccount || len(others) != maxWaitingPerSubnet {
		t.Fatalf("%d and %d wait, want %d and %d", len(known), len(others), maxKnownPerAccount, maxWaitingPerSubnet)
	}
	for i := range 2 * maxKnownPerAccount {
		q.release(caller{})
		if got := isReady(known[i/2]); !got {
			t.Errorf("slot %d did not go to a known browser", i+1)
		}
		if got, want := isReady(others[i/2]), i%2 == 1; got != want {
			t.Errorf("after %d slots another browser has one: %v, want %v", i+1, got, want)
		}
	}
	q.release(caller{})
	if !isReady(others[maxKnownPerAccount]) {
		t.Error("a slot is unused while no known browser waits")
	}
}

func TestSubnetWaitsOnlyForItsAttempts(t *testing.T) {
	t.Parallel()
	q := newSlots(1, 0)
	mustEnqueue(t, q, caller{name: "first"})
	flood := fill(q, caller{name: "flood"})
	if len(flood) != maxWaitingPerSubnet {
		t.Fatalf("one subnet has %d waiting, want %d", len(flood), maxWaitingPerSubnet)
	}
	other := mustEnqueue(t, q, caller{name: "other subnet"})
	q.release(caller{})
	q.release(caller{})
	if !isReady(other) {
		t.Error("the other subnet waits for more than one attempt of the first")
	}
	if !isReady(flood[0]) || isReady(flood[1]) {
		t.Error("the first subnet did not get exactly one slot")
	}
	// An attempt leaves capacity for another.
	mustEnqueue(t, q, caller{name: "flood"})
	if _, ok := q.enqueue(caller{name: "flood"}); ok {
		t.Error("one subnet has more than its share")
	}
}

func TestAbandonedSlotIsPassedOn(t *testing.T) {
	t.Parallel()
	q := newSlots(1, 0)
	acquired := mustEnqueue(t, q, caller{name: "first"})
	second, third := mustEnqueue(t, q, caller{name: "a"}), mustEnqueue(t, q, caller{name: "b"})
	q.abandon(second)   // while it waits
	q.abandon(acquired) // when it has its slot
	if isReady(second) || !isReady(third) {
		t.Error("the slot did not go to the attempt that still waits")
	}
	q.release(caller{})
	if q.waiting() != 0 || q.free != 1 || len(q.others.attempts) != 0 || len(q.others.order) != 0 {
		t.Errorf("after all have left the queue is %+v", q)
	}
}

func TestFullQueueRefusesImmediately(t *testing.T) {
	t.Parallel()
	h := newHasher(1, PasswordCost{})
	mustEnqueue(t, h.slots, caller{name: "has the only slot"})
	fill(h.slots, caller{name: "subnet"})
	// The context never ends, and no slot is released: if it waited, the test would not end.
	err := h.runInSlot(context.Background(), caller{name: "subnet"}, func() error { return errors.New("it ran") })
	if !errors.Is(err, ErrBusy) {
		t.Errorf("runInSlot with a full queue = %v, want ErrBusy", err)
	}
	ended, end := context.WithCancel(context.Background())
	end()
	if err := h.runInSlot(ended, caller{name: "other"}, func() error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("runInSlot with a canceled context = %v, want the context's error", err)
	}
	if n := h.slots.waiting(); n != maxWaitingPerSubnet {
		t.Errorf("%d wait after one has left, want %d", n, maxWaitingPerSubnet)
	}
}

func TestCallerHasNoMoreThanItsSlots(t *testing.T) {
	t.Parallel()
	q, flood, other := newSlots(4, 2), caller{name: "flood"}, caller{name: "other"}
	flooding := fill(q, flood)
	if len(flooding) != 2+maxWaitingPerSubnet || q.free != 2 {
		t.Fatalf("%d attempts of one caller entered and %d slots are free, want 2 with a slot", len(flooding), q.free)
	}
	first := mustEnqueue(t, q, other)
	if !isReady(first) || isReady(flooding[2]) {
		t.Error("a free slot did not go to another caller")
	}
	q.release(other)
	if isReady(flooding[2]) {
		t.Error("the caller has more than its slots, because another one has left")
	}
	q.release(flood)
	if !isReady(flooding[2]) || isReady(flooding[3]) {
		t.Error("a released slot of the caller did not go to its next attempt")
	}
	for _, w := range flooding[3:] {
		q.abandon(w)
	}
	q.release(flood)
	q.release(flood)
	if q.waiting() != 0 || q.free != 4 || len(q.running) != 0 {
		t.Errorf("after all have left the slots are %+v", q)
	}
}
