package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gatehouse/storage/db"
)

// ErrNotDevDatabase is returned by MarkDevDatabase for a database that `gatehouse dev` did not create.
var ErrNotDevDatabase = errors.New("the database was not created by gatehouse dev")

// MarkDevDatabase migrates a database that is new or was created by `gatehouse dev`, and marks it. It does not change
// any other database and returns ErrNotDevDatabase.
func (s *Store) MarkDevDatabase(ctx context.Context) error {
	isDev, err := s.isDevDatabase(ctx)
	if err != nil {
		return fmt.Errorf("check what created the database: %w", err)
	}
	if !isDev {
		return ErrNotDevDatabase
	}
	if _, err := s.Migrate(ctx); err != nil {
		return err
	}
	return db.Wrap("mark the database", db.Exec(ctx, s.Write, "UPDATE installation SET created_by = 'dev' WHERE id = 1"))
}

// isDevDatabase reports whether the database is unused or was created by `gatehouse dev`.
func (s *Store) isDevDatabase(ctx context.Context) (bool, error) {
	all, err := s.Migrations(ctx)
	if err != nil {
		return false, err
	}
	if !slices.ContainsFunc(all, func(m db.Migration) bool { return m.Applied }) {
		return true, nil
	}
	used, err := s.Vault.HasRootKey(ctx)
	if err != nil || !used {
		return err == nil, err // migrated, but not used yet
	}
	var marked int64
	err = db.QueryRow(ctx, s.Write, []any{&marked}, "SELECT count(*) FROM installation WHERE created_by = 'dev'")
	return marked > 0, err
}
