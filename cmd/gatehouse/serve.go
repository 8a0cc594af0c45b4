package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/config"
	"gatehouse/storage/db"
	"gatehouse/storage/reqevent"
)

func (p *program) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: "Run the server until SIGINT or SIGTERM, which lets requests in flight finish; a second signal ends\n" +
			"it immediately.\n\n" +
			"An embedded database migrates itself. A PostgreSQL schema that is behind is refused: run\n" +
			"`gatehouse migrate up` first, or pass --migrate. While PostgreSQL is unavailable at start, /readyz\n" +
			"returns 503 and serve retries.\n\n" +
			"Secrets come from the environment, not from flags: GATEHOUSE_SECRET_KEY,\n" +
			"GATEHOUSE_SECRET_KEY_PREVIOUS and GATEHOUSE_REDIS_URL, each also from the file that the same name\n" +
			"with _FILE names. docs/config.md has all settings.",
		Example: "  gatehouse serve --issuer https://id.example.com --trusted-proxies 10.0.0.0/8",
		Args:    exactArgs(),
	}
	migrate := cmd.Flags().Bool("migrate", false, "bring the database schema up to date first")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var warnings []string
		cfg, err := p.databaseSettings(cmd, func(w string) { warnings = append(warnings, w) })
		if err != nil {
			return err
		}
		log, end := server.NewLog(p.stderr, isTerminal(p.stderr), cfg)
		defer end()
		for _, w := range append(warnings, cfg.MailWarnings()...) {
			log.Warn(w)
		}
		ctx := reqevent.NewContext(cmd.Context(), &reqevent.Event{Actor: "system"})
		if path, embedded := cfg.SQLitePath(); embedded && server.FileExists(filepath.Join(filepath.Dir(path), devFile)) {
			log.Warn("this database was created by `gatehouse dev`: its demo user and demo clients work here too; " +
				"for production set GATEHOUSE_DATABASE_URL to a new file")
		}
		// The listeners open first: while the database is unavailable, /healthz returns 200 and /readyz 503.
		listeners, err := server.Listen(ctx, cfg, log, cfg.Listen, cfg.AdminListen)
		if err != nil {
			return err
		}
		s, err := openWithRetries(ctx, cfg, log, *migrate)
		if err != nil {
			return errors.Join(err, listeners.Shutdown(ctx, time.Second))
		}
		return s.Serve(ctx, listeners, server.ServeOptions{Getenv: p.getenv, Foreground: isTerminal(p.stderr)})
	}
	return showSettingsInHelp(cmd)
}

// openWithRetries opens the server and retries while PostgreSQL is unavailable, until ctx ends.
func openWithRetries(ctx context.Context, cfg config.Config, log *slog.Logger, migrate bool) (*server.Server, error) {
	for wait := 250 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		s, err := server.Open(ctx, server.Options{
			Config: cfg, Version: version, Log: log, Migrate: migrate, Notice: func(message string) { log.Warn(message) },
		})
		if err == nil || !db.IsUnavailable(err) || ctx.Err() != nil {
			return s, err
		}
		log.WarnContext(ctx, "database unavailable, retrying", slog.String("in", wait.String()), slog.Any("error", err))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, err
		}
	}
}
