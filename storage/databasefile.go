package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"syscall"
	"time"
)

// errFileReplaced is the cause of ErrUnavailable when what is written would be lost at the restart.
var errFileReplaced = errors.New("the database file was removed or replaced while it is open; put it back, or restore a backup and restart")

// databaseFile is the file of an embedded database. SQLite continues to write a file that has no name any more.
type databaseFile struct {
	path   string
	opened fs.FileInfo
	said   time.Time // when the log last had that it is gone
}

// check returns errFileReplaced unless the path still names the file that is open. A nil file has no path.
func (f *databaseFile) check() error {
	if f == nil {
		return nil
	}
	if now, err := os.Stat(f.path); err != nil || !os.SameFile(f.opened, now) {
		return errors.Join(ErrUnavailable, errFileReplaced)
	}
	return nil
}

// watchFile logs that the database file is gone, once a minute, and that it is back.
func (s *Store) watchFile(ctx context.Context) {
	switch err := s.file.check(); {
	case err == nil && s.file != nil && !s.file.said.IsZero():
		s.file.said = time.Time{}
		s.log.InfoContext(ctx, "the database file is back")
	case err != nil && time.Since(s.file.said) > failureEvery:
		s.file.said = time.Now()
		s.log.ErrorContext(ctx, "writes are refused", slog.String("path", s.file.path), slog.Any("error", errFileReplaced))
	}
}

// ReadOnly reports whether the database was opened for reading alone.
func (s *Store) ReadOnly() bool { return s.readOnly }

// openFile creates the file of the database where there is none, for its owner alone: nobody else on the machine has business with
// hashes and sealed keys. It reports whether the file can only be read, which is an error unless that is allowed.
func openFile(path string, readOnlyAllowed bool) (readOnly bool, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if readOnlyAllowed && (errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)) {
		// Where there is no file to read either, the reason that none can be created is the error to report.
		if existing, openErr := os.Open(path); !errors.Is(openErr, fs.ErrNotExist) {
			readOnly, f, err = true, existing, openErr
		}
	}
	if err != nil {
		return false, wrap("open the database", err)
	}
	return readOnly, wrap("open the database", f.Close())
}

// readOnlyParameters are those of a connection that only reads. Where there is no log of changes that are not yet in the file, no
// process has it open for writing, and SQLite need not create the files that it would share with one.
func readOnlyParameters(path string) string {
	log, err := os.Stat(path + "-wal")
	return fmt.Sprintf("?mode=ro&immutable=%t&_pragma=busy_timeout(1000)", err != nil || log.Size() == 0)
}
