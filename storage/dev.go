package storage

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/storage/db"
)

// ErrNotDevDatabase is returned by MarkDevDatabase for a database that `gatehouse dev` did not create.
var ErrNotDevDatabase = errors.New("the database was not created by gatehouse dev")

// devVersion is the migration with the column created_by.
const devVersion = 1

// MarkDevDatabase migrates a database that is new or was created by `gatehouse dev`, and marks it. It does not change any
// other database and returns ErrNotDevDatabase. A database without the mark, from an earlier version, counts as created by
// `gatehouse dev` when it has one of the clients.
func (s *Store) MarkDevDatabase(ctx context.Context, clients ...string) error {
	own, err := s.createdByDev(ctx, clients)
	if err != nil {
		return fmt.Errorf("check what created the database: %w", err)
	}
	if !own {
		return ErrNotDevDatabase
	}
	if _, err := s.Migrate(ctx); err != nil {
		return err
	}
	return db.Wrap("mark the database", db.Exec(ctx, s.Write, "UPDATE revision SET created_by = 'dev' WHERE id = 1"))
}

// createdByDev reports whether the database is empty or was created by `gatehouse dev`.
func (s *Store) createdByDev(ctx context.Context, clients []string) (bool, error) {
	all, err := s.Migrations(ctx)
	if err != nil {
		return false, err
	}
	applied, marks := 0, false
	for _, m := range all {
		if m.Applied {
			applied++
			marks = marks || m.Version == devVersion
		}
	}
	if applied == 0 {
		return true, nil
	}
	used, err := s.HasRootKey(ctx)
	if err != nil || !used {
		return err == nil, err // migrated, but not used yet
	}
	n := int64(0)
	if marks {
		err := db.QueryRow(ctx, s.Write, []any{&n}, "SELECT count(*) FROM revision WHERE created_by = 'dev'")
		if err != nil || n > 0 {
			return n > 0, err
		}
	}
	for _, id := range clients {
		err := db.QueryRow(ctx, s.Write, []any{&n}, "SELECT count(*) FROM clients WHERE id = ?", id)
		if err != nil || n > 0 {
			return n > 0, err
		}
	}
	return false, nil
}
