package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"gatehouse/cmd/gatehouse/server"
)

func (p *program) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use: "backup FILE", Short: "Back up the embedded database while it is in use",
		Long: "Write a consistent copy of the embedded database; the server keeps running. The copy is verified\n" +
			"before it gets its name, and no file is overwritten. To restore it, stop the server, put the file\n" +
			"in place of the database (delete gatehouse.db-wal and gatehouse.db-shm) and the secret.key of that\n" +
			"time next to it. The copy does not contain the root key; keep a copy of secret.key elsewhere. For\n" +
			"PostgreSQL use pg_dump or a base backup.",
		Example: "  gatehouse backup /var/backups/gatehouse-$(date +%F).db",
		Args:    exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withServer(cmd, func(ctx context.Context, s *server.Server) error {
				path, err := filepath.Abs(args[0])
				if err != nil {
					return err
				}
				if err := s.Store.Backup(ctx, path); err != nil {
					return err
				}
				if s.Store.ReadOnly() {
					p.notice("the audit log has no record of this backup: the database is read-only")
				}
				_, err = fmt.Fprintln(p.stdout, "wrote "+path)
				return err
			})
		},
	}
}
