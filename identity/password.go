package identity

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/text/unicode/norm"

	"gatehouse/identity/passwordhash"
)

// PasswordCost is the cost of new Argon2id hashes. Stored hashes have their own.
type PasswordCost struct {
	Memory uint32 // KiB
	Passes uint32
}

// defaultCost is the first choice of the OWASP password storage guidance, with one lane.
var defaultCost = PasswordCost{Memory: 19 * 1024, Passes: 2}

const (
	argonLanes  = 1
	saltSize    = 16
	hashSize    = 32
	maxPassword = 1024 // bytes
)

// ErrBusy is returned when too many passwords wait to be verified.
var ErrBusy = errors.New("too many passwords wait to be verified")

// hasher computes password hashes with bounded concurrency: a burst of sign-ins waits for slots instead of taking all
// memory and cores from the token endpoints.
type hasher struct {
	slots *slots
	cost  PasswordCost
	dummy string // a hash that no password has, verified for users who do not exist
}

func newHasher(concurrency int, cost PasswordCost) *hasher {
	if concurrency == 0 {
		concurrency = max(1, runtime.GOMAXPROCS(0)/2)
	}
	if cost == (PasswordCost{}) {
		cost = defaultCost
	}
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails: the runtime ends the program instead
	sum := make([]byte, hashSize)
	_, _ = rand.Read(sum)
	return &hasher{slots: newSlots(concurrency), cost: cost, dummy: cost.phc(salt, sum)}
}

// runInSlot calls fn as soon as it has acquired a slot. It returns ErrBusy when that takes longer than the context's
// deadline, and immediately when the queue or the caller's share of it is full.
func (h *hasher) runInSlot(ctx context.Context, caller caller, fn func() error) error {
	w, ok := h.slots.enqueue(caller)
	if !ok {
		return ErrBusy
	}
	select {
	case <-w.ready:
	case <-ctx.Done():
		h.slots.abandon(w)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return ErrBusy
		}
		return ctx.Err()
	}
	defer h.slots.release()
	return fn()
}

// QueueLength returns how many passwords wait to be verified.
func (u *Users) QueueLength() int { return u.hasher.slots.waiting() }

// hash returns the hash of a new password as a PHC string. It returns ErrBusy when too many wait.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltSize)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	var sum []byte
	err := h.runInSlot(ctx, caller{name: "new password"}, func() error {
		sum = h.cost.argon2().Sum(norm.NFC.String(password), salt, hashSize)
		return nil
	})
	return h.cost.phc(salt, sum), err
}

// argon2 returns the parameters of Argon2id.
func (c PasswordCost) argon2() passwordhash.Argon2Cost {
	return passwordhash.Argon2Cost{Memory: c.Memory, Passes: c.Passes, Lanes: argonLanes}
}

// phc returns the hash and its cost in PHC string format.
func (c PasswordCost) phc(salt, sum []byte) string {
	return passwordhash.FormatArgon2id(c.argon2(), salt, sum)
}

// verify reports whether password has the hash. An empty hash, of a user who does not exist or has no password, takes
// the same time and never matches. Call it in a slot.
func (h *hasher) verify(hash, password string) (bool, error) {
	hasHash := hash != ""
	if !hasHash {
		hash = h.dummy
	}
	parsed, err := passwordhash.Parse(hash)
	if err != nil {
		return false, fmt.Errorf("stored password hash: %w", err)
	}
	if len(password) > maxPassword {
		password = "" // never matches, and takes no longer than any other
	}
	return parsed.Verify(norm.NFC.String(password)) && hasHash && password != "", nil
}
