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

func (a *app) migrateCommand() *cobra.Command {
	up := &cobra.Command{
		Use: "up", Short: "Bring the database schema up to date",
		Long: "Apply the migrations that the database lacks. It is safe while the previous version still serves, and when several processes do it at once.",
		Args: exactArgs(),
	}
	grantTo := up.Flags().String("grant-to", "", "also give this PostgreSQL `ROLE` what serving needs, and no more: no DDL, and no changing or deleting of audit rows")
	up.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.databaseSettings(cmd, nil)
		if err != nil {
			return err
		}
		if _, embedded := cfg.SQLitePath(); embedded && *grantTo != "" { // before a file is created
			return storage.ErrNoRoles
		}
		return withStore(cmd.Context(), cfg, func(ctx context.Context, s *storage.Store) error {
			if err := s.CheckRole(ctx, *grantTo); err != nil {
				return err
			}
			files, err := s.Migrate(ctx)
			for _, f := range files {
				fmt.Fprintln(a.stdout, "applied", filepath.Base(f))
			}
			if err == nil && len(files) == 0 {
				fmt.Fprintln(a.stdout, "the schema is up to date")
			}
			if err != nil || *grantTo == "" {
				return err
			}
			if err := s.GrantRuntimeRole(ctx, *grantTo); err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.stdout, "granted to", *grantTo)
			return err
		})
	}
	status := &cobra.Command{Use: "status", Short: "Show which migrations the database has", Args: exactArgs()}
	asJSON := jsonFlag(status)
	status.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.databaseSettings(cmd, nil)
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
				return a.printJSON(all)
			}
			var rows [][]string
			for _, m := range all {
				rows = append(rows, []string{strconv.FormatInt(m.Version, 10), m.File, map[bool]string{true: "applied", false: "pending"}[m.Applied]})
			}
			return a.table("there are no migrations", []string{"version", "file", "state"}, rows)
		})
	}
	return a.group("migrate", "Manage the database schema", "", up, status)
}

// withStore opens the database alone for a command, whatever its schema and root key.
func withStore(ctx context.Context, cfg config.Config, fn func(ctx context.Context, s *storage.Store) error) error {
	s, err := server.OpenDatabase(ctx, cfg)
	if err != nil {
		return err
	}
	return errors.Join(fn(ctx, s), s.Close(ctx))
}

// jsonFlag adds --json.
func jsonFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("json", false, "print JSON")
}
