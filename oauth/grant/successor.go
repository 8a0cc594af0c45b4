package grant

import (
	"crypto/hkdf"
	"crypto/sha256"

	"gatehouse/keyed"
)

// Successors seals the successor of a rotated refresh token for a retry. The key is derived from the rotated token and
// this salt, a server key, so that neither the database nor the database with the root key reveals the successor.
type Successors []byte

func (s Successors) seal(token, grantID, successor string) ([]byte, error) {
	key, err := s.key(token, grantID)
	if err != nil {
		return nil, err
	}
	return keyed.Seal(key, []byte(successor), "")
}

func (s Successors) open(token, grantID string, sealed []byte) (string, error) {
	key, err := s.key(token, grantID)
	if err != nil {
		return "", err
	}
	successor, err := keyed.Open(key, sealed, "")
	return string(successor), err
}

func (s Successors) key(token, grantID string) ([]byte, error) {
	return hkdf.Key(sha256.New, []byte(token), s, grantID, 32)
}
