package storage

import (
	"context"
	"errors"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// Password is the hash of a password: Gatehouse's own, or that of another system until the first correct sign-in.
type Password struct {
	UserID    string `gorm:"primaryKey"`
	Hash      string
	ChangedAt time.Time  `gorm:"serializer:millis"`
	Kind      string     // the algorithm of another system's hash; empty for Gatehouse's
	ExpiresAt *time.Time `gorm:"serializer:millis"` // of another system's hash that is weak
}

// Password returns the password hash of a user, or ErrNotFound when there is none.
func (s *Store) Password(ctx context.Context, userID string) (Password, error) {
	p, err := db.Take[Password](ctx, s.Read, "user_id = ?", userID)
	return p, db.Wrap("read password", err)
}

// SetPassword replaces the password of a user, by the operator. It ends the sessions and revokes the grants and tokens
// of the user, so that nothing obtained with the old password stays valid.
func (s *Store) SetPassword(ctx context.Context, userID, hash string) error {
	return db.Wrap("set password", s.Tx(ctx, func(tx *Store) error {
		if err := tx.endEverything(ctx, userID); err != nil {
			return err
		}
		if err := tx.storePassword(ctx, userID, hash); err != nil {
			return err
		}
		if err := tx.queueNotice(ctx, MailPasswordChanged, userID, nil); err != nil {
			return err
		}
		return tx.Audit.Record(ctx, audit.Event{Type: audit.UserPasswordSet, UserID: userID})
	}))
}

// UpgradePassword replaces the hash of another system by Gatehouse's hash of the same password. It returns ErrConflict
// when the password has changed since old was read, and then changes nothing.
func (s *Store) UpgradePassword(ctx context.Context, old Password, hash string) error {
	e := audit.Event{Type: audit.UserPasswordUpgraded, UserID: old.UserID, Detail: map[string]any{"from": old.Kind}}
	return db.Wrap("upgrade password", s.Tx(ctx, func(tx *Store) error {
		err := db.ExecOne(ctx, tx.Write, `UPDATE passwords SET hash = ?, kind = '', expires_at = NULL
			WHERE user_id = ? AND hash = ? AND kind <> ''`, hash, old.UserID, old.Hash)
		if errors.Is(err, ErrNotFound) {
			return ErrConflict
		}
		if err != nil {
			return err
		}
		return tx.Audit.Record(ctx, e)
	}))
}

// PasswordKinds returns how many users have a password hash of each kind of other systems.
func (s *Store) PasswordKinds(ctx context.Context) (map[string]int64, error) {
	out := map[string]int64{}
	err := db.Query(ctx, s.Read, func(scan func(dest ...any) error) error {
		var kind string
		var n int64
		if err := scan(&kind, &n); err != nil {
			return err
		}
		out[kind] = n
		return nil
	}, "SELECT kind, count(*) FROM passwords WHERE kind <> '' GROUP BY kind")
	return out, db.Wrap("count passwords", err)
}
