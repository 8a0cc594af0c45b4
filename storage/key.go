package storage

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// SigningKey is a key that signs tokens. Its stage is a function of its times, the same in every process: published
// from CreatedAt, signing from ActiveAt until RetiresAt, verifying until RemovedAt.
type SigningKey struct {
	ID        string     // the kid
	Algorithm string     // JWS alg
	Public    string     // JWK as JSON
	Sealed    []byte     // the private key, PKCS #8, sealed under the root key
	Private   []byte     `gorm:"-" json:"-"` // the same in clear, in keys that are to be added
	CreatedAt time.Time  `gorm:"serializer:millis;autoCreateTime:false"`
	ActiveAt  time.Time  `gorm:"serializer:millis"`
	RetiresAt *time.Time `gorm:"serializer:millis"`
	RemovedAt *time.Time `gorm:"serializer:millis"`
}

// SigningKeys returns the keys that are not removed yet, in the order of activation.
func (s *Store) SigningKeys(ctx context.Context) ([]SigningKey, error) {
	out, err := db.List[SigningKey](
		ctx, s.Write, "active_at, id", "removed_at IS NULL OR removed_at > ?", db.Millis(s.Now()),
	)
	return out, db.Wrap("list signing keys", err)
}

// KeyChange returns, from the keys that are not removed yet, the keys to add and those whose RetiresAt or RemovedAt it
// set. When it returns neither, nothing is stored and no event is written.
type KeyChange func(keys []SigningKey) (add, changed []SigningKey, err error)

// CreateSigningKeys stores a change that adds keys where there are none, under a lock that all processes use.
func (s *Store) CreateSigningKeys(ctx context.Context, change KeyChange) error {
	return s.updateSigningKeys(ctx, audit.KeyCreated, change)
}

// RotateSigningKeys stores a change in which new keys replace others in stages, under the same lock.
func (s *Store) RotateSigningKeys(ctx context.Context, change KeyChange) error {
	return s.updateSigningKeys(ctx, audit.KeyRotated, change)
}

// RevokeSigningKeys stores a change that removes keys immediately, under the same lock.
func (s *Store) RevokeSigningKeys(ctx context.Context, change KeyChange) error {
	return s.updateSigningKeys(ctx, audit.KeyRevoked, change)
}

func (s *Store) updateSigningKeys(ctx context.Context, event string, change KeyChange) error {
	e := audit.Event{Type: event}
	return db.Wrap("change signing keys", s.Tx(ctx, func(tx *Store) error {
		if err := db.Lock(ctx, tx.Write, "installation", 1); err != nil {
			return err
		}
		keys, err := tx.SigningKeys(ctx)
		if err != nil {
			return err
		}
		add, changed, err := change(keys)
		if err != nil || len(add) == 0 && len(changed) == 0 {
			return err
		}
		for _, k := range changed {
			if err := db.Exec(ctx, tx.Write, "UPDATE signing_keys SET retires_at = ?, removed_at = ? WHERE id = ?",
				db.NullMillis(k.RetiresAt), db.NullMillis(k.RemovedAt), k.ID); err != nil {
				return err
			}
		}
		ids := make([]string, 0, len(add))
		for i := range add {
			if add[i].Private != nil {
				if add[i].Sealed, err = tx.Vault.Seal(ctx, signingKeyPurpose, add[i].ID, add[i].Private); err != nil {
					return err
				}
			}
			if err := db.Insert(ctx, tx.Write, &add[i]); err != nil {
				return err
			}
			ids = append(ids, add[i].ID)
		}
		if len(ids) > 0 {
			e.Detail = map[string]any{"kid": strings.Join(ids, " ")}
		}
		tx.recordSharedChange()
		return tx.Audit.Record(ctx, e)
	}))
}

const signingKeyPurpose = "signing-key"

// PrivateKey returns the private key as PKCS #8.
func (s *Store) PrivateKey(k SigningKey) ([]byte, error) {
	der, err := s.Vault.Open(signingKeyPurpose, k.ID, k.Sealed)
	if err != nil {
		return nil, fmt.Errorf("open signing key %s: %w", k.ID, err)
	}
	return der, nil
}
