package db_test

import (
	"errors"
	"io/fs"
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

// TestRemovedDatabaseFileIsNotCreatedByConnections checks that a new connection of a process whose database file was
// removed does not leave an empty one, which the next start would use as the database.
func TestRemovedDatabaseFileIsNotCreatedByConnections(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	d := newMigratedDB(t, "sqlite:"+path)
	storagetest.Must(t, os.Rename(path, path+".old"))
	d.CloseIdle()
	for _, c := range []db.Conn{d.Read, d.Write} {
		if err := db.QueryRow(t.Context(), c, []any{new(int64)}, "SELECT 1"); err == nil {
			t.Error("a new connection without the file can be used")
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the file after a connection: %v, want none", err)
		}
	}
}
