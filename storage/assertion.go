package storage

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"gatehouse/storage/db"
)

// UsedAssertion is a client assertion that was accepted. It is single use (RFC 7523 §3).
type UsedAssertion struct {
	ClientID  string    `gorm:"primaryKey"`
	JTIHash   []byte    `gorm:"column:jti_hash;primaryKey"`
	ExpiresAt time.Time `gorm:"serializer:millis"`
}

// ConsumeAssertion stores the jti of a client's assertion until it expires. It returns ErrConsumed when it was used
// before. Of several concurrent attempts, in any process, one succeeds.
func (s *Store) ConsumeAssertion(ctx context.Context, clientID, jti string, expires time.Time) error {
	sum := sha256.Sum256([]byte(jti))
	err := db.ExecOne(
		ctx, s.Write,
		`INSERT INTO used_assertions (client_id, jti_hash, expires_at) VALUES (?, ?, ?)
		ON CONFLICT (client_id, jti_hash) DO NOTHING`,
		clientID, sum[:], db.Millis(expires),
	)
	if errors.Is(err, ErrNotFound) {
		err = ErrConsumed
	}
	return db.Wrap("consume an assertion", err)
}
