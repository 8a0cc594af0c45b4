// Package totp generates and verifies the codes of TOTP authenticators (RFC 6238) and draws the QR code by which an
// authenticator gets its secret. It stores nothing: that a code is valid once, and how often a user may try, is decided
// by identity.
package totp

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // what authenticators support; HMAC-SHA-1 is not affected by collisions
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"hash"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gatehouse/keyed"
)

// Key is a secret with the parameters of its codes.
type Key struct {
	Secret    []byte
	Algorithm string // SHA1, SHA256 or SHA512
	Digits    int    // 6 to 8
	Period    time.Duration
}

// algorithms are the hash functions of RFC 6238 §1.2 by their name in otpauth URIs.
var algorithms = map[string]func() hash.Hash{"SHA1": sha1.New, "SHA256": sha256.New, "SHA512": sha512.New}

const (
	secretSize = 20 // 160 bits, as RFC 4226 §4 recommends
	// skew is how many steps a code may be early or late (RFC 6238 §5.2).
	skew = 1
)

// New returns a key with a new secret of 160 bits and the parameters that every authenticator supports: SHA-1, 6
// digits, 30 seconds.
func New() Key {
	secret := make([]byte, secretSize)
	_, _ = rand.Read(secret) // never fails: the runtime ends the program instead
	return Key{Secret: secret, Algorithm: "SHA1", Digits: 6, Period: 30 * time.Second}
}

// Check returns an error when the parameters are not supported.
func (k Key) Check() error {
	switch {
	case algorithms[k.Algorithm] == nil:
		return fmt.Errorf("the algorithm %q is not SHA1, SHA256 or SHA512", k.Algorithm)
	case k.Digits < 6 || k.Digits > 8:
		return fmt.Errorf("%d digits are not 6 to 8", k.Digits)
	case k.Period < 15*time.Second || k.Period > 2*time.Minute:
		return fmt.Errorf("a period of %s is not 15 seconds to 2 minutes", k.Period)
	case len(k.Secret) < 10:
		return fmt.Errorf("a secret of %d bytes is shorter than 10", len(k.Secret))
	}
	return nil
}

// Step returns the number of the time step (RFC 6238 §4.2).
func (k Key) Step(at time.Time) int64 { return at.Unix() / int64(k.Period/time.Second) }

// Code returns the code of a time step (RFC 4226 §5.3).
func (k Key) Code(step int64) string {
	mac := hmac.New(algorithms[k.Algorithm], k.Secret)
	_ = binary.Write(mac, binary.BigEndian, step) // a hash never fails
	sum := mac.Sum(nil)
	offset := sum[len(sum)-1] & 0xf
	value := uint64(binary.BigEndian.Uint32(sum[offset:]) & 0x7fffffff)
	modulus := uint64(1)
	for range k.Digits {
		modulus *= 10
	}
	return fmt.Sprintf("%0*d", k.Digits, value%modulus)
}

// Verify returns the time step of a code that is valid now, or in the step before or after. It compares with the codes
// of all three in constant time. Spaces in the code do not matter.
func (k Key) Verify(code string, now time.Time) (step int64, ok bool) {
	code = strings.ReplaceAll(code, " ", "")
	if k.Check() != nil {
		return 0, false
	}
	current := k.Step(now)
	for s := current - skew; s <= current+skew; s++ {
		if keyed.Equal([]byte(k.Code(s)), []byte(code)) {
			step, ok = s, true
		}
	}
	return step, ok
}

// ExpiresAt returns when no code of a step is valid any more.
func (k Key) ExpiresAt(step int64) time.Time {
	return time.Unix((step+skew+1)*int64(k.Period/time.Second), 0)
}

// Text returns the secret as users type it into an authenticator: base32 in groups of four.
func (k Key) Text() string {
	s := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(k.Secret)
	var groups []string
	for ; len(s) > 4; s = s[4:] {
		groups = append(groups, s[:4])
	}
	return strings.Join(append(groups, s), " ")
}

// URI returns the otpauth URI of the secret. The authenticator shows the issuer and the account.
func (k Key) URI(issuer, account string) string {
	// A colon separates both in the label, so neither may have one.
	clean := strings.NewReplacer(":", "", "/", "")
	issuer, account = clean.Replace(issuer), clean.Replace(account)
	query := url.Values{
		"secret": {strings.ReplaceAll(k.Text(), " ", "")}, "issuer": {issuer}, "algorithm": {k.Algorithm},
		"digits": {strconv.Itoa(k.Digits)}, "period": {strconv.Itoa(int(k.Period / time.Second))},
	}
	// Authenticators show a + as such, so spaces are escaped.
	return "otpauth://totp/" + url.PathEscape(issuer) + ":" + url.PathEscape(account) + "?" +
		strings.ReplaceAll(query.Encode(), "+", "%20")
}
