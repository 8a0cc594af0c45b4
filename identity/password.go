package identity

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sync/semaphore"
	"golang.org/x/text/unicode/norm"

	"gatehouse/identity/passwordhash"
	"gatehouse/storage"
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
// memory and cores from the token endpoints. A slot has the memory of a hash of Gatehouse; hashes of other systems may
// need more, and wait for it too. Hashes of client secrets have a separate slot, so that users and clients do not
// block each other, and share the memory.
type hasher struct {
	slots   *slots
	secrets *slots              // of clients
	memory  *semaphore.Weighted // bytes
	cost    PasswordCost
	dummy   string // a hash that no password has, verified for users who do not exist
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
	memory := max(int64(concurrency)*cost.bytes(), passwordhash.MaxMemory)
	h := &hasher{
		slots: newSlots(concurrency, 0), secrets: newSlots(1, 0), memory: semaphore.NewWeighted(memory), cost: cost,
		dummy: cost.phc(salt, sum),
	}
	h.secrets.others.maxPerCaller = maxSecretsWaiting
	return h
}

// maxSecretsWaiting is how many hashes of client secrets wait for one caller of RunSecretHash.
const maxSecretsWaiting = 4

// RunSecretHash calls fn, which computes the hash of a client's secret, as soon as no other hash of a secret is being
// computed and that many bytes of the memory for hashes of passwords and secrets are free. Callers are served in
// rotation. It returns the error of fn, or ErrBusy when too many attempts of the caller wait.
func (u *Users) RunSecretHash(ctx context.Context, from string, memory int64, fn func() error) error {
	return u.hasher.secrets.run(ctx, caller{name: from}, func() (err error) {
		if busy := u.hasher.withMemory(ctx, memory, func() { err = fn() }); busy != nil {
			return busy
		}
		return err
	})
}

// runInSlot does the same as run of the slots.
func (h *hasher) runInSlot(ctx context.Context, caller caller, fn func() error) error {
	return h.slots.run(ctx, caller, fn)
}

// QueueLength returns how many passwords wait to be verified.
func (u *Users) QueueLength() int { return u.hasher.slots.waiting() }

// hash returns the hash of a new password as a PHC string. It returns ErrBusy when too many wait.
func (h *hasher) hash(ctx context.Context, password string) (hash string, err error) {
	err = h.runInSlot(ctx, caller{name: "new password"}, func() error {
		hash, err = h.compute(ctx, password)
		return err
	})
	return hash, err
}

// compute does the same as hash. Call it in a slot.
func (h *hasher) compute(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltSize)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	var sum []byte
	err := h.withMemory(ctx, h.cost.bytes(), func() {
		sum = h.cost.argon2().Sum(norm.NFC.String(password), salt, hashSize)
	})
	return h.cost.phc(salt, sum), err
}

// withMemory calls fn when that many bytes are free. It returns ErrBusy when that takes longer than the context's
// deadline.
func (h *hasher) withMemory(ctx context.Context, bytes int64, fn func()) error {
	if err := h.memory.Acquire(ctx, bytes); errors.Is(err, context.DeadlineExceeded) {
		return ErrBusy
	} else if err != nil {
		return err
	}
	defer h.memory.Release(bytes)
	fn()
	return nil
}

// argon2 returns the parameters of Argon2id.
func (c PasswordCost) argon2() passwordhash.Argon2Cost {
	return passwordhash.Argon2Cost{Memory: c.Memory, Passes: c.Passes, Lanes: argonLanes}
}

// bytes returns how much memory the computation of a hash needs.
func (c PasswordCost) bytes() int64 { return int64(c.Memory) << 10 }

// phc returns the hash and its cost in PHC string format.
func (c PasswordCost) phc(salt, sum []byte) string {
	return passwordhash.FormatArgon2id(c.argon2(), salt, sum)
}

// verify reports whether password has the stored hash. An empty hash, of a user who does not exist or has no password,
// takes the same time and never matches. Call it in a slot.
func (h *hasher) verify(ctx context.Context, stored storage.Password, password string) (bool, error) {
	hash := stored.Hash
	if hash == "" {
		hash = h.dummy
	}
	parsed, err := passwordhash.Parse(hash)
	if err != nil {
		return false, fmt.Errorf("stored password hash: %w", err)
	}
	if len(password) > maxPassword {
		password = "" // never matches, and takes no longer than any other
	}
	if stored.Kind == "" { // other systems hash what the browser sends
		password = norm.NFC.String(password)
	}
	matches := false
	err = h.withMemory(ctx, int64(parsed.Memory()), func() { matches = parsed.Verify(password) })
	return matches && stored.Hash != "" && password != "", err
}

// password returns the password hash of a user, the zero Password when there is none or it has expired.
func (u *Users) password(ctx context.Context, userID string) (storage.Password, error) {
	stored, err := u.store.Password(ctx, userID)
	if errors.Is(err, storage.ErrNotFound) || stored.ExpiresAt != nil && !u.store.Now().Before(*stored.ExpiresAt) {
		return storage.Password{}, nil
	}
	return stored, err
}

// verifyPassword reports whether a user may sign in with a password. The first time that it is correct, it replaces the
// hash of another system, unless that is of a part of the password only: the rest may be wrong. An incorrect password
// then costs a hash of Gatehouse too, so that a fast hash of another system is not noticed. Call it in a slot.
func (u *Users) verifyPassword(
	ctx context.Context, user storage.User, stored storage.Password, password string,
) (bool, error) {
	for {
		matches, err := u.hasher.verify(ctx, stored, password)
		if err != nil || stored.Kind == "" {
			return matches && user.DisabledAt == nil, err
		}
		hash, err := u.hasher.compute(ctx, password)
		if err != nil || !matches || user.DisabledAt != nil {
			return false, err
		}
		if !passwordhash.Kind(stored.Kind).ReadsAll(password) {
			return true, nil
		}
		if err := u.store.UpgradePassword(ctx, stored, hash); !errors.Is(err, storage.ErrConflict) {
			return err == nil, err
		}
		// The password has changed: by another sign-in, whose hash matches, or to another one.
		if stored, err = u.password(ctx, user.ID); err != nil {
			return false, err
		}
	}
}
