package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/admin"
	"gatehouse/display"
	"gatehouse/identity"
	"gatehouse/storage"
)

// userArgument describes USER in the help.
const userArgument = "USER is a username, email address or sub."

func (p *program) userCommand() *cobra.Command {
	return group("user", "Manage users", "", p.userCreate(), p.userList(), p.userShow(), p.userUpdate(),
		p.userSetPassword(), p.userResetFactors(), p.userDisable(), p.userEnable(), p.userRevoke(),
		p.userExport(), p.userDelete())
}

// withUser finds the user of a command.
func (p *program) withUser(
	cmd *cobra.Command, name string, fn func(ctx context.Context, a *admin.Admin, u storage.User) error,
) error {
	return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
		u, err := a.User(ctx, name)
		if err != nil {
			return operatorError(err, "user "+name)
		}
		return fn(ctx, a, u)
	})
}

func (p *program) userCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create", Short: "Create a user",
		Long: "Create a user and print it as JSON. The password is read from standard input with --password-stdin (one\n" +
			"trailing newline is dropped), otherwise from a prompt.",
		Example: "  gatehouse user create --username alice --email alice@example.com --name 'Alice Example'\n" +
			"  printf %s \"$PASSWORD\" | gatehouse user create --username alice --email alice@example.com --password-stdin",
		Args: exactArgs(),
	}
	var n identity.NewUser
	cmd.Flags().StringVar(&n.Username, "username", "", "name to sign in with, without an @")
	cmd.Flags().StringVar(&n.Email, "email", "", "email address, also to sign in with")
	cmd.Flags().StringVar(&n.Name, "name", "", "full name")
	cmd.Flags().BoolVar(&n.Admin, "admin", false,
		"the user will administer this server; stored, without effect in this version")
	profile := addProfileFlags(cmd)
	values := cmd.Flags().StringArray("attribute", nil,
		"value of an attribute as NAME=VALUE (repeat for several, and for the items of a list)")
	fromStdin := passwordFlag(cmd)
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if n.Username == "" || n.Email == "" {
			return usageError{errors.New("--username and --email are required")}
		}
		var err error
		if n.Attributes, err = parseAttributeFlags(*values); err != nil {
			return err
		}
		if n.Password, err = p.readPassword(*fromStdin); err != nil {
			return err
		}
		profile.copyTo(cmd, &n.Profile)
		n.EmailVerified, n.PhoneVerified = profile.emailVerified, profile.phoneVerified
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			u, err := a.CreateUser(ctx, n)
			if err != nil {
				return err
			}
			detail, err := a.UserDetail(ctx, u)
			if err == nil {
				err = p.printJSON(detail)
			}
			if err != nil {
				return err
			}
			if u.Admin {
				p.notice("--admin is stored with the user and has no effect yet: " +
					"this version has no administration pages or API")
			}
			return nil
		})
	}
	return cmd
}

func (p *program) userList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List users by username", Args: exactArgs(),
		Long: "List users, sorted by username, or with --search by the word that was found.",
		Example: "  gatehouse user list --limit 50\n" +
			"  gatehouse user list --search 'alice example.com'",
	}
	list := listFlags(cmd, "the username, email address or name")
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			users, err := a.Users(ctx, *list)
			if err != nil {
				return err
			}
			defer p.reportNextPage(users.Next)
			infos := []admin.UserInformation{}
			var rows [][]string
			for _, u := range users.Items {
				infos = append(infos, admin.UserInformationOf(u))
				rows = append(rows, []string{u.ID, u.Username, u.Email, u.Name, enabled(u.DisabledAt)})
			}
			if *asJSON {
				return p.printJSON(infos)
			}
			return p.table(emptyList(list, "users", "there are no users; create one with `gatehouse user create`"),
				[]string{"sub", "username", "email", "name", "state"}, rows)
		})
	}
	return cmd
}

func (p *program) userShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show USER", Short: "Show a user as JSON", Long: "Show a user as JSON. " + userArgument, Args: exactArgs("USER"),
	}
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.withUser(cmd, args[0], func(ctx context.Context, a *admin.Admin, u storage.User) error {
			detail, err := a.UserDetail(ctx, u)
			if err != nil {
				return err
			}
			return p.printJSON(detail)
		})
	}
	return cmd
}

func (p *program) userUpdate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "update USER", Short: "Change a user's name, email address, profile or attributes",
		Long: "Change the properties whose flags are passed and print the user as JSON; an empty value removes a\n" +
			"property. A changed email address or phone number is not verified unless a flag sets it. The\n" +
			"username cannot be changed. Attributes are those of `gatehouse attribute list`.\n" +
			userArgument,
		Example: "  gatehouse user update alice --name 'Alice Example' --email-verified --locale en-GB\n" +
			"  gatehouse user update alice --attribute department=Sales --attribute office=",
		Args: exactArgs("USER"),
	}
	email := cmd.Flags().String("email", "", "email address, also to sign in with")
	name := cmd.Flags().String("name", "", "full name")
	profile := addProfileFlags(cmd)
	values := cmd.Flags().StringArray("attribute", nil,
		"value of an attribute as NAME=VALUE (repeat for several, and for the items of a list); NAME= removes it")
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().NFlag() == 0 {
			return usageError{fmt.Errorf("no changes given; pass a flag; see `%s --help`", cmd.CommandPath())}
		}
		attributes, err := parseAttributeFlags(*values)
		if err != nil {
			return err
		}
		return p.withUser(cmd, args[0], func(ctx context.Context, a *admin.Admin, u storage.User) error {
			changed := u.Profile
			profile.copyTo(cmd, &changed)
			c := identity.Changes{Profile: &changed, Attributes: attributes}
			for flag, set := range map[string]func(){
				"name": func() { c.Name = name }, "email": func() { c.Email = email },
				"email-verified":        func() { c.EmailVerified = &profile.emailVerified },
				"phone-number-verified": func() { c.PhoneVerified = &profile.phoneVerified },
			} {
				if cmd.Flags().Changed(flag) {
					set()
				}
			}
			updated, err := a.UpdateUser(ctx, u, c)
			if err != nil {
				return err
			}
			detail, err := a.UserDetail(ctx, updated)
			if err != nil {
				return err
			}
			return p.printJSON(detail)
		})
	}
	return cmd
}

func (p *program) userSetPassword() *cobra.Command {
	cmd := &cobra.Command{
		Use: "set-password USER", Short: "Replace a user's password",
		Long: "Replace a user's password, and end every session, grant and token of the user. " + userArgument,
		Args: exactArgs("USER"),
	}
	fromStdin := passwordFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		password, err := p.readPassword(*fromStdin)
		if err != nil {
			return err
		}
		return p.withUser(cmd, args[0], func(ctx context.Context, a *admin.Admin, u storage.User) error {
			if err := a.SetPassword(ctx, u, password); err != nil {
				return err
			}
			_, err := fmt.Fprintf(p.stdout, "the password of user %s is set; the user's sessions, grants and tokens are ended\n",
				display.Escape(u.Username))
			return err
		})
	}
	return cmd
}

func (p *program) userResetFactors() *cobra.Command {
	cmd := &cobra.Command{
		Use: "reset-factors USER", Short: "Remove a user's passkeys, TOTP authenticator and recovery codes",
		Long: "Remove every factor of a user except the password, for a user who lost them, and end every session,\n" +
			"grant and token of the user. The user is notified by email, and the reason is in the audit log.\n" +
			"First verify the requester: after the reset, the password alone is enough to sign in. " + userArgument,
		Example: "  gatehouse user reset-factors alice --reason 'lost phone, identity checked by phone call'",
		Args:    exactArgs("USER"),
	}
	reason := cmd.Flags().String("reason", "", "why, for the audit log (required)")
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if strings.TrimSpace(*reason) == "" {
			return usageError{errors.New("--reason is required")}
		}
		return p.withUser(cmd, args[0], func(ctx context.Context, a *admin.Admin, u storage.User) error {
			question := fmt.Sprintf("Remove every factor of user %q <%s> but the password, and end all sessions?", u.Username,
				u.Email)
			if err := p.confirm(*yes, question); err != nil {
				return err
			}
			if err := a.ResetFactors(ctx, u.ID, *reason); err != nil {
				return operatorError(err, "user "+args[0])
			}
			_, err := fmt.Fprintf(p.stdout,
				"the factors of user %s are removed; the user's sessions, grants and tokens are ended\n",
				display.Escape(u.Username))
			return err
		})
	}
	return cmd
}

// userChange describes a command that changes one user.
type userChange struct {
	use, short, long string
	done             string // printed afterwards; %s is the username
	question         string // prompted before; %s is the user; "" does not prompt
	change           func(a *admin.Admin, ctx context.Context, id string) error
}

func (p *program) userChangeCommand(c userChange) *cobra.Command {
	if c.long == "" {
		c.long = c.short + "."
	}
	cmd := &cobra.Command{Use: c.use + " USER", Short: c.short, Args: exactArgs("USER")}
	cmd.Long = strings.ReplaceAll(c.long+" "+userArgument, "\n ", "\n")
	yes := new(bool)
	if c.question != "" {
		yes = yesFlag(cmd)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.withUser(cmd, args[0], func(ctx context.Context, a *admin.Admin, u storage.User) error {
			if c.question != "" {
				if err := p.confirm(*yes, fmt.Sprintf(c.question, fmt.Sprintf("%q <%s>", u.Username, u.Email))); err != nil {
					return err
				}
			}
			if err := c.change(a, ctx, u.ID); err != nil {
				return operatorError(err, "user "+args[0])
			}
			_, err := fmt.Fprintf(p.stdout, c.done+"\n", display.Escape(u.Username))
			return err
		})
	}
	return cmd
}

func (p *program) userDisable() *cobra.Command {
	return p.userChangeCommand(userChange{
		use: "disable", short: "Disable a user and end the user's sessions and tokens",
		long: "Refuse the user until `user enable`, and end every session, grant and token of the user\n" +
			"permanently: enabling the user does not restore them. Clients with a backchannel_logout_uri\n" +
			"receive a logout token. Consents stay.\n",
		done: "user %s is disabled", change: (*admin.Admin).DisableUser,
	})
}

func (p *program) userEnable() *cobra.Command {
	return p.userChangeCommand(userChange{
		use: "enable", short: "Enable a disabled user",
		long: "Let a disabled user sign in again. Earlier sessions and tokens stay revoked.",
		done: "user %s is enabled", change: (*admin.Admin).EnableUser,
	})
}

func (p *program) userRevoke() *cobra.Command {
	return p.userChangeCommand(userChange{
		use: "revoke-tokens", short: "End every session, grant and token of a user",
		done: "every session and token of user %s is revoked", question: "End every session, grant and token of user %s?",
		change: (*admin.Admin).RevokeUserTokens,
	})
}
