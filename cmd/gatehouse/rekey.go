package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/config"
	"gatehouse/storage/db"
	"gatehouse/storage/reqevent"
	"gatehouse/storage/vault"
)

func (a *app) rekeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rekey", Short: "Replace the root key",
		Long: "Seal everything that is sealed in the database under a new root key. Stopped half-way, run it again.\n\n" +
			"With GATEHOUSE_SECRET_KEY: set it to the new key and GATEHOUSE_SECRET_KEY_PREVIOUS to the old one, restart every process with both, run this,\n" +
			"and take GATEHOUSE_SECRET_KEY_PREVIOUS away again. Nothing stops meanwhile.\n" +
			"With secret.key beside an embedded database: run this, and restart the server at once: it cannot make or read new keys before. The new key takes the place of the old one, which stays as\n" +
			"secret.key.old-…: backups made before need it.",
		Args: exactArgs(),
	}
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.databaseSettings(cmd, nil)
		if err != nil {
			return err
		}
		path, embedded := cfg.SQLitePath()
		file, old, made := "", "", false
		switch {
		case embedded && !exists(path):
			return fmt.Errorf("no database at %s", path)
		case cfg.SecretKeyPrevious != nil:
		case embedded && cfg.SecretKey == nil:
			file = server.KeyFile(path)
		default:
			return usageError{errors.New("set GATEHOUSE_SECRET_KEY to the new root key and GATEHOUSE_SECRET_KEY_PREVIOUS to the present one; see `gatehouse rekey --help`")}
		}
		if err := a.confirm(*yes, "Replace the root key of this database?"); err != nil {
			return err
		}
		if file != "" {
			if made, err = twoKeys(&cfg, file); err != nil {
				return err
			}
		}
		ctx := reqevent.With(cmd.Context(), &reqevent.Event{Actor: operator()})
		s, err := server.Open(ctx, server.Options{Config: cfg, Version: version, Notice: a.notice})
		if made && errors.Is(err, vault.ErrOtherKey) { // nothing is sealed under the new one
			err = errors.Join(err, os.Remove(file+".new"))
		}
		if err != nil {
			return err
		}
		show, end := a.progress("sealing")
		n, err := s.Store.Rekey(ctx, show)
		end()
		if db.IsDenied(err) {
			err = errors.New("this database role may not change what is sealed, which is as it should be; run this as the owner of the schema")
		}
		if err = errors.Join(err, s.Close(ctx)); err != nil {
			return err
		}
		if file != "" {
			old = file + ".old-" + time.Now().UTC().Format("20060102T150405.000000000Z")
			if err := os.Link(file, old); err != nil {
				return fmt.Errorf("the database has the new key, which is in %s.new; keep a copy of the old one and run this again: %w", file, err)
			}
			if err := os.Rename(file+".new", file); err != nil {
				return fmt.Errorf("the database has the new key, which is in %s.new; run this again: %w", file, err)
			}
			if err := db.SyncDirectory(filepath.Dir(file)); err != nil {
				return err
			}
		}
		if n == 0 && file == "" {
			fmt.Fprintln(a.stdout, "nothing was sealed: the database is under GATEHOUSE_SECRET_KEY already")
			fmt.Fprintln(a.stderr, "gatehouse: if you meant to replace that key, the two settings are swapped: GATEHOUSE_SECRET_KEY is the new one")
			return nil
		}
		fmt.Fprintf(a.stdout, "the database has its new root key; %d rows were sealed under it\n", n)
		if file != "" {
			fmt.Fprintf(a.stderr, "gatehouse: the new key is in %s, the old one in %s, which backups made before need; restart the server\n", file, old)
			return nil
		}
		fmt.Fprintln(a.stderr, "gatehouse: take GATEHOUSE_SECRET_KEY_PREVIOUS away, and keep the old key as long as you keep backups made before")
		return nil
	}
	return cmd
}

// twoKeys reads the key in the file as the previous one, and the new one from the file beside it, which it makes unless an
// attempt before did, and reports whether it did.
func twoKeys(cfg *config.Config, file string) (made bool, err error) {
	old, err := os.ReadFile(file)
	if err != nil {
		return false, fmt.Errorf("read the root key: %w", err)
	}
	fresh := make([]byte, 32)
	if _, err := rand.Read(fresh); err != nil {
		return false, err
	}
	err = server.CreateFile(file+".new", []byte(config.EncodeKey(fresh)+"\n"))
	made = err == nil
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return false, fmt.Errorf("write the new root key: %w", err)
	}
	kept, err := os.ReadFile(file + ".new")
	if err != nil {
		return made, fmt.Errorf("read the new root key: %w", err)
	}
	var ok, ok2 bool
	cfg.SecretKeyPrevious, ok = config.DecodeKey(string(old))
	cfg.SecretKey, ok2 = config.DecodeKey(string(kept))
	if !ok || !ok2 {
		return made, fmt.Errorf("%s or %s.new does not hold base64 of 32 bytes", file, file)
	}
	return made, nil
}
