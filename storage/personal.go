package storage

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"strings"
)

// sealOrigin seals the address and user agent of a row and returns the random bytes and the ciphertext. The key of the
// row is derived from random bytes in it and a key that is sealed under the root key and survives its replacement:
// erasing the random bytes erases the address.
func (s *Store) sealOrigin(id, address, userAgent string) (random, sealed []byte, err error) {
	if address == "" && userAgent == "" {
		return nil, nil, nil
	}
	random = make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return nil, nil, err
	}
	aead, err := s.personalCipher(random)
	if err != nil {
		return nil, nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	return random, aead.Seal(nil, nonce, []byte(address+"\x00"+userAgent), []byte(id)), nil //nolint:gosec // each key is used once
}

// openOrigin reverses sealOrigin. It returns empty strings if the row has no origin, it was erased or it cannot be
// read.
func (s *Store) openOrigin(id string, random, sealed []byte) (address, userAgent string) {
	if len(random) == 0 || s.keys == nil {
		return "", ""
	}
	aead, err := s.personalCipher(random)
	if err != nil {
		return "", ""
	}
	plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), sealed, []byte(id))
	if err != nil {
		return "", ""
	}
	address, userAgent, _ = strings.Cut(string(plain), "\x00")
	return address, userAgent
}

// personalCipher is used once with each key, so that its nonce may be constant.
func (s *Store) personalCipher(random []byte) (cipher.AEAD, error) {
	h := hmac.New(sha256.New, s.Key(personalKey))
	h.Write(random)
	return newGCM(h.Sum(nil))
}

// readPersonal fills in where an event came from, unless that was erased or cannot be read.
func (s *Store) readPersonal(row *AuditEvent) {
	row.Address, row.UserAgent = s.openOrigin(row.ID, row.PersonalKey, row.Personal)
}

// seal seals the session's address and user agent for storing.
func (b *BrowserSession) seal(s *Store) (err error) {
	b.PersonalKey, b.Personal, err = s.sealOrigin(b.ID, b.Address, b.UserAgent)
	return err
}

// open fills in the session's address and user agent, unless they were erased or cannot be read.
func (b *BrowserSession) open(s *Store) {
	b.Address, b.UserAgent = s.openOrigin(b.ID, b.PersonalKey, b.Personal)
}
