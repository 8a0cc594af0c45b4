package identity

import (
	"slices"
	"sync"
)

// How many attempts may wait for a turn; each costs only its request.
const (
	maxWaiting        = 512 // of browsers that are not known to the account
	maxWaitingOf      = 64  // of those, from one network
	maxWaitingKnown   = 128 // of browsers in which the user signed in before
	maxWaitingKnownOf = 8   // of those, for one account
)

// caller is what an attempt is queued by.
type caller struct {
	name  string // the network or, of a known browser, the account
	known bool   // the user signed in with this browser before
}

// turns gives out a fixed number of turns. Known browsers have a queue of their own that gets every second turn while both
// queues have attempts in them, so that no number of attempts of others makes a known browser wait. Within a queue the callers take
// turns, so that one that sends many attempts waits for them itself.
type turns struct {
	mu        sync.Mutex
	free      int // turns that are not taken
	known     queue
	others    queue
	lastKnown bool // the last turn went to a known browser
}

// turn is an attempt that waits; ready is closed when its turn has come.
type turn struct {
	caller
	ready   chan struct{}
	granted bool
}

func newTurns(n int) *turns {
	return &turns{
		free:   n,
		known:  queue{most: maxWaitingKnown, mostOf: maxWaitingKnownOf, of: map[string][]*turn{}},
		others: queue{most: maxWaiting, mostOf: maxWaitingOf, of: map[string][]*turn{}},
	}
}

func (t *turns) queueOf(c caller) *queue {
	if c.known {
		return &t.known
	}
	return &t.others
}

// enqueue takes a turn when one is free, and otherwise queues for one. ok is false when the queue, or the caller's share of
// it, is full.
func (t *turns) enqueue(c caller) (w *turn, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w = &turn{caller: c, ready: make(chan struct{})}
	if t.free > 0 { // nothing waits
		t.free--
		w.grant()
		return w, true
	}
	return w, t.queueOf(c).push(w)
}

// release gives a turn back, to the next that waits.
func (t *turns) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	first, second := &t.known, &t.others
	if t.lastKnown {
		first, second = second, first
	}
	next := first.pop()
	if next == nil {
		next = second.pop()
	}
	if next == nil {
		t.free++
		return
	}
	t.lastKnown = next.known
	next.grant()
}

// abandon takes an attempt out of its queue, or gives its turn back when it has come by now.
func (t *turns) abandon(w *turn) {
	t.mu.Lock()
	granted := w.granted
	if !granted {
		t.queueOf(w.caller).remove(w)
	}
	t.mu.Unlock()
	if granted {
		t.release()
	}
}

func (t *turns) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known.waiting + t.others.waiting
}

func (w *turn) grant() {
	w.granted = true
	close(w.ready)
}

// queue has the attempts of each caller in the order in which they came, and the callers in the order of their turns.
type queue struct {
	most, mostOf int
	waiting      int
	of           map[string][]*turn
	order        []string // callers with waiting attempts
}

func (q *queue) push(w *turn) bool {
	if q.waiting >= q.most || len(q.of[w.name]) >= q.mostOf {
		return false
	}
	if len(q.of[w.name]) == 0 {
		q.order = append(q.order, w.name)
	}
	q.of[w.name] = append(q.of[w.name], w)
	q.waiting++
	return true
}

// pop returns the first attempt of the caller whose turn it is, or nil.
func (q *queue) pop() *turn {
	if len(q.order) == 0 {
		return nil
	}
	name := q.order[0]
	w := q.of[name][0]
	q.order = append(q.order[1:], name)
	q.remove(w)
	return w
}

// remove takes an attempt out that is in the queue.
func (q *queue) remove(w *turn) {
	q.waiting--
	q.of[w.name] = slices.DeleteFunc(q.of[w.name], func(o *turn) bool { return o == w })
	if len(q.of[w.name]) == 0 {
		delete(q.of, w.name)
		q.order = slices.DeleteFunc(q.order, func(name string) bool { return name == w.name })
	}
}
