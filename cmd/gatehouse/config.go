package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"gatehouse/cmd/gatehouse/server"
)

func (p *program) configCommand() *cobra.Command {
	check := &cobra.Command{
		Use: "check", Short: "Check the settings and report all errors", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.settings(cmd, func(w string) { fmt.Fprintln(p.stderr, "warning: "+w) })
			if err != nil {
				return err
			}
			if err := cfg.CheckFiles(); err != nil {
				return err
			}
			if err := server.CheckPages(cfg); err != nil {
				return err
			}
			if err := server.CheckMetadata(cfg); err != nil {
				return err
			}
			_, err = fmt.Fprintln(p.stdout, "the settings are valid")
			return err
		},
	}
	show := &cobra.Command{Use: "print", Short: "Print the effective settings, secrets redacted", Args: exactArgs()}
	asJSON := jsonFlag(show)
	show.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := p.settings(cmd, nil)
		if err != nil {
			return err
		}
		if *asJSON {
			return p.printJSON(cfg.RedactedValues())
		}
		return cfg.WriteRedacted(p.stdout)
	}
	return group("config", "Check and print the settings", "", showSettingsInHelp(check), showSettingsInHelp(show))
}
