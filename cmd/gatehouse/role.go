package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gatehouse/admin"
	"gatehouse/storage"
)

func (p *program) roleCommand() *cobra.Command {
	return group("role", "Manage roles at APIs",
		"Roles of users, groups and clients at an API, which its access tokens have as the claim roles.",
		p.roleCreate(), p.roleList(), p.roleShow(), p.roleUpdate(), p.roleGrant(), p.roleRevoke(), p.roleDelete())
}

// roleError translates the error of a change of a role into a message for the operator.
func roleError(err error, resource, name string) error {
	for _, isOwn := range []bool{
		errors.As(err, new(*admin.UnknownResourceError)), errors.As(err, new(*admin.UnknownUserError)),
		errors.As(err, new(*admin.UnknownGroupError)), errors.As(err, new(*admin.UnknownClientError)),
	} {
		if isOwn {
			return err
		}
	}
	return operatorError(err, "role "+name+" at "+resource)
}

func (p *program) roleCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create URI NAME", Short: "Create a role at an API",
		Long: "Create a role at an API, which is named by its identifier. As soon as an API has a role, every access\n" +
			"token for it alone has the claim roles, an array of names, which is empty for a user or client without\n" +
			"a role.\n\n" +
			"With --required-acr, users with the role" + requirementHelp,
		Example: "  gatehouse role create https://api.example.com editor --description 'May change every note'",
		Args:    exactArgs("URI", "NAME"),
	}
	changes := addGroupFlags(cmd, "what the role is for")
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := admin.CheckRoleName(args[1]); err != nil {
			return usageError{err}
		}
		c, err := changes()
		if err != nil {
			return err
		}
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			r, err := a.CreateRole(ctx, args[0], args[1], c)
			if err != nil {
				return roleError(err, args[0], args[1])
			}
			return p.printJSON(r)
		})
	}
	return cmd
}

func (p *program) roleList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list [URI]", Short: "List roles, of an API or of all", DisableFlagsInUseLine: true,
		Example: "  gatehouse role list https://api.example.com",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return exactArgs("[URI]")(cmd, args)
			}
			return nil
		},
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		resource := ""
		if len(args) == 1 {
			resource = args[0]
		}
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			roles, err := a.Roles(ctx, resource)
			if err != nil {
				return err
			}
			if *asJSON {
				return p.printJSON(append([]storage.Role{}, roles...))
			}
			var rows [][]string
			for _, r := range roles {
				rows = append(rows, []string{r.Resource, r.Name, r.Description})
			}
			return p.table("there are no roles; create one with `gatehouse role create`",
				[]string{"resource", "name", "description"}, rows)
		})
	}
	return cmd
}

func (p *program) roleShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show URI NAME", Short: "Show a role with its users, groups and clients",
		Example: "  gatehouse role show https://api.example.com editor",
		Args:    exactArgs("URI", "NAME"),
	}
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			return p.printRole(ctx, a, args[0], args[1])
		})
	}
	return cmd
}

func (p *program) roleUpdate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "update URI NAME", Short: "Change the description of a role, and how its users must sign in",
		Long: "Change the properties whose flags are passed and print the role with its holders as JSON. Its name never\n" +
			"changes.\n\n" +
			"With --required-acr, users with the role" + requirementHelp,
		Example: "  gatehouse role update https://api.example.com editor --required-acr phr --enrol-until 2027-01-31",
		Args:    exactArgs("URI", "NAME"),
	}
	changes := addGroupFlags(cmd, "what the role is for")
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
			if err := a.UpdateRole(ctx, args[0], args[1], c); err != nil {
				return roleError(err, args[0], args[1])
			}
			return p.printRole(ctx, a, args[0], args[1])
		})
	}
	return cmd
}

func (p *program) printRole(ctx context.Context, a *admin.Admin, resource, name string) error {
	r, err := a.Role(ctx, resource, name)
	if err != nil {
		return roleError(err, resource, name)
	}
	return p.printJSON(r)
}

func (p *program) roleGrant() *cobra.Command {
	return p.changeRole(&cobra.Command{
		Use: "grant URI NAME", Short: "Grant a role to users, groups and clients",
		Long: "Grant a role to users, to all members of groups, and to clients, and print it. A client has it in the\n" +
			"tokens that it gets for itself with client_credentials. The next token has the change.",
		Example: "  gatehouse role grant https://api.example.com editor --group staff --user alice --client Import",
	}, (*admin.Admin).GrantRole)
}

func (p *program) roleRevoke() *cobra.Command {
	return p.changeRole(&cobra.Command{
		Use: "revoke URI NAME", Short: "Revoke a role from users, groups and clients",
		Long:    "Revoke a role from users, groups and clients, and print it. Issued tokens have it until they expire.",
		Example: "  gatehouse role revoke https://api.example.com editor --user alice",
	}, (*admin.Admin).RevokeRole)
}

func (p *program) changeRole(cmd *cobra.Command, change func(
	a *admin.Admin, ctx context.Context, resource, name string, holders admin.RoleHolders,
) error) *cobra.Command {
	cmd.Args = exactArgs("URI", "NAME")
	var holders admin.RoleHolders
	cmd.Flags().StringArrayVar(&holders.Users, "user", nil, "username, email address or sub (repeat for several)")
	cmd.Flags().StringArrayVar(&holders.Groups, "group", nil, "name of a group (repeat for several)")
	cmd.Flags().StringArrayVar(&holders.Clients, "client", nil, "client_id or name (repeat for several)")
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(holders.Users)+len(holders.Groups)+len(holders.Clients) == 0 {
			return usageError{errors.New("pass --user, --group or --client")}
		}
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			if err := change(a, ctx, args[0], args[1], holders); err != nil {
				return roleError(err, args[0], args[1])
			}
			return p.printRole(ctx, a, args[0], args[1])
		})
	}
	return cmd
}

func (p *program) roleDelete() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete URI NAME", Short: "Delete a role",
		Example: "  gatehouse role delete https://api.example.com editor",
		Args:    exactArgs("URI", "NAME"),
		Long:    "Delete a role with its assignments. Issued tokens have it until they expire.",
	}
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		role := "role " + args[1] + " at " + args[0]
		if err := p.confirm(*yes, "Delete "+role+" and its assignments?"); err != nil {
			return err
		}
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			if err := a.DeleteRole(ctx, args[0], args[1]); err != nil {
				return roleError(err, args[0], args[1])
			}
			_, err := fmt.Fprintf(p.stdout, "%s is deleted\n", role)
			return err
		})
	}
	return cmd
}
