package passwordhash

import (
	"crypto/sha512"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"gatehouse/keyed"
)

// maxBcryptCost is the logarithm of the rounds, which take about two seconds.
const maxBcryptCost = 15

var bcryptFormat = regexp.MustCompile(`^([0-9]{2})\$[./A-Za-z0-9]{53}$`)

// errFaultyBcrypt is returned for a hash of crypt_blowfish before 1.1 (CVE-2011-2483), which different passwords share.
var errFaultyBcrypt = errors.New("the password hash is in bcrypt's faulty version 2x, which is not supported")

// bcryptHash is the notation without its version: 2a, 2b and 2y name the same algorithm.
type bcryptHash string

func parseBcrypt(s string) (Hash, error) {
	m := bcryptFormat.FindStringSubmatch(s)
	if m == nil {
		return nil, errors.New("the password hash is not in the format of bcrypt")
	}
	cost, err := number(m[1])
	if err != nil {
		return nil, err
	}
	if cost > maxBcryptCost {
		return nil, &BoundError{fmt.Sprintf("it has the bcrypt cost %d, and %d is the limit", cost, maxBcryptCost)}
	}
	h := bcryptHash(s)
	if _, err := bcrypt.Cost([]byte(h.String())); err != nil {
		return nil, errors.New("the password hash has parameters that bcrypt does not allow")
	}
	return h, nil
}

func (h bcryptHash) Kind() Kind     { return Bcrypt }
func (h bcryptHash) Memory() int    { return 0 }
func (h bcryptHash) String() string { return "$2b$" + string(h) }
func (h bcryptHash) IsWeak() bool   { return false } // 16 rounds cost more than minPBKDF2

// maxBcryptPassword is how many bytes of a password bcrypt reads.
const maxBcryptPassword = 72

// ReadsAll reports whether a hash of the kind depends on all of a password. Of bcrypt it does not beyond 72 bytes: any
// password with the same beginning has the hash.
func (k Kind) ReadsAll(password string) bool {
	return k != Bcrypt || len(password) <= maxBcryptPassword
}

// Verify reads the first 72 bytes of the password, as bcrypt does.
func (h bcryptHash) Verify(password string) bool {
	return bcrypt.CompareHashAndPassword([]byte(h.String()), []byte(password)) == nil
}

const (
	cryptAlphabet     = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	cryptDefault      = 5000 // rounds
	cryptMin          = 1000 // rounds
	cryptMaxSalt      = 16
	cryptMaxPassword  = 512 // as in libxcrypt; each round reads all of it
	sha512CryptLength = 86  // characters of the sum
)

var cryptSum = regexp.MustCompile(`^[./0-9A-Za-z]+$`)

// sha512CryptHash is the hash of crypt(3) with the prefix $6$
// (https://www.akkadia.org/drepper/SHA-crypt.txt, version 0.6).
type sha512CryptHash struct {
	rounds    int
	salt, sum string
}

func parseSHA512Crypt(s string) (Hash, error) {
	rounds := uint64(cryptDefault)
	if rest, ok := strings.CutPrefix(s, "rounds="); ok {
		text, after, _ := strings.Cut(rest, "$")
		var err error
		if rounds, err = number(text); err != nil {
			return nil, err
		}
		s = after
	}
	salt, sum, ok := strings.Cut(s, "$")
	if !ok || len(sum) != sha512CryptLength || !cryptSum.MatchString(sum) || len(salt) > cryptMaxSalt {
		return nil, errors.New("the password hash is not in the format of sha512crypt")
	}
	if err := checkIterations(rounds); err != nil {
		return nil, err
	}
	return &sha512CryptHash{max(int(rounds), cryptMin), salt, sum}, nil
}

func (h *sha512CryptHash) Kind() Kind   { return SHA512Crypt }
func (h *sha512CryptHash) Memory() int  { return 0 }
func (h *sha512CryptHash) IsWeak() bool { return false } // 1000 rounds at least

func (h *sha512CryptHash) String() string {
	return fmt.Sprintf("$6$rounds=%d$%s$%s", h.rounds, h.salt, h.sum)
}

func (h *sha512CryptHash) Verify(password string) bool {
	return len(password) <= cryptMaxPassword && keyed.Equal([]byte(h.sumOf(password)), []byte(h.sum))
}

// sumOf computes the sum of a password. The numbers are the steps of the specification.
func (h *sha512CryptHash) sumOf(password string) string {
	p, s := []byte(password), []byte(h.salt)
	b := sha512.Sum512([]byte(password + h.salt + password)) // 4 to 8
	d := sha512.New()
	d.Write(p)                            // 2
	d.Write(s)                            // 3
	d.Write(repeatToLength(b[:], len(p))) // 9, 10
	for n := len(p); n > 0; n >>= 1 {     // 11
		if n&1 == 1 {
			d.Write(b[:])
		} else {
			d.Write(p)
		}
	}
	a := d.Sum(nil) // 12
	d.Reset()
	for range len(p) { // 13 to 15
		d.Write(p)
	}
	pSequence := repeatToLength(d.Sum(nil), len(p)) // 16
	d.Reset()
	for range 16 + int(a[0]) { // 17 to 19
		d.Write(s)
	}
	sSequence := repeatToLength(d.Sum(nil), len(s)) // 20
	for i := range h.rounds {                       // 21
		d.Reset()
		odd := i&1 == 1
		writeIf(d, odd, pSequence, a)
		writeIf(d, i%3 != 0, sSequence, nil)
		writeIf(d, i%7 != 0, pSequence, nil)
		writeIf(d, odd, a, pSequence)
		a = d.Sum(a[:0])
	}
	return encodeSHA512Crypt(a)
}

// writeIf writes one of two values.
func writeIf(w interface{ Write([]byte) (int, error) }, condition bool, yes, no []byte) {
	if !condition {
		yes = no
	}
	_, _ = w.Write(yes) // a hash never fails
}

// repeatToLength returns the first n bytes of the repetition of b.
func repeatToLength(b []byte, n int) []byte {
	out := make([]byte, 0, n+len(b))
	for len(out) < n {
		out = append(out, b...)
	}
	return out[:n]
}

// encodeSHA512Crypt encodes a sum in the order of step 22: groups of three bytes that are 21 apart, rotated by one in
// each group.
func encodeSHA512Crypt(sum []byte) string {
	out := make([]byte, 0, sha512CryptLength)
	add := func(v uint32, n int) {
		for range n {
			out = append(out, cryptAlphabet[v&63])
			v >>= 6
		}
	}
	for i := range 21 {
		group := [3]byte{sum[i], sum[i+21], sum[i+42]}
		first := (i * 1) % 3
		add(uint32(group[first])<<16|uint32(group[(first+1)%3])<<8|uint32(group[(first+2)%3]), 4)
	}
	add(uint32(sum[63]), 2)
	return string(out)
}
