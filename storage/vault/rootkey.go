package vault

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"gatehouse/keyed"
)

// RootKey is the operator's 32-byte secret. Nothing is encrypted or authenticated with it directly: every purpose has
// a key derived by HKDF-SHA256 (RFC 5869), so that one use reveals nothing about another.
type RootKey struct{ key []byte }

// NewRootKey returns the root key of 32 bytes, or an error for another length.
func NewRootKey(key []byte) (RootKey, error) {
	if len(key) != 32 {
		return RootKey{}, errors.New("the root key is not 32 bytes")
	}
	return RootKey{key: key}, nil
}

// derive returns the 32-byte key for one purpose.
func (r RootKey) derive(purpose string) []byte { return derive(r.key, purpose) }

func derive(key []byte, purpose string) []byte {
	out, err := hkdf.Key(sha256.New, key, nil, "gatehouse/"+purpose, 32)
	if err != nil {
		panic("derive a key: " + err.Error()) // only for impossible lengths
	}
	return out
}

// A sealed value is a format byte, the id of its root key, and what keyed.Seal returns.
const (
	sealFormat = 1
	headerSize = 1 + idSize
	idSize     = 4
)

// id identifies the key without revealing it, so that a sealed value records which key opens it.
func (r RootKey) id() []byte { return keyed.MAC(r.derive("key-id"))[:idSize] }

// fingerprint identifies the key in the database.
func (r RootKey) fingerprint() string { return hex.EncodeToString(keyed.MAC(r.derive("fingerprint"))) }

// Seal encrypts plaintext for a purpose, bound to the row that it is stored in.
func (r RootKey) Seal(purpose, row string, plaintext []byte) ([]byte, error) {
	sealed, err := keyed.Seal(r.derive(purpose), plaintext, purpose+"\x00"+row)
	if err != nil {
		return nil, err
	}
	return append(append([]byte{sealFormat}, r.id()...), sealed...), nil
}

// Open reverses Seal. It returns keyed.ErrDamaged when the value was altered, sealed under another key, or moved to
// another row or purpose.
func (r RootKey) Open(purpose, row string, sealed []byte) ([]byte, error) {
	if !r.hasSealed(sealed) {
		return nil, keyed.ErrDamaged
	}
	return keyed.Open(r.derive(purpose), sealed[headerSize:], purpose+"\x00"+row)
}

// hasSealed reports whether the header of a value has the id of this key.
func (r RootKey) hasSealed(value []byte) bool {
	return len(value) >= headerSize && value[0] == sealFormat && keyed.Equal(value[1:headerSize], r.id())
}
