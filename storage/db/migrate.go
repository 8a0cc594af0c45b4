package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"gatehouse/migrations"
)

// Migration is one step of the schema.
type Migration struct {
	Version int64  `json:"version"`
	File    string `json:"file"`
	Applied bool   `json:"applied"`
}

// goose returns the provider of the migrations of the engine.
func (d *DB) goose(db *sql.DB, options ...goose.ProviderOption) (*goose.Provider, error) {
	dialect := database.DialectSQLite3
	if d.engine == Postgres {
		dialect = database.DialectPostgres
	}
	store, err := database.NewStore(dialect, goose.DefaultTablename)
	if err != nil {
		return nil, err
	}
	extended, ok := store.(database.StoreExtender)
	if !ok {
		return nil, fmt.Errorf("goose's store for %s has no TableExists", dialect)
	}
	files, err := fs.Sub(migrations.FS, d.engine)
	if err != nil {
		return nil, err
	}
	options = append(options, goose.WithStore(migrationStore{extended, d}), goose.WithDisableGlobalRegistry(true))
	return goose.NewProvider(goose.DialectCustom, db, files, options...)
}

// Migrate applies the migrations that the database lacks, each in a transaction of its own, and returns their files.
func (d *DB) Migrate(ctx context.Context) (files []string, err error) {
	db, options := d.pool(), []goose.ProviderOption(nil)
	if d.engine == Postgres {
		// Several processes may start concurrently: one migrates, the others wait and find nothing to do. It uses
		// separate connections, because its statements may take longer than others and the pool may have only one
		// connection.
		db = d.pg.open(migrationLimits)
		defer func() { err = errors.Join(err, db.Close()) }()
		options = append(options, goose.WithLocker(&migrationLock{limits: d.pg.statements(migrationLimits, true)}))
	}
	p, err := d.goose(db, options...)
	if err != nil {
		return nil, Wrap("migrate", err)
	}
	if err := d.checkChecksums(ctx, p); err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	results, err := p.Up(ctx)
	if err != nil {
		// Two processes on one new SQLite file: the other one may have migrated it concurrently.
		if behind, _, serr := d.compareSchema(ctx); serr == nil && !behind {
			return nil, nil
		}
		return nil, Wrap("migrate", err)
	}
	for _, r := range results {
		files = append(files, r.Source.Path)
	}
	return files, nil
}

// compareSchema reports whether the database lacks migrations that this program has, or has some that this program
// lacks. It returns ErrMigrationChanged when an applied migration was changed.
func (d *DB) compareSchema(ctx context.Context) (behind, ahead bool, err error) {
	p, err := d.goose(d.pool())
	if err != nil {
		return false, false, Wrap("read the schema version", err)
	}
	if err := d.checkChecksums(ctx, p); err != nil {
		return false, false, fmt.Errorf("read the schema version: %w", err)
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return false, false, Wrap("read the schema version", err)
	}
	return current < target, current > target, nil
}

// Migrations lists the migrations and which of them the database has. It returns ErrMigrationChanged when an applied
// migration was changed.
func (d *DB) Migrations(ctx context.Context) ([]Migration, error) {
	p, err := d.goose(d.pool())
	if err != nil {
		return nil, Wrap("list migrations", err)
	}
	if err := d.checkChecksums(ctx, p); err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	status, err := p.Status(ctx)
	if err != nil {
		return nil, Wrap("list migrations", err)
	}
	var out []Migration
	for _, m := range status {
		out = append(out, Migration{Version: m.Source.Version, File: m.Source.Path, Applied: m.State == goose.StateApplied})
	}
	return out, nil
}

// ErrSchemaBehind is returned by RequireSchema.
var ErrSchemaBehind = errors.New("the database schema is behind this version of gatehouse; run `gatehouse migrate " +
	"up`, or start with `gatehouse serve --migrate`")

// RequireSchema checks that the schema can be used: the embedded database migrates itself, PostgreSQL must have been
// migrated before and is otherwise refused with ErrSchemaBehind. A schema that is ahead is reported, not refused: a
// rolling upgrade or a rollback is under way.
func (d *DB) RequireSchema(ctx context.Context) (ahead bool, err error) {
	if d.engine == SQLite && !d.readOnly {
		if _, err := d.Migrate(ctx); err != nil {
			return false, err
		}
	}
	behind, ahead, err := d.compareSchema(ctx)
	if err != nil {
		return false, err
	}
	if behind && d.readOnly {
		return false, errors.New("the database is read-only and its schema is behind this version of gatehouse; use the " +
			"version that wrote it")
	}
	if behind {
		return false, ErrSchemaBehind
	}
	return ahead, nil
}
