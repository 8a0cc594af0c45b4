// Package jwt signs the JWTs that relying parties read (ID tokens, logout tokens, signed userinfo) and verifies those that
// clients sign (assertions, request objects). It decides which algorithms exist and which key fits a token; what the
// claims mean, and which keys there are, is left to others. Access tokens have a package of their own.
package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
)

// The algorithms in use (RFC 7518 §3.1, RFC 8037 §3.1): asymmetric ones, and the strict ones of each family.
const (
	RS256 = string(jose.RS256)
	PS256 = string(jose.PS256)
	ES256 = string(jose.ES256)
	EdDSA = string(jose.EdDSA) // Ed25519
)

// Algorithms lists them, the one that every relying party knows first.
var Algorithms = []string{RS256, PS256, ES256, EdDSA}

// MaxSize is the largest token in bytes that Parse looks at.
const MaxSize = 32 << 10

// The limits on an RSA key: at least 2048 bits (RFC 7518 §3.3), and not more expensive to verify with than the keys of
// real clients. The time grows with the square of the bits and with the length of the exponent, which is usually
// 65537.
const (
	minRSA      = 2048
	maxRSA      = 4096
	maxExponent = 1 << 17
)

// MaxKeys is the maximum number of keys in a JWKS, MaxCandidates the maximum that is tried for one token.
const (
	MaxKeys       = 16
	MaxCandidates = 4
)

// ErrTooManyCandidates is an ErrInvalid. It is returned for a token with more than MaxCandidates candidate keys: without
// a kid, or with a kid that several keys have.
var ErrTooManyCandidates = fmt.Errorf("%w: more than %d keys are candidates", ErrInvalid, MaxCandidates)

// JWKSError is the reason why ParseJWKS refuses a JWKS. The message continues a sentence that starts with its name.
type JWKSError string

// Error implements error.
func (e JWKSError) Error() string { return string(e) }

// ErrInvalid is returned, wrapped with the reason for the log, for a token that is not whole, signed by another key or
// with another algorithm.
var ErrInvalid = errors.New("invalid JWT")

// Key is a private key that signs with one algorithm.
type Key struct {
	ID, Algorithm string
	private       crypto.Signer
	signers       map[string]jose.Signer // by typ, but for ES256
	headers       map[string]string      // by typ: the Header for SignES256
}

// The typ headers that are signed.
const (
	TypeJWT    = "JWT"
	TypeLogout = "logout+jwt" // OIDC Back-Channel Logout §2.4
)

// Generate returns a new private key for an algorithm.
func Generate(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RS256, PS256:
		return rsa.GenerateKey(rand.Reader, minRSA)
	case EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return nil, fmt.Errorf("there is no algorithm %q", algorithm)
}

// NewKey returns a key that signs. It refuses a key of another kind than the algorithm's.
func NewKey(id, algorithm string, private crypto.Signer) (*Key, error) {
	if !fits(private.Public(), algorithm) {
		return nil, fmt.Errorf("a %T does not fit %s", private, algorithm)
	}
	k := &Key{ID: id, Algorithm: algorithm, private: private, signers: map[string]jose.Signer{}, headers: map[string]string{}}
	for _, typ := range []string{"", TypeJWT, TypeLogout} {
		if algorithm == ES256 {
			header, err := ES256Header(id, typ)
			if err != nil {
				return nil, err
			}
			k.headers[typ] = header
			continue
		}
		options := &jose.SignerOptions{}
		if typ != "" {
			options = options.WithType(jose.ContentType(typ))
		}
		signer, err := jose.NewSigner(jose.SigningKey{
			Algorithm: jose.SignatureAlgorithm(algorithm), Key: jose.JSONWebKey{Key: private, KeyID: id},
		}, options)
		if err != nil {
			return nil, fmt.Errorf("make a signer: %w", err)
		}
		k.signers[typ] = signer
	}
	return k, nil
}

// Sign returns the compact serialization of the claims, which must marshal to a JSON object. typ is "", TypeJWT or
// TypeLogout.
func (k *Key) Sign(typ string, claims any) (string, error) {
	signer, header := k.signers[typ], k.headers[typ]
	if signer == nil && header == "" {
		return "", fmt.Errorf("nothing is signed as %q", typ)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	if ec, ok := k.private.(*ecdsa.PrivateKey); ok {
		return SignES256(ec, header, payload)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return jws.CompactSerialize()
}

// Header is the encoded JOSE header of an ES256 signature, with its dot (RFC 7515 §4).
func ES256Header(id, typ string) (string, error) {
	header, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
		Type      string `json:"typ,omitempty"`
	}{ES256, id, typ})
	return base64.RawURLEncoding.EncodeToString(header) + ".", err
}

// SignES256 returns the compact serialization of a payload signed by a P-256 key, whose Header is given (RFC 7518 §3.4). It is
// written in one buffer and signed there, which saves half the allocations of a general JWS library; go-jose verifies the result
// in every test.
func SignES256(private *ecdsa.PrivateKey, header string, payload []byte) (string, error) {
	enc := base64.RawURLEncoding
	out := make([]byte, 0, len(header)+enc.EncodedLen(len(payload))+1+enc.EncodedLen(64))
	out = append(out, header...)
	out = enc.AppendEncode(out, payload)
	digest := sha256.Sum256(out)
	r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	out = append(out, '.')
	return string(enc.AppendEncode(out, signature[:])), nil
}

// JWK is the public half for a key set (RFC 7517).
func (k *Key) JWK() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.private.Public(), KeyID: k.ID, Algorithm: k.Algorithm, Use: "sig"}
}

// LeftHalfHash is the left half of the value's hash under the algorithm, as at_hash has it (OIDC Core §3.1.3.6).
func LeftHalfHash(algorithm, value string) string {
	if algorithm == EdDSA { // Ed25519 hashes with SHA-512
		sum := sha512.Sum512([]byte(value))
		return base64.RawURLEncoding.EncodeToString(sum[:32])
	}
	sum := sha256.Sum256([]byte(value))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// Token is a JWT whose signature is good.
type Token struct {
	Type    string // the typ header, "" when there is none
	KeyID   string
	Payload []byte // a JSON object
}

// HasType reports whether the typ header is one of the types, in any case and with or without the prefix application/
// (RFC 7515 §4.1.9). The type "" matches a token without typ.
func (t Token) HasType(types ...string) bool {
	plain := strings.ToLower(t.Type)
	if media, ok := strings.CutPrefix(plain, "application/"); ok && media != "" {
		plain = media
	}
	return slices.ContainsFunc(types, func(one string) bool { return strings.ToLower(one) == plain })
}

// Parse verifies a compact JWT that is signed with one of the algorithms by one of the keys that find returns for its
// key id and algorithm. A key id without a key is an error; without a key id every matching key is tried, up to
// MaxCandidates. The error is ErrInvalid or the error of find.
func Parse(token string, algorithms []string, find func(kid, alg string) ([]jose.JSONWebKey, error)) (Token, error) {
	allowed := make([]jose.SignatureAlgorithm, 0, len(algorithms))
	for _, alg := range algorithms {
		allowed = append(allowed, jose.SignatureAlgorithm(alg))
	}
	jws, err := ParseCompact(token, MaxSize, allowed)
	if err != nil {
		return Token{}, err
	}
	header := jws.Signatures[0].Protected
	var typ string
	if v, ok := header.ExtraHeaders[jose.HeaderType]; ok {
		if typ, _ = v.(string); typ == "" { // which must not be handled like a header without typ
			return Token{}, fmt.Errorf("%w: typ is not a string", ErrInvalid)
		}
	}
	keys, err := find(header.KeyID, header.Algorithm)
	if err != nil {
		return Token{}, err
	}
	candidates := make([]jose.JSONWebKey, 0, MaxCandidates)
	for _, key := range keys {
		if !usable(key, header.KeyID, header.Algorithm) {
			continue
		}
		if len(candidates) == MaxCandidates {
			return Token{}, ErrTooManyCandidates
		}
		candidates = append(candidates, key)
	}
	for _, key := range candidates {
		payload, err := jws.Verify(key.Key)
		if err != nil {
			continue
		}
		if err := CheckJSONLimits(payload, maxMembers); err != nil {
			return Token{}, fmt.Errorf("%w: the payload %w", ErrInvalid, err)
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(payload, &object); err != nil || object == nil || !utf8.Valid(payload) {
			return Token{}, fmt.Errorf("%w: the payload is not a JSON object in UTF-8", ErrInvalid)
		}
		return Token{Type: typ, KeyID: header.KeyID, Payload: payload}, nil
	}
	return Token{}, fmt.Errorf("%w: no key fits, or the signature is wrong", ErrInvalid)
}

// UnverifiedIssuer is the iss of a JWT whose signature is still to be verified, to know with whose keys, or "".
func UnverifiedIssuer(token string) string {
	_, encoded, err := split(token, MaxSize)
	if err != nil {
		return ""
	}
	payload, err := DecodeBase64(encoded)
	var claims struct {
		Issuer string `json:"iss"`
	}
	if err != nil || CheckJSONLimits(payload, maxMembers) != nil || json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.Issuer
}

func usable(key jose.JSONWebKey, kid, alg string) bool {
	return (kid == "" || key.KeyID == kid) && (key.Use == "" || key.Use == "sig") && (key.Algorithm == "" || key.Algorithm == alg) && fits(key.Key, alg)
}

// fits reports whether a public key is of the algorithm's kind and strong enough.
func fits(public any, algorithm string) bool {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return (algorithm == RS256 || algorithm == PS256) && k.N.BitLen() >= minRSA && k.N.BitLen() <= maxRSA && k.E > 1 && k.E <= maxExponent
	case *ecdsa.PublicKey:
		return algorithm == ES256 && k.Curve == elliptic.P256()
	case ed25519.PublicKey:
		return algorithm == EdDSA
	}
	return false
}

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
	for _, one := range set.Keys {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(one, &members); err != nil || members == nil {
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
	return key, err == nil && slices.ContainsFunc(Algorithms, func(alg string) bool { return fits(key.Key, alg) })
}

// UnmarshalExact reads claims into the fields of a struct whose json names they have to the letter. encoding/json alone takes a
// name in other letters for the same, so that two readers of one token could see two things.
func UnmarshalExact(claims map[string]json.RawMessage, v any) error {
	known := map[string]json.RawMessage{}
	for field := range reflect.TypeOf(v).Elem().Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); claims[name] != nil {
			known[name] = claims[name]
		}
	}
	b, err := json.Marshal(known)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// Leeway is how far the clock of whoever signed may differ.
const Leeway = 30 * time.Second

// NumericDate is a NumericDate (RFC 7519 §2): seconds, perhaps with a fraction.
type NumericDate float64

// Time is the instant, to the second. What is beyond every calendar stays far away on its own side.
func (i NumericDate) Time() time.Time {
	const far = 1 << 40
	return time.Unix(int64(max(-far, min(i, far))), 0)
}

// Audience is the one-or-many form of aud (RFC 7519 §4.1.3).
type Audience []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *Audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = Audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}
