package passwordhash

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"

	"gatehouse/keyed"
)

const (
	maxArgon2Lanes = 64
	// maxArgon2Work is the memory multiplied by the passes, which takes about two seconds.
	maxArgon2Work = 2 << 30
)

// Argon2Cost has the parameters of Argon2 (RFC 9106 §3.1).
type Argon2Cost struct {
	Memory uint32 // KiB
	Passes uint32
	Lanes  uint8
}

// Sum returns the Argon2id hash of a password. The caller chooses a cost within the bounds.
func (c Argon2Cost) Sum(password string, salt []byte, size uint32) []byte {
	return argon2.IDKey([]byte(password), salt, c.Passes, c.Memory, c.Lanes, size)
}

type argon2Hash struct {
	kind      Kind
	cost      Argon2Cost
	salt, sum []byte
}

// NewArgon2 returns a hash of the kind Argon2id or Argon2i, version 1.3.
func NewArgon2(kind Kind, memory, passes, lanes uint64, salt, sum []byte) (Hash, error) {
	if err := checkSizes(salt, sum); err != nil {
		return nil, err
	}
	if err := checkMemory(memory << 10); err != nil {
		return nil, err
	}
	switch {
	case kind != Argon2id && kind != Argon2i:
		return nil, ErrUnknown
	case passes == 0 || lanes == 0 || lanes > maxArgon2Lanes || memory < 8*lanes:
		return nil, errors.New("the password hash has parameters that Argon2 does not allow")
	case passes > maxArgon2Work/(memory<<10):
		return nil, &BoundError{fmt.Sprintf("it passes %d times over %d MiB of memory", passes, memory>>10)}
	}
	cost := Argon2Cost{uint32(memory), uint32(passes), uint8(lanes)} //nolint:gosec // bounded above
	return &argon2Hash{kind, cost, salt, sum}, nil
}

func parseArgon2(kind Kind, s string) (Hash, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 4 || parts[0] != "v=19" {
		return nil, errors.New("the password hash is not in the format of Argon2 version 1.3 (v=19)")
	}
	v, err := numbers(parts[1], []string{"m", "t", "p"})
	if err != nil {
		return nil, err
	}
	salt, sum, err := decodeSaltAndSum(parts[2], parts[3])
	if err != nil {
		return nil, err
	}
	return NewArgon2(kind, v["m"], v["t"], v["p"], salt, sum)
}

// FormatArgon2id returns the stored form of an Argon2id hash.
func FormatArgon2id(c Argon2Cost, salt, sum []byte) string {
	return (&argon2Hash{Argon2id, c, salt, sum}).String()
}

func (h *argon2Hash) Kind() Kind  { return h.kind }
func (h *argon2Hash) Memory() int { return int(h.cost.Memory) << 10 }

// minArgon2 is how many KiB a computation writes at least.
const minArgon2 = 64

func (h *argon2Hash) IsWeak() bool { return uint64(h.cost.Memory)*uint64(h.cost.Passes) < minArgon2 }

func (h *argon2Hash) Verify(password string) bool {
	size := uint32(len(h.sum)) //nolint:gosec // at most maxSum
	if h.kind == Argon2i {
		c := h.cost
		return keyed.Equal(argon2.Key([]byte(password), h.salt, c.Passes, c.Memory, c.Lanes, size), h.sum)
	}
	return keyed.Equal(h.cost.Sum(password, h.salt, size), h.sum)
}

func (h *argon2Hash) String() string {
	return fmt.Sprintf("$%s$v=%d$m=%d,t=%d,p=%d$%s$%s", h.kind, argon2.Version, h.cost.Memory, h.cost.Passes,
		h.cost.Lanes, encode(h.salt), encode(h.sum))
}
