package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/admin"
	"gatehouse/storage"
)

func (p *program) attributeCommand() *cobra.Command {
	return group("attribute", "Manage attributes of users",
		"Properties of users that you define. Clients that are granted the scope of an attribute get it as a claim;\n"+
			"`gatehouse user update --attribute` sets the value of a user.",
		p.attributeCreate(), p.attributeList(), p.attributeUpdate(), p.attributeDelete())
}

// attributeFlags are the properties of an attribute as flags.
type attributeFlags struct {
	cmd                             *cobra.Command
	label, claim, scope, userAccess *string
	template                        *string
	constant                        *[]string
}

func addAttributeFlags(cmd *cobra.Command, access string) attributeFlags {
	return attributeFlags{
		cmd:   cmd,
		label: cmd.Flags().String("label", "", "name that users see"),
		claim: cmd.Flags().String("claim", "", "the name of the claim, by default the name of the attribute"),
		scope: cmd.Flags().String("scope", "", "scope that grants the claim to clients"),
		userAccess: cmd.Flags().String("user-access", access,
			"what users may do with it on their profile page: "+strings.Join(storage.AttributeAccess(), ", ")),
		template: cmd.Flags().String("template", "",
			"value made from properties of the user, such as '{given_name} {family_name}'; properties: "+
				strings.Join(storage.TemplateProperties(), ", ")),
		constant: cmd.Flags().StringArray("constant", nil,
			"value that all users have (repeat for the items of a list); without it, each user has a separate value"),
	}
}

// changes returns the flags that were passed.
func (f attributeFlags) changes() admin.AttributeChanges {
	c := admin.AttributeChanges{Constant: *f.constant}
	for flag, member := range map[string]struct{ value, to **string }{
		"label": {&f.label, &c.Label}, "claim": {&f.claim, &c.Claim}, "scope": {&f.scope, &c.Scope},
		"user-access": {&f.userAccess, &c.UserAccess}, "template": {&f.template, &c.Template},
	} {
		if f.cmd.Flags().Changed(flag) {
			*member.to = *member.value
		}
	}
	return c
}

// attributeError translates the error of a change of an attribute into a message for the operator.
func attributeError(err error, name string) error { return operatorError(err, "attribute "+name) }

func (p *program) attributeCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create NAME --scope SCOPE", Short: "Create an attribute of users",
		Long: "Create an attribute of users. Clients that are granted its scope get it as a claim. Users do not see it\n" +
			"on their profile page unless --user-access is read or edit. With edit, users set the value themselves:\n" +
			"clients must not authorize users by it, nor by a template with what users set in their profile. A user\n" +
			"who lacks a property of a template does not have the attribute. The name and the type cannot be changed\n" +
			"later.",
		Example: "  gatehouse scope create company --description 'See your position in the company'\n" +
			"  gatehouse attribute create department --scope company --label Department --user-access read\n" +
			"  gatehouse attribute create tenant --scope company --constant example\n" +
			"  gatehouse attribute create login --scope company --template '{username}@corp.example'",
		Args: exactArgs("NAME"),
	}
	flags := addAttributeFlags(cmd, storage.AccessNone)
	attributeType := cmd.Flags().String("type", storage.AttributeString,
		"type of the value: "+strings.Join(storage.AttributeTypes(), ", "))
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := admin.CheckAttributeName(args[0]); err != nil {
			return usageError{err}
		}
		if *flags.scope == "" {
			return usageError{errors.New("--scope is required")}
		}
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			v, err := a.CreateAttribute(ctx, args[0], *attributeType, flags.changes())
			if err != nil {
				return attributeError(err, args[0])
			}
			return p.printJSON(v)
		})
	}
	return cmd
}

func (p *program) attributeList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List attributes of users",
		Example: "  gatehouse attribute list", Args: exactArgs(),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			all, err := a.Attributes(ctx)
			if err != nil {
				return err
			}
			if *asJSON {
				return p.printJSON(all)
			}
			var rows [][]string
			for _, v := range all {
				rows = append(rows, []string{v.Name, v.Type, v.Claim, v.Scope, v.UserAccess,
					string(v.Constant) + v.Template})
			}
			return p.table("there are no attributes; create one with `gatehouse attribute create`",
				[]string{"name", "type", "claim", "scope", "user access", "constant or template"}, rows)
		})
	}
	return cmd
}

func (p *program) attributeUpdate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "update NAME", Short: "Change an attribute of users",
		Long: "Change the properties whose flags are passed and print the attribute as JSON. Clients get the change\n" +
			"with the next userinfo request, refresh or sign-in.",
		Example: "  gatehouse attribute update department --user-access edit",
		Args:    exactArgs("NAME"),
	}
	flags := addAttributeFlags(cmd, "")
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().NFlag() == 0 {
			return noChangesError(cmd)
		}
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			v, err := a.UpdateAttribute(ctx, args[0], flags.changes())
			if err != nil {
				return attributeError(err, args[0])
			}
			return p.printJSON(v)
		})
	}
	return cmd
}

func (p *program) attributeDelete() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "Delete an attribute of users",
		Example: "  gatehouse attribute delete department",
		Args:    exactArgs("NAME"),
		Long:    "Delete an attribute and its values of all users. ID tokens that were already issued keep the claim.",
	}
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := p.confirm(*yes, "Delete attribute "+args[0]+" and the values of all users?"); err != nil {
			return err
		}
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			if err := a.DeleteAttribute(ctx, args[0]); err != nil {
				return attributeError(err, args[0])
			}
			_, err := fmt.Fprintf(p.stdout, "attribute %s is deleted\n", args[0])
			return err
		})
	}
	return cmd
}

// parseAttributeFlags returns the values of --attribute NAME=VALUE by name.
func parseAttributeFlags(flags []string) (map[string][]string, error) {
	values := map[string][]string{}
	for _, flag := range flags {
		name, value, ok := strings.Cut(flag, "=")
		if !ok {
			return nil, usageError{fmt.Errorf("--attribute %q must have the form NAME=VALUE", flag)}
		}
		values[name] = append(values[name], value)
	}
	return values, nil
}
