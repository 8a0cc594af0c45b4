package storage

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"strings"
)

// sealPersonal seals where the event came from. Every row has a key of its own, made from random bytes in the row and a key
// sealed under the root key: whoever erases those bytes erases the address, and the ciphertext, which the seal of the row
// covers, stays what it is.
func (s *Store) sealPersonal(row *AuditEvent, o Origin) error {
	row.PersonalKey = make([]byte, 16)
	if _, err := rand.Read(row.PersonalKey); err != nil {
		return err
	}
	aead, err := s.personalCipher(row.PersonalKey)
	if err != nil {
		return err
	}
	row.Personal = aead.Seal(nil, make([]byte, aead.NonceSize()), []byte(o.Address+"\x00"+o.UserAgent), []byte(row.ID)) //nolint:gosec // each key is used once
	return nil
}

// personalCipher is used once with each key, so that its nonce may be constant.
func (s *Store) personalCipher(random []byte) (cipher.AEAD, error) {
	h := hmac.New(sha256.New, s.Key(personalKey))
	h.Write(random)
	return newGCM(h.Sum(nil))
}

// readPersonal fills in where an event came from, unless that was erased or cannot be read.
func (s *Store) readPersonal(row *AuditEvent) {
	if len(row.PersonalKey) == 0 || s.keys == nil {
		return
	}
	aead, err := s.personalCipher(row.PersonalKey)
	if err != nil {
		return
	}
	if plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), row.Personal, []byte(row.ID)); err == nil {
		row.Address, row.UserAgent, _ = strings.Cut(string(plain), "\x00")
	}
}
