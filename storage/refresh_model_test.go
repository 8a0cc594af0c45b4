package storage_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
)

// This file has the rotation of refresh tokens as a small state model, checked exhaustively: every interleaving of the
// statements of the store, by two processes, with lost responses, replays by an attacker, revocation, expiry and cleanup.
//
// What must hold, in every state that can be reached:
//
//	one      At most one token of a grant can be rotated. (The grant row is the refresh state, so this is structural; the model
//	         checks that no response ever issues another.)
//	same     Every use of the same token gets the same successor, or none.
//	ended    A grant that is revoked or expired never rotates, and never becomes active again.
//	replay   A replay outside the window that completes leaves no live token: the grant is revoked.
//	used     Once the successor was used, the previous token is refused: the window has ended.
//	honest   A client that sends its token again inside the window, because the response was lost or it sent it twice, never
//	         loses its grant. An honest client uses a successor only when no request with the previous token is in flight.
//	outage   A time in which the database was unavailable does not count: a client whose window it covers keeps its grant.
//	bound    However long the outage, a retry after the limit gets no successor.
//	invalid  A request that is otherwise invalid changes nothing. (It fails in the WHERE of every statement; the walk of
//	         the real store below has it among its steps.)
//
// TestStoreMatchesRefreshModel walks the real store, on both engines, through every sequence of steps and finds it in the
// state of the model after each.

// The model's time goes in steps of half a window.
const (
	windowSteps  = 2
	patience     = 2 // a request that takes longer is given up (GATEHOUSE_REQUEST_TIMEOUT)
	limitSteps   = windowSteps + 1
	clearSteps   = limitSteps + patience // cleanup clears the sealed successor of a rotation longer ago than that
	tokensAtMost = 3
)

// family is the grant's row. Tokens are numbers in the order in which they were made; 0 is the first.
type family struct {
	current, previous int8 // previous -1: none
	made              int8 // tokens made so far
	age               int8 // steps since the rotation
	outage            int8 // of those, steps in which the database was unavailable
	sealed            bool // the successor can still be read with the previous token
	revoked, expired  bool
	limit             int8 // maximum steps after a rotation in which a retry gets the successor, including outages
}

func (l family) live() bool { return !l.revoked && !l.expired }

// outcome is how a use of a token ended.
type outcome int8

const (
	pending outcome = iota
	rotated
	retried
	refused
	reused
)

// request is a use of a token in one process. at is the next statement.
type request struct {
	token    int8
	at       int8 // 0 not sent, 1 UPDATE, 2 read on the writer, 3 revocation, 4 done
	out      outcome
	given    int8
	waited   int8 // how long ago it arrived
	lost     bool // the response never arrives
	attacker bool
}

// update is the first statement of storage.RotateRefreshToken.
func (l *family) update(token int8) (won bool) {
	if !l.live() || l.current != token {
		return false
	}
	l.previous, l.current, l.made, l.age, l.outage, l.sealed = l.current, l.made, l.made+1, 0, 0, true
	return true
}

// classify is the read that finds out why the update changed nothing, for a request that arrived so long ago.
func (l family) classify(token, waited int8) outcome {
	switch {
	case !l.live() || l.current == token:
		return refused
	case l.previous == token && l.sealed && !l.late(waited):
		return retried
	}
	return reused
}

// late reports whether a retry is outside the window.
func (l family) late(waited int8) bool {
	age := l.age - waited
	return age >= l.limit || age-l.outage >= windowSteps
}

// clear is storage.ClearSealedSuccessors.
func (l *family) clear() {
	if l.age > clearSteps {
		l.sealed = false
	}
}

// world is everything at one moment: the row, the requests under way, and what the client has.
type modelWorld struct {
	family   family
	requests [3]request
	hand     int8 // the token that the honest client holds
	ticks    int8
	honest   bool // there is no attacker, no revocation, and nothing expires
	late     bool // the client repeated itself outside the window
}

// step advances one request by one statement.
func (w modelWorld) step(i int) modelWorld {
	r := &w.requests[i]
	switch r.at {
	case 1:
		if w.family.update(r.token) {
			r.out, r.given, r.at = rotated, w.family.current, 4
		} else {
			r.at = 2
		}
	case 2:
		switch r.out = w.family.classify(r.token, r.waited); r.out {
		case retried:
			r.given, r.at = w.family.current, 4
		case reused:
			r.at = 3
		default:
			r.at = 4
		}
	case 3:
		w.family.revoked = true
		r.at = 4
	}
	return w
}

// successors are all worlds one event later.
func (w modelWorld) successors() (out []modelWorld) {
	for i, r := range w.requests[:w.places()] {
		switch {
		case r.at == 0: // sent: by the client with the token it has, by an attacker with any token
			if w.mayUse(w.hand) {
				for _, lost := range []bool{false, true} {
					n := w
					n.requests[i] = request{token: w.hand, at: 1, lost: lost}
					if w.family.previous == w.hand && w.family.late(0) {
						n.late = true // the client waited for longer than the window: no promise holds
					}
					out = append(out, n)
				}
			}
			if !w.honest {
				for token := range min(w.family.made, tokensAtMost) {
					n := w
					n.requests[i] = request{token: token, at: 1, attacker: true}
					out = append(out, n)
				}
			}
		case r.at < 4:
			out = append(out, w.step(i))
		default: // the response arrives, or does not, and the slot is free again
			n := w
			n.requests[i] = request{}
			if !r.attacker && !r.lost && (r.out == rotated || r.out == retried) && r.token == w.hand {
				n.hand = r.given
			}
			out = append(out, n)
		}
	}
	for _, outage := range []int8{0, 1} {
		if w.ticks >= 6 || w.family.outage+outage > 1 {
			break
		}
		n := w
		n.ticks++
		n.family.age++
		n.family.outage += outage
		for i := range n.requests {
			r := &n.requests[i]
			if r.at == 0 || r.at == 4 {
				continue
			}
			if r.waited++; r.waited > patience || outage > 0 { // without the database the response is 503
				r.at, r.out, r.lost = 4, pending, true
			}
		}
		out = append(out, n)
	}
	n := w
	n.family.clear()
	out = append(out, n)
	if !w.honest {
		n = w
		n.family.revoked = true
		out = append(out, n)
		n = w
		n.family.expired = true
		out = append(out, n)
	}
	return out
}

// plain gives worlds that do not differ in anything that matters one form.
func (w modelWorld) plain() modelWorld {
	w.family.age = min(w.family.age, clearSteps+1)
	if w.family.age-patience >= limitSteps {
		w.family.outage = 0 // no longer relevant
	}
	for i := range w.requests {
		if w.requests[i].at == 4 {
			w.requests[i].waited = 0
		}
	}
	slices.SortFunc(w.requests[:w.places()], func(a, b request) int { return cmp.Compare(a.key(), b.key()) })
	return w
}

func (r request) key() (n int) {
	for _, part := range []int8{r.at, r.token, int8(r.out), r.given, r.waited} {
		n = n<<4 | int(part)
	}
	for _, is := range []bool{r.lost, r.attacker} {
		n <<= 1
		if is {
			n++
		}
	}
	return n
}

// places returns the number of concurrent requests: with an attacker there is one of the client and one of the attacker, or two of
// either.
func (w modelWorld) places() int {
	if w.honest {
		return 3
	}
	return 2
}

// mayUse reports whether an honest client would send the token: it is not too many, and no request with an older one is under
// way.
func (w modelWorld) mayUse(token int8) bool {
	if w.family.made >= tokensAtMost {
		return false
	}
	for _, r := range w.requests {
		if r.at > 0 && !r.attacker && r.token != token {
			return false
		}
	}
	return true
}

// broken returns the invariant that does not hold after an event, or "".
func broken(before, after modelWorld) string {
	switch {
	case before.family.revoked && !after.family.revoked, before.family.expired && !after.family.expired:
		return "ended: a grant became active again"
	case !before.family.live() && after.family.current != before.family.current:
		return "ended: an ended grant was rotated"
	case after.honest && !after.late && after.family.revoked:
		return "honest: a client that repeated inside the window lost its grant"
	}
	for i, r := range after.requests {
		if r.at != 4 {
			continue
		}
		if retry := r.out == retried && !slices.Contains(before.requests[:], r); retry && before.family.current != r.token+1 {
			return "used: a token was accepted although its successor was used"
		} else if retry && before.family.age-r.waited >= before.family.limit {
			return "bound: a rotation was repeated after the limit"
		}
		if r.out == reused && !after.family.revoked {
			return "replay: it was detected, and the grant is active"
		}
		if (r.out == rotated || r.out == retried) && r.given != r.token+1 {
			return "one: a response has a token that is not the successor"
		}
		if before.family.live() && !slices.Contains(before.requests[:], r) && r.attacker && r.token != before.family.current && r.token != before.family.previous && !after.family.revoked && r.out != pending {
			return "replay: an old token was used, and the grant is active"
		}
		for j, other := range after.requests {
			if j != i && other.at == 4 && other.token == r.token && other.given != r.given && r.given > 0 && other.given > 0 {
				return "same: one token has two successors"
			}
		}
	}
	return ""
}

// TestRefreshModelHoldsInEveryInterleaving explores every state that can be reached, with and without an attacker.
func TestRefreshModelHoldsInEveryInterleaving(t *testing.T) {
	t.Parallel()
	for _, honest := range []bool{true, false} {
		start := modelWorld{family: family{previous: -1, made: 1, limit: limitSteps}, honest: honest}
		seen := map[modelWorld]modelWorld{start: start} // by which state each was reached
		queue := []modelWorld{start}
		outcomes := map[outcome]int{}
		for len(queue) > 0 {
			w := queue[0]
			queue = queue[1:]
			for _, next := range w.successors() {
				why := broken(w, next)
				next = next.plain()
				if why != "" {
					t.Fatalf("honest alone: %t: %s\n%s", honest, why, history(seen, w)+fmt.Sprintf("%+v\n", next))
				}
				if len(seen) > 3_000_000 {
					t.Fatal("there are more states than this test supports; make the model smaller")
				}
				if _, known := seen[next]; !known {
					seen[next] = w
					queue = append(queue, next)
					for _, r := range next.requests {
						outcomes[r.out]++
					}
				}
			}
		}
		t.Logf("honest alone: %t: %d states, ends: rotated %d, retried %d, refused %d, reused %d", honest, len(seen), outcomes[rotated], outcomes[retried], outcomes[refused], outcomes[reused])
		if outcomes[rotated] == 0 || outcomes[retried] == 0 || !honest && outcomes[reused] == 0 {
			t.Error("the model does not get anywhere")
		}
	}
}

func history(seen map[modelWorld]modelWorld, w modelWorld) (out string) {
	for {
		out = fmt.Sprintf("%+v\n", w) + out
		before := seen[w]
		if before == w {
			return out
		}
		w = before
	}
}
