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

	"gatehouse/identity"
	"gatehouse/storage"
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
}

func userOf(u storage.User) userRecord {
	return userRecord{Sub: u.ID, Username: u.Username, Email: u.Email, Name: u.Name, Admin: u.Admin, CreatedAt: u.CreatedAt, DisabledAt: u.DisabledAt}
}

func (a *app) userCommand() *cobra.Command {
	change := func(use, short, done, question string, fn func(ctx context.Context, s *system, u storage.User) error) *cobra.Command {
		return &cobra.Command{
			Use: use + " USER", Short: short, Long: short + ". USER is a username, e-mail address or sub.", Args: exactly("USER"),
			RunE: func(cmd *cobra.Command, args []string) error {
				if question != "" {
					if err := a.confirm(fmt.Sprintf(question, args[0])); err != nil {
						return err
					}
				}
				return a.withUser(cmd, args[0], func(ctx context.Context, s *system, u storage.User) error {
					if err := fn(ctx, s, u); err != nil {
						return plain(err, "user "+args[0])
					}
					_, err := fmt.Fprintf(a.stdout, done+"\n", u.Username)
					return err
				})
			},
		}
	}
	return a.group("user", "Manage people", "", a.userCreate(), a.userList(), a.userShow(), a.userSetPassword(),
		change("disable", "Refuse a person and every session and token they have", "user %s is disabled", "", func(ctx context.Context, s *system, u storage.User) error {
			return s.store.DisableUser(ctx, u.ID, storage.Event{Type: storage.UserDisabled})
		}),
		change("enable", "Let a disabled person in again", "user %s is enabled", "", func(ctx context.Context, s *system, u storage.User) error {
			return s.store.EnableUser(ctx, u.ID, storage.Event{Type: storage.UserEnabled})
		}),
		change("revoke-tokens", "End every session, grant and token of a person", "every session and token of user %s is revoked", "", func(ctx context.Context, s *system, u storage.User) error {
			return s.store.RevokeUserTokens(ctx, u.ID, storage.Event{Type: storage.UserTokensRevoked})
		}),
		change("delete", "Delete a person with their sessions and consents", "user %s is deleted", "Delete user %s with everything they allowed?", func(ctx context.Context, s *system, u storage.User) error {
			return s.store.DeleteUser(ctx, u.ID, storage.Event{Type: storage.UserDeleted})
		}))
}

// withUser finds the person a command is about.
func (a *app) withUser(cmd *cobra.Command, name string, fn func(ctx context.Context, s *system, u storage.User) error) error {
	return a.with(cmd, func(ctx context.Context, s *system) error {
		u, err := s.people.Find(ctx, name)
		if err != nil {
			return plain(err, "user "+name)
		}
		return fn(ctx, s, u)
	})
}

func (a *app) userCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create", Short: "Create a person",
		Long:    "Create a person and print them as JSON. The password is read from standard input with --password-stdin (one trailing newline is dropped), else asked for.",
		Example: "  gatehouse user create --username alice --email alice@example.com --name 'Alice Example'\n  printf %s \"$PASSWORD\" | gatehouse user create --username alice --email alice@example.com --password-stdin",
		Args:    exactly(),
	}
	var n identity.NewUser
	cmd.Flags().StringVar(&n.Username, "username", "", "name to sign in with, without an @")
	cmd.Flags().StringVar(&n.Email, "email", "", "e-mail address, also good to sign in with")
	cmd.Flags().StringVar(&n.Name, "name", "", "full name")
	cmd.Flags().BoolVar(&n.Admin, "admin", false, "the person administers this server")
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
		return a.with(cmd, func(ctx context.Context, s *system) error {
			u, err := s.people.Create(ctx, n)
			if err != nil {
				return err
			}
			return a.printJSON(userOf(u))
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
	cmd := &cobra.Command{Use: "list", Short: "List people", Args: exactly()}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.with(cmd, func(ctx context.Context, s *system) error {
			records := []userRecord{}
			var rows [][]string
			for after := ""; ; {
				page, err := s.store.Users(ctx, after, 1000)
				if err != nil {
					return err
				}
				for _, u := range page {
					records = append(records, userOf(u))
					rows = append(rows, []string{u.ID, u.Username, u.Email, u.Name, enabled(u.DisabledAt)})
					after = u.ID
				}
				if len(page) < 1000 {
					break
				}
			}
			if *asJSON {
				return a.printJSON(records)
			}
			return a.table("there are no people; create one with `gatehouse user create`", []string{"sub", "username", "e-mail", "name", "state"}, rows)
		})
	}
	return cmd
}

func (a *app) userShow() *cobra.Command {
	cmd := &cobra.Command{Use: "show USER", Short: "Show a person as JSON", Args: exactly("USER")}
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withUser(cmd, args[0], func(_ context.Context, _ *system, u storage.User) error { return a.printJSON(userOf(u)) })
	}
	return cmd
}

func (a *app) userSetPassword() *cobra.Command {
	cmd := &cobra.Command{
		Use: "set-password USER", Short: "Replace a person's password",
		Long: "Replace a person's password. Every session, grant and token they have is dead afterwards.", Args: exactly("USER"),
	}
	fromStdin := cmd.Flags().Bool("password-stdin", false, "read the password from standard input")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		password, err := a.password(*fromStdin)
		if err != nil {
			return err
		}
		return a.withUser(cmd, args[0], func(ctx context.Context, s *system, u storage.User) error {
			if err := s.people.SetPassword(ctx, u, password); err != nil {
				return err
			}
			_, err := fmt.Fprintf(a.stdout, "the password of user %s is set; their sessions, grants and tokens are ended\n", u.Username)
			return err
		})
	}
	return cmd
}
