package identity

// HoldTurns takes every turn to compute a password hash until release.
func (p *People) HoldTurns() (release func()) {
	t := p.hasher.turns
	t.mu.Lock()
	held := t.free
	t.free = 0
	t.mu.Unlock()
	return func() {
		for range held {
			t.release()
		}
	}
}
