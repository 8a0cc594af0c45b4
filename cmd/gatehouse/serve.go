package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gatehouse/config"
	"gatehouse/storage"
	"gatehouse/web"
)

func (a *app) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: "Run the server until SIGINT or SIGTERM, which lets requests in flight finish.\n\n" +
			"An embedded database migrates itself. A PostgreSQL schema that is behind is refused: run `gatehouse migrate up` first, or start with --migrate.",
		Args: exactly(),
	}
	migrate := cmd.Flags().Bool("migrate", false, "bring the database schema up to date first")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var warnings []string
		cfg, err := a.settings(cmd, func(w string) { warnings = append(warnings, w) })
		if err != nil {
			return err
		}
		log := a.logger(cfg)
		for _, w := range warnings {
			log.Warn(w)
		}
		ctx := storage.WithOrigin(cmd.Context(), storage.Origin{Actor: "system"})
		if path, embedded := cfg.Embedded(); embedded && exists(filepath.Join(filepath.Dir(path), devFile)) {
			log.Warn("this database was made by `gatehouse dev`: its demo person and demo clients work here too; for real use set GATEHOUSE_DATABASE_URL to a new file")
		}
		s, err := openSystem(ctx, cfg, log, *migrate, func(text string) { log.Info(text) })
		if err != nil {
			return err
		}
		return s.serve(ctx, log, serveOptions{})
	}
	return listsSettings(cmd)
}

// logger writes structured events to standard error.
func (a *app) logger(cfg config.Config) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == "text" || cfg.LogFormat == "auto" && isTerminal(a.stderr) {
		return slog.New(slog.NewTextHandler(a.stderr, options))
	}
	return slog.New(slog.NewJSONHandler(a.stderr, options))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

type serveOptions struct {
	strictHost bool
	ready      func(address net.Addr) // called with the public address once every listener is open
	also       map[string]http.Handler
}

// serve runs the listeners and the jobs until ctx ends, then stops in order: no new connections, requests in flight
// finish, jobs end, queued audit rows are written. It takes no longer than the shutdown timeout and closes the system.
func (s *system) serve(ctx context.Context, log *slog.Logger, o serveOptions) error {
	site, err := web.New(web.Options{Config: s.config, Store: s.store, People: s.people, OAuth: s.oauth, Log: log, StrictHost: o.strictHost})
	if err != nil {
		return errors.Join(err, s.close(ctx))
	}
	handlers := map[string]http.Handler{s.config.Listen: site.Handler()}
	if s.config.AdminListen != "" {
		handlers[s.config.AdminListen] = adminHandler(site)
	}
	for address, h := range o.also {
		handlers[address] = h
	}
	if o.strictHost { // against DNS rebinding; the public site does it by itself
		for address, h := range handlers {
			if address != s.config.Listen {
				handlers[address] = loopbackHost(h)
			}
		}
	}
	var servers []*http.Server
	var public net.Addr
	failed := make(chan error, len(handlers))
	jobs, endJobs := context.WithCancel(ctx)
	waitForJobs := func(context.Context) error { return nil } // none runs yet
	stop := func() error {
		endJobs()
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.ShutdownTimeout)
		defer cancel()
		var errs []error
		for _, server := range servers {
			if err := server.Shutdown(limited); err != nil {
				errs = append(errs, fmt.Errorf("requests were still in flight: %w", err), server.Close())
			}
		}
		return errors.Join(append(errs, waitForJobs(limited), s.store.Close(limited))...)
	}
	s.store.Start()
	for address, h := range handlers {
		server, listener, err := s.listen(ctx, address, h, log)
		if err != nil {
			return errors.Join(err, stop())
		}
		servers = append(servers, server)
		go func() {
			if err := serveOn(server, listener); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		}()
		if address == s.config.Listen {
			log.Info("listening", slog.String("address", listener.Addr().String()), slog.String("issuer", s.config.Issuer), slog.String("database", s.store.Engine()))
			public = listener.Addr()
		}
	}
	if o.ready != nil {
		o.ready(public)
	}
	waitForJobs = startJobs(jobs, s, log)
	select {
	case <-ctx.Done():
		log.Info("stopping", slog.String("at_most", s.config.ShutdownTimeout.String()))
	case err = <-failed:
	}
	err = errors.Join(err, stop())
	log.Info("stopped")
	return err
}

// listen opens one listener. The public one speaks TLS when there is a certificate.
func (s *system) listen(ctx context.Context, address string, h http.Handler, log *slog.Logger) (*http.Server, net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		setting := "--sample-listen"
		switch address {
		case s.config.Listen:
			setting = "GATEHOUSE_LISTEN (--listen)"
		case s.config.AdminListen:
			setting = "GATEHOUSE_ADMIN_LISTEN (--admin-listen)"
		}
		return nil, nil, fmt.Errorf("cannot listen; free the address or set %s to another: %w", setting, err)
	}
	var certificate *tls.Config
	if s.config.TLSCertFile != "" && address == s.config.Listen {
		if certificate, err = loadCertificate(s.config.TLSCertFile, s.config.TLSKeyFile, log); err != nil {
			return nil, nil, errors.Join(err, listener.Close())
		}
	}
	return &http.Server{
		TLSConfig: certificate,
		Handler:   h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}, listener, nil
}

func serveOn(server *http.Server, l net.Listener) error {
	if server.TLSConfig != nil {
		return server.ServeTLS(l, "", "")
	}
	return server.Serve(l)
}

// loopbackHost refuses requests under any name but those of this machine.
func loopbackHost(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopbackAddress(r.Host) && !loopbackAddress(r.Host+":0") {
			http.Error(w, "this server answers only under its own name", http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// adminHandler is the admin listener: health and profiling.
func adminHandler(site *web.Site) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", site.Health())
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
