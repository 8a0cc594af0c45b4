package storage

import (
	"context"
	"errors"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// RegistrationToken is an initial access token, which allows to register clients (RFC 7591 §3).
type RegistrationToken struct {
	ID        string    `json:"id"`
	Hash      []byte    `json:"-"` // SHA-256
	Note      string    `json:"note,omitempty"`
	UsesLeft  int64     `json:"uses_left"`
	CreatedAt time.Time `json:"created_at" gorm:"serializer:millis;autoCreateTime:false"`
	ExpiresAt time.Time `json:"expires_at" gorm:"serializer:millis"`
}

// CreateRegistrationToken adds an initial access token.
func (s *Store) CreateRegistrationToken(ctx context.Context, t *RegistrationToken) error {
	e := audit.Event{
		Type:   audit.RegistrationTokenCreated,
		Token:  audit.HashReference(t.Hash),
		Detail: map[string]any{"id": t.ID},
	}
	return db.Wrap("create registration token", s.Tx(ctx, func(tx *Store) error {
		if err := db.Insert(ctx, tx.Write, t); err != nil {
			return err
		}
		return tx.Audit.Record(ctx, e)
	}))
}

// RegistrationTokens returns the initial access tokens, the newest first.
func (s *Store) RegistrationTokens(ctx context.Context) ([]RegistrationToken, error) {
	out, err := db.List[RegistrationToken](ctx, s.Read, "created_at DESC, id", "1 = 1")
	return out, db.Wrap("list registration tokens", err)
}

// DeleteRegistrationToken deletes an initial access token, or returns ErrNotFound.
func (s *Store) DeleteRegistrationToken(ctx context.Context, id string) error {
	e := audit.Event{Type: audit.RegistrationTokenDeleted, Detail: map[string]any{"id": id}}
	return db.Wrap("delete registration token", s.Tx(ctx, func(tx *Store) error {
		if err := db.ExecOne(ctx, tx.Write, "DELETE FROM registration_tokens WHERE id = ?", id); err != nil {
			return err
		}
		return tx.Audit.Record(ctx, e)
	}))
}

// ConsumeRegistrationToken consumes one use of the token with that hash and returns its id. It returns ErrNotFound
// when the token is unknown, expired or has no uses left.
func (s *Store) ConsumeRegistrationToken(ctx context.Context, hash []byte) (id string, err error) {
	err = db.QueryRow(
		ctx, s.Write, []any{&id},
		`UPDATE registration_tokens SET uses_left = uses_left - 1
		WHERE hash = ? AND uses_left > 0 AND expires_at > ? RETURNING id`,
		hash, db.Millis(s.Now()),
	)
	return id, db.Wrap("consume registration token", err)
}

// HasRegistrationToken reports whether ConsumeRegistrationToken would succeed. It consumes nothing.
func (s *Store) HasRegistrationToken(ctx context.Context, hash []byte) (bool, error) {
	_, err := db.Take[RegistrationToken](
		ctx, s.Write, "hash = ? AND uses_left > 0 AND expires_at > ?", hash, db.Millis(s.Now()),
	)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, db.Wrap("read registration token", err)
}
