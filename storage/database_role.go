package storage

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5"

	"gatehouse/storage/db"
)

var roleName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$-]{0,62}$`)

// ErrNoRoles is returned by GrantRuntimeRole on the embedded database, which has no roles.
var ErrNoRoles = errors.New("only PostgreSQL has roles")

// CheckRole returns an error when the name of a role is invalid or there is no such role. An empty name is accepted:
// it is no role.
func (s *Store) CheckRole(ctx context.Context, role string) error {
	if role == "" {
		return nil
	}
	if !roleName.MatchString(role) {
		return fmt.Errorf("%q is not the name of a role", role)
	}
	var one int
	err := db.QueryRow(ctx, s.Write, []any{&one}, "SELECT 1 FROM pg_roles WHERE rolname = ?", role)
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("there is no role %s; create it first: createuser %s --pwprompt", role, role)
	}
	return db.Wrap("check the role", err)
}

// GrantRuntimeRole grants a PostgreSQL role the privileges that `gatehouse serve` needs: no DDL and, on the audit
// log, only to add and read rows and to set their seal. The role must exist; the store must be connected as the owner
// of the schema.
func (s *Store) GrantRuntimeRole(ctx context.Context, role string) error {
	if s.Engine() != Postgres {
		return ErrNoRoles
	}
	if !roleName.MatchString(role) {
		return fmt.Errorf("%q is not the name of a role", role)
	}
	var schema string
	if err := db.QueryRow(ctx, s.Write, []any{&schema}, "SELECT current_schema()"); err != nil {
		return db.Wrap("read the schema", err)
	}
	to, in := pgx.Identifier{role}.Sanitize(), pgx.Identifier{schema}.Sanitize()
	return db.Wrap("grant the runtime role", s.Tx(ctx, func(tx *Store) error {
		for _, statement := range []string{
			"REVOKE ALL ON ALL TABLES IN SCHEMA " + in + " FROM " + to,
			"REVOKE CREATE ON SCHEMA " + in + " FROM " + to + ", PUBLIC",
			"GRANT USAGE ON SCHEMA " + in + " TO " + to,
			"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA " + in + " TO " + to,
			"REVOKE ALL ON " + in + ".audit_events, " + in + ".audit_seals, " + in + ".goose_db_version, " + in +
				".migration_checksums FROM " + to,
			"GRANT INSERT, SELECT, UPDATE (seal) ON " + in + ".audit_events TO " + to,
			// Locking the last seal requires the privilege to update it. Without the root key a false retirement is detected.
			"GRANT INSERT, SELECT, UPDATE (retired_at) ON " + in + ".audit_seals TO " + to,
			"GRANT SELECT ON " + in + ".goose_db_version, " + in + ".migration_checksums TO " + to,
			// Without the keys in it no address can be read and no seal verified. Only the owner runs rekey.
			"REVOKE UPDATE, DELETE ON " + in + ".secrets FROM " + to,
		} {
			if err := db.Exec(ctx, tx.Write, statement); err != nil {
				return err
			}
		}
		return nil
	}))
}

// errNotGranted is returned for a role that was granted its privileges before the newest tables existed.
var errNotGranted error = db.Denied("the role lacks privileges on tables of the newest migrations")

// checkGranted returns errNotGranted unless the role may use the newest tables.
func (s *Store) checkGranted(ctx context.Context) error {
	var granted bool
	err := db.QueryRow(
		ctx, s.Read, []any{&granted},
		`SELECT has_table_privilege('changes', 'INSERT') AND has_table_privilege('changes', 'SELECT')
		AND has_table_privilege('liveness', 'UPDATE') AND has_table_privilege('outages', 'INSERT')
		AND has_table_privilege('mail_pauses', 'INSERT') AND has_table_privilege('used_once', 'INSERT')
		AND has_table_privilege('retired_names', 'INSERT')`,
	)
	if err == nil && !granted {
		err = errNotGranted
	}
	return db.Wrap("check the privileges of the role", err)
}
