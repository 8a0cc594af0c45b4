package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gatehouse/identity"
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

// profileFlags are the values of the flags for a user's profile.
type profileFlags struct {
	values                       map[string]*string // by claim
	emailVerified, phoneVerified bool
}

// addProfileFlags adds a flag for every claim of a profile.
func addProfileFlags(cmd *cobra.Command) *profileFlags {
	f := &profileFlags{values: map[string]*string{}}
	for _, c := range identity.ProfileClaims() {
		f.values[c.Name] = cmd.Flags().String(flagOfClaim(c.Name), "", c.Usage)
	}
	cmd.Flags().BoolVar(&f.emailVerified, "email-verified", false, "the email address was verified to be the user's")
	cmd.Flags().BoolVar(&f.phoneVerified, "phone-number-verified", false, "the phone number was verified to be the user's")
	return f
}

// flagOfClaim returns the name of the flag that sets a claim.
func flagOfClaim(claim string) string { return strings.ReplaceAll(claim, "_", "-") }

// copyTo copies the flags that were passed to a profile.
func (f *profileFlags) copyTo(cmd *cobra.Command, p *storage.Profile) {
	for claim, value := range f.values {
		if cmd.Flags().Changed(flagOfClaim(claim)) {
			*p.Field(claim) = *value
		}
	}
}
