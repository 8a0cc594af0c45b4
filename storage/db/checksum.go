package db

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

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

// migrationStore is goose's table of applied migrations. It stores the checksum of a migration with its version, which
// goose does in the transaction of the migration.
type migrationStore struct {
	database.StoreExtender
	db *DB
}

// Insert stores that a migration was applied. A migration without a transaction stores its checksum first, so that it
// never counts as applied without one.
func (s migrationStore) Insert(ctx context.Context, conn database.DBTxConn, r database.InsertRequest) error {
	if r.Version > 0 { // 0 stands for the empty database, which has no table of checksums
		files, err := fs.Glob(migrations.FS, fmt.Sprintf("%s/%04d_*.sql", s.db.engine, r.Version))
		if err != nil || len(files) != 1 {
			return errors.Join(err, fmt.Errorf("migration %d has %d files", r.Version, len(files)))
		}
		sum, err := s.db.checksum(path.Base(files[0]))
		if err != nil {
			return err
		}
		args := []any{r.Version, sum}
		const insert = "INSERT INTO migration_checksums (version, sha256) VALUES (?, ?) ON CONFLICT (version) DO NOTHING"
		if _, err := conn.ExecContext(ctx, s.db.Write.rebind(insert, args), args...); err != nil {
			return err
		}
	}
	return s.StoreExtender.Insert(ctx, conn, r)
}

// storedChecksums returns the version of the schema and the checksums of the applied migrations by version, none for
// an empty database. It returns ErrMigrationChanged when migrations were applied that created no table of checksums:
// the first one that this program has does.
func (d *DB) storedChecksums(ctx context.Context, p *goose.Provider) (int64, map[int64]string, error) {
	current, err := p.GetDBVersion(ctx)
	if err != nil || current == 0 { // an empty database has no table of checksums
		return 0, nil, err
	}
	if !d.Write.gorm.WithContext(ctx).Migrator().HasTable("migration_checksums") {
		return 0, nil, fmt.Errorf("%s: %w", p.ListSources()[0].Path, ErrMigrationChanged)
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
	return current, stored, err
}

// checkChecksums returns ErrMigrationChanged with the file when an applied migration was changed or has no checksum. It
// ignores migrations that this program does not have, which a later version has applied during a rolling upgrade.
func (d *DB) checkChecksums(ctx context.Context, p *goose.Provider) error {
	current, stored, err := d.storedChecksums(ctx, p)
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
		if applied, ok := stored[source.Version]; applied != sum && (ok || source.Version <= current) {
			return fmt.Errorf("%s: %w", source.Path, ErrMigrationChanged)
		}
	}
	return nil
}
