package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/admin"
	"gatehouse/cmd/gatehouse/server"
	"gatehouse/storage"
)

func (p *program) registrationTokenCommand() *cobra.Command {
	return group("registration-token", "Manage initial access tokens for client registration",
		"With GATEHOUSE_REGISTRATION=token, a client with an initial access token may register itself at /oauth2/register\n"+
			"(RFC 7591).",
		p.registrationTokenCreate(), p.registrationTokenList(), p.registrationTokenDelete())
}

func (p *program) registrationTokenCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create", Short: "Create an initial access token",
		Long:    "Create an initial access token and print it only this once. Each registration consumes one use of it.",
		Example: "  gatehouse registration-token create --note 'for the team of Notes' --uses 5 --expires 72h",
		Args:    exactArgs(),
	}
	note := cmd.Flags().String("note", "", "what it is for")
	uses := cmd.Flags().Int64("uses", 1, "number of clients it may register")
	expires := durationFlag(cmd, "expires", 24*time.Hour, "how long it is valid, like 72h or 7d")
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *uses < 1 || *uses > 1_000_000 {
			return usageError{errors.New("--uses must be 1 to 1000000")}
		}
		if *expires < time.Minute || *expires > 10*365*24*time.Hour {
			return usageError{errors.New("--expires must be 1m to 3650d")}
		}
		if err := checkDisplayable("--note", *note); err != nil {
			return err
		}
		return p.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			token, record, err := s.Admin.CreateRegistrationToken(ctx, *note, *uses, *expires)
			if err != nil {
				return err
			}
			if err := p.printJSON(struct {
				Token string `json:"initial_access_token"`
				storage.RegistrationToken
			}{token, record}); err != nil {
				return err
			}
			if s.Config.Registration == "off" {
				p.notice("GATEHOUSE_REGISTRATION is off here; the token has no effect until the server runs with " +
					"GATEHOUSE_REGISTRATION=token")
			}
			return nil
		})
	}
	return cmd
}

func (p *program) registrationTokenList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List initial access tokens",
		Example: "  gatehouse registration-token list", Args: exactArgs(),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			all, err := a.RegistrationTokens(ctx)
			if err != nil {
				return err
			}
			if *asJSON {
				return p.printJSON(all)
			}
			var rows [][]string
			for _, t := range all {
				rows = append(rows, []string{t.ID, t.Note, strconv.FormatInt(t.UsesLeft, 10), formatTime(&t.ExpiresAt)})
			}
			return p.table("there are no initial access tokens; create one with `gatehouse registration-token create`",
				[]string{"id", "note", "uses left", "expires at"}, rows)
		})
	}
	return cmd
}

func (p *program) registrationTokenDelete() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete ID", Short: "Revoke an initial access token",
		Example: "  gatehouse registration-token delete 4f6a52d0-58c6-4a5e-9b0e-2f1a4c1f7c3d", Args: exactArgs("ID"),
	}
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := p.confirm(*yes, "Delete initial access token "+args[0]+"?"); err != nil {
			return err
		}
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			if err := a.DeleteRegistrationToken(ctx, args[0]); err != nil {
				return operatorError(err, "initial access token "+args[0])
			}
			_, err := fmt.Fprintf(p.stdout, "initial access token %s is deleted\n", args[0])
			return err
		})
	}
	return cmd
}
