package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"gatehouse/storage/db"
)

// Secret is a random value that must stay what it is when the root key is rotated, so it is sealed rather than derived.
type Secret struct {
	ID        string
	Sealed    []byte
	CreatedAt time.Time `gorm:"serializer:millis;autoCreateTime:false"`
}

const secretPurpose = "secret"

// Secret returns the 32 bytes of that name, the same in every process. They are made at the first call.
func (s *Store) Secret(ctx context.Context, id string) (value []byte, err error) {
	err = s.Tx(ctx, func(tx *Store) error {
		row, err := db.Take[Secret](ctx, tx.Write, "id = ?", id)
		if errors.Is(err, ErrNotFound) {
			if err := db.Lock(ctx, tx.Write, "revision", 1); err != nil { // or two processes make it, or a rekey passes it by
				return err
			}
			if row, err = db.Take[Secret](ctx, tx.Write, "id = ?", id); errors.Is(err, ErrNotFound) {
				row, err = tx.newSecret(ctx, id)
			}
		}
		if err != nil {
			return err
		}
		value, err = tx.unseal(secretPurpose, id, row.Sealed)
		return err
	})
	return value, db.Wrap("read a secret", err)
}

// newSecret makes a random secret.
func (s *Store) newSecret(ctx context.Context, id string) (Secret, error) {
	value := make([]byte, 32)
	if _, err := rand.Read(value); err != nil {
		return Secret{}, err
	}
	sealed, err := s.seal(ctx, secretPurpose, id, value)
	if err != nil {
		return Secret{}, err
	}
	row := Secret{ID: id, Sealed: sealed, CreatedAt: s.Now()}
	return row, db.Insert(ctx, s.Write, &row)
}
