package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/oauth/keyring"
)

type keyRecord struct {
	KID       string     `json:"kid"`
	Algorithm string     `json:"alg"`
	Stage     string     `json:"stage"`
	CreatedAt time.Time  `json:"created_at"`
	ActiveAt  time.Time  `json:"active_at"`
	RetiresAt *time.Time `json:"retires_at,omitempty"`
	RemovedAt *time.Time `json:"removed_at,omitempty"`
}

func (a *app) keyCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List signing keys and their stages",
		Long: "List the signing keys. A key is published (in the JWKS, signs later), active (signs), retired (verifies what it signed) and then removed.",
		Args: exactArgs(),
	}
	asJSON := jsonFlag(list)
	list.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error { return a.printKeys(ctx, s, *asJSON) })
	}
	rotate := &cobra.Command{
		Use: "rotate", Short: "Replace the signing key",
		Long: "Publish a new key at once; it signs in ten minutes, when every API that caches the JWKS has it, and the old one verifies until the\n" +
			"last token it signed has expired. No restart is needed. With --now, for a leaked key, the new one signs at once and every token out is refused.",
		Args: exactArgs(),
	}
	now := rotate.Flags().Bool("now", false, "the key has leaked: refuse everything it signed")
	rotateJSON := jsonFlag(rotate)
	yes := yesFlag(rotate)
	rotate.RunE = func(cmd *cobra.Command, _ []string) error {
		if *now {
			if err := a.confirm(*yes, "Replace the signing keys now, and refuse every access token issued before?"); err != nil {
				return err
			}
		}
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			err := s.OAuth.Keyring.Rotate(ctx, *now)
			if errors.Is(err, keyring.ErrRotating) {
				return fmt.Errorf("%w; see `gatehouse key list`", keyring.ErrRotating)
			}
			if err != nil {
				return err
			}
			return a.printKeys(ctx, s, *rotateJSON)
		})
	}
	return a.group("key", "Manage signing keys", "", list, rotate)
}

func (a *app) printKeys(ctx context.Context, s *server.Server, asJSON bool) error {
	keys, err := s.Store.SigningKeys(ctx)
	if err != nil {
		return err
	}
	records := []keyRecord{}
	var rows [][]string
	for _, k := range keys {
		stage := keyring.Stage(k, s.Store.Now())
		records = append(records, keyRecord{k.ID, k.Algorithm, stage, k.CreatedAt, k.ActiveAt, k.RetiresAt, k.RemovedAt})
		rows = append(rows, []string{k.ID, k.Algorithm, stage, formatTime(&k.ActiveAt), formatTime(k.RetiresAt), formatTime(k.RemovedAt)})
	}
	if asJSON {
		return a.printJSON(records)
	}
	return a.table("there are no keys", []string{"kid", "alg", "stage", "active at", "retires at", "removed at"}, rows)
}
