package identity

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// The maximum numbers of attempts that wait for a slot. A waiting attempt costs no more than its request.
const (
	maxWaiting          = 512 // of browsers that are not known to the account
	maxWaitingPerSubnet = 64  // of those, from one subnet
	maxWaitingKnown     = 128 // of browsers in which the user signed in before
	maxKnownPerAccount  = 8   // of those, for one account
)

// caller identifies the queue and the share of it that an attempt belongs to.
type caller struct {
	name  string // the subnet or, of a known browser, the account
	known bool   // the user signed in with this browser before
}

// slots limits how many password hashes are computed, or old servers called, concurrently. Known browsers have a
// separate queue. It gets every second free slot while attempts wait in both queues, so that a flood from unknown
// browsers does not keep known ones waiting. Within a queue the callers are served in rotation, so that a caller with
// many attempts delays only its own.
type slots struct {
	perCaller int // how many slots a caller has at most; 0: all

	mu        sync.Mutex
	free      int            // 0 while attempts wait, unless their callers have all perCaller slots
	running   map[caller]int // slots by caller, if perCaller is set
	known     queue
	others    queue
	lastKnown bool // the last slot went to a known browser
}

// waiter is an attempt that was queued; ready is closed when it acquires its slot.
type waiter struct {
	caller
	ready   chan struct{}
	granted bool
}

func newSlots(n, perCaller int) *slots {
	return &slots{
		free: n, perCaller: perCaller, running: map[caller]int{},
		known:  queue{max: maxWaitingKnown, maxPerCaller: maxKnownPerAccount, attempts: map[string][]*waiter{}},
		others: queue{max: maxWaiting, maxPerCaller: maxWaitingPerSubnet, attempts: map[string][]*waiter{}},
	}
}

// queueOf returns the queue in which a caller's attempts wait.
func (s *slots) queueOf(c caller) *queue {
	if c.known {
		return &s.known
	}
	return &s.others
}

// run calls fn as soon as it has acquired a slot. It returns ErrBusy when that takes longer than the context's
// deadline, and immediately when the queue or the caller's share of it is full.
func (s *slots) run(ctx context.Context, caller caller, fn func() error) error {
	w, ok := s.enqueue(caller)
	if !ok {
		return ErrBusy
	}
	select {
	case <-w.ready:
	case <-ctx.Done():
		s.abandon(w)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return ErrBusy
		}
		return ctx.Err()
	}
	defer s.release(caller)
	return fn()
}

// mayRun reports whether a caller has fewer slots than it may have.
func (s *slots) mayRun(c caller) bool { return s.perCaller == 0 || s.running[c] < s.perCaller }

// grant passes a free slot to an attempt.
func (s *slots) grant(w *waiter) {
	s.free--
	if s.perCaller > 0 {
		s.running[w.caller]++
	}
	w.granted = true
	close(w.ready)
}

// enqueue acquires a slot when one is free for the caller and otherwise appends the attempt to the queue. ok is false
// when the queue or the caller's share of it is full.
func (s *slots) enqueue(c caller) (w *waiter, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w = &waiter{caller: c, ready: make(chan struct{})}
	if s.free > 0 && s.mayRun(c) {
		s.grant(w)
		return w, true
	}
	return w, s.queueOf(c).push(w)
}

// release passes the slot of a caller to the next waiting attempt that may run, or frees it.
func (s *slots) release(c caller) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	if s.running[c]--; s.running[c] <= 0 {
		delete(s.running, c)
	}
	for s.free > 0 {
		first, second := &s.known, &s.others
		if s.lastKnown {
			first, second = second, first
		}
		next := first.pop(s.mayRun)
		if next == nil {
			next = second.pop(s.mayRun)
		}
		if next == nil {
			return
		}
		s.lastKnown = next.known
		s.grant(next)
	}
}

// abandon removes an attempt from its queue, or releases the slot that it has acquired in the meantime.
func (s *slots) abandon(w *waiter) {
	s.mu.Lock()
	granted := w.granted
	if !granted {
		s.queueOf(w.caller).remove(w)
	}
	s.mu.Unlock()
	if granted {
		s.release(w.caller)
	}
}

// waiting returns how many attempts wait.
func (s *slots) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known.waiting + s.others.waiting
}

// queue has the attempts of each caller in the order of arrival, and the callers in the order in which they are
// served.
type queue struct {
	max, maxPerCaller int
	waiting           int
	attempts          map[string][]*waiter
	order             []string // callers with waiting attempts
}

// push adds an attempt, or returns false when the queue or the caller's share is full.
func (q *queue) push(w *waiter) bool {
	if q.waiting >= q.max || len(q.attempts[w.name]) >= q.maxPerCaller {
		return false
	}
	if len(q.attempts[w.name]) == 0 {
		q.order = append(q.order, w.name)
	}
	q.attempts[w.name] = append(q.attempts[w.name], w)
	q.waiting++
	return true
}

// pop removes and returns the oldest attempt of the caller that is served next, of those that may run, or nil.
func (q *queue) pop(mayRun func(caller) bool) *waiter {
	for i, name := range q.order {
		w := q.attempts[name][0]
		if !mayRun(w.caller) {
			continue
		}
		q.order = append(slices.Delete(q.order, i, i+1), name)
		q.remove(w)
		return w
	}
	return nil
}

// remove removes an attempt that is in the queue.
func (q *queue) remove(w *waiter) {
	q.waiting--
	q.attempts[w.name] = slices.DeleteFunc(q.attempts[w.name], func(o *waiter) bool { return o == w })
	if len(q.attempts[w.name]) == 0 {
		delete(q.attempts, w.name)
		q.order = slices.DeleteFunc(q.order, func(name string) bool { return name == w.name })
	}
}
