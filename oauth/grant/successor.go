package grant

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
)

// Successors seals the successor of a rotated refresh token for a retry. The key is derived from the rotated token and
// this salt, a server key, so that neither the database nor the database with the root key reveals the successor.
type Successors []byte

func (s Successors) seal(token, grantID, successor string) ([]byte, error) {
	aead, err := s.cipher(token, grantID)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return aead.Seal(nonce, nonce, []byte(successor), nil), nil
}

func (s Successors) open(token, grantID string, sealed []byte) (string, error) {
	aead, err := s.cipher(token, grantID)
	if err != nil {
		return "", err
	}
	n := aead.NonceSize()
	if len(sealed) < n {
		return "", errors.New("sealed successor is damaged")
	}
	successor, err := aead.Open(nil, sealed[:n], sealed[n:], nil)
	return string(successor), err
}

func (s Successors) cipher(token, grantID string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(token), s, grantID, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
