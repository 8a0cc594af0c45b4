package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"time"
)

// Secret is a random value that must stay what it is when the root key is rotated, so it is sealed rather than derived.
type Secret struct {
	ID        string
	Sealed    []byte
	CreatedAt time.Time `gorm:"serializer:millis;autoCreateTime:false"`
}

const secretPurpose = "secret"

// Secret returns the 32 bytes of that name, the same in every process. They are made at the first call.
func (s *Store) Secret(ctx context.Context, id string) ([]byte, error) {
	row, err := take[Secret](ctx, s.write, "id = ?", id)
	if errors.Is(err, ErrNotFound) {
		value := make([]byte, 32)
		if _, err := rand.Read(value); err != nil {
			return nil, err
		}
		sealed, err := s.root.Seal(secretPurpose, id, value)
		if err != nil {
			return nil, err
		}
		// Another process may be first; then its value holds.
		if err := s.exec(ctx, "INSERT INTO secrets (id, sealed, created_at) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING", id, sealed, toMillis(s.now())); err != nil {
			return nil, wrap("make a secret", err)
		}
		row, err = take[Secret](ctx, s.write, "id = ?", id)
		if err != nil {
			return nil, wrap("read a secret", err)
		}
	} else if err != nil {
		return nil, wrap("read a secret", err)
	}
	return s.root.Open(secretPurpose, id, row.Sealed)
}
