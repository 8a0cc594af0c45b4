package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gatehouse/admin"
)

func (p *program) groupCommand() *cobra.Command {
	return group("group", "Manage groups of users",
		"Groups of users, which clients get as the claim groups with the scope groups, and to which access to a\n"+
			"client can be limited (`gatehouse client update --required-group`).",
		p.groupCreate(), p.groupList(), p.groupShow(), p.groupUpdate(), p.groupAdd(), p.groupRemove(), p.groupDelete())
}

func (p *program) groupCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a group",
		Long: "Create a group without members. Its name is what clients get in the claim groups, and never changes. Names\n" +
			"that differ only in case are the same group.\n\n" +
			"With --required-acr, members" + requirementHelp,
		Example: "  gatehouse group create admins --description 'Administrators of the cluster'",
		Args:    exactArgs("NAME"),
	}
	changes := addGroupFlags(cmd, "what the group is for")
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := admin.CheckGroupName(args[0]); err != nil {
			return usageError{err}
		}
		c, err := changes()
		if err != nil {
			return err
		}
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			g, err := a.CreateGroup(ctx, args[0], c)
			if err != nil {
				return operatorError(err, "group "+args[0])
			}
			return p.printJSON(g)
		})
	}
	return cmd
}

func (p *program) groupList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List groups",
		Example: "  gatehouse group list", Args: exactArgs(),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			groups, err := a.Groups(ctx)
			if err != nil {
				return err
			}
			if *asJSON {
				return p.printJSON(groups)
			}
			var rows [][]string
			for _, g := range groups {
				rows = append(rows, []string{g.Name, g.Description})
			}
			return p.table("there are no groups; create one with `gatehouse group create`",
				[]string{"name", "description"}, rows)
		})
	}
	return cmd
}

func (p *program) groupShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show a group with its members",
		Example: "  gatehouse group show staff", Args: exactArgs("NAME"),
	}
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			return p.printGroup(ctx, a, args[0])
		})
	}
	return cmd
}

func (p *program) printGroup(ctx context.Context, a *admin.Admin, name string) error {
	g, err := a.Group(ctx, name)
	if err != nil {
		return operatorError(err, "group "+name)
	}
	return p.printJSON(g)
}

func (p *program) groupUpdate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "update NAME", Short: "Change the description of a group, and how its members must sign in",
		Long: "Change the properties whose flags are passed and print the group with its members as JSON. Its name never\n" +
			"changes.\n\n" +
			"With --required-acr, members" + requirementHelp,
		Example: "  gatehouse group update admins --required-acr mfa --enrol-until 2027-01-31",
		Args:    exactArgs("NAME"),
	}
	changes := addGroupFlags(cmd, "what the group is for")
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := changes()
		if err == nil && c == (admin.GroupChanges{}) {
			err = noChangesError(cmd)
		}
		if err != nil {
			return err
		}
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			if err := a.UpdateGroup(ctx, args[0], c); err != nil {
				return operatorError(err, "group "+args[0])
			}
			return p.printGroup(ctx, a, args[0])
		})
	}
	return cmd
}

func (p *program) groupAdd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "add NAME USER...", Short: "Add users to a group",
		Long: "Add users, by username, email address or sub, to a group, and print it. Clients get the change at the next\n" +
			"refresh.",
		Example: "  gatehouse group add staff alice bob@example.com",
		Args:    membersArgs,
	}
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.changeGroup(cmd, args, (*admin.Admin).AddToGroup)
	}
	return cmd
}

func (p *program) groupRemove() *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove NAME USER...", Short: "Remove users from a group",
		Long: "Remove users, by username, email address or sub, from a group, and print it. Clients get the change at the\n" +
			"next refresh. Where a client requires the group, their tokens are refused immediately, until they are in\n" +
			"a required group again; an API that checks tokens without introspection accepts them until they expire.",
		Example: "  gatehouse group remove staff bob@example.com",
		Args:    membersArgs,
	}
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.changeGroup(cmd, args, (*admin.Admin).RemoveFromGroup)
	}
	return cmd
}

// membersArgs requires a group and at least one user.
func membersArgs(cmd *cobra.Command, args []string) error {
	if len(args) < 2 {
		return exactArgs("NAME", "USER...")(cmd, nil)
	}
	return nil
}

func (p *program) changeGroup(
	cmd *cobra.Command, args []string, change func(a *admin.Admin, ctx context.Context, name string, users []string) error,
) error {
	return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
		err := change(a, ctx, args[0], args[1:])
		if unknown := (*admin.UnknownUserError)(nil); errors.As(err, &unknown) {
			return err
		}
		if err != nil {
			return operatorError(err, "group "+args[0])
		}
		return p.printGroup(ctx, a, args[0])
	})
}

func (p *program) groupDelete() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "Delete a group",
		Example: "  gatehouse group delete staff",
		Args:    exactArgs("NAME"),
		Long: "Delete a group with its memberships; the users stay. A group that clients name is not deleted, because\n" +
			"a client that requires no other group would be closed to every user, unless --force is passed.",
	}
	force := cmd.Flags().Bool("force", false, "also if clients name it")
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := p.confirm(*yes, "Delete group "+args[0]+" and its memberships?"); err != nil {
			return err
		}
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			err := a.DeleteGroup(ctx, args[0], *force)
			if inUse := (*admin.InUseError)(nil); errors.As(err, &inUse) {
				return fmt.Errorf("%w; remove it from them first, or pass --force", err)
			}
			if err != nil {
				return operatorError(err, "group "+args[0])
			}
			_, err = fmt.Fprintf(p.stdout, "group %s is deleted\n", args[0])
			return err
		})
	}
	return cmd
}
