package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"gatehouse/config"
	"gatehouse/storage"
	"gatehouse/storage/db"
	"gatehouse/storage/vault"
)

// useRootKey finds the root key, or creates one next to a new embedded database, and passes it to the vault of the
// store.
func useRootKey(ctx context.Context, cfg config.Config, store *storage.Store, notice func(string)) error {
	path, embedded := cfg.SQLitePath()
	key := cfg.SecretKey
	if key == nil && embedded {
		var err error
		if key, err = keyFromFile(ctx, KeyFile(path), store, notice); err != nil {
			return err
		}
	}
	root, err := vault.NewRootKey(key)
	if err != nil {
		return err
	}
	if cfg.SecretKeyPrevious == nil {
		err = store.Vault.UseRootKey(ctx, root)
		if embedded && errors.Is(err, vault.ErrOtherKey) && FileExists(newKeyFile(path)) {
			return fmt.Errorf("%w; there is a %s next to it: a rekey was not finished, run `gatehouse rekey`",
				err, filepath.Base(newKeyFile(path)))
		}
		return err
	}
	previous, err := vault.NewRootKey(cfg.SecretKeyPrevious)
	if err != nil {
		return err
	}
	return store.Vault.UseRootKey(ctx, root, previous)
}

// keyFromFile reads the root key next to an embedded database. It creates one when neither the file nor anything sealed
// under another key exists.
func keyFromFile(ctx context.Context, path string, store *storage.Store, notice func(string)) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		var created bool
		if b, created, err = createFirstKey(ctx, path, store); created {
			notice("created a new root key in " + path + "; keep a copy of it: without it the database is unusable")
		}
	} else if err != nil {
		err = fmt.Errorf("read the root key: %w", err)
	}
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		notice(path + " can be read by other users of this host; run: chmod 600 " + path)
	}
	key, ok := config.DecodeKey(string(b))
	if !ok {
		return nil, fmt.Errorf("%s does not contain base64 of 32 bytes", path)
	}
	return key, nil
}

// createFirstKey creates the key file of a database that has no root key. created is false when another process
// wrote the file first.
func createFirstKey(ctx context.Context, path string, store *storage.Store) (content []byte, created bool, err error) {
	used, err := store.Vault.HasRootKey(ctx)
	if err != nil {
		return nil, false, err
	}
	if used {
		return nil, false, fmt.Errorf("%s is missing, and the database was created with a root key; "+
			"put the file back or set GATEHOUSE_SECRET_KEY", path)
	}
	return CreateKeyFile(path)
}

// CreateKeyFile writes a new root key to the file and returns the content of the file. created is false when there is a
// file already.
func CreateKeyFile(path string) (content []byte, created bool, err error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: the runtime ends the program instead
	content = []byte(config.EncodeKey(key) + "\n")
	err = createFile(path, content)
	if err == nil {
		return content, true, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, false, fmt.Errorf("write the root key: %w", err)
	}
	if content, err = os.ReadFile(path); err != nil {
		return nil, false, fmt.Errorf("read the root key: %w", err)
	}
	return content, false, nil
}

// KeyFile returns the path of the root key next to an embedded database.
func KeyFile(database string) string { return filepath.Join(filepath.Dir(database), "secret.key") }

// newKeyFile returns the path of the new root key of an unfinished rekey of an embedded database.
func newKeyFile(database string) string { return KeyFile(database) + ".new" }

// createFile writes a file that only its owner can read, completely or not at all. It returns an error that is
// fs.ErrExist when there is a file of that name.
func createFile(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // the content has another name by then, if all succeeded
	if _, err := tmp.Write(content); err != nil {
		return errors.Join(err, tmp.Close())
	}
	if err := errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil {
		return err
	}
	return db.SyncDirectory(filepath.Dir(path)) // before anything is sealed under it
}
