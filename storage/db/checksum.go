package db

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"gatehouse/migrations"
)

// ErrMigrationChanged is returned by RequireSchema and Migrate when a migration differs from the one that was applied
// to the database: its schema is then not the one that this program expects.
var ErrMigrationChanged = errors.New("migration differs from the one that was applied to this database; a released " +
	"migration must not be changed, so use the version of gatehouse that applied it")

// checksum returns the SHA-256 of the file of a migration.
func (d *DB) checksum(file string) (string, error) {
	b, err := fs.ReadFile(migrations.FS, d.engine+"/"+file)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// storedChecksums returns the checksums of the applied migrations by version, or nil for an empty database. It returns
// ErrMigrationChanged when migrations were applied that created no table of checksums: the first one that this program
// has does.
func (d *DB) storedChecksums(ctx context.Context, p *goose.Provider) (map[int64]string, error) {
	current, err := p.GetDBVersion(ctx)
	if err != nil || current == 0 { // an empty database has no table of checksums
		return nil, err
	}
	if !d.Write.gorm.WithContext(ctx).Migrator().HasTable("migration_checksums") {
		return nil, fmt.Errorf("%s: %w", p.ListSources()[0].Path, ErrMigrationChanged)
	}
	type row struct {
		Version int64
		Sha256  string
	}
	rows, err := Select[row](ctx, d.Write, "SELECT version, sha256 FROM migration_checksums")
	stored := map[int64]string{}
	for _, r := range rows {
		stored[r.Version] = r.Sha256
	}
	return stored, err
}

// checkChecksums returns ErrMigrationChanged with the file when an applied migration was changed. It ignores
// migrations that this program does not have, which a later version has applied during a rolling upgrade.
func (d *DB) checkChecksums(ctx context.Context, p *goose.Provider) error {
	stored, err := d.storedChecksums(ctx, p)
	if errors.Is(err, ErrMigrationChanged) {
		return err
	}
	if err != nil {
		return Wrap("read the checksums of migrations", err)
	}
	for _, source := range p.ListSources() {
		sum, err := d.checksum(source.Path)
		if err != nil {
			return err
		}
		if applied, ok := stored[source.Version]; ok && applied != sum {
			return fmt.Errorf("%s: %w", source.Path, ErrMigrationChanged)
		}
	}
	return nil
}

// storeChecksums stores the checksums of applied migrations that have none: those applied just now, and those of a
// process that stopped before it stored them.
func (d *DB) storeChecksums(ctx context.Context, p *goose.Provider) error {
	stored, err := d.storedChecksums(ctx, p)
	if err != nil {
		return err
	}
	current, err := p.GetDBVersion(ctx)
	if err != nil {
		return err
	}
	for _, source := range p.ListSources() {
		if stored[source.Version] != "" || source.Version > current {
			continue
		}
		sum, err := d.checksum(source.Path)
		if err != nil {
			return err
		}
		err = Exec(ctx, d.Write, "INSERT INTO migration_checksums (version, sha256) VALUES (?, ?) ON CONFLICT (version) "+
			"DO NOTHING", source.Version, sum)
		if err != nil {
			return err
		}
	}
	return nil
}
