package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
)

// ErrNotEmbedded is returned by Backup on PostgreSQL.
var ErrNotEmbedded = errors.New("PostgreSQL is backed up by its own tools: pg_dump, or a base backup with its " +
	"write-ahead log")

// Backup writes a consistent copy of the embedded database while other processes use it. The copy is checked, readable
// by its owner only, and gets its name when it is complete. An existing file is never replaced.
func (d *DB) Backup(ctx context.Context, path string) (err error) {
	if d.engine != SQLite {
		return ErrNotEmbedded
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s exists already; a backup replaces nothing", path)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".backup-*") // 0600
	if err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp.Name())) }() // it does not exist after success
	if err := Exec(ctx, d.Write, "VACUUM INTO ?", tmp.Name()); err != nil {
		return errors.Join(fmt.Errorf("write the backup: %w", err), tmp.Close())
	}
	if err := errors.Join(tmp.Sync(), tmp.Close(), checkBackup(ctx, tmp.Name())); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil {
		return fmt.Errorf("name the backup: %w", err)
	}
	return SyncDirectory(filepath.Dir(path))
}

func checkBackup(ctx context.Context, path string) (err error) {
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?mode=ro&_pragma=query_only(1)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		return errors.Join(err, fmt.Errorf("the copy is damaged: %s", verdict))
	}
	return nil
}

// SyncDirectory makes the names in a directory survive a power loss.
func SyncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
