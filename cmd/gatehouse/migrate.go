package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/config"
	"gatehouse/storage"
)

func (p *program) migrateCommand() *cobra.Command {
	return group("migrate", "Manage the database schema", "", p.migrateUp(), p.migrateStatus())
}

func (p *program) migrateUp() *cobra.Command {
	cmd := &cobra.Command{
		Use: "up", Short: "Bring the database schema up to date",
		Long: "Apply the pending migrations. This is safe while the previous version serves, and when several\n" +
			"processes do it concurrently.",
		Example: "  gatehouse migrate up\n" +
			"  gatehouse migrate up --grant-to gatehouse_app",
		Args: exactArgs(),
	}
	grantTo := cmd.Flags().String("grant-to", "", "also grant this PostgreSQL `ROLE` what serving needs, and no more: "+
		"no DDL, and no changing or deleting of audit rows")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := p.databaseSettings(cmd, nil)
		if err != nil {
			return err
		}
		if _, embedded := cfg.SQLitePath(); embedded && *grantTo != "" { // before a file is created
			return storage.ErrNoRoles
		}
		return withStore(cmd.Context(), cfg, func(ctx context.Context, s *storage.Store) error {
			return p.migrate(ctx, s, *grantTo)
		})
	}
	return cmd
}

// migrate applies the pending migrations and grants a role what serving needs, unless its name is empty.
func (p *program) migrate(ctx context.Context, s *storage.Store, grantTo string) error {
	if err := s.CheckRole(ctx, grantTo); err != nil {
		return err
	}
	files, err := s.Migrate(ctx)
	for _, f := range files {
		fmt.Fprintln(p.stdout, "applied", filepath.Base(f))
	}
	if err == nil && len(files) == 0 {
		fmt.Fprintln(p.stdout, "the schema is up to date")
	}
	if err != nil || grantTo == "" {
		return err
	}
	if err := s.GrantRuntimeRole(ctx, grantTo); err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.stdout, "granted to", grantTo)
	return err
}

func (p *program) migrateStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "List migrations and whether they are applied",
		Example: "  gatehouse migrate status", Args: exactArgs(),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := p.databaseSettings(cmd, nil)
		if err != nil {
			return err
		}
		return withStore(cmd.Context(), cfg, func(ctx context.Context, s *storage.Store) error {
			all, err := s.Migrations(ctx)
			if err != nil {
				return err
			}
			for i := range all {
				all[i].File = filepath.Base(all[i].File)
			}
			if *asJSON {
				return p.printJSON(all)
			}
			var rows [][]string
			for _, m := range all {
				state := "pending"
				if m.Applied {
					state = "applied"
				}
				rows = append(rows, []string{strconv.FormatInt(m.Version, 10), m.File, state})
			}
			return p.table("there are no migrations", []string{"version", "file", "state"}, rows)
		})
	}
	return cmd
}

// withStore opens the database alone for a command, whatever its schema and root key.
func withStore(ctx context.Context, cfg config.Config, fn func(ctx context.Context, s *storage.Store) error) error {
	s, err := server.OpenDatabase(ctx, cfg)
	if err != nil {
		return err
	}
	return errors.Join(fn(ctx, s), s.Close(ctx))
}
