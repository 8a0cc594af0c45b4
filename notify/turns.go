package notify

import "sync"

// turns lets the deliveries to one recipient be attempted one after another, in the order of the calls of next.
type turns struct {
	mu   sync.Mutex
	last map[string]chan struct{} // by recipient: closed when the last delivery was attempted
}

// next returns a channel that is closed when the previous delivery to a recipient was attempted, nil when there is
// none, and the function to call when this one was.
func (t *turns) next(recipient string) (previous <-chan struct{}, finished func()) {
	if recipient == "" {
		return nil, func() {}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == nil {
		t.last = map[string]chan struct{}{}
	}
	if before, ok := t.last[recipient]; ok {
		previous = before
	}
	own := make(chan struct{})
	t.last[recipient] = own
	return previous, func() {
		close(own)
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.last[recipient] == own {
			delete(t.last, recipient)
		}
	}
}
