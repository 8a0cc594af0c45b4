package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/storage"
)

func (a *app) auditCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List what happened, newest first",
		Example: "  gatehouse audit list --since 24h --event refresh_token.reused",
		Args:    exactly(),
	}
	var f storage.AuditFilter
	list.Flags().StringVar(&f.Event, "event", "", "only this type, like user.signed_in")
	list.Flags().StringVar(&f.ClientID, "client", "", "only this client_id")
	user := list.Flags().String("user", "", "only this person: username, e-mail address or sub")
	since := list.Flags().Duration("since", 0, "only what is younger than this, like 24h")
	list.Flags().IntVar(&f.Limit, "limit", 100, "at most so many, 1 to 10000")
	asJSON := jsonFlag(list)
	list.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.Limit < 1 || f.Limit > 10_000 {
			return usageError{errors.New("--limit must be 1 to 10000")}
		}
		return a.with(cmd, func(ctx context.Context, s *system) error {
			if *user != "" {
				u, err := s.people.Find(ctx, *user)
				if err != nil {
					return plain(err, "user "+*user)
				}
				f.UserID = u.ID
			}
			if *since > 0 {
				f.Since = s.store.Now().Add(-*since)
			}
			events, err := s.store.AuditEvents(ctx, f)
			if err != nil {
				return err
			}
			return a.printEvents(events, *asJSON)
		})
	}
	return a.group("audit", "Read the audit log", "", list)
}

func (a *app) printEvents(events []storage.AuditEvent, asJSON bool) error {
	if asJSON {
		return a.printJSON(events)
	}
	var rows [][]string
	for _, e := range events {
		rows = append(rows, []string{e.At.UTC().Format(time.RFC3339), e.Event, e.Actor, e.ClientID, e.UserID, e.Scopes, e.Address})
	}
	return a.table("there are no such events", []string{"at", "event", "actor", "client", "user", "scopes", "address"}, rows)
}
