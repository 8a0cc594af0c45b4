package main

import (
	"context"
	"errors"
	"fmt"
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

func (p *program) rekeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rekey", Short: "Replace the root key",
		Long: "Seal everything that is sealed in the database under a new root key. After an interruption, run it\n" +
			"again.\n\n" +
			"With GATEHOUSE_SECRET_KEY: set it to the new key and GATEHOUSE_SECRET_KEY_PREVIOUS to the old one,\n" +
			"restart every process with both, run this, and remove GATEHOUSE_SECRET_KEY_PREVIOUS. There is no\n" +
			"downtime. With secret.key next to an embedded database: run this, and restart the server\n" +
			"immediately: until then it cannot read or create keys. The new key replaces the old one, which\n" +
			"stays as secret.key.old-… for backups made before.",
		Example: "  gatehouse rekey",
		Args:    exactArgs(),
	}
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := p.databaseSettings(cmd, nil)
		if err != nil {
			return err
		}
		path, embedded := cfg.SQLitePath()
		keyFile := "" // without one the keys are in the environment
		switch {
		case embedded && !server.FileExists(path):
			return fmt.Errorf("no database at %s", path)
		case cfg.SecretKeyPrevious != nil:
		case embedded && cfg.SecretKey == nil:
			keyFile = server.KeyFile(path)
		default:
			return usageError{errors.New("set GATEHOUSE_SECRET_KEY to the new root key and GATEHOUSE_SECRET_KEY_PREVIOUS " +
				"to the current one; see `gatehouse rekey --help`")}
		}
		if err := p.confirm(*yes, "Replace the root key of this database?"); err != nil {
			return err
		}
		ctx := reqevent.NewContext(cmd.Context(), &reqevent.Event{Actor: operator()})
		if keyFile != "" {
			return p.rekeyFile(ctx, cfg, keyFile)
		}
		s, err := p.openServer(ctx, cfg)
		if err != nil {
			return err
		}
		n, err := p.rekey(ctx, s)
		if err != nil {
			return err
		}
		if n == 0 {
			fmt.Fprintln(p.stdout, "nothing was sealed: the database has the key of GATEHOUSE_SECRET_KEY already")
			p.notice("if you intended to replace that key, the two settings are swapped: GATEHOUSE_SECRET_KEY is the new one")
			return nil
		}
		p.printRekeyed(n)
		p.notice("remove GATEHOUSE_SECRET_KEY_PREVIOUS, and keep the old key as long as you keep backups made before")
		return nil
	}
	return cmd
}

func (p *program) printRekeyed(rows int64) {
	fmt.Fprintf(p.stdout, "the database has its new root key; %s sealed under it\n",
		counted(rows, "1 row was", "%d rows were"))
}

// rekey seals everything under the new root key, returns the number of rows and closes the server.
func (p *program) rekey(ctx context.Context, s *server.Server) (rows int64, err error) {
	show, end := p.progress("sealing")
	rows, err = s.Store.Rekey(ctx, show)
	end()
	if db.IsDenied(err) {
		err = errors.New("this database role may not change sealed rows, as intended; run this as the owner of the schema")
	}
	return rows, errors.Join(err, s.Close(ctx))
}

// rekeyFile replaces the key in the file next to an embedded database.
func (p *program) rekeyFile(ctx context.Context, cfg config.Config, file string) error {
	created, err := readBothKeys(&cfg, file)
	if err != nil {
		return err
	}
	s, err := p.openServer(ctx, cfg)
	if created && errors.Is(err, vault.ErrOtherKey) { // nothing is sealed under the new key
		err = errors.Join(err, os.Remove(file+".new"))
	}
	if err != nil {
		return err
	}
	n, err := p.rekey(ctx, s)
	if err != nil {
		return err
	}
	old := file + ".old-" + time.Now().UTC().Format("20060102T150405.000000000Z")
	if err := os.Link(file, old); err != nil {
		return fmt.Errorf("the database has the new key, which is in %s.new; copy the old key and run this again: %w",
			file, err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("the database has the new key, which is in %s.new; run this again: %w", file, err)
	}
	if err := db.SyncDirectory(filepath.Dir(file)); err != nil {
		return err
	}
	p.printRekeyed(n)
	p.notice("the new key is in " + file + ", the old one, which backups made before need, in " + old +
		"; restart the server")
	return nil
}

// readBothKeys reads the key in the file as the previous one, and the new one from the file with the suffix .new. It
// creates the latter unless an earlier attempt did, and reports whether it did.
func readBothKeys(cfg *config.Config, file string) (created bool, err error) {
	old, err := os.ReadFile(file)
	if err != nil {
		return false, fmt.Errorf("read the root key: %w", err)
	}
	stored, created, err := server.CreateKeyFile(file + ".new")
	if err != nil {
		return false, err
	}
	var previousValid, valid bool
	cfg.SecretKeyPrevious, previousValid = config.DecodeKey(string(old))
	cfg.SecretKey, valid = config.DecodeKey(string(stored))
	if !previousValid || !valid {
		return created, fmt.Errorf("%s or %s.new does not contain base64 of 32 bytes", file, file)
	}
	return created, nil
}
