package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/display"
	"gatehouse/storage"
	"gatehouse/storage/db"
)

func (p *program) auditRetire() *cobra.Command {
	cmd := &cobra.Command{
		Use: "retire", Short: "Delete old audit rows; their seals stay",
		Long: "Delete the rows of every seal that is older than --older-than. The seals stay, so that the\n" +
			"remaining rows can still be verified, and one event records the deletion. If the server has a\n" +
			"database role that may not delete (docs/operate.md), run this as the owner of the schema.",
		Example: "  gatehouse audit retire --older-than 400d",
		Args:    exactArgs(),
	}
	yes := yesFlag(cmd)
	older := cmd.Flags().String("older-than", "", "minimum age of a seal, at least a day: 400d, 58w, or a time")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *older == "" {
			return usageError{errors.New("--older-than is required, like --older-than 400d")}
		}
		return p.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			before, err := p.retireBefore(ctx, s.Store, *older)
			if err != nil {
				return err
			}
			if err := p.confirm(*yes, "Delete every audit row sealed before "+formatTime(&before)+"?"); err != nil {
				return err
			}
			show, end := p.progress("retiring")
			n, err := s.Store.Audit.Retire(ctx, before, show)
			end()
			if db.IsDenied(err) {
				return errors.New("this database role may not delete audit rows, as intended; run this as the owner of the schema")
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(p.stdout, counted(n, "1 row is deleted", "%d rows are deleted"))
			return err
		})
	}
	return cmd
}

// retireBefore returns the time of --older-than, counted from a clock that did not jump ahead.
func (p *program) retireBefore(ctx context.Context, store *storage.Store, older string) (time.Time, error) {
	now, err := store.AdvanceCleanupTime(ctx)
	if err != nil {
		return now, err
	}
	if behind := store.Stats().CleanupBehind; behind > 0 {
		fmt.Fprintf(p.stderr, "the clock is %s ahead of the last deletion in this database; counting from %s. "+
			"If the clock is correct, retry later or run `gatehouse serve` for a while.\n",
			behind.Round(time.Second), formatTime(&now))
	}
	before, err := parseTime(older, now)
	if err != nil {
		return before, usageError{fmt.Errorf("--older-than: %w", err)}
	}
	if before.After(now.Add(-24 * time.Hour)) {
		return before, usageError{errors.New("--older-than must be at least a day")}
	}
	return before, nil
}

func (p *program) auditErase() *cobra.Command {
	cmd := &cobra.Command{
		Use: "erase USER", Short: "Erase a user's addresses and user agents from the audit log",
		Long: "Make the addresses and user agents in the audit rows and browser sessions of a user permanently\n" +
			"unreadable, by erasing their keys. The rows stay, with only the user's sub, and their seals stay\n" +
			"valid. USER may be the sub of a deleted user. Earlier backups still contain the keys.",
		Example: "  gatehouse audit erase alice",
		Args:    exactArgs("USER"),
	}
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			id, err := s.Admin.AuditUserID(ctx, args[0])
			if err != nil {
				return operatorError(err, "user "+args[0])
			}
			question := "Erase the addresses and user agents of " + args[0] + " in every audit row and session permanently?"
			if err := p.confirm(*yes, question); err != nil {
				return err
			}
			n, err := s.Store.EraseAddresses(ctx, id)
			if db.IsDenied(err) {
				return errors.New("this database role may not change audit rows, as intended; run this as the owner of the schema")
			}
			if err != nil {
				return err
			}
			if n == 0 {
				p.notice("no audit row or session has an address of " + display.Escape(args[0]))
			}
			_, err = fmt.Fprintf(p.stdout, "erased the address and user agent of %s; later rows have them again\n",
				counted(n, "1 row", "%d rows"))
			return err
		})
	}
	return cmd
}
