// Package credential decides the format of the opaque credentials: authorization codes, refresh tokens, client secrets,
// registration tokens, links in emails. Each contains its kind and a checksum, so that one kind is never accepted as
// another, a mistyped credential is refused without a query, and a secret scanner finds a leaked one by the pattern
//
//	gate_[a-z]{2}_(live|test)_[0-9A-Za-z]{49}
//
// Where their hashes are stored and what they authorize is left to the callers.
package credential

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"hash/crc32"
	"strings"
	"time"
)

// Kind is the purpose of a credential.
type Kind string

// The kinds in use.
const (
	Code         Kind = "ac" // authorization code (RFC 6749 §4.1.2)
	RefreshToken Kind = "rt" // refresh token (RFC 6749 §1.5)
	ClientSecret Kind = "cs" // client secret (RFC 6749 §2.3.1)

	RegistrationAccess Kind = "ra" // registration access token (RFC 7592 §3)
	InitialAccess      Kind = "ia" // initial access token of registration (RFC 7591 §3)

	EmailToken Kind = "et" // in the link of an email to a user
	Invitation Kind = "iv" // in the link of an invitation

	RememberedBrowser Kind = "rb" // in the cookie of a browser in which the second factor is not required again
)

const (
	alphabet   = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	randomSize = 43 // base62 digits: 256 bits
	nameSize   = 21 // of those, the name of the grant of a refresh token: its creation time and 95 random bits
	timeSize   = 5  // of those, the creation time in seconds; it repeats after 29 years, which is harmless
	checkSize  = 6  // base62 digits of a CRC-32
)

// Format creates and validates the credentials of one environment, "live" or "test".
type Format struct{ Env string }

// New returns a new credential of 256 random bits.
func (f Format) New(kind Kind) string { return f.withChecksum(kind, Random(randomSize)) }

// NewRefreshToken returns a new refresh token of the grant with this name.
func (f Format) NewRefreshToken(name string) string {
	return f.withChecksum(RefreshToken, name+Random(randomSize-nameSize))
}

// NewGrantName returns a name for a grant that is created now. The name and the id derived from it begin with the time,
// so that new grants share index pages: with random ids, each new grant would read, write and log a different page.
func NewGrantName(now time.Time) string {
	return digits(now.Unix(), timeSize) + Random(nameSize-timeSize)
}

// digits returns the last n base62 digits of v.
func digits(v int64, n int) string {
	out := make([]byte, n)
	for i := range out {
		out[n-1-i] = alphabet[v%int64(len(alphabet))]
		v /= int64(len(alphabet))
	}
	return string(out)
}

// GrantName returns the part of a valid refresh token that identifies its grant.
func (f Format) GrantName(token string) string {
	start := len(f.prefix(RefreshToken))
	return token[start : start+nameSize]
}

// GrantID returns the id of the grant with this name: its creation time and a hash. The id, which logs and access
// tokens contain, is not enough to construct a refresh token that matches the grant.
func GrantID(name string) string {
	sum := sha256.Sum256([]byte("grant\x00" + name))
	return name[:timeSize] + base64.RawURLEncoding.EncodeToString(sum[:13])
}

// Valid reports whether s has the format of a credential of that kind and environment, including the checksum. It does
// not check whether the credential was issued.
func (f Format) Valid(kind Kind, s string) bool {
	prefix := f.prefix(kind)
	if len(s) != len(prefix)+randomSize+checkSize || !strings.HasPrefix(s, prefix) {
		return false
	}
	for i := len(prefix); i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	body := s[:len(prefix)+randomSize]
	return s[len(body):] == checksum(body)
}

// Hash returns the SHA-256 of a credential, which is what the database stores. 256 random bits need no slow hash.
func Hash(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

// Prefix is the start of every credential. A value with it belongs in no log and in no other parameter.
const Prefix = "gate_"

func (f Format) prefix(kind Kind) string { return Prefix + string(kind) + "_" + f.Env + "_" }

func (f Format) withChecksum(kind Kind, random string) string {
	body := f.prefix(kind) + random
	return body + checksum(body)
}

func checksum(s string) string {
	n := crc32.ChecksumIEEE([]byte(s))
	var out [checkSize]byte
	for i := checkSize - 1; i >= 0; i-- {
		out[i] = alphabet[n%62]
		n /= 62
	}
	return string(out[:])
}

// Random returns n uniformly distributed base62 digits.
func Random(n int) string {
	out := make([]byte, 0, n)
	var buf [64]byte
	for len(out) < n {
		_, _ = rand.Read(buf[:]) // never returns an error
		for _, b := range buf {
			if b < 4*62 && len(out) < n { // higher bytes would favor the first digits
				out = append(out, alphabet[b%62])
			}
		}
	}
	return string(out)
}
