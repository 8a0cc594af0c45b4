package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gatehouse/storage"
)

// passwordFlag adds --password-stdin.
func passwordFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("password-stdin", false, "read the password from standard input")
}

// readPassword reads a password from standard input, or prompts for it twice.
func (p *program) readPassword(fromStdin bool) (string, error) {
	if fromStdin {
		b, err := io.ReadAll(io.LimitReader(p.stdin, 1<<16))
		if err != nil {
			return "", fmt.Errorf("cannot read the password: %w", err)
		}
		return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
	}
	f, ok := p.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", usageError{errors.New("no terminal to prompt for the password; pass --password-stdin")}
	}
	var typed [2]string
	for i, prompt := range []string{"Password: ", "Repeat the password: "} {
		fmt.Fprint(p.stderr, prompt)
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(p.stderr)
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

// profileFlags are the members of a user's profile as flags.
type profileFlags struct {
	values                       map[string]*string
	emailVerified, phoneVerified bool
}

// profileMembers lists the flags, each with the name of the claim that it sets (OIDC Core §5.1).
var profileMembers = []struct {
	flag, usage string
}{
	{"given-name", "given name"},
	{"family-name", "family name"},
	{"middle-name", "middle name"},
	{"nickname", "nickname"},
	{"profile", "URL of a page about the user"},
	{"picture", "URL of a picture of the user"},
	{"website", "URL of the user's web site"},
	{"gender", "gender"},
	{"birthdate", "like 1990-12-31, 1990 or 0000-12-31"},
	{"zoneinfo", "time zone, like Europe/Paris"},
	{"locale", "language, like en or de-CH"},
	{"phone-number", "like '+1 604 555 1234'"},
	{"street-address", "street and number"},
	{"locality", "city"},
	{"region", "state or region"},
	{"postal-code", "postal code"},
	{"country", "country"},
}

func addProfileFlags(cmd *cobra.Command) *profileFlags {
	f := &profileFlags{values: map[string]*string{}}
	for _, m := range profileMembers {
		f.values[m.flag] = cmd.Flags().String(m.flag, "", m.usage)
	}
	cmd.Flags().BoolVar(&f.emailVerified, "email-verified", false, "the email address was verified to be the user's")
	cmd.Flags().BoolVar(&f.phoneVerified, "phone-number-verified", false, "the phone number was verified to be the user's")
	return f
}

// claimOfFlag returns the claim that a flag sets.
func claimOfFlag(flag string) string { return strings.ReplaceAll(flag, "-", "_") }

// copyTo copies the flags that were passed to a profile.
func (f *profileFlags) copyTo(cmd *cobra.Command, p *storage.Profile) {
	for _, m := range profileMembers {
		if cmd.Flags().Changed(m.flag) {
			*p.Field(claimOfFlag(m.flag)) = *f.values[m.flag]
		}
	}
}
