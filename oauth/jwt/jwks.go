package jwt

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// The limits on an RSA key: at least 2048 bits (RFC 7518 §3.3), and not more expensive to verify with than the keys of
// real clients. The time grows with the square of the bits and with the length of the exponent, which is usually
// 65537.
const (
	minRSA      = 2048
	maxRSA      = 4096
	maxExponent = 1 << 17
)

// MaxKeys is the maximum number of keys in a JWKS.
const MaxKeys = 16

// JWKSError is the reason why ParseJWKS refuses a JWKS. The message continues a sentence that starts with its name.
type JWKSError string

// Error implements error.
func (e JWKSError) Error() string { return string(e) }

// publicKey contains the members of a JWK that are parsed (RFC 7517 §4, RFC 7518 §6). Certificates and other members
// are ignored.
type publicKey struct {
	KeyType   string `json:"kty"`
	Use       string `json:"use,omitempty"`
	KeyID     string `json:"kid,omitempty"`
	Algorithm string `json:"alg,omitempty"`
	Curve     string `json:"crv,omitempty"`
	N         string `json:"n,omitempty"`
	E         string `json:"e,omitempty"`
	X         string `json:"x,omitempty"`
	Y         string `json:"y,omitempty"`
}

// ParseJWKS returns the keys of a JWKS of public keys (RFC 7517 §5). It ignores keys of an unsupported type or beyond
// the limits (§5). It returns a JWKSError for more than MaxKeys keys, and for a private or symmetric key, which is
// compromised.
func ParseJWKS(raw []byte) ([]jose.JSONWebKey, error) {
	if err := CheckJSONLimits(raw, maxMembers); err != nil {
		return nil, JWKSError(err.Error())
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil || set.Keys == nil {
		return nil, JWKSError("is not a JWK set: an object with the member keys")
	}
	if len(set.Keys) > MaxKeys {
		return nil, JWKSError(fmt.Sprintf("has more than %d keys", MaxKeys))
	}
	var keys []jose.JSONWebKey
	for _, encoded := range set.Keys {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(encoded, &members); err != nil || members == nil {
			return nil, JWKSError("has a key that is not a JSON object")
		}
		for name := range members {
			if strings.EqualFold(name, "d") || strings.EqualFold(name, "k") {
				return nil, JWKSError("has a private or symmetric key; publish public keys only, and replace this one")
			}
		}
		if key, ok := parseKey(members); ok {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// parseKey returns the public key of a JWK. ok is false if it is not supported.
func parseKey(members map[string]json.RawMessage) (key jose.JSONWebKey, ok bool) {
	var public publicKey
	if err := UnmarshalExact(members, &public); err != nil {
		return key, false
	}
	for _, number := range []string{public.N, public.E, public.X, public.Y} {
		if !IsCanonicalBase64(number) {
			return key, false
		}
	}
	// go-jose parses the exponent as an int and truncates it.
	if e, err := DecodeBase64(public.E); err != nil || new(big.Int).SetBytes(e).Cmp(big.NewInt(maxExponent)) > 0 {
		return key, false
	}
	plain, err := json.Marshal(public)
	if err != nil {
		return key, false
	}
	err = json.Unmarshal(plain, &key)
	return key, err == nil && slices.ContainsFunc(Algorithms, func(alg string) bool { return isKeyFor(key.Key, alg) })
}

// isKeyFor reports whether the public key has the type that the algorithm requires and is within the limits.
func isKeyFor(public any, algorithm string) bool {
	switch k := public.(type) {
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		return (algorithm == RS256 || algorithm == PS256) && bits >= minRSA && bits <= maxRSA && k.E > 1 && k.E <= maxExponent
	case *ecdsa.PublicKey:
		return algorithm == ES256 && k.Curve == elliptic.P256()
	case ed25519.PublicKey:
		return algorithm == EdDSA
	}
	return false
}
