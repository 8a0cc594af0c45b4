package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gatehouse/admin"
	"gatehouse/oauth/keyring"
)

func (p *program) keyCommand() *cobra.Command {
	return group("key", "Manage signing keys", "", p.keyList(), p.keyRotate())
}

func (p *program) keyList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List signing keys and their stages",
		Long: "List the signing keys. A key is published (in the JWKS, signs later), active (signs), retired\n" +
			"(verifies what it signed) and then removed.",
		Example: "  gatehouse key list",
		Args:    exactArgs(),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error { return p.printKeys(ctx, a, *asJSON) })
	}
	return cmd
}

func (p *program) keyRotate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate", Short: "Rotate the signing keys",
		Long: "Publish new keys immediately; they sign in ten minutes, when every API that caches the JWKS has\n" +
			"them, and the earlier ones verify until the last token that they signed has expired. No restart is\n" +
			"needed. With --now, for a leaked key, the new ones sign immediately and every token issued before\n" +
			"is refused.",
		Example: "  gatehouse key rotate\n" +
			"  gatehouse key rotate --now  # after a leak",
		Args: exactArgs(),
	}
	now := cmd.Flags().Bool("now", false, "the key has leaked: refuse everything it signed")
	asJSON := jsonFlag(cmd)
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *now {
			err := p.confirm(*yes, "Replace the signing keys now, and refuse every access token issued before?")
			if err != nil {
				return err
			}
		}
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			err := a.RotateSigningKeys(ctx, *now)
			if errors.Is(err, keyring.ErrRotating) {
				return fmt.Errorf("%w; see `gatehouse key list`", keyring.ErrRotating)
			}
			if err != nil {
				return err
			}
			return p.printKeys(ctx, a, *asJSON)
		})
	}
	return cmd
}

func (p *program) printKeys(ctx context.Context, a *admin.Admin, asJSON bool) error {
	keys, err := a.SigningKeys(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return p.printJSON(keys)
	}
	var rows [][]string
	for _, k := range keys {
		rows = append(rows, []string{
			k.KID, k.Algorithm, k.Stage, formatTime(&k.ActiveAt), formatTime(k.RetiresAt), formatTime(k.RemovedAt),
		})
	}
	return p.table("there are no keys", []string{"kid", "alg", "stage", "active at", "retires at", "removed at"}, rows)
}
