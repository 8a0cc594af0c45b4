// Package credential decides what the opaque credentials of Gatehouse look like: authorization codes, refresh tokens,
// client secrets, registration tokens. Each carries its kind and a checksum, so that one kind never passes for another, a mistyped one is
// refused without the database, and a secret scanner recognises a leaked one by
//
//	gate_[a-z]{2}_(live|test)_[0-9A-Za-z]{49}
//
// Where they are kept (hashed) and what they are good for is left to others.
package credential

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"hash/crc32"
	"strings"
	"time"
)

// Kind says what a credential is for.
type Kind string

// The kinds in use.
const (
	Code         Kind = "ac" // authorization code (RFC 6749 §4.1.2)
	RefreshToken Kind = "rt" // refresh token (RFC 6749 §1.5)
	ClientSecret Kind = "cs" // client secret (RFC 6749 §2.3.1)

	RegistrationAccess Kind = "ra" // registration access token (RFC 7592 §3)
	InitialAccess      Kind = "ia" // initial access token of registration (RFC 7591 §3)
)

const (
	alphabet   = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	randomSize = 43 // base62 digits: 256 bits
	nameSize   = 21 // of those, what names the grant of a refresh token: its time and 95 random bits
	timeSize   = 5  // of those, the second that it was made in: 29 years until they come again, which harms nobody
	checkSize  = 6  // base62 digits of a CRC-32
)

// Format makes and checks credentials of one environment, "live" or "test".
type Format struct{ Env string }

// New returns a new credential of 256 random bits.
func (f Format) New(kind Kind) string { return f.seal(kind, Random(randomSize)) }

// NewRefreshToken returns a refresh token for the grant that name names.
func (f Format) NewRefreshToken(name string) string {
	return f.seal(RefreshToken, name+Random(randomSize-nameSize))
}

// NewGrantName names a grant that is made now. The name, and with it the id, begins with the second, so that the index has what is
// used together together: with ids from all over it every new grant would read, write and log a page of its own.
func NewGrantName(now time.Time) string {
	return digits(now.Unix(), timeSize) + Random(nameSize-timeSize)
}

// digits are the last n base62 digits of v.
func digits(v int64, n int) string {
	out := make([]byte, n)
	for i := range out {
		out[n-1-i] = alphabet[v%int64(len(alphabet))]
		v /= int64(len(alphabet))
	}
	return string(out)
}

// GrantName returns the part of a valid refresh token that names its grant.
func (f Format) GrantName(token string) string {
	start := len(f.prefix(RefreshToken))
	return token[start : start+nameSize]
}

// GrantID is the id of the grant that name names: its time and a hash. Whoever knows the id, from a log or an access token,
// cannot make up a refresh token that reaches the grant.
func GrantID(name string) string {
	sum := sha256.Sum256([]byte("grant\x00" + name))
	return name[:timeSize] + base64.RawURLEncoding.EncodeToString(sum[:13])
}

// Valid reports whether s has the form of a credential of that kind and environment, checksum included. It says nothing
// about whether such a credential was ever issued.
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

// Hash is what is stored of a credential: its SHA-256. 256 random bits need no slow hash.
func Hash(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

func (f Format) prefix(kind Kind) string { return "gate_" + string(kind) + "_" + f.Env + "_" }

func (f Format) seal(kind Kind, random string) string {
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

// Random returns n base62 digits, each drawn evenly.
func Random(n int) string {
	out := make([]byte, 0, n)
	var buf [64]byte
	for len(out) < n {
		_, _ = rand.Read(buf[:]) // never fails: the program would have ended
		for _, b := range buf {
			if b < 4*62 && len(out) < n { // the rest of the bytes would favour the first digits
				out = append(out, alphabet[b%62])
			}
		}
	}
	return string(out)
}
