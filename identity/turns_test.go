package identity

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// mustEnqueue queues an attempt or fails the test.
func mustEnqueue(t *testing.T, q *turns, c caller) *turn {
	t.Helper()
	w, ok := q.enqueue(c)
	if !ok {
		t.Fatalf("there is no room for %+v with %d waiting", c, q.count())
	}
	return w
}

func isReady(w *turn) bool {
	select {
	case <-w.ready:
		return true
	default:
		return false
	}
}

// fill queues attempts of a caller until its share is full, and returns them.
func fill(q *turns, c caller) (all []*turn) {
	for {
		w, ok := q.enqueue(c)
		if !ok {
			return all
		}
		all = append(all, w)
	}
}

func TestKnownBrowserGetsTheNextTurnOfAFullQueue(t *testing.T) {
	t.Parallel()
	q := newTurns(1)
	if held := mustEnqueue(t, q, caller{name: "first"}); !isReady(held) {
		t.Fatal("a free turn is not given")
	}
	for i := 0; q.count() < maxWaiting; i++ {
		fill(q, caller{name: fmt.Sprint("network ", i)})
	}
	if _, ok := q.enqueue(caller{name: "one more network"}); ok {
		t.Errorf("%d wait, want no more than %d", q.count(), maxWaiting)
	}
	known := mustEnqueue(t, q, caller{"alice", true})
	q.release()
	if !isReady(known) {
		t.Error("the known browser waits for the attempts of others")
	}
}

func TestKnownAndOtherBrowsersAlternate(t *testing.T) {
	t.Parallel()
	q := newTurns(1)
	mustEnqueue(t, q, caller{name: "first"})
	known, others := fill(q, caller{"mallory", true}), fill(q, caller{name: "network"})
	if len(known) != maxWaitingKnownOf || len(others) != maxWaitingOf {
		t.Fatalf("%d and %d wait, want %d and %d", len(known), len(others), maxWaitingKnownOf, maxWaitingOf)
	}
	for i := range 2 * maxWaitingKnownOf {
		q.release()
		if got := isReady(known[i/2]); !got {
			t.Errorf("turn %d did not go to a known browser", i+1)
		}
		if got, want := isReady(others[i/2]), i%2 == 1; got != want {
			t.Errorf("after %d turns another browser has its: %v, want %v", i+1, got, want)
		}
	}
	q.release()
	if !isReady(others[maxWaitingKnownOf]) {
		t.Error("a turn is unused when no known browser waits")
	}
}

func TestNetworkWaitsForItsOwnAttempts(t *testing.T) {
	t.Parallel()
	q := newTurns(1)
	mustEnqueue(t, q, caller{name: "first"})
	flood := fill(q, caller{name: "flood"})
	if len(flood) != maxWaitingOf {
		t.Fatalf("one network has %d places, want %d", len(flood), maxWaitingOf)
	}
	one := mustEnqueue(t, q, caller{name: "other network"})
	q.release()
	q.release()
	if !isReady(one) {
		t.Error("the other network waits for more than one attempt of the first")
	}
	if !isReady(flood[0]) || isReady(flood[1]) {
		t.Error("the first network did not get its one turn")
	}
	// An attempt leaves room for another one.
	mustEnqueue(t, q, caller{name: "flood"})
	if _, ok := q.enqueue(caller{name: "flood"}); ok {
		t.Error("one network has more than its share")
	}
}

func TestAbandonedTurnGoesToTheNext(t *testing.T) {
	t.Parallel()
	q := newTurns(1)
	held := mustEnqueue(t, q, caller{name: "first"})
	second, third := mustEnqueue(t, q, caller{name: "a"}), mustEnqueue(t, q, caller{name: "b"})
	q.abandon(second) // while it waits
	q.abandon(held)   // when it has its turn
	if isReady(second) || !isReady(third) {
		t.Error("the turn did not go to the attempt that still waits")
	}
	q.release()
	if q.count() != 0 || q.free != 1 || len(q.others.of) != 0 || len(q.others.order) != 0 {
		t.Errorf("after all have left the queue is %+v", q)
	}
}

func TestFullQueueRefusesImmediately(t *testing.T) {
	t.Parallel()
	h := newHasher(1)
	mustEnqueue(t, h.turns, caller{name: "holds the only turn"})
	fill(h.turns, caller{name: "network"})
	// The context never ends, and no turn is given back: were it to wait the test would not end.
	err := h.inTurn(context.Background(), caller{name: "network"}, func() error { return errors.New("it ran") })
	if !errors.Is(err, ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	ended, end := context.WithCancel(context.Background())
	end()
	if err := h.inTurn(ended, caller{name: "other"}, func() error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	if n := h.turns.count(); n != maxWaitingOf {
		t.Errorf("%d wait after one has left, want %d", n, maxWaitingOf)
	}
}
