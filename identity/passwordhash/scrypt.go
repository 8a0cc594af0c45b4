package passwordhash

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"golang.org/x/crypto/scrypt"

	"gatehouse/keyed"
)

// maxScryptWork is the memory multiplied by the parallelism, which Go computes one after the other.
const maxScryptWork = 1 << 30

// maxScryptBlocks is how many bytes PBKDF2 may derive from the password before the work with memory.
const maxScryptBlocks = 1 << 20

// scryptCost has the parameters of scrypt (RFC 7914 §2).
type scryptCost struct {
	logN uint64 // N = 2^logN
	r, p uint64
}

func (c scryptCost) check() error {
	if c.logN < 1 || c.logN > 31 || c.r < 1 || c.r > 1<<16 || c.p < 1 || c.p > 1<<16 {
		return errors.New("the password hash has parameters that scrypt does not allow")
	}
	if err := checkMemory(c.memory()); err != nil {
		return err
	}
	if 128*c.r*c.p > maxScryptBlocks {
		return &BoundError{fmt.Sprintf("scrypt derives %d blocks of %d bytes", c.p, 128*c.r)}
	}
	if c.memory()*c.p > maxScryptWork {
		return &BoundError{fmt.Sprintf("it computes scrypt %d times with %d MiB of memory", c.p, c.memory()>>20)}
	}
	return nil
}

func (c scryptCost) memory() uint64 { return 128 * c.r * (1 << c.logN) }

func (c scryptCost) sum(password string, salt []byte, size int) []byte {
	//nolint:gosec // check has bounded the parameters
	out, err := scrypt.Key([]byte(password), salt, 1<<c.logN, int(c.r), int(c.p), size)
	if err != nil {
		return nil // only for parameters that check refuses
	}
	return out
}

// minScrypt is how many bytes a computation writes at least.
const minScrypt = 64 << 10

func (c scryptCost) isWeak() bool { return c.memory()*c.p < minScrypt }

func (c scryptCost) String() string { return fmt.Sprintf("ln=%d,r=%d,p=%d", c.logN, c.r, c.p) }

// parseScryptCost parses "ln=15,r=8,p=1". Ory Kratos has N instead of its logarithm in ln.
func parseScryptCost(s string) (scryptCost, error) {
	v, err := numbers(s, []string{"ln", "r", "p"})
	if err != nil {
		return scryptCost{}, err
	}
	c := scryptCost{v["ln"], v["r"], v["p"]}
	if c.logN > 63 && bits.OnesCount64(c.logN) == 1 {
		c.logN = uint64(bits.Len64(c.logN) - 1) //nolint:gosec // not negative
	}
	return c, c.check()
}

type scryptHash struct {
	cost      scryptCost
	salt, sum []byte
}

func parseScrypt(s string) (Hash, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 3 {
		return nil, errors.New("the password hash is not in the format of scrypt")
	}
	cost, err := parseScryptCost(parts[0])
	if err != nil {
		return nil, err
	}
	salt, sum, err := decodeSaltAndSum(parts[1], parts[2])
	if err == nil {
		err = checkSizes(salt, sum)
	}
	if err != nil {
		return nil, err
	}
	return &scryptHash{cost, salt, sum}, nil
}

func (h *scryptHash) Kind() Kind  { return Scrypt }
func (h *scryptHash) Memory() int { return int(h.cost.memory()) } //nolint:gosec // at most MaxMemory

func (h *scryptHash) IsWeak() bool { return h.cost.isWeak() }

func (h *scryptHash) Verify(password string) bool {
	return keyed.Equal(h.cost.sum(password, h.salt, len(h.sum)), h.sum)
}

func (h *scryptHash) String() string {
	return fmt.Sprintf("$scrypt$%s$%s$%s", h.cost, encode(h.salt), encode(h.sum))
}

// FirebaseParameters are the password hash parameters of a Firebase project, as its console shows them.
type FirebaseParameters struct {
	SignerKey     []byte // base64_signer_key
	SaltSeparator []byte // base64_salt_separator
	Rounds        uint64 // rounds: r of scrypt
	MemCost       uint64 // mem_cost: the logarithm of N of scrypt
}

// firebaseKeySize is the size of the AES key that Firebase derives with scrypt.
const firebaseKeySize = 32

// firebaseHash is Firebase's modified scrypt (github.com/firebase/scrypt): the sum is the signer key of the project,
// encrypted with AES-256 in counter mode under the key that scrypt derives from the password.
type firebaseHash struct {
	cost                       scryptCost
	separator, key, salt, sums []byte
}

// NewFirebase returns a hash of Firebase's modified scrypt.
func NewFirebase(p FirebaseParameters, salt, sum []byte) (Hash, error) {
	h := &firebaseHash{scryptCost{p.MemCost, p.Rounds, 1}, p.SaltSeparator, p.SignerKey, salt, sum}
	if err := h.cost.check(); err != nil {
		return nil, err
	}
	if err := checkSizes(slices.Concat(salt, p.SaltSeparator), sum); err != nil {
		return nil, err
	}
	if len(p.SignerKey) != len(sum) {
		return nil, errors.New("the password hash does not have the length of the signer key of the Firebase project")
	}
	return h, nil
}

// parseFirebase parses the format of Ory Kratos: cost, salt, sum, salt separator, signer key.
func parseFirebase(s string) (Hash, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 5 {
		return nil, errors.New("the password hash is not in the format of Firebase's scrypt")
	}
	cost, err := parseScryptCost(parts[0])
	if err != nil {
		return nil, err
	}
	if cost.p != 1 {
		return nil, errors.New("the password hash has a parameter that Firebase's scrypt does not have")
	}
	salt, sum, err := decodeSaltAndSum(parts[1], parts[2])
	if err != nil {
		return nil, err
	}
	separator, key, err := decodeSaltAndSum(parts[3], parts[4])
	if err != nil {
		return nil, err
	}
	p := FirebaseParameters{SignerKey: key, SaltSeparator: separator, Rounds: cost.r, MemCost: cost.logN}
	return NewFirebase(p, salt, sum)
}

func (h *firebaseHash) Kind() Kind  { return Firebase }
func (h *firebaseHash) Memory() int { return int(h.cost.memory()) } //nolint:gosec // at most MaxMemory

func (h *firebaseHash) IsWeak() bool { return h.cost.isWeak() }

func (h *firebaseHash) Verify(password string) bool {
	derived := h.cost.sum(password, slices.Concat(h.salt, h.separator), firebaseKeySize)
	block, err := aes.NewCipher(derived)
	if err != nil {
		return false // only for another size of key
	}
	got := make([]byte, len(h.key))
	cipher.NewCTR(block, make([]byte, aes.BlockSize)).XORKeyStream(got, h.key) //nolint:gosec // it has no nonce
	return keyed.Equal(got, h.sums)
}

func (h *firebaseHash) String() string {
	return fmt.Sprintf("$firescrypt$%s$%s$%s$%s$%s", h.cost, encode(h.salt), encode(h.sums), encode(h.separator),
		encode(h.key))
}
