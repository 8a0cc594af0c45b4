package identity

import (
	"context"
	"errors"
	"slices"

	"gatehouse/identity/passwordhash"
	"gatehouse/storage"
)

// AcquireAllSlots acquires every slot for computing a password hash; release releases them.
func (u *Users) AcquireAllSlots() (release func()) {
	t := u.hasher.slots
	t.mu.Lock()
	acquired := t.free
	t.free = 0
	t.mu.Unlock()
	return func() {
		for range acquired {
			t.release(caller{})
		}
	}
}

// OldServerQueue returns how many sign-ins wait to call the old server.
func (u *Users) OldServerQueue() int { return u.oldServer.slots.waiting() }

// OldServerFree returns how many more sign-ins can call the old server.
func (u *Users) OldServerFree() int {
	u.oldServer.slots.mu.Lock()
	defer u.oldServer.slots.mu.Unlock()
	return u.oldServer.slots.free
}

// SecretsWaiting returns how many hashes of client secrets wait for a slot.
func (u *Users) SecretsWaiting() int { return u.hasher.secrets.waiting() }

// SecretSlotsFree returns how many more hashes of client secrets can be computed.
func (u *Users) SecretSlotsFree() int {
	u.hasher.secrets.mu.Lock()
	defer u.hasher.secrets.mu.Unlock()
	return u.hasher.secrets.free
}

// CountFailure counts a failed sign-in of an unknown browser without computing a password hash.
func (u *Users) CountFailure(ctx context.Context, name string) error {
	k, err := key(name)
	if err != nil {
		return err
	}
	user, err := u.store.UserByKey(ctx, k)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	a := u.attempt(ctx, k, user, Device{})
	_, err = u.store.CountSignInFailures(ctx, slices.Concat(a.visible, a.hidden), a.names)
	return err
}

// AcquireAllMemory acquires the memory for computing password hashes; release releases it.
func (u *Users) AcquireAllMemory(ctx context.Context) (release func(), err error) {
	const all = passwordhash.MaxMemory // of the few slots of a test
	return func() { u.hasher.memory.Release(all) }, u.hasher.memory.Acquire(ctx, all)
}
