package identity

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"gatehouse/keyed"
	"gatehouse/storage"
)

// proofBits is how many leading zero bits the hash of a proof of work must have: about 65,000 hashes, a fraction of a
// second in a browser, which a program that signs up in bulk must compute for every attempt.
const proofBits = 16

// proofTTL is how long the page with a challenge can be open.
const proofTTL = time.Hour

// ErrProofInvalid is returned for a proof of work that is missing, wrong, expired or was used before.
var ErrProofInvalid = errors.New("the proof of work is not valid")

// NewProof returns the challenge of a proof of work for a form. A script finds a nonce so that the SHA-256 of the
// challenge, a dot and the nonce begins with the number of zero bits that the challenge begins with.
func (u *Users) NewProof(purpose string) string {
	expires := strconv.FormatInt(u.store.Now().Add(proofTTL).Unix(), 36)
	challenge := strconv.Itoa(proofBits) + "." + expires + "." + randomToken()
	return challenge + "." + u.proofMAC(purpose, challenge)
}

func (u *Users) proofMAC(purpose, challenge string) string {
	mac := keyed.MAC(u.options.SelfService.CodeKey, "proof of work", purpose, challenge)
	return base64.RawURLEncoding.EncodeToString(mac[:16])
}

// CheckProof consumes a proof of work. It returns ErrProofInvalid when the nonce does not solve a challenge that
// NewProof returned for the purpose in the last hour, or when that was used before.
func (u *Users) CheckProof(ctx context.Context, purpose, challenge, nonce string) error {
	i := strings.LastIndexByte(challenge, '.')
	parts := strings.Split(challenge, ".")
	if len(parts) != 4 || len(nonce) > 32 ||
		!keyed.Equal([]byte(parts[3]), []byte(u.proofMAC(purpose, challenge[:i]))) {
		return ErrProofInvalid
	}
	seconds, err := strconv.ParseInt(parts[1], 36, 64)
	expires := time.Unix(seconds, 0)
	if err != nil || !u.store.Now().Before(expires) || leadingZeros(challenge+"."+nonce) < proofBits {
		return ErrProofInvalid
	}
	err = u.store.UseOnce(ctx, storage.UseOfProof, purpose, challenge, expires)
	if errors.Is(err, storage.ErrConsumed) {
		return ErrProofInvalid
	}
	return err
}

// leadingZeros returns the number of zero bits that the SHA-256 of s begins with.
func leadingZeros(s string) (n int) {
	for _, b := range sha256.Sum256([]byte(s)) {
		n += bits.LeadingZeros8(b)
		if b != 0 {
			break
		}
	}
	return n
}
