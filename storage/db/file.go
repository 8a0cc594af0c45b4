package db

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"syscall"

	"gatehouse/lograte"
)

// errFileReplaced is the cause of ErrUnavailable when writes would be lost at the next restart.
var errFileReplaced = errors.New("the database file was removed or replaced while it is open; put it back, or " +
	"restore a backup and restart")

// databaseFile is the file of an embedded database. SQLite continues to write to a file after it was unlinked.
type databaseFile struct {
	path    string
	opened  fs.FileInfo
	absence lograte.Limiter
}

// CheckFile returns ErrUnavailable when an embedded database has lost its file, so that writes would be lost.
func (d *DB) CheckFile() error { return d.file.check() }

// check returns errFileReplaced unless the path still names the open file. A nil file has no path.
func (f *databaseFile) check() error {
	if f == nil {
		return nil
	}
	if now, err := os.Stat(f.path); err != nil || !os.SameFile(f.opened, now) {
		return errors.Join(ErrUnavailable, errFileReplaced)
	}
	return nil
}

// WatchFile logs once a minute that the database file is missing, and that it is back.
func (d *DB) WatchFile(ctx context.Context) {
	switch err := d.file.check(); {
	case err == nil && d.file != nil && d.file.absence.Reset():
		d.Log.InfoContext(ctx, "the database file is back")
	case err != nil && d.file.absence.Allow():
		d.Log.ErrorContext(ctx, "writes are refused", slog.String("path", d.file.path), slog.Any("error", errFileReplaced))
	}
}

// ReadOnly reports whether the database was opened read-only.
func (d *DB) ReadOnly() bool { return d.readOnly }

// openFile creates the database file if it does not exist. Only its owner can read it, because it contains hashes and
// sealed keys. It reports whether the file is read-only, which is an error unless readOnlyAllowed.
func openFile(path string, readOnlyAllowed bool) (readOnly bool, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if readOnlyAllowed && (errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)) {
		// If there is no file to read either, the error is the reason why none can be created.
		if existing, openErr := os.Open(path); !errors.Is(openErr, fs.ErrNotExist) {
			readOnly, f, err = true, existing, openErr
		}
	}
	if err != nil {
		return false, Wrap("open the database", err)
	}
	return readOnly, Wrap("open the database", f.Close())
}

// readOnlyParameters returns the parameters of a read-only connection. Without a write-ahead log no process has the
// file open for writing, and SQLite does not need to create the files that it shares with a writer.
func readOnlyParameters(path string) string {
	log, err := os.Stat(path + "-wal")
	return fmt.Sprintf("?mode=ro&immutable=%t&_pragma=busy_timeout(1000)", err != nil || log.Size() == 0)
}
