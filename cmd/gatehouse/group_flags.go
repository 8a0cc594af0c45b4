package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/admin"
	"gatehouse/identity"
)

// requirementHelp is the end of the help of the commands that set how users with a group or a role must sign in.
const requirementHelp = " must sign in with a second factor (mfa) or a passkey (phr), whatever\n" +
	"the client. Users without one are prompted to add it when they sign in. They can postpone that until the\n" +
	"date of --enrol-until, and afterwards, or without a date, cannot continue without it."

// addGroupFlags adds the flags for the properties of a group or a role. The function that it returns reads those that
// were passed.
func addGroupFlags(cmd *cobra.Command, descriptionUsage string) func() (admin.GroupChanges, error) {
	description := cmd.Flags().String("description", "", descriptionUsage)
	acr := cmd.Flags().String("required-acr", "none",
		"mfa (a second factor; printed as its acr, 2), phr (a passkey) or none")
	until := cmd.Flags().String("enrol-until", "none",
		"the day (UTC) from which on users cannot postpone adding the factor, like 2027-01-31, or none")
	complete := cobra.FixedCompletions(metadataChoices["required-acr"], cobra.ShellCompDirectiveNoFileComp)
	_ = cmd.RegisterFlagCompletionFunc("required-acr", complete) // it fails only without the flag
	return func() (c admin.GroupChanges, err error) {
		changed := cmd.Flags().Changed
		if changed("description") {
			if err := checkDisplayable("--description", *description); err != nil {
				return c, err
			}
			c.Description = description
		}
		if changed("required-acr") {
			if _, err := identity.ParseRequiredACR(*acr); err != nil {
				return c, usageError{fmt.Errorf("--required-acr %w", err)}
			}
			c.RequiredACR = acr
		}
		if !changed("enrol-until") {
			return c, nil
		}
		c.EnrolUntil = &time.Time{}
		if *until != "none" {
			if *c.EnrolUntil, err = time.Parse(time.DateOnly, *until); err != nil {
				return c, usageError{fmt.Errorf("--enrol-until %q must be a date like 2027-01-31, or none", *until)}
			}
		}
		return c, nil
	}
}

// noChangesError returns the error of an update to which no flag was passed.
func noChangesError(cmd *cobra.Command) error {
	return usageError{fmt.Errorf("no changes given; pass a flag; see `%s --help`", cmd.CommandPath())}
}
