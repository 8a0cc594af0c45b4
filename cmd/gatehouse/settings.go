package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gatehouse/admin"
	"gatehouse/cmd/gatehouse/server"
	"gatehouse/config"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

// showSettingsInHelp makes the command's help show every setting.
func showSettingsInHelp(cmd *cobra.Command) *cobra.Command {
	help := cmd.HelpFunc()
	cmd.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		for _, setting := range config.Flags() {
			if f := cmd.InheritedFlags().Lookup(setting.Name); f != nil {
				f.Hidden = setting.Hidden
			}
		}
		help(cmd, args)
	})
	return cmd
}

// settings reads the settings of the environment and this command line. Warnings go to warn. With a nil warn only
// secrets in flags and unknown names are reported, on standard error: every user of this host can read a command
// line, and a command with a misspelt setting may work on another database than intended.
func (p *program) settings(cmd *cobra.Command, warn func(string)) (config.Config, error) {
	flags := map[string]string{} // the settings among the flags that were passed
	isSetting := map[string]bool{}
	for _, f := range config.Flags() {
		isSetting[f.Name] = true
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if isSetting[f.Name] {
			flags[f.Name] = f.Value.String()
		}
	})
	cfg, warnings, err := config.Load(p.getenv, flags)
	unknown := config.UnknownSettingWarnings(os.Environ())
	if warn == nil {
		warnings, warn = config.SecretFlagWarnings(flags), func(w string) { p.notice("warning: " + w) }
	}
	for _, w := range append(warnings, unknown...) {
		warn(w)
	}
	return cfg, err
}

// databaseSettings reads the settings as settings does, for a command that opens the database. When the root key is
// missing and the database already has one, the error does not suggest creating another.
func (p *program) databaseSettings(cmd *cobra.Command, warn func(string)) (config.Config, error) {
	cfg, err := p.settings(cmd, warn)
	var invalid config.Errors
	if !errors.As(err, &invalid) {
		return cfg, err
	}
	missing := slices.Index(invalid, config.MissingSecretKey)
	if missing < 0 {
		return cfg, err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
	defer cancel()
	store, openErr := storage.Open(ctx, storage.Options{URL: cfg.DatabaseURL, Pool: 1})
	if openErr != nil {
		return cfg, err // the database cannot be read; return the general error
	}
	used, openErr := store.Vault.HasRootKey(ctx)
	if openErr = errors.Join(openErr, store.Close(ctx)); openErr == nil && used {
		invalid[missing] = "GATEHOUSE_SECRET_KEY is not set, and this database already has a root key; " +
			"set GATEHOUSE_SECRET_KEY or GATEHOUSE_SECRET_KEY_FILE to the key that its server uses"
	}
	return cfg, invalid
}

// withServer opens the database of the settings for a command and closes it afterwards.
func (p *program) withServer(cmd *cobra.Command, fn func(ctx context.Context, s *server.Server) error) error {
	cfg, err := p.databaseSettings(cmd, nil)
	if err != nil {
		return err
	}
	if path, embedded := cfg.SQLitePath(); embedded && cmd.Name() != "create" && !server.FileExists(path) {
		return fmt.Errorf("no database at %s; run this where `gatehouse serve` runs, or set --database-url", path)
	}
	ctx := reqevent.NewContext(cmd.Context(), &reqevent.Event{Actor: operator()})
	s, err := p.openServer(ctx, cfg)
	if err != nil {
		return err
	}
	return errors.Join(fn(ctx, s), s.Close(ctx))
}

// withAdmin opens the database of the settings for a command that works on records, and closes it afterwards.
func (p *program) withAdmin(cmd *cobra.Command, fn func(ctx context.Context, a *admin.Admin) error) error {
	return p.withServer(cmd, func(ctx context.Context, s *server.Server) error { return fn(ctx, s.Admin) })
}

func (p *program) openServer(ctx context.Context, cfg config.Config) (*server.Server, error) {
	return server.Open(ctx, server.Options{Config: cfg, Version: version, Notice: p.notice})
}

// notice prints a notice for the operator on standard error.
func (p *program) notice(message string) { fmt.Fprintln(p.stderr, "gatehouse: "+message) }

// operator returns the actor of commands in the audit log: the account on this host.
func operator() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return "cli:" + u.Username
	}
	return "cli"
}
