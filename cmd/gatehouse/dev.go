package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/cmd/gatehouse/sample"
	"gatehouse/cmd/gatehouse/server"
	"gatehouse/config"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

func (p *program) devCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run the server for development, with a sample app to sign in to",
		Long: "Run the server for development, with a demo user, a demo service and a sample third-party app with\n" +
			"a small API. The data is stored in the directory of the database and used again at the next start.\n" +
			"dev listens on loopback only, and refuses requests for another host name than the issuer's and\n" +
			"databases that it did not create.",
		Example: "  gatehouse dev\n" +
			"  gatehouse dev --listen 127.0.0.1:9000 --database-url sqlite:/tmp/gatehouse/dev.db",
		Args: exactArgs(),
	}
	sampleListen := cmd.Flags().String("sample-listen", "127.0.0.1:8090", "address of the sample app")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := p.devSettings(cmd, *sampleListen)
		if err != nil {
			return err
		}
		return p.runDev(cmd.Context(), cfg, *sampleListen)
	}
	showSettingsInHelp(cmd)
	help := cmd.HelpFunc()
	cmd.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		cmd.InheritedFlags().Lookup("log-level").DefValue = "warn" // see devSettings
		help(cmd, args)
	})
	return cmd
}

// devSettings reads the settings, refuses those that leave loopback, and replaces some defaults.
func (p *program) devSettings(cmd *cobra.Command, sampleListen string) (config.Config, error) {
	if p.getenv("GATEHOUSE_ISSUER") == "" && !cmd.Flags().Changed("issuer") {
		// Another port means another issuer, or none of the printed URLs would work.
		listen := p.getenv("GATEHOUSE_LISTEN")
		if f := cmd.Flags().Lookup("listen"); f.Changed || listen == "" {
			listen = f.Value.String()
		}
		if _, port, err := net.SplitHostPort(listen); err == nil {
			if err := cmd.Flags().Set("issuer", httpURL(net.JoinHostPort("localhost", port))); err != nil {
				return config.Config{}, err
			}
		}
	}
	cfg, err := p.databaseSettings(cmd, func(w string) { fmt.Fprintln(p.stderr, "warning: "+w) })
	if err != nil {
		return cfg, err
	}
	for name, address := range map[string]string{
		"--listen": cfg.Listen, "--sample-listen": sampleListen, "--admin-listen": cfg.AdminListen,
	} {
		if address != "" && !server.IsLoopback(address) {
			return cfg, usageError{fmt.Errorf("%s %s is reachable from other hosts, but dev listens on loopback only; "+
				"use `gatehouse serve`", name, address)}
		}
	}
	if host := cfg.IssuerURL().Hostname(); !server.IsLoopback(net.JoinHostPort(host, "0")) {
		return cfg, usageError{fmt.Errorf("the issuer %s is not on loopback; use `gatehouse serve`", cfg.Issuer)}
	}
	if p.getenv("GATEHOUSE_LOG_LEVEL") == "" && !cmd.Flags().Changed("log-level") {
		cfg.LogLevel = slog.LevelWarn // so that the printed page stays visible; --log-level info shows every request
	}
	cfg.FetchAllowHosts = append(cfg.FetchAllowHosts, sampleListen) // the sample app receives logout tokens
	return cfg, nil
}

// runDev opens the server, creates the demo records and serves both the server and the sample app.
func (p *program) runDev(ctx context.Context, cfg config.Config, sampleListen string) error {
	log, end := server.NewLog(p.stderr, isTerminal(p.stderr), cfg)
	defer end()
	ctx = reqevent.NewContext(ctx, &reqevent.Event{Actor: "system"})
	var data devData
	s, err := server.Open(ctx, server.Options{
		Config: cfg, Version: version, Log: log, Migrate: true, Notice: p.notice, PrintMail: p.stdout,
		CheckDatabase: func(store *storage.Store) (err error) {
			if data, err = readDevData(cfg); err != nil {
				return err
			}
			return claimDevDatabase(ctx, store)
		},
	})
	if err != nil {
		return err
	}
	sampleURL := httpURL(sampleListen)
	// The demo records are the operator's; everything else is the work of the server itself, as under serve.
	operatorCtx := reqevent.NewContext(ctx, &reqevent.Event{Actor: operator()})
	if data, err = prepareDev(operatorCtx, s, data, sampleURL); err != nil {
		return errors.Join(err, s.Close(ctx))
	}
	app, err := sample.New(sample.Config{
		Issuer: cfg.Issuer, ClientID: data.SampleID, ClientSecret: data.SampleSecret, URL: sampleURL, Links: []sample.Link{
			{Text: "Your account: what you allowed this app, and a way to withdraw it", URL: cfg.Issuer + "/account"},
			{Text: "Metadata of the server", URL: cfg.Issuer + "/.well-known/openid-configuration"},
		},
	})
	if err != nil {
		return errors.Join(err, s.Close(ctx))
	}
	listeners, err := server.Listen(ctx, cfg, log, cfg.Listen, cfg.AdminListen, sampleListen)
	if err != nil {
		return errors.Join(err, s.Close(ctx))
	}
	return s.Serve(ctx, listeners, server.ServeOptions{
		Getenv: p.getenv, StrictHost: true, Foreground: true, Handlers: map[string]http.Handler{sampleListen: app},
		Ready: func(net.Addr) {
			fmt.Fprint(p.stdout, devPage(cfg, data, sampleURL, pathCommand(executable(), exec.LookPath)))
		},
	})
}

// claimDevDatabase returns an error when the database was created by other means than dev.
func claimDevDatabase(ctx context.Context, store *storage.Store) error {
	err := store.MarkDevDatabase(ctx)
	if errors.Is(err, storage.ErrNotDevDatabase) {
		return errors.New("this database was not created by `gatehouse dev`, which adds demo clients and a demo user " +
			"to it; nothing was changed. Use a separate database for dev, like " +
			"--database-url sqlite:gatehouse-dev/gatehouse.db, " +
			"or run `gatehouse serve` on this one")
	}
	return err
}

// executable returns the path of this program, as the user called it if the system does not report it.
func executable() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

// httpURL returns the URL of an address as browsers write it: without the default port of http.
func httpURL(address string) string { return "http://" + strings.TrimSuffix(address, ":80") }
