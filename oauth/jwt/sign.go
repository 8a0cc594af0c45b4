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
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// The typ headers that Sign sets.
const (
	TypeJWT    = "JWT"
	TypeLogout = "logout+jwt" // OIDC Back-Channel Logout §2.4
)

// Key is a private key that signs with one algorithm.
type Key struct {
	ID, Algorithm string
	private       crypto.Signer
	signers       map[string]*Signer // by typ
}

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
	return nil, fmt.Errorf("unsupported algorithm %q", algorithm)
}

// NewKey returns a Key. It returns an error if the private key does not match the algorithm.
func NewKey(id, algorithm string, private crypto.Signer) (*Key, error) {
	k := &Key{ID: id, Algorithm: algorithm, private: private, signers: map[string]*Signer{}}
	for _, typ := range []string{"", TypeJWT, TypeLogout} {
		signer, err := NewSigner(private, Header{Algorithm: algorithm, KeyID: id, Type: typ})
		if err != nil {
			return nil, err
		}
		k.signers[typ] = signer
	}
	return k, nil
}

// Sign returns the compact serialization of the claims, which must marshal to a JSON object. typ is "", TypeJWT or
// TypeLogout.
func (k *Key) Sign(typ string, claims any) (string, error) {
	signer := k.signers[typ]
	if signer == nil {
		return "", fmt.Errorf("unsupported typ %q", typ)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return signer.Sign(payload)
}

// JWK returns the public key as a member of a JWKS (RFC 7517).
func (k *Key) JWK() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.private.Public(), KeyID: k.ID, Algorithm: k.Algorithm, Use: "sig"}
}

// Header is the JOSE header of a signature (RFC 7515 §4.1).
type Header struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Type      string `json:"typ,omitempty"`
	TokenUse  string `json:"token_use,omitempty"` // see Token
}

// Signer signs payloads with one key, algorithm and header. It encodes and signs in one buffer, which takes half of the
// allocations of go-jose: 69 instead of 130 for an access token (BenchmarkSign in oauth/accesstoken). The tests verify
// its signatures with go-jose.
type Signer struct {
	private   crypto.Signer
	algorithm string
	header    string // encoded, including the dot after it
}

// NewSigner returns a Signer. It returns an error if the private key does not match the algorithm of the header.
func NewSigner(private crypto.Signer, header Header) (*Signer, error) {
	if !isKeyFor(private.Public(), header.Algorithm) {
		return nil, fmt.Errorf("a %T cannot sign with %s", private, header.Algorithm)
	}
	encoded, err := json.Marshal(header)
	if err != nil {
		return nil, err
	}
	return &Signer{private, header.Algorithm, base64.RawURLEncoding.EncodeToString(encoded) + "."}, nil
}

// maxSignature is the size of the largest signature in bytes, of an RSA key with maxRSA bits.
const maxSignature = maxRSA / 8

// Sign returns the compact serialization of the payload.
func (s *Signer) Sign(payload []byte) (string, error) {
	enc := base64.RawURLEncoding
	size := 64
	if s.algorithm == RS256 || s.algorithm == PS256 {
		size = maxSignature
	}
	out := make([]byte, 0, len(s.header)+enc.EncodedLen(len(payload))+1+enc.EncodedLen(size))
	out = append(out, s.header...)
	out = enc.AppendEncode(out, payload)
	input := out
	out, err := s.appendSignature(append(out, '.'), input)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return string(out), nil
}

// appendSignature appends the encoded JWS signature of the input to out (RFC 7518 §3.3 to §3.5, RFC 8037 §3.1).
func (s *Signer) appendSignature(out, input []byte) ([]byte, error) {
	if private, ok := s.private.(*ecdsa.PrivateKey); ok {
		return appendES256(out, input, private)
	}
	var options crypto.SignerOpts = crypto.SHA256
	switch s.algorithm {
	case EdDSA: // signs the input itself
		options = crypto.Hash(0)
	case PS256:
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	}
	if options.HashFunc() != 0 {
		digest := sha256.Sum256(input)
		input = digest[:]
	}
	signature, err := s.private.Sign(rand.Reader, input, options)
	if err != nil {
		return nil, err
	}
	return base64.RawURLEncoding.AppendEncode(out, signature), nil
}

// appendES256 appends the encoded signature of a P-256 key.
func appendES256(out, input []byte, private *ecdsa.PrivateKey) ([]byte, error) {
	digest := sha256.Sum256(input)
	r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
	if err != nil {
		return nil, err
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return base64.RawURLEncoding.AppendEncode(out, signature[:]), nil
}

// LeftHalfHash returns the left half of the hash of value, as in the claim at_hash (OIDC Core §3.1.3.6). The algorithm
// of the ID token determines the hash function.
func LeftHalfHash(algorithm, value string) string {
	if algorithm == EdDSA { // Ed25519 hashes with SHA-512
		sum := sha512.Sum512([]byte(value))
		return base64.RawURLEncoding.EncodeToString(sum[:32])
	}
	sum := sha256.Sum256([]byte(value))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}
