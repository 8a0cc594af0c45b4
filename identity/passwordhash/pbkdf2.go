package passwordhash

import (
	"crypto/pbkdf2"
	"crypto/sha1" //nolint:gosec // for hashes of other systems
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"strings"

	"gatehouse/keyed"
)

// pbkdf2Functions are the functions of the kinds of PBKDF2.
var pbkdf2Functions = map[Kind]struct {
	size int
	new  func() hash.Hash
}{
	PBKDF2SHA1: {sha1.Size, sha1.New}, PBKDF2SHA256: {sha256.Size, sha256.New}, PBKDF2SHA512: {sha512.Size, sha512.New},
}

const minPBKDF2 = 1000 // iterations

type pbkdf2Hash struct {
	kind       Kind
	iterations int
	salt, sum  []byte
}

// NewPBKDF2 returns a hash of one of the kinds of PBKDF2 (RFC 8018 §5.2).
func NewPBKDF2(kind Kind, iterations uint64, salt, sum []byte) (Hash, error) {
	f, ok := pbkdf2Functions[kind]
	if !ok {
		return nil, ErrUnknown
	}
	if err := checkSizes(salt, sum); err != nil {
		return nil, err
	}
	if err := checkIterations(iterations); err != nil {
		return nil, err
	}
	// Each block of the result is computed on its own, and the first is as hard to find as all. An attacker would compute
	// no more either.
	sum = sum[:min(len(sum), f.size)]
	return &pbkdf2Hash{kind, int(iterations), salt, sum}, nil //nolint:gosec // at most MaxIterations
}

// pbkdf2Kind returns the kind of a name; passlib's is pbkdf2 for SHA-1.
func pbkdf2Kind(name string) Kind {
	if name == "pbkdf2" {
		return PBKDF2SHA1
	}
	return Kind(name)
}

// parsePBKDF2 parses the PHC format, with i=ITERATIONS and perhaps l=LENGTH, and passlib's, with ITERATIONS.
func parsePBKDF2(kind Kind, s string) (Hash, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 3 {
		return nil, errors.New("the password hash is not in a format of PBKDF2")
	}
	if !strings.Contains(parts[0], "=") {
		parts[0] = "i=" + parts[0]
	}
	v, err := numbers(parts[0], []string{"i"}, "l")
	if err != nil {
		return nil, err
	}
	salt, sum, err := decodeSaltAndSum(parts[1], parts[2])
	if err != nil {
		return nil, err
	}
	return NewPBKDF2(kind, v["i"], salt, sum)
}

func isDjangoPBKDF2(s string) bool { return strings.HasPrefix(s, "pbkdf2_") }

// parseDjangoPBKDF2 parses the format pbkdf2_sha256$ITERATIONS$SALT$SUM, whose salt is not encoded.
func parseDjangoPBKDF2(s string) (Hash, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 4 {
		return nil, errors.New("the password hash is not in Django's format of PBKDF2")
	}
	n, err := number(parts[1])
	if err != nil {
		return nil, err
	}
	sum, err := decode(parts[3])
	if err != nil {
		return nil, err
	}
	return NewPBKDF2(Kind(strings.Replace(parts[0], "_", "-", 1)), n, []byte(parts[2]), sum)
}

func (h *pbkdf2Hash) Kind() Kind  { return h.kind }
func (h *pbkdf2Hash) Memory() int { return 0 }

// IsWeak reports fewer iterations than RFC 8018 §4.2 recommends at least.
func (h *pbkdf2Hash) IsWeak() bool { return h.iterations < minPBKDF2 }

func (h *pbkdf2Hash) Verify(password string) bool {
	got, err := pbkdf2.Key(pbkdf2Functions[h.kind].new, password, h.salt, h.iterations, len(h.sum))
	return err == nil && keyed.Equal(got, h.sum) // an error in FIPS mode only, for short salts and passwords
}

func (h *pbkdf2Hash) String() string {
	return fmt.Sprintf("$%s$i=%d$%s$%s", h.kind, h.iterations, encode(h.salt), encode(h.sum))
}
