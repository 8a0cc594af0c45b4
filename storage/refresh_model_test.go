package storage_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
)

// This file has the rotation of refresh tokens as a small state model, checked exhaustively: every interleaving of the
// statements of the store, by concurrent requests, with lost responses, replays by an attacker, revocation, expiry and
// cleanup.
//
// These invariants hold in every state that can be reached:
//
//	one      At most one token of a grant can be rotated. (The grant row is the refresh state, so this is structural; the
//	         model checks that no response issues another.)
//	same     Every use of the same token gets the same successor, or none.
//	ended    A grant that is revoked or expired never rotates, and never becomes active again.
//	replay   A replay outside the grace period that completes leaves no active token: the grant is revoked.
//	used     After the successor was used, the previous token is refused: the grace period has ended.
//	honest   A client that sends its token again inside the grace period, because the response was lost or it sent the
//	         token twice, never loses its grant. An honest client uses a successor only when no request with the previous
//	         token is in flight.
//	outage   A time in which the database was unavailable does not count: a client whose grace period it covers keeps its
//	         grant.
//	bound    However long the outage, a retry after the limit gets no successor.
//	invalid  A request that is otherwise invalid changes nothing. (It fails in the WHERE of every statement; it is
//	         one of the steps of TestStoreMatchesRefreshModel, which compares the real store with the model.)

// The model's time advances in steps of half a grace period.
const (
	graceSteps          = 2
	requestTimeoutSteps = 2 // a request that takes longer times out (GATEHOUSE_REQUEST_TIMEOUT)
	limitSteps          = graceSteps + 1
	// Cleanup clears the sealed successor of a rotation longer ago than that.
	clearSteps = limitSteps + requestTimeoutSteps
	maxTokens  = 3
)

// family is the grant's row. Tokens are numbers in the order in which they were issued; 0 is the first.
type family struct {
	current, previous int8 // previous -1: none
	issued            int8 // tokens issued so far
	age               int8 // steps since the rotation
	outage            int8 // of those, steps in which the database was unavailable
	sealed            bool // the successor can still be decrypted with the previous token
	revoked, expired  bool
	limit             int8 // maximum steps after a rotation in which a retry gets the successor, including outages
}

func (f family) active() bool { return !f.revoked && !f.expired }

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
	received int8
	waited   int8 // steps since it arrived
	lost     bool // the response never arrives
	attacker bool
}

// update is the first statement of storage.RotateRefreshToken.
func (f *family) update(token int8) (updated bool) {
	if !f.active() || f.current != token {
		return false
	}
	f.previous, f.current, f.issued, f.age, f.outage, f.sealed = f.current, f.issued, f.issued+1, 0, 0, true
	return true
}

// classify is the read that determines why the update changed nothing. The request arrived waited steps ago.
func (f family) classify(token, waited int8) outcome {
	switch {
	case !f.active() || f.current == token:
		return refused
	case f.previous == token && f.sealed && !f.late(waited):
		return retried
	}
	return reused
}

// late reports whether a retry is outside the grace period.
func (f family) late(waited int8) bool {
	age := f.age - waited
	return age >= f.limit || age-f.outage >= graceSteps
}

// clear is storage.ClearSealedSuccessors.
func (f *family) clear() {
	if f.age > clearSteps {
		f.sealed = false
	}
}

// modelState is the complete state at one time: the row, the requests in flight, and the token that the client has.
type modelState struct {
	family      family
	requests    [3]request
	clientToken int8 // the token that the honest client has
	elapsed     int8 // steps so far
	honest      bool // there is no attacker, no revocation, and nothing expires
	late        bool // the client repeated a request outside the grace period
}

// step advances one request by one statement.
func (s modelState) step(i int) modelState {
	r := &s.requests[i]
	switch r.at {
	case 1:
		if s.family.update(r.token) {
			r.out, r.received, r.at = rotated, s.family.current, 4
		} else {
			r.at = 2
		}
	case 2:
		switch r.out = s.family.classify(r.token, r.waited); r.out {
		case retried:
			r.received, r.at = s.family.current, 4
		case reused:
			r.at = 3
		default:
			r.at = 4
		}
	case 3:
		s.family.revoked = true
		r.at = 4
	}
	return s
}

// successors returns all states one event later.
func (s modelState) successors() (out []modelState) {
	for i, r := range s.requests[:s.slots()] {
		switch {
		case r.at == 0: // the client may send its token, an attacker any token
			if s.clientMaySend(s.clientToken) {
				for _, lost := range []bool{false, true} {
					n := s
					n.requests[i] = request{token: s.clientToken, at: 1, lost: lost}
					if s.family.previous == s.clientToken && s.family.late(0) {
						n.late = true // the client waited for longer than the grace period: no guarantee holds
					}
					out = append(out, n)
				}
			}
			if !s.honest {
				for token := range min(s.family.issued, maxTokens) {
					n := s
					n.requests[i] = request{token: token, at: 1, attacker: true}
					out = append(out, n)
				}
			}
		case r.at < 4:
			out = append(out, s.step(i))
		default: // the response arrives or is lost, and the slot is free again
			n := s
			n.requests[i] = request{}
			if !r.attacker && !r.lost && (r.out == rotated || r.out == retried) && r.token == s.clientToken {
				n.clientToken = r.received
			}
			out = append(out, n)
		}
	}
	out = append(out, s.afterStep()...)
	n := s
	n.family.clear()
	out = append(out, n)
	if !s.honest {
		n = s
		n.family.revoked = true
		out = append(out, n)
		n = s
		n.family.expired = true
		out = append(out, n)
	}
	return out
}

// afterStep returns the states one step of time later, with the database available or not.
func (s modelState) afterStep() (out []modelState) {
	for _, outage := range []int8{0, 1} {
		if s.elapsed >= 6 || s.family.outage+outage > 1 {
			break
		}
		n := s
		n.elapsed++
		n.family.age++
		n.family.outage += outage
		for i := range n.requests {
			r := &n.requests[i]
			if r.at == 0 || r.at == 4 {
				continue
			}
			if r.waited++; r.waited > requestTimeoutSteps || outage > 0 { // without the database the response is 503
				r.at, r.out, r.lost = 4, pending, true
			}
		}
		out = append(out, n)
	}
	return out
}

// canonical returns the same state for all that differ only in irrelevant values.
func (s modelState) canonical() modelState {
	s.family.age = min(s.family.age, clearSteps+1)
	if s.family.age-requestTimeoutSteps >= limitSteps {
		s.family.outage = 0 // no longer relevant
	}
	for i := range s.requests {
		if s.requests[i].at == 4 {
			s.requests[i].waited = 0
		}
	}
	slices.SortFunc(s.requests[:s.slots()], func(a, b request) int { return cmp.Compare(a.key(), b.key()) })
	return s
}

func (r request) key() (n int) {
	for _, part := range []int8{r.at, r.token, int8(r.out), r.received, r.waited} {
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

// slots returns the maximum number of concurrent requests: with an attacker two, of the client, the attacker or both.
func (s modelState) slots() int {
	if s.honest {
		return 3
	}
	return 2
}

// clientMaySend reports whether an honest client would send the token: fewer than maxTokens were issued, and no request
// with another token is in flight.
func (s modelState) clientMaySend(token int8) bool {
	if s.family.issued >= maxTokens {
		return false
	}
	for _, r := range s.requests {
		if r.at > 0 && !r.attacker && r.token != token {
			return false
		}
	}
	return true
}

// violation returns the invariant that does not hold after an event, or "".
func violation(before, after modelState) string {
	switch {
	case before.family.revoked && !after.family.revoked, before.family.expired && !after.family.expired:
		return "ended: a grant became active again"
	case !before.family.active() && after.family.current != before.family.current:
		return "ended: an ended grant was rotated"
	case after.honest && !after.late && after.family.revoked:
		return "honest: a client that retried inside the grace period lost its grant"
	}
	for i, r := range after.requests {
		if r.at != 4 {
			continue
		}
		isRetry := r.out == retried && !slices.Contains(before.requests[:], r)
		if isRetry && before.family.current != r.token+1 {
			return "used: a token was accepted although its successor was used"
		} else if isRetry && before.family.age-r.waited >= before.family.limit {
			return "bound: a rotation was repeated after the limit"
		}
		if r.out == reused && !after.family.revoked {
			return "replay: reuse was detected, but the grant is active"
		}
		if (r.out == rotated || r.out == retried) && r.received != r.token+1 {
			return "one: a response has a token that is not the successor"
		}
		isOld := r.token != before.family.current && r.token != before.family.previous
		isNew := !slices.Contains(before.requests[:], r)
		if before.family.active() && isNew && r.attacker && isOld && !after.family.revoked && r.out != pending {
			return "replay: an old token was used, but the grant is active"
		}
		for j, other := range after.requests {
			differs := other.received != r.received && r.received > 0 && other.received > 0
			if j != i && other.at == 4 && other.token == r.token && differs {
				return "same: one token has two successors"
			}
		}
	}
	return ""
}

// TestRefreshModelHoldsInEveryInterleaving explores every state that can be reached, with and without an attacker.
func TestRefreshModelHoldsInEveryInterleaving(t *testing.T) {
	t.Parallel()
	for name, honest := range map[string]bool{"honest client": true, "attacker": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outcomes := exploreModel(t, honest)
			t.Logf("requests by outcome: rotated %d, retried %d, refused %d, reused %d",
				outcomes[rotated], outcomes[retried], outcomes[refused], outcomes[reused])
			if outcomes[rotated] == 0 || outcomes[retried] == 0 || !honest && outcomes[reused] == 0 {
				t.Error("the model does not reach every outcome")
			}
		})
	}
}

// exploreModel checks the invariants in every state that can be reached, and returns how often each outcome occurs.
func exploreModel(t *testing.T, honest bool) map[outcome]int {
	t.Helper()
	start := modelState{family: family{previous: -1, issued: 1, limit: limitSteps}, honest: honest}
	seen := map[modelState]modelState{start: start} // the value is the state from which each was reached
	queue := []modelState{start}
	outcomes := map[outcome]int{}
	for len(queue) > 0 {
		w := queue[0]
		queue = queue[1:]
		for _, next := range w.successors() {
			violated := violation(w, next)
			next = next.canonical()
			if violated != "" {
				t.Fatalf("violated invariant %s\n%s%+v\n", violated, history(seen, w), next)
			}
			if len(seen) > 3_000_000 {
				t.Fatalf("the model has %d states, want at most 3000000; make it smaller", len(seen))
			}
			if _, found := seen[next]; !found {
				seen[next] = w
				queue = append(queue, next)
				for _, r := range next.requests {
					outcomes[r.out]++
				}
			}
		}
	}
	t.Logf("%d states", len(seen))
	return outcomes
}

// history returns the states from the first to w, one per line.
func history(seen map[modelState]modelState, w modelState) (out string) {
	for {
		out = fmt.Sprintf("%+v\n", w) + out
		before := seen[w]
		if before == w {
			return out
		}
		w = before
	}
}
