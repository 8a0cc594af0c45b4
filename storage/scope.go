package storage

import (
	"context"
	"errors"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// Scope is a permission with the description that users read on the consent page (RFC 6749 §3.3).
type Scope struct {
	Name        string    `json:"name" gorm:"primaryKey"`
	Description string    `json:"description"`
	CreatedAt   time.Time `json:"created_at" gorm:"serializer:millis;autoCreateTime:false"`
}

// Scopes returns every scope by its name. The map is shared: do not change it.
func (s *Store) Scopes(ctx context.Context) (map[string]Scope, error) {
	return cached(s,
		func(c *cache) (map[string]Scope, bool) { return c.scopes, c.scopes != nil },
		func() (map[string]Scope, error) {
			all, err := db.List[Scope](ctx, s.Read, "name", "1 = 1")
			out := make(map[string]Scope, len(all))
			for _, v := range all {
				out[v.Name] = v
			}
			return out, db.Wrap("list scopes", err)
		},
		func(c *cache, v map[string]Scope) { c.scopes = v })
}

// CreateScope adds a scope, or returns ErrConflict.
func (s *Store) CreateScope(ctx context.Context, v Scope) error {
	e := audit.Event{Type: audit.ScopeCreated, Scopes: v.Name}
	return db.Wrap("create scope", s.changeShared(ctx, e, func(tx *Store) error { return db.Insert(ctx, tx.Write, &v) }))
}

// UpdateScope changes the description of a scope, or returns ErrNotFound.
func (s *Store) UpdateScope(ctx context.Context, name, description string) error {
	e := audit.Event{Type: audit.ScopeUpdated, Scopes: name}
	return db.Wrap("describe scope", s.changeShared(ctx, e, func(tx *Store) error {
		return db.ExecOne(ctx, tx.Write, "UPDATE scopes SET description = ? WHERE name = ?", description, name)
	}))
}

// DeleteScope removes a scope, or returns ErrNotFound. It is no longer granted to clients that list it.
func (s *Store) DeleteScope(ctx context.Context, name string) error {
	e := audit.Event{Type: audit.ScopeDeleted, Scopes: name}
	return db.Wrap("delete scope", s.changeShared(ctx, e, func(tx *Store) error {
		return db.ExecOne(ctx, tx.Write, "DELETE FROM scopes WHERE name = ?", name)
	}))
}

// changeShared calls change and records the event and the change of a cached record, in one transaction.
func (s *Store) changeShared(ctx context.Context, e audit.Event, change func(tx *Store) error) error {
	return s.Tx(ctx, func(tx *Store) error {
		if err := change(tx); err != nil {
			return err
		}
		tx.recordSharedChange()
		return tx.Audit.Record(ctx, e)
	})
}

// CreateMissingScopes creates those of the scopes that do not exist, with the name as description, and returns them.
func (s *Store) CreateMissingScopes(ctx context.Context, names []string) (added []string, err error) {
	err = s.Tx(ctx, func(tx *Store) error {
		added = nil
		for _, name := range names {
			// Not read first: another process may register it concurrently.
			err := db.ExecOne(
				ctx, tx.Write,
				"INSERT INTO scopes (name, description, created_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING", name, name,
				db.Millis(s.Now()),
			)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			tx.recordSharedChange()
			if err := tx.Audit.Record(ctx, audit.Event{Type: audit.ScopeCreated, Scopes: name}); err != nil {
				return err
			}
			added = append(added, name)
		}
		return nil
	})
	return added, db.Wrap("register scopes", err)
}
