package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"gatehouse/config"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
	"gatehouse/web"
)

func (a *app) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: "Run the server until SIGINT or SIGTERM, which lets requests in flight finish; a second one ends it at once.\n\n" +
			"An embedded database migrates itself. A PostgreSQL schema that is behind is refused: run `gatehouse migrate up` first, or start with --migrate.\n" +
			"A PostgreSQL that is away is waited for, with /readyz red.\n\n" +
			"Secrets come from the environment, not from flags: GATEHOUSE_SECRET_KEY, GATEHOUSE_SECRET_KEY_PREVIOUS and GATEHOUSE_REDIS_URL,\n" +
			"each also from the file that the same name with _FILE gives. docs/config.md has all settings.",
		Args: exactly(),
	}
	migrate := cmd.Flags().Bool("migrate", false, "bring the database schema up to date first")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var warnings []string
		cfg, err := a.databaseSettings(cmd, func(w string) { warnings = append(warnings, w) })
		if err != nil {
			return err
		}
		log, end := a.logger(cfg)
		defer end()
		for _, w := range warnings {
			log.Warn(w)
		}
		ctx := reqevent.With(cmd.Context(), &reqevent.Event{Actor: "system"})
		if path, embedded := cfg.Embedded(); embedded && exists(filepath.Join(filepath.Dir(path), devFile)) {
			log.Warn("this database was made by `gatehouse dev`: its demo person and demo clients work here too; for real use set GATEHOUSE_DATABASE_URL to a new file")
		}
		// The listeners open first: while the database is away, /healthz is green and /readyz red.
		g, err := openGates(ctx, cfg, log, cfg.Listen, cfg.AdminListen)
		if err != nil {
			return err
		}
		s, err := a.openPatiently(ctx, cfg, log, *migrate)
		if err != nil {
			return errors.Join(err, g.shutdown(ctx, time.Second))
		}
		return s.serve(ctx, log, g, serveOptions{getenv: a.getenv, foreground: isTerminal(a.stderr)})
	}
	return listsSettings(cmd)
}

// openPatiently is openSystem that waits for a PostgreSQL that is away, until ctx ends.
func (a *app) openPatiently(ctx context.Context, cfg config.Config, log *slog.Logger, migrate bool) (*system, error) {
	for wait := 250 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		s, err := openSystem(ctx, cfg, log, migrate, func(text string) { log.Warn(text) })
		if err == nil || !storage.Away(err) || ctx.Err() != nil {
			return s, err
		}
		log.WarnContext(ctx, "the database is away; trying again", slog.String("in", wait.String()), slog.Any("error", err))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// gcPercent trades memory for time: what lives is small, 10 MB or so, and most of what is made dies with its request. GOGC
// in the environment overrules it.
const gcPercent = 200

type serveOptions struct {
	foreground bool // a terminal that is closed ends it
	strictHost bool
	ready      func(address net.Addr) // called with the public address once everything answers
	also       map[string]http.Handler
	getenv     func(string) string // for what is no setting of ours: OTEL_…
}

// serve runs the site behind the gates and the jobs until ctx ends, then stops in order: /readyz turns red, and after the
// shutdown delay there are no new connections, requests in flight finish, jobs end, queued audit rows are written. It
// takes no longer than the delay and the shutdown timeout and closes the system.
func (s *system) serve(ctx context.Context, log *slog.Logger, g *gates, o serveOptions) error {
	if o.getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	registry, err := s.newRegistry()
	if err != nil {
		return errors.Join(err, g.shutdown(ctx, time.Second), s.close(ctx))
	}
	tracer, stopTraces, err := startTraces(ctx, o.getenv)
	if err != nil {
		return errors.Join(err, g.shutdown(ctx, time.Second), s.close(ctx))
	}
	site, err := web.New(web.Options{
		Config: s.config, Store: s.store, Users: s.users, OAuth: s.oauth, Log: log, Limiter: s.limiter, Meters: registry, Tracer: tracer, StrictHost: o.strictHost, Ready: s.work.stalled,
	})
	if err != nil {
		return errors.Join(err, g.shutdown(ctx, time.Second), s.close(ctx))
	}
	if g.certificate != nil {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gatehouse_tls_certificate_expiry_timestamp_seconds", Help: "When the TLS certificate in force expires."}, g.certificate.expiry))
	}
	handlers := map[string]http.Handler{s.config.Listen: site.Handler()}
	if s.config.AdminListen != "" {
		handlers[s.config.AdminListen] = adminHandler(site, registry, s.config)
	}
	for address, h := range o.also {
		handlers[address] = h
	}
	s.store.Start()
	for address, h := range handlers {
		if o.strictHost && address != s.config.Listen { // against DNS rebinding; the public site does it by itself
			h = checkHost(h, loopbackName)
		}
		g.open(address, h)
	}
	public := g.address(s.config.Listen)
	log.Info("listening", slog.String("address", public.String()), slog.String("issuer", s.config.Issuer), slog.String("database", s.store.Engine()))
	if o.ready != nil {
		o.ready(public)
	}
	jobs, endJobs := context.WithCancel(context.WithoutCancel(ctx))
	defer endJobs()
	reading, endReading := context.WithTimeout(ctx, shortLimit) // an unresponsive connection must not delay the jobs
	unreadable := s.oauth.Keyring.Load(reading)
	endReading()
	if unreadable != nil { // from now on the JWKS is also served when the database is unavailable
		log.Error("the signing keys cannot be read", slog.Any("error", unreadable))
	}
	if !o.foreground {
		signal.Ignore(syscall.SIGHUP) // what asks others to read their files again; here they are looked at by themselves
	}
	s.limiter.PingRedis(ctx)
	waitForJobs := startJobs(jobs, s, log)
	select {
	case <-ctx.Done():
		log.Info("stopping", slog.String("after", s.config.ShutdownDelay.String()), slog.String("at_most", s.config.ShutdownTimeout.String()))
		site.Drain()
		g.drain(s.config.ShutdownDelay)
	case err = <-g.failed:
	}
	endJobs()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.ShutdownTimeout)
	defer cancel()
	err = errors.Join(err, g.shutdown(limited, s.config.ShutdownTimeout), waitForJobs(limited), s.store.Close(limited), s.limiter.Close(), stopTraces(limited))
	if err != nil {
		log.Error("stopped, and not all was done", slog.Any("error", err))
		return err
	}
	log.Info("stopped")
	return nil
}

// checkHost refuses requests whose Host header has a name that is not allowed, which stops a web site from reaching
// this server through a browser and a DNS name of its own (DNS rebinding). allowed gets the name in lower case,
// without port.
func checkHost(h http.Handler, allowed func(name string) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			name = strings.Trim(r.Host, "[]")
		}
		if !allowed(strings.ToLower(strings.TrimSuffix(name, "."))) {
			http.Error(w, "this server does not respond to this host name; use its IP address", http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// loopbackName reports whether a name refers to the local host.
func loopbackName(name string) bool { return loopbackAddress(net.JoinHostPort(name, "0")) }

// adminName returns a function that reports whether the admin listener accepts a host name. No attacker can bring a
// browser here by an IP address, and none controls localhost, this machine's own name, or those in the settings. On a
// listener that other machines reach, names without a dot and those of Kubernetes and private zones, by which
// Prometheus finds a service, are allowed too.
func adminName(cfg config.Config) func(name string) bool {
	machine, _ := os.Hostname() // without a host name it is not in the list
	listen, _, _ := net.SplitHostPort(cfg.AdminListen)
	own := []string{"localhost", strings.ToLower(machine), strings.ToLower(listen), cfg.IssuerURL().Hostname()}
	return func(name string) bool {
		if _, err := netip.ParseAddr(name); err == nil {
			return true
		}
		if name == "" || slices.Contains(own, name) {
			return name != ""
		}
		if loopbackName(listen) { // reachable only from this host, which needs no other name
			return false
		}
		return !strings.Contains(name, ".") || strings.HasSuffix(name, ".svc") || strings.HasSuffix(name, ".cluster.local") || strings.HasSuffix(name, ".internal")
	}
}

// adminHandler is the admin listener: health, metrics and profiling. Health, which discloses nothing, accepts any
// host name, because the health checks of load balancers send different ones.
func adminHandler(site *web.Server, registry *prometheus.Registry, cfg config.Config) http.Handler {
	outer := http.NewServeMux()
	mux := http.NewServeMux()
	outer.Handle("/", site.Health())
	outer.Handle("/metrics", checkHost(mux, adminName(cfg)))
	outer.Handle("/debug/pprof/", checkHost(mux, adminName(cfg)))
	mux.Handle("GET /metrics", metricsHandler(registry))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, os.Args[0]) // the arguments may have secrets
	})
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.Handle("/debug/pprof/mutex", whileAsked(pprof.Handler("mutex"), func(rate int) { runtime.SetMutexProfileFraction(rate) }))
	mux.Handle("/debug/pprof/block", whileAsked(pprof.Handler("block"), func(rate int) { runtime.SetBlockProfileRate(rate * 1000) })) // of each microsecond
	return outer
}

// whileAsked counts contention only for as long as somebody waits for its profile (?seconds=N): nobody else pays for that.
func whileAsked(profile http.Handler, rate func(int)) http.Handler {
	var mu sync.Mutex
	asking := 0
	change := func(by int) {
		mu.Lock()
		defer mu.Unlock()
		if asking += by; asking == 0 {
			rate(0)
		} else {
			rate(1)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		change(1)
		defer change(-1)
		profile.ServeHTTP(w, r)
	})
}
