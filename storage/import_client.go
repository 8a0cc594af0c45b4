package storage

import (
	"context"
	"errors"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// ErrIDOfUser is returned for a client_id that is the sub of a user.
var ErrIDOfUser error = db.Outcome("the client_id is the sub of a user")

// CheckImportedClientID returns ErrConflict for the id of a client and ErrIDOfUser for that of a user. Until the
// transaction ends, no other import can use the id.
func (s *Store) CheckImportedClientID(ctx context.Context, id string) error {
	err := db.Lock(ctx, s.Write, "installation", 1)
	if err != nil {
		return db.Wrap("lock imports", err)
	}
	if _, err = db.Take[Client](ctx, s.Write, "id = ?", id); err == nil {
		return ErrConflict
	}
	if errors.Is(err, ErrNotFound) {
		if _, err = db.Take[User](ctx, s.Write, "id = ?", id); err == nil {
			return ErrIDOfUser
		}
	}
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return db.Wrap("check a client_id", err)
}

// UpgradeClientSecret replaces the slow hash of a secret by another one of the same secret. It returns ErrNotFound when
// the row was removed or its hash has changed.
func (s *Store) UpgradeClientSecret(ctx context.Context, old ClientSecret, slowHash, kind string) error {
	e := audit.Event{Type: audit.ClientSecretUpgraded, ClientID: old.ClientID, Detail: map[string]any{"from": kind}}
	return db.Wrap("upgrade client secret", s.Tx(ctx, func(tx *Store) error {
		if err := db.ExecOne(ctx, tx.Write, "UPDATE client_secrets SET slow_hash = ? WHERE id = ? AND slow_hash = ?",
			slowHash, old.ID, old.SlowHash); err != nil {
			return err
		}
		tx.recordClientChange(old.ClientID)
		return tx.Audit.Record(ctx, e)
	}))
}
