package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gatehouse/cmd/gatehouse/server"
)

func (p *program) configCommand() *cobra.Command {
	check := &cobra.Command{
		Use: "check", Short: "Check the settings and report all errors",
		Example: "  gatehouse config check\n" +
			"  gatehouse config check --issuer https://id.example.com",
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			warn := func(w string) { fmt.Fprintln(p.stderr, "warning: "+w) }
			cfg, err := p.settings(cmd, warn)
			pagesErr := server.CheckPages(cfg, warn) // with the settings that are valid
			if err != nil {
				return errors.Join(err, pagesErr)
			}
			for _, w := range cfg.MailWarnings() {
				warn(w)
			}
			if err := errors.Join(cfg.CheckFiles(), pagesErr, server.CheckMetadata(cfg)); err != nil {
				return err
			}
			_, err = fmt.Fprintln(p.stdout, "the settings are valid")
			return err
		},
	}
	show := &cobra.Command{
		Use: "print", Short: "Print the effective settings, secrets redacted",
		Example: "  gatehouse config print", Args: exactArgs(),
	}
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
