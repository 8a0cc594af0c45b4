package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/storage"
	"gatehouse/storage/audit"
)

func (a *app) registrationTokenCommand() *cobra.Command {
	return a.group("registration-token", "Manage who may register clients by themselves",
		"With GATEHOUSE_REGISTRATION=token, whoever holds an initial access token may register clients at /oauth2/register (RFC 7591).",
		a.registrationTokenCreate(), a.registrationTokenList(), a.registrationTokenDelete())
}

func (a *app) registrationTokenCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create", Short: "Make an initial access token",
		Long:    "Make an initial access token and print it this once. Each registration takes one use of it.",
		Example: "  gatehouse registration-token create --note 'for the team of Notes' --uses 5 --expires 72h",
		Args:    exactArgs(),
	}
	note := cmd.Flags().String("note", "", "whom or what it is for")
	uses := cmd.Flags().Int64("uses", 1, "how many clients it may register")
	expires := durationFlag(cmd, "expires", 24*time.Hour, "how long it is valid, like 72h or 7d")
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *uses < 1 || *uses > 1_000_000 {
			return usageError{errors.New("--uses must be 1 to 1000000")}
		}
		if *expires < time.Minute || *expires > 10*365*24*time.Hour {
			return usageError{errors.New("--expires must be 1m to 3650d")}
		}
		if err := checkName("--note", *note); err != nil {
			return err
		}
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			token, row, err := s.OAuth.Clients.CreateInitialAccessToken(ctx, *note, *uses, *expires)
			if err != nil {
				return err
			}
			if err := a.printJSON(struct {
				Token string `json:"initial_access_token"`
				storage.RegistrationToken
			}{token, row}); err != nil {
				return err
			}
			if s.Config.Registration == "off" {
				fmt.Fprintln(a.stderr, "gatehouse: GATEHOUSE_REGISTRATION is off here; the token is good once the server runs with GATEHOUSE_REGISTRATION=token")
			}
			return nil
		})
	}
	return cmd
}

func (a *app) registrationTokenList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List initial access tokens", Args: exactArgs()}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			all, err := s.Store.RegistrationTokens(ctx)
			if err != nil {
				return err
			}
			if *asJSON {
				return a.printJSON(all)
			}
			var rows [][]string
			for _, t := range all {
				rows = append(rows, []string{t.ID, t.Note, strconv.FormatInt(t.UsesLeft, 10), formatTime(&t.ExpiresAt)})
			}
			return a.table("there are no initial access tokens; make one with `gatehouse registration-token create`", []string{"id", "note", "uses left", "expires at"}, rows)
		})
	}
	return cmd
}

func (a *app) registrationTokenDelete() *cobra.Command {
	cmd := &cobra.Command{Use: "delete ID", Short: "Make an initial access token useless", Args: exactArgs("ID")}
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := a.confirm(*yes, "Delete initial access token "+args[0]+"?"); err != nil {
			return err
		}
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			if err := s.Store.DeleteRegistrationToken(ctx, args[0], audit.Event{Type: audit.RegistrationClosed}); err != nil {
				return operatorError(err, "initial access token "+args[0])
			}
			_, err := fmt.Fprintf(a.stdout, "initial access token %s is deleted\n", args[0])
			return err
		})
	}
	return cmd
}
