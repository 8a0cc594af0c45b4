package identity

import (
	"context"
	"errors"
	"slices"

	"gatehouse/storage"
)

// AcquireAllSlots acquires every slot for computing a password hash; release releases them.
func (p *Users) AcquireAllSlots() (release func()) {
	t := p.hasher.slots
	t.mu.Lock()
	acquired := t.free
	t.free = 0
	t.mu.Unlock()
	return func() {
		for range acquired {
			t.release()
		}
	}
}

// CountFailure counts a failed sign-in of an unknown browser without computing a password hash.
func (p *Users) CountFailure(ctx context.Context, name string) error {
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
