package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/admin"
	"gatehouse/duration"
)

// checkDisplayable returns a usage error when the value of a flag has characters that cannot be displayed.
func checkDisplayable(flag, value string) error {
	if err := admin.CheckDisplayable(value); err != nil {
		return usageError{fmt.Errorf("%s %w", flag, err)}
	}
	return nil
}

// yesFlag adds --yes to a command that prompts before an irreversible change.
func yesFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("yes", false, "do not prompt (without a terminal there is no prompt)")
}

// durationFlag adds a flag for a duration, which may have days and weeks.
func durationFlag(cmd *cobra.Command, name string, value time.Duration, usage string) *time.Duration {
	v := durationValue(value)
	cmd.Flags().Var(&v, name, usage)
	return (*time.Duration)(&v)
}

// durationValue implements pflag.Value with duration.Parse.
type durationValue time.Duration

// String implements pflag.Value.
func (d *durationValue) String() string { return time.Duration(*d).String() }

// Set implements pflag.Value.
func (d *durationValue) Set(s string) error {
	v, err := duration.Parse(s)
	*d = durationValue(v)
	return err
}

// Type implements pflag.Value.
func (d *durationValue) Type() string { return "duration" }

// jsonFlag adds --json.
func jsonFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("json", false, "print JSON")
}

// checkLanguage returns a usage error unless a language is empty or has messages, with the languages that do.
func checkLanguage(language string, available []string) error {
	if language == "" || slices.Contains(available, language) {
		return nil
	}
	return usageError{fmt.Errorf("--language %q is not a language of this server; it has %s", language,
		strings.Join(available, ", "))}
}
