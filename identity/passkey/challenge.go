package passkey

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"gatehouse/keyed"
)

// challengeTTL is how long a challenge is valid.
const challengeTTL = 5 * time.Minute

// The ceremonies. A challenge is valid for one of them.
const (
	create    = "create"
	get       = "get"
	createKey = "create security key"
	getKey    = "get security key"
)

// A challenge is its expiry, random bytes, and a MAC of both with the ceremony and scope. A page with a challenge
// therefore needs no row, and loading pages costs the database nothing.
const (
	expirySize    = 8
	randomSize    = 16
	macSize       = 32
	challengeSize = expirySize + randomSize + macSize
)

func (p *RelyingParty) newChallenge(ceremony, scope string) []byte {
	out := make([]byte, expirySize+randomSize, challengeSize)
	expires := p.options.Now().Add(challengeTTL)
	binary.BigEndian.PutUint64(out, uint64(expires.UnixMilli()))
	// Read never fails: the runtime ends the program instead.
	_, _ = rand.Read(out[expirySize:])
	return append(out, keyed.MAC(p.options.Key, "passkey", ceremony, scope, string(out))...)
}

// The causes for which a challenge is refused, for the log.
var (
	errForeignChallenge = errors.New("the challenge is not one of this browser or session")
	errExpiredChallenge = errors.New("the challenge has expired")
)

// openChallenge verifies that a challenge was issued for the ceremony and scope, and has not expired.
func (p *RelyingParty) openChallenge(ceremony, scope, value string) (Challenge, error) {
	b, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || len(b) != challengeSize {
		return Challenge{}, errForeignChallenge
	}
	content, mac := b[:expirySize+randomSize], b[expirySize+randomSize:]
	if !keyed.Equal(mac, keyed.MAC(p.options.Key, "passkey", ceremony, scope, string(content))) {
		return Challenge{}, errForeignChallenge
	}
	expires := time.UnixMilli(int64(binary.BigEndian.Uint64(content))) //nolint:gosec // from newChallenge
	if !p.options.Now().Before(expires) {
		return Challenge{}, errExpiredChallenge
	}
	return Challenge{Value: value, ExpiresAt: expires}, nil
}
