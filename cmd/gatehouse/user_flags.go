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
	for i, prompt := range []string{"Password: ", "Again: "} {
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

// profileMembers lists the flags with the fields that they set (OIDC Core §5.1).
var profileMembers = []struct {
	flag, usage string
	field       func(p *storage.Profile) *string
}{
	{"given-name", "given name", func(p *storage.Profile) *string { return &p.GivenName }},
	{"family-name", "family name", func(p *storage.Profile) *string { return &p.FamilyName }},
	{"middle-name", "middle name", func(p *storage.Profile) *string { return &p.MiddleName }},
	{"nickname", "nickname", func(p *storage.Profile) *string { return &p.Nickname }},
	{"profile", "URL of a page about the user", func(p *storage.Profile) *string { return &p.Profile }},
	{"picture", "URL of a picture of the user", func(p *storage.Profile) *string { return &p.Picture }},
	{"website", "URL of the user's web site", func(p *storage.Profile) *string { return &p.Website }},
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
	cmd.Flags().BoolVar(&f.emailVerified, "email-verified", false, "the email address was verified to be the user's")
	cmd.Flags().BoolVar(&f.phoneVerified, "phone-number-verified", false, "the phone number was verified to be the user's")
	return f
}

// copyTo copies the flags that were passed to a profile.
func (f *profileFlags) copyTo(cmd *cobra.Command, p *storage.Profile) {
	for _, m := range profileMembers {
		if cmd.Flags().Changed(m.flag) {
			*m.field(p) = *f.values[m.flag]
		}
	}
}
