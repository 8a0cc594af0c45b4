package identity

import (
	"context"
	"errors"
	"slices"

	"gatehouse/storage"
)

// HoldSlots acquires every slot for computing a password hash until release.
func (p *People) HoldSlots() (release func()) {
	t := p.hasher.slots
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

// CountFailure counts a failed sign-in of an unknown browser without computing a password hash.
func (p *People) CountFailure(ctx context.Context, name string) error {
	k, err := key(name)
	if err != nil {
		return err
	}
	user, err := p.store.UserByKey(ctx, k)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	a := p.attempt(ctx, k, user, Device{})
	_, err = p.store.CountSignInFailures(ctx, slices.Concat(a.visible, a.hidden), a.names)
	return err
}
