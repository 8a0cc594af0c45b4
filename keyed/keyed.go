// Package keyed has the primitives that use a secret key: authenticated encryption and message authentication codes.
// It decides their algorithms and formats, for all of Gatehouse; which key is used for what is left to its callers.
package keyed

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
)

// ErrDamaged is returned by Open when the value was altered, or sealed under another key or context.
var ErrDamaged = errors.New("sealed under another key, or damaged")

// Seal encrypts plaintext with AES-256-GCM under a 32-byte key. context is authenticated and not stored: it binds the
// result to the row or purpose that it is stored for. The result is a random nonce and the ciphertext.
func Seal(key, plaintext []byte, context string) ([]byte, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, plaintext, []byte(context)), nil //nolint:gosec // the AEAD adds a random nonce
}

// Open reverses Seal. It returns ErrDamaged when the key or the context differs, or sealed was altered.
func Open(key, sealed []byte, context string) ([]byte, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	plaintext, err := aead.Open(nil, nil, sealed, []byte(context))
	if err != nil {
		return nil, ErrDamaged
	}
	return plaintext, nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// MAC returns the HMAC-SHA256 of a list of parts under a key. Two lists have the same MAC only if all parts are equal.
func MAC(key []byte, parts ...string) []byte {
	h := NewHash(key)
	for _, part := range parts {
		h.AddString(part)
	}
	return h.Sum(nil)
}

// Equal reports whether two MACs, hashes or secrets are equal, in a time that depends only on their lengths.
func Equal(a, b []byte) bool { return hmac.Equal(a, b) }

// Hash computes the MAC of parts that are not all in memory.
type Hash struct {
	hash.Hash

	buffer []byte // for one part
}

// NewHash returns a Hash under a key.
func NewHash(key []byte) *Hash { return &Hash{Hash: hmac.New(sha256.New, key)} }

// AddString adds a string with its length.
func (h *Hash) AddString(s string) {
	h.buffer = append(appendLength(h.buffer[:0], len(s)), s...)
	_, _ = h.Write(h.buffer) // a hash never fails
}

// AddNumber adds a number.
func (h *Hash) AddNumber(n int64) {
	h.buffer = binary.BigEndian.AppendUint64(h.buffer[:0], uint64(n)) //nolint:gosec // the bits matter, not the sign
	_, _ = h.Write(h.buffer)
}

func appendLength(b []byte, n int) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(n)) //nolint:gosec // never negative
}
