package storage

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"gatehouse/storage/db"
)

// The kinds of what can be used once.
const (
	UseOfAssertion        = "assertion"         // the jti of a client (RFC 7523 §3)
	UseOfTOTPStep         = "totp_step"         // the time step of a user (RFC 6238 §5.2)
	UseOfPasskeyChallenge = "passkey_challenge" // the challenge of a browser (WebAuthn §13.4.3)
	UseOfProof            = "proof_of_work"     // the challenge of a form
)

// UsedOnce is something single use that was used.
type UsedOnce struct {
	Kind      string    `gorm:"primaryKey"`
	ScopeHash []byte    `gorm:"primaryKey"`
	IDHash    []byte    `gorm:"column:id_hash;primaryKey"`
	ExpiresAt time.Time `gorm:"serializer:millis"`
}

// TableName implements schema.Tabler of gorm.
func (UsedOnce) TableName() string { return "used_once" }

// UseOnce stores that an id of a kind was used in a scope, such as a client or user, until it expires. It returns
// ErrConsumed when it was used before. Of several concurrent uses, in any process, one succeeds.
func (s *Store) UseOnce(ctx context.Context, kind, scope, id string, expires time.Time) error {
	scopeHash, idHash := sha256.Sum256([]byte(scope)), sha256.Sum256([]byte(id))
	err := db.ExecOne(
		ctx, s.Write,
		`INSERT INTO used_once (kind, scope_hash, id_hash, expires_at) VALUES (?, ?, ?, ?)
		ON CONFLICT (kind, scope_hash, id_hash) DO NOTHING`,
		kind, scopeHash[:], idHash[:], db.Millis(expires),
	)
	if errors.Is(err, ErrNotFound) {
		err = ErrConsumed
	}
	return db.Wrap("use once", err)
}
