package db_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"gatehouse/storage/db"
	"gatehouse/storage/storagetest"
)

// TestChangedMigrationIsRefusedByName changes the stored checksum, as if another file had been applied.
func TestChangedMigrationIsRefusedByName(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		d := newMigratedDB(t, url)
		_, err := d.RequireSchema(t.Context())
		storagetest.Must(t, err)
		storagetest.Must(t, db.Exec(t.Context(), d.Write, "UPDATE migration_checksums SET sha256 = 'of another file' "+
			"WHERE version = 1"))
		for name, start := range map[string]func(context.Context) error{
			"RequireSchema": func(ctx context.Context) error { _, err := d.RequireSchema(ctx); return err },
			"Migrate":       func(ctx context.Context) error { _, err := d.Migrate(ctx); return err },
			"Migrations":    func(ctx context.Context) error { _, err := d.Migrations(ctx); return err },
		} {
			err := start(t.Context())
			if !errors.Is(err, db.ErrMigrationChanged) || !strings.Contains(err.Error(), "0001_initial.sql") {
				t.Errorf("%s = %v, want ErrMigrationChanged with the name of the file", name, err)
			}
		}
	})
}

// TestSchemaOfOtherMigrationsIsRefused removes the table of checksums, as if migrations had been applied that this
// program does not have.
func TestSchemaOfOtherMigrationsIsRefused(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		d := newMigratedDB(t, url)
		storagetest.Must(t, db.Exec(t.Context(), d.Write, "DROP TABLE migration_checksums"))
		if _, err := d.RequireSchema(t.Context()); !errors.Is(err, db.ErrMigrationChanged) {
			t.Errorf("RequireSchema: got %v, want ErrMigrationChanged", err)
		}
		if _, err := d.Migrations(t.Context()); !errors.Is(err, db.ErrMigrationChanged) {
			t.Errorf("Migrations: got %v, want ErrMigrationChanged", err)
		}
	})
}

func TestEveryMigrationStoresItsChecksum(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		d := newMigratedDB(t, url)
		var n int64
		storagetest.Must(t, db.QueryRow(t.Context(), d.Write, []any{&n}, "SELECT count(*) FROM migration_checksums"))
		if all, err := d.Migrations(t.Context()); err != nil || n != int64(len(all)) {
			t.Errorf("checksums: got %d, want %d, %v", n, len(all), err)
		}
	})
}

// TestChecksumIsStoredInTransactionOfMigration compares the transactions that wrote the version and its checksum.
func TestChecksumIsStoredInTransactionOfMigration(t *testing.T) {
	t.Parallel()
	storagetest.OnPostgres(t, func(t *testing.T, url string) {
		d := newMigratedDB(t, url)
		var applied, together int64
		storagetest.Must(t, db.QueryRow(t.Context(), d.Write, []any{&applied, &together},
			"SELECT count(*), count(CASE WHEN versions.xmin = sums.xmin THEN 1 END) FROM goose_db_version versions "+
				"JOIN migration_checksums sums ON sums.version = versions.version_id"))
		if applied == 0 || applied != together {
			t.Errorf("%d of %d checksums were stored with their version, want all", together, applied)
		}
	})
}

// TestMissingChecksumIsRefused removes the checksum of an applied migration, which then cannot be compared.
func TestMissingChecksumIsRefused(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		d := newMigratedDB(t, url)
		storagetest.Must(t, db.Exec(t.Context(), d.Write, "DELETE FROM migration_checksums"))
		if _, err := d.RequireSchema(t.Context()); !errors.Is(err, db.ErrMigrationChanged) {
			t.Errorf("RequireSchema: got %v, want ErrMigrationChanged", err)
		}
	})
}

// TestChecksumOfLaterVersionIsIgnored covers an older process during a rolling upgrade.
func TestChecksumOfLaterVersionIsIgnored(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		d := newMigratedDB(t, url)
		storagetest.Must(t, db.Exec(t.Context(), d.Write, "INSERT INTO migration_checksums (version, sha256) VALUES "+
			"(9999, 'of a later version')"))
		if _, err := d.RequireSchema(t.Context()); err != nil {
			t.Errorf("RequireSchema: got %v, want nil", err)
		}
	})
}
