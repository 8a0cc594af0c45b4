package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) configCommand() *cobra.Command {
	check := &cobra.Command{
		Use: "check", Short: "Check the settings and report all errors together", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.settings(cmd, func(w string) { fmt.Fprintln(a.stderr, "warning: "+w) })
			if err != nil {
				return err
			}
			if err := cfg.CheckFiles(); err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.stdout, "the settings are valid")
			return err
		},
	}
	show := &cobra.Command{Use: "print", Short: "Print the settings in force, secrets redacted", Args: exactArgs()}
	asJSON := jsonFlag(show)
	show.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.settings(cmd, nil)
		if err != nil {
			return err
		}
		if *asJSON {
			return a.printJSON(cfg.RedactedValues())
		}
		return cfg.WriteRedacted(a.stdout)
	}
	return a.group("config", "Check and print the settings", "", listsSettings(check), listsSettings(show))
}
