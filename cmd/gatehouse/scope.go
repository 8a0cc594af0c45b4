package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gatehouse/admin"
)

func (p *program) scopeCommand() *cobra.Command {
	return group("scope", "Manage scopes", "", p.scopeCreate(), p.scopeUpdate(), p.scopeList(), p.scopeDelete())
}

const scopeDescriptionUsage = "what it lets an app do, in everyday words"

func (p *program) scopeCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Register a scope",
		Long:    "Register a scope with the description that users see when an app requests it.",
		Example: "  gatehouse scope create notes.read --description 'Read your notes'",
		Args:    exactArgs("NAME"),
	}
	description := cmd.Flags().String("description", "", scopeDescriptionUsage)
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := admin.CheckScopeName(args[0]); err != nil {
			return usageError{err}
		}
		if err := checkDisplayable("--description", *description); err != nil {
			return err
		}
		if *description == "" {
			*description = args[0]
			p.notice("users see the description when an app requests the scope; without --description they see only its name")
		}
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			scope, err := a.CreateScope(ctx, args[0], *description)
			if err != nil {
				return operatorError(err, "scope "+args[0])
			}
			return p.printJSON(scope)
		})
	}
	return cmd
}

func (p *program) scopeUpdate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "update NAME --description TEXT", Short: "Change the description of a scope",
		Example: "  gatehouse scope update notes.read --description 'Read your notes'",
		Args:    exactArgs("NAME"),
	}
	description := cmd.Flags().String("description", "", scopeDescriptionUsage)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *description == "" {
			return usageError{errors.New("--description is required")}
		}
		if err := checkDisplayable("--description", *description); err != nil {
			return err
		}
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			if err := a.UpdateScope(ctx, args[0], *description); err != nil {
				return operatorError(err, "scope "+args[0])
			}
			_, err := fmt.Fprintf(p.stdout, "scope %s is updated\n", args[0])
			return err
		})
	}
	return cmd
}

func (p *program) scopeList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List scopes",
		Example: "  gatehouse scope list", Args: exactArgs(),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			scopes, err := a.Scopes(ctx)
			if err != nil {
				return err
			}
			if *asJSON {
				return p.printJSON(scopes)
			}
			var rows [][]string
			for _, s := range scopes {
				rows = append(rows, []string{s.Name, s.Description})
			}
			return p.table("there are no scopes; register one with `gatehouse scope create`",
				[]string{"name", "description"}, rows)
		})
	}
	return cmd
}

func (p *program) scopeDelete() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "Delete a scope",
		Example: "  gatehouse scope delete notes.read",
		Args:    exactArgs("NAME"),
		Long: "Delete a scope. New tokens do not have it; issued tokens have it until they expire. A scope that\n" +
			"clients, resources or attributes use is not deleted unless --force is passed: clients would get\n" +
			"invalid_scope, and no client would get the attributes.",
	}
	force := cmd.Flags().Bool("force", false, "delete it even if clients, resources or attributes use it")
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := admin.CheckScopeDeletable(args[0]); err != nil {
			return usageError{fmt.Errorf("scope %s: %w; remove it from clients with `gatehouse client update`", args[0], err)}
		}
		if err := p.confirm(*yes, "Delete scope "+args[0]+"?"); err != nil {
			return err
		}
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			err := a.DeleteScope(ctx, args[0], *force)
			if inUse := (*admin.InUseError)(nil); errors.As(err, &inUse) {
				return fmt.Errorf("%w; remove it from them first, or pass --force", err)
			}
			if err != nil {
				return operatorError(err, "scope "+args[0])
			}
			_, err = fmt.Fprintf(p.stdout, "scope %s is deleted\n", args[0])
			return err
		})
	}
	return cmd
}
