package db_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"gatehouse/storage/db"
	"gatehouse/storage/storagetest"
)

// TestRemovedDatabaseFileBeginsNoTransaction checks that a transaction on a file without a name is refused. What it
// commits would still be stored when the file is put back: a code would be consumed without tokens.
func TestRemovedDatabaseFileBeginsNoTransaction(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	d := newMigratedDB(t, "sqlite:"+path)
	storagetest.Must(t, os.Rename(path, path+".old"))
	err := d.Tx(t.Context(), func(*db.DB) error {
		t.Error("a transaction began")
		return nil
	})
	if !errors.Is(err, db.ErrUnavailable) {
		t.Errorf("Tx = %v, want ErrUnavailable", err)
	}
	storagetest.Must(t, os.Rename(path+".old", path))
	storagetest.Must(t, d.Tx(t.Context(), func(*db.DB) error { return nil }))
}
