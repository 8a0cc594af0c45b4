package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/display"
	"gatehouse/identity"
	"gatehouse/storage"
	"gatehouse/storage/audit"
)

// userRecord is a person as commands print them.
type userRecord struct {
	Sub        string     `json:"sub"`
	Username   string     `json:"username"`
	Email      string     `json:"email"`
	Name       string     `json:"name,omitempty"`
	Admin      bool       `json:"admin"`
	CreatedAt  time.Time  `json:"created_at"`
	DisabledAt *time.Time `json:"disabled_at,omitempty"`

	EmailVerified bool `json:"email_verified"`
	PhoneVerified bool `json:"phone_number_verified"`
	storage.Profile
}

func userOf(u storage.User) userRecord {
	return userRecord{Sub: u.ID, Username: u.Username, Email: u.Email, Name: u.Name, Admin: u.Admin, CreatedAt: u.CreatedAt, DisabledAt: u.DisabledAt,
		EmailVerified: u.EmailVerifiedAt != nil, PhoneVerified: u.PhoneVerifiedAt != nil, Profile: u.Profile}
}

func (a *app) userCommand() *cobra.Command {
	change := func(use, short, done, question string, fn func(ctx context.Context, s *server.Server, u storage.User) error) *cobra.Command {
		cmd := &cobra.Command{
			Use: use + " USER", Short: short, Long: short + ". USER is a username, e-mail address or sub.", Args: exactArgs("USER"),
		}
		yes := new(bool)
		if question != "" {
			yes = yesFlag(cmd)
		}
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			return a.withUser(cmd, args[0], func(ctx context.Context, s *server.Server, u storage.User) error {
				if question != "" {
					named := fmt.Sprintf("%q <%s>", u.Username, u.Email)
					if err := a.confirm(*yes, fmt.Sprintf(question, named)); err != nil {
						return err
					}
				}
				if err := fn(ctx, s, u); err != nil {
					return operatorError(err, "user "+args[0])
				}
				_, err := fmt.Fprintf(a.stdout, done+"\n", display.Escape(u.Username))
				return err
			})
		}
		return cmd
	}
	disable := change("disable", "Disable a user and end their sessions and tokens", "user %s is disabled", "", func(ctx context.Context, s *server.Server, u storage.User) error {
		return s.Store.DisableUser(ctx, u.ID, audit.Event{Type: audit.UserDisabled})
	})
	disable.Long = "Refuse the user until `user enable`, and end every session, grant and token of the user permanently: enabling the user does\n" +
		"not restore them. Clients with a backchannel_logout_uri receive a logout token. Consents stay.\n" +
		"USER is a username, e-mail address or sub."
	enable := change("enable", "Enable a disabled user", "user %s is enabled", "", func(ctx context.Context, s *server.Server, u storage.User) error {
		return s.Store.EnableUser(ctx, u.ID, audit.Event{Type: audit.UserEnabled})
	})
	enable.Long = "Let a disabled user sign in again. Earlier sessions and tokens stay revoked. USER is a username, e-mail address or sub."
	return a.group("user", "Manage people", "", a.userCreate(), a.userList(), a.userShow(), a.userUpdate(), a.userSetPassword(),
		disable, enable,
		change("revoke-tokens", "End every session, grant and token of a user", "every session and token of user %s is revoked", "End every session, grant and token of user %s?", func(ctx context.Context, s *server.Server, u storage.User) error {
			return s.Store.RevokeUserTokens(ctx, u.ID, audit.Event{Type: audit.UserTokensRevoked})
		}),
		change("delete", "Delete a person with their sessions and consents", "user %s is deleted", "Delete user %s with everything they allowed?", func(ctx context.Context, s *server.Server, u storage.User) error {
			if err := s.Store.DeleteUser(ctx, u.ID, audit.Event{Type: audit.UserDeleted}); err != nil {
				return err
			}
			fmt.Fprintf(a.stderr, "gatehouse: their sub was %s; `gatehouse audit erase %s` erases from the audit log where they came from\n", u.ID, u.ID)
			return nil
		}))
}

// withUser finds the person a command is about.
func (a *app) withUser(cmd *cobra.Command, name string, fn func(ctx context.Context, s *server.Server, u storage.User) error) error {
	return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
		u, err := s.Users.User(ctx, name)
		if err != nil {
			return operatorError(err, "user "+name)
		}
		return fn(ctx, s, u)
	})
}

func (a *app) userCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create", Short: "Create a person",
		Long:    "Create a person and print them as JSON. The password is read from standard input with --password-stdin (one trailing newline is dropped), else asked for.",
		Example: "  gatehouse user create --username alice --email alice@example.com --name 'Alice Example'\n  printf %s \"$PASSWORD\" | gatehouse user create --username alice --email alice@example.com --password-stdin",
		Args:    exactArgs(),
	}
	var n identity.NewUser
	cmd.Flags().StringVar(&n.Username, "username", "", "name to sign in with, without an @")
	cmd.Flags().StringVar(&n.Email, "email", "", "e-mail address, also good to sign in with")
	cmd.Flags().StringVar(&n.Name, "name", "", "full name")
	cmd.Flags().BoolVar(&n.Admin, "admin", false,
		"the user will administer this server; stored, without effect in this version")
	profile := addProfileFlags(cmd)
	fromStdin := cmd.Flags().Bool("password-stdin", false, "read the password from standard input")
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if n.Username == "" || n.Email == "" {
			return usageError{errors.New("--username and --email are required")}
		}
		var err error
		if n.Password, err = a.password(*fromStdin); err != nil {
			return err
		}
		profile.into(cmd, &n.Profile)
		n.EmailVerified, n.PhoneVerified = profile.emailVerified, profile.phoneVerified
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			u, err := s.Users.Create(ctx, n)
			if err != nil {
				return err
			}
			if err := a.printJSON(userOf(u)); err != nil {
				return err
			}
			if u.Admin {
				fmt.Fprintln(a.stderr, "gatehouse: --admin is stored with the user and has no effect yet: "+
					"this version has no administration pages or API")
			}
			return nil
		})
	}
	return cmd
}

// password reads a password: from standard input, or by asking twice.
func (a *app) password(fromStdin bool) (string, error) {
	if fromStdin {
		b, err := io.ReadAll(io.LimitReader(a.stdin, 1<<16))
		if err != nil {
			return "", fmt.Errorf("cannot read the password: %w", err)
		}
		return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
	}
	f, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", usageError{errors.New("there is no terminal to ask for the password; give it by --password-stdin")}
	}
	var typed [2]string
	for i, prompt := range []string{"Password: ", "Again: "} {
		fmt.Fprint(a.stderr, prompt)
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(a.stderr)
		if err != nil {
			return "", fmt.Errorf("cannot read the password: %w", err)
		}
		typed[i] = string(b)
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two passwords differ")
	}
	return typed[0], nil
}

func (a *app) userList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List users by username", Args: exactArgs()}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			records := []userRecord{}
			var rows [][]string
			for after := ""; ; {
				page, err := s.Store.Users(ctx, after, 1000)
				if err != nil {
					return err
				}
				for _, u := range page {
					records = append(records, userOf(u))
					after = u.ID
				}
				if len(page) < 1000 {
					break
				}
			}
			sortByName(records, func(u userRecord) (string, string) { return u.Username, u.Sub })
			if *asJSON {
				return a.printJSON(records)
			}
			for _, u := range records {
				rows = append(rows, []string{u.Sub, u.Username, u.Email, u.Name, enabled(u.DisabledAt)})
			}
			return a.table("there are no people; create one with `gatehouse user create`", []string{"sub", "username", "e-mail", "name", "state"}, rows)
		})
	}
	return cmd
}

func (a *app) userShow() *cobra.Command {
	cmd := &cobra.Command{Use: "show USER", Short: "Show a person as JSON", Args: exactArgs("USER")}
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withUser(cmd, args[0], func(_ context.Context, _ *server.Server, u storage.User) error { return a.printJSON(userOf(u)) })
	}
	return cmd
}

// profileFlags are what a person tells of themselves, as flags.
type profileFlags struct {
	values                       map[string]*string
	emailVerified, phoneVerified bool
}

// profileMembers lists the flags with the field each is for (OIDC Core §5.1).
var profileMembers = []struct {
	flag, usage string
	field       func(p *storage.Profile) *string
}{
	{"given-name", "given name", func(p *storage.Profile) *string { return &p.GivenName }},
	{"family-name", "family name", func(p *storage.Profile) *string { return &p.FamilyName }},
	{"middle-name", "middle name", func(p *storage.Profile) *string { return &p.MiddleName }},
	{"nickname", "nickname", func(p *storage.Profile) *string { return &p.Nickname }},
	{"profile", "web address of a page about the person", func(p *storage.Profile) *string { return &p.Profile }},
	{"picture", "web address of a picture", func(p *storage.Profile) *string { return &p.Picture }},
	{"website", "web address of the person's own site", func(p *storage.Profile) *string { return &p.Website }},
	{"gender", "gender", func(p *storage.Profile) *string { return &p.Gender }},
	{"birthdate", "like 1990-12-31, 1990 or 0000-12-31", func(p *storage.Profile) *string { return &p.Birthdate }},
	{"zoneinfo", "time zone, like Europe/Paris", func(p *storage.Profile) *string { return &p.Zoneinfo }},
	{"locale", "language, like en or de-CH", func(p *storage.Profile) *string { return &p.Locale }},
	{"phone-number", "like '+1 604 555 1234'", func(p *storage.Profile) *string { return &p.PhoneNumber }},
	{"street-address", "street and number", func(p *storage.Profile) *string { return &p.Address.Street }},
	{"locality", "town", func(p *storage.Profile) *string { return &p.Address.Locality }},
	{"region", "state or region", func(p *storage.Profile) *string { return &p.Address.Region }},
	{"postal-code", "postal code", func(p *storage.Profile) *string { return &p.Address.PostalCode }},
	{"country", "country", func(p *storage.Profile) *string { return &p.Address.Country }},
}

func addProfileFlags(cmd *cobra.Command) *profileFlags {
	f := &profileFlags{values: map[string]*string{}}
	for _, m := range profileMembers {
		f.values[m.flag] = cmd.Flags().String(m.flag, "", m.usage)
	}
	cmd.Flags().BoolVar(&f.emailVerified, "email-verified", false, "the e-mail address is known to be theirs")
	cmd.Flags().BoolVar(&f.phoneVerified, "phone-number-verified", false, "the phone number is known to be theirs")
	return f
}

// into puts the flags that were given into a profile.
func (f *profileFlags) into(cmd *cobra.Command, p *storage.Profile) {
	for _, m := range profileMembers {
		if cmd.Flags().Changed(m.flag) {
			*m.field(p) = *f.values[m.flag]
		}
	}
}

func (a *app) userUpdate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "update USER", Short: "Change a person's name, e-mail address or profile",
		Long: "Change what the flags say and print the person as JSON; an empty value takes something away. A changed e-mail address or phone\n" +
			"number counts as not verified unless the command says so. The username cannot be changed.",
		Example: "  gatehouse user update alice --name 'Alice Example' --email-verified --locale en-GB",
		Args:    exactArgs("USER"),
	}
	email := cmd.Flags().String("email", "", "e-mail address, also good to sign in with")
	name := cmd.Flags().String("name", "", "full name")
	profile := addProfileFlags(cmd)
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().NFlag() == 0 {
			return usageError{fmt.Errorf("no changes given; pass a flag; see `%s --help`", cmd.CommandPath())}
		}
		return a.withUser(cmd, args[0], func(ctx context.Context, s *server.Server, u storage.User) error {
			changed := u.Profile
			profile.into(cmd, &changed)
			c := identity.Changes{Profile: &changed}
			for flag, set := range map[string]func(){
				"name": func() { c.Name = name }, "email": func() { c.Email = email },
				"email-verified":        func() { c.EmailVerified = &profile.emailVerified },
				"phone-number-verified": func() { c.PhoneVerified = &profile.phoneVerified },
			} {
				if cmd.Flags().Changed(flag) {
					set()
				}
			}
			updated, err := s.Users.Update(ctx, u, c)
			if err != nil {
				return err
			}
			return a.printJSON(userOf(updated))
		})
	}
	return cmd
}

func (a *app) userSetPassword() *cobra.Command {
	cmd := &cobra.Command{
		Use: "set-password USER", Short: "Replace a person's password",
		Long: "Replace a person's password. Every session, grant and token they have is dead afterwards.", Args: exactArgs("USER"),
	}
	fromStdin := cmd.Flags().Bool("password-stdin", false, "read the password from standard input")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		password, err := a.password(*fromStdin)
		if err != nil {
			return err
		}
		return a.withUser(cmd, args[0], func(ctx context.Context, s *server.Server, u storage.User) error {
			if err := s.Users.SetPassword(ctx, u, password); err != nil {
				return err
			}
			_, err := fmt.Fprintf(a.stdout, "the password of user %s is set; their sessions, grants and tokens are ended\n", display.Escape(u.Username))
			return err
		})
	}
	return cmd
}
