package storage

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// RootKey is the operator's 32-byte secret. Nothing is encrypted or signed with it directly: every use derives a key of
// its own by HKDF-SHA256 (RFC 5869), so that one use can tell nothing about another.
type RootKey struct{ key []byte }

// NewRootKey wraps 32 bytes.
func NewRootKey(key []byte) (RootKey, error) {
	if len(key) != 32 {
		return RootKey{}, errors.New("the root key is not 32 bytes")
	}
	return RootKey{key: key}, nil
}

// Derive returns the 32-byte key for one purpose.
func (r RootKey) Derive(purpose string) []byte {
	out, err := hkdf.Key(sha256.New, r.key, nil, "gatehouse/"+purpose, 32)
	if err != nil {
		panic("derive a key: " + err.Error()) // only for impossible lengths
	}
	return out
}

// MAC authenticates message under the key for purpose, with SHA-256.
func (r RootKey) MAC(purpose string, message []byte) []byte {
	h := hmac.New(sha256.New, r.Derive(purpose))
	h.Write(message)
	return h.Sum(nil)
}

// id names the key without telling it, so that a sealed value says which key opens it.
func (r RootKey) id() []byte { return r.MAC("key-id", nil)[:4] }

// Seal encrypts plaintext with AES-256-GCM under the key for purpose, bound to the row it is stored in. The result is a
// format byte, the key id, the nonce and the ciphertext.
func (r RootKey) Seal(purpose, row string, plaintext []byte) ([]byte, error) {
	aead, err := newGCM(r.Derive(purpose))
	if err != nil {
		return nil, err
	}
	head := append([]byte{1}, r.id()...)
	nonce := make([]byte, aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return aead.Seal(append(head, nonce...), nonce, plaintext, []byte(purpose+"\x00"+row)), nil
}

// Open reverses Seal. It fails when anything was altered, or the value was moved to another row or purpose.
func (r RootKey) Open(purpose, row string, sealed []byte) ([]byte, error) {
	aead, err := newGCM(r.Derive(purpose))
	if err != nil {
		return nil, err
	}
	if n := aead.NonceSize(); len(sealed) < 5+n || sealed[0] != 1 || !hmac.Equal(sealed[1:5], r.id()) {
		return nil, errors.New("sealed under another root key, or damaged")
	} else {
		return aead.Open(nil, sealed[5:5+n], sealed[5+n:], []byte(purpose+"\x00"+row))
	}
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// ErrOtherKey is returned by UseRootKey when the database belongs to another root key.
var ErrOtherKey = errors.New("the root key does not fit this database; set GATEHOUSE_SECRET_KEY (or secret.key beside an embedded database) to the key it was made with")

// UseRootKey ties the store to its root key. The first key ever used leaves its fingerprint in the database; any other
// is refused with ErrOtherKey, before anything is generated or sealed under it.
func (s *Store) UseRootKey(ctx context.Context, root RootKey) error {
	mine := hex.EncodeToString(root.MAC("fingerprint", nil))
	if err := s.exec(ctx, "UPDATE revision SET key_fingerprint = ? WHERE id = 1 AND key_fingerprint IS NULL", mine); err != nil {
		return wrap("check the root key", err)
	}
	var stored string
	if err := queryRow(ctx, s.write, []any{&stored}, "SELECT key_fingerprint FROM revision WHERE id = 1"); err != nil {
		return wrap("check the root key", err)
	}
	if !hmac.Equal([]byte(stored), []byte(mine)) {
		return ErrOtherKey
	}
	s.root = root
	return nil
}

// HasRootKey reports whether a root key was ever used with this database.
func (s *Store) HasRootKey(ctx context.Context) (bool, error) {
	var n int64
	err := queryRow(ctx, s.write, []any{&n}, "SELECT count(*) FROM revision WHERE key_fingerprint IS NOT NULL")
	if err != nil {
		return false, fmt.Errorf("check the root key: %w", err)
	}
	return n > 0, nil
}

// Root is the key given to UseRootKey.
func (s *Store) Root() RootKey { return s.root }
