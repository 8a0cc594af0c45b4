package db_test

import (
	"testing"

	"gatehouse/storage/db"
	"gatehouse/storage/storagetest"
)

// open opens a database until the test ends.
func open(t *testing.T, o db.Options) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), o)
	storagetest.Must(t, err)
	t.Cleanup(func() { storagetest.Must(t, d.ClosePools()) })
	return d
}

// newMigratedDB returns an empty database with the current schema.
func newMigratedDB(t *testing.T, url string) *db.DB {
	t.Helper()
	d := open(t, db.Options{URL: url, Pool: 2})
	_, err := d.Migrate(t.Context())
	storagetest.Must(t, err)
	return d
}
