// Package passwordhash parses and verifies the password hashes of other systems, and Gatehouse's own. It decides which
// algorithms and notations are accepted, and how much memory and time a hash may cost; when a password is verified and
// where its hash is stored is left to its callers.
package passwordhash

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The bounds of a hash, so that no imported hash makes a sign-in more expensive than this server can bear.
const (
	MaxMemory     = 256 << 20 // bytes
	MaxIterations = 2_000_000 // of PBKDF2 and sha512crypt
	maxLength     = 2 << 10   // bytes of a notation
	maxSalt       = 256       // bytes
	minSum        = 16        // bytes: fewer would match other passwords
	maxSum        = 128       // bytes
)

// Kind is the algorithm of a hash.
type Kind string

// The kinds of hashes.
const (
	Argon2id     Kind = "argon2id"
	Argon2i      Kind = "argon2i"
	Bcrypt       Kind = "bcrypt"
	PBKDF2SHA1   Kind = "pbkdf2-sha1"
	PBKDF2SHA256 Kind = "pbkdf2-sha256"
	PBKDF2SHA512 Kind = "pbkdf2-sha512"
	Scrypt       Kind = "scrypt"
	Firebase     Kind = "firebase-scrypt"
	SHA512Crypt  Kind = "sha512crypt"

	// Weak kinds, which compute one hash: a graphics card tries billions of passwords per second.
	MD5     Kind = "md5"
	SMD5    Kind = "smd5"
	SHA     Kind = "sha"
	SSHA    Kind = "ssha"
	SHA256  Kind = "sha256"
	SSHA256 Kind = "ssha256"
	SHA512  Kind = "sha512"
	SSHA512 Kind = "ssha512"
)

// kinds are all kinds.
var kinds = append(WeakKinds(), Argon2id, Argon2i, Bcrypt, PBKDF2SHA1, PBKDF2SHA256, PBKDF2SHA512, Scrypt, Firebase,
	SHA512Crypt)

// Kinds returns all kinds.
func Kinds() []Kind { return slices.Clone(kinds) }

// WeakKinds returns the kinds that compute one hash.
func WeakKinds() []Kind { return []Kind{MD5, SMD5, SHA, SSHA, SHA256, SSHA256, SHA512, SSHA512} }

// IsWeak reports whether the kind is one of WeakKinds.
func (k Kind) IsWeak() bool { return slices.Contains(WeakKinds(), k) }

// Hash is the hash of a password with the parameters of its computation, which are within the bounds.
type Hash interface {
	// Kind returns the algorithm.
	Kind() Kind
	// Memory returns how many bytes Verify needs.
	Memory() int
	// IsWeak reports whether an attacker with the hash tries passwords too cheaply: it is of one of WeakKinds, or its cost
	// is below the least that systems have used.
	IsWeak() bool
	// Verify reports whether a password has the hash. The comparison takes the same time for every password.
	Verify(password string) bool
	// String returns the stored form of the hash, which Parse accepts: the same for every notation of one hash.
	String() string
}

// ErrUnknown is returned for a notation that is not supported.
var ErrUnknown = errors.New("the algorithm or format of the password hash is not supported")

// BoundError is returned for a hash that is too expensive to verify.
type BoundError struct{ Reason string }

// Error returns the reason.
func (e *BoundError) Error() string { return "the password hash is too expensive: " + e.Reason }

// Parse returns the hash of a notation: the PHC string format of Argon2, scrypt and PBKDF2, bcrypt, sha512crypt,
// Django's and passlib's formats of PBKDF2, Ory's of Firebase's scrypt, and the schemes of LDAP (RFC 2307 §5.3). It
// returns ErrUnknown, a *BoundError, or another error for values that are not valid. Errors do not contain the hash.
func Parse(s string) (Hash, error) {
	if len(s) > maxLength {
		return nil, fmt.Errorf("the password hash is longer than %d bytes", maxLength)
	}
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "{") {
		return parseLDAP(s)
	}
	if rest, ok := strings.CutPrefix(s, "argon2$"); ok { // Django: argon2$argon2id$v=19$…
		s = "$" + rest
	}
	if rest, ok := strings.CutPrefix(s, "bcrypt$"); ok { // Django: bcrypt$$2b$12$…
		s = rest
	}
	if isDjangoPBKDF2(s) {
		return parseDjangoPBKDF2(s)
	}
	name, rest, ok := strings.Cut(strings.TrimPrefix(s, "$"), "$")
	if !ok || !strings.HasPrefix(s, "$") {
		return nil, ErrUnknown
	}
	switch name {
	case "argon2id", "argon2i":
		return parseArgon2(Kind(name), rest)
	case "2a", "2b", "2y":
		return parseBcrypt(rest)
	case "2x":
		return nil, errFaultyBcrypt
	case "6":
		return parseSHA512Crypt(rest)
	case "scrypt":
		return parseScrypt(rest)
	case "firescrypt":
		return parseFirebase(rest)
	case "pbkdf2", "pbkdf2-sha1", "pbkdf2-sha256", "pbkdf2-sha512":
		return parsePBKDF2(pbkdf2Kind(name), rest)
	}
	return nil, ErrUnknown
}

// decode decodes base64 in the alphabet of RFC 4648 §4 or passlib's, which has a dot instead of the plus, with or
// without padding.
func decode(s string) ([]byte, error) {
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.ReplaceAll(s, ".", "+"), "="))
	if err != nil {
		return nil, errors.New("the password hash has a part that is not valid base64")
	}
	return b, nil
}

func encode(b []byte) string { return base64.RawStdEncoding.EncodeToString(b) }

// decodeSaltAndSum decodes the last two parts of a notation.
func decodeSaltAndSum(saltText, sumText string) (salt, sum []byte, err error) {
	if salt, err = decode(saltText); err != nil {
		return nil, nil, err
	}
	sum, err = decode(sumText)
	return salt, sum, err
}

// checkSizes returns an error when a salt or a sum has a length that no system uses.
func checkSizes(salt, sum []byte) error {
	switch {
	case len(salt) > maxSalt:
		return fmt.Errorf("the salt of the password hash is longer than %d bytes", maxSalt)
	case len(sum) < minSum || len(sum) > maxSum:
		return fmt.Errorf("the password hash has %d bytes, not %d to %d", len(sum), minSum, maxSum)
	}
	return nil
}

// checkMemory returns a *BoundError when the computation needs more than MaxMemory.
func checkMemory(bytes uint64) error {
	if bytes > MaxMemory {
		return &BoundError{fmt.Sprintf("it needs %d MiB of memory, and %d MiB is the limit", bytes>>20, MaxMemory>>20)}
	}
	return nil
}

// checkIterations returns a *BoundError for more than MaxIterations.
func checkIterations(n uint64) error {
	if n == 0 {
		return errors.New("the password hash has no iterations")
	}
	if n > MaxIterations {
		return &BoundError{fmt.Sprintf("it has %d iterations, and %d is the limit", n, MaxIterations)}
	}
	return nil
}

var decimal = regexp.MustCompile(`^[0-9]{1,10}$`)

// number parses a parameter.
func number(s string) (uint64, error) {
	if !decimal.MatchString(s) {
		return 0, errors.New("the password hash has a parameter that is not a number")
	}
	return strconv.ParseUint(s, 10, 64)
}

// numbers parses a list of parameters such as "m=65536,t=3,p=4". names are those that it must have; it must have no
// others except those in ignored.
func numbers(list string, names []string, ignored ...string) (map[string]uint64, error) {
	values := map[string]uint64{}
	for item := range strings.SplitSeq(list, ",") {
		name, text, _ := strings.Cut(item, "=")
		_, repeated := values[name]
		if repeated || !slices.Contains(names, name) && !slices.Contains(ignored, name) {
			return nil, errors.New("the password hash has a parameter that is repeated or not supported")
		}
		n, err := number(text)
		if err != nil {
			return nil, err
		}
		values[name] = n
	}
	for _, name := range names {
		if _, ok := values[name]; !ok {
			return nil, fmt.Errorf("the password hash has no parameter %s", name)
		}
	}
	return values, nil
}
