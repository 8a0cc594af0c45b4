package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/storage/audit"
)

func (a *app) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use: "backup FILE", Short: "Copy the embedded database while it is in use",
		Long: "Write a copy of the embedded database as it is at this moment; the server goes on. The copy is checked before it appears under its name,\n" +
			"and replaces nothing. To restore it, stop the server, put the file where the database was (without gatehouse.db-wal and gatehouse.db-shm) and\n" +
			"the secret.key of its time beside it. The copy holds no key; keep secret.key elsewhere.\n" +
			"PostgreSQL has its own tools: pg_dump, or a base backup.",
		Example: "  gatehouse backup /var/backups/gatehouse-$(date +%F).db",
		Args:    exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
				path, err := filepath.Abs(args[0])
				if err != nil {
					return err
				}
				if err := s.Store.Backup(ctx, path); err != nil {
					return err
				}
				if s.Store.ReadOnly() {
					fmt.Fprintln(a.stderr, "gatehouse: the audit log has no record of this backup: the database is read-only")
				} else if err := s.Store.Audit.Record(ctx, audit.Event{Type: audit.BackupMade, Detail: map[string]any{"file": filepath.Base(path)}}); err != nil {
					return err
				}
				_, err = fmt.Fprintln(a.stdout, "wrote "+path)
				return err
			})
		},
	}
}
