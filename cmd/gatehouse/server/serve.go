package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/loopback"
	"gatehouse/web"
)

// gcPercent trades memory for time: the live heap is small, 10 MB or so, and most allocations become garbage when
// their request ends. GOGC in the environment overrides it.
const gcPercent = 200

// ServeOptions vary how a server is served.
type ServeOptions struct {
	// Foreground lets SIGHUP, which a closed terminal sends, end the server.
	Foreground bool
	// StrictHost refuses requests under any other host name than the issuer's and, on the other listeners, loopback.
	StrictHost bool
	// Ready is called with the public address once every listener serves. May be nil.
	Ready func(public net.Addr)
	// Handlers are served on further addresses of the listeners.
	Handlers map[string]http.Handler
	// Getenv reads the variables that are not settings of Gatehouse: GOGC and OTEL_….
	Getenv func(string) string
}

// Serve serves the endpoints and pages behind the listeners and runs the jobs until ctx ends, then stops in order:
// /readyz returns 503, and after the shutdown delay there are no new connections, requests in flight finish, jobs end,
// queued audit rows are written. It takes no longer than the delay and the shutdown timeout, and closes the server.
func (s *Server) Serve(ctx context.Context, l *Listeners, o ServeOptions) error {
	if o.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	pages, stopTraces, err := s.openListeners(ctx, l, o)
	if err != nil {
		return errors.Join(err, l.Shutdown(ctx, time.Second), s.Close(ctx))
	}
	public := l.Address(s.Config.Listen)
	s.log.Info("listening", slog.String("address", public.String()), slog.String("issuer", s.Config.Issuer),
		slog.String("database", s.Store.Engine()))
	if o.Ready != nil {
		o.Ready(public)
	}
	s.readKeys(ctx)
	if !o.Foreground {
		signal.Ignore(syscall.SIGHUP) // other servers reload their files on it, which this one does automatically
	}
	s.limiter.PingRedis(ctx)
	jobs, endJobs := context.WithCancel(context.WithoutCancel(ctx))
	defer endJobs()
	waitForJobs := s.startJobs(jobs)
	select {
	case <-ctx.Done():
		s.log.Info("stopping", slog.String("after", s.Config.ShutdownDelay.String()),
			slog.String("at_most", s.Config.ShutdownTimeout.String()))
		pages.Drain()
		l.drain(s.Config.ShutdownDelay)
	case err = <-l.failed:
	}
	endJobs()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Config.ShutdownTimeout)
	defer cancel()
	err = errors.Join(err, l.Shutdown(limited, s.Config.ShutdownTimeout), waitForJobs(limited),
		s.Store.Close(limited), s.limiter.Close(), stopTraces(limited))
	if err != nil {
		s.log.Error("shutdown incomplete", slog.Any("error", err))
		return err
	}
	s.log.Info("stopped")
	return nil
}

// openListeners builds the handlers and sets them in the listeners.
func (s *Server) openListeners(
	ctx context.Context, l *Listeners, o ServeOptions,
) (*web.Server, func(context.Context) error, error) {
	if err := s.checkMetadata(); err != nil {
		return nil, nil, err
	}
	registry, err := s.newRegistry()
	if err != nil {
		return nil, nil, err
	}
	tracer, stopTraces, err := startTraces(ctx, o.Getenv, s.options.Version)
	if err != nil {
		return nil, nil, err
	}
	pages, err := s.newWeb(registry, tracer, o.StrictHost)
	if err != nil {
		return nil, nil, err
	}
	if l.certificate != nil {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gatehouse_tls_certificate_expiry_timestamp_seconds", Help: "When the TLS certificate in use expires.",
		}, l.certificate.expiry))
	}
	s.registerMetadata(registry)
	handlers := map[string]http.Handler{s.Config.Listen: pages.Handler()}
	if s.Config.AdminListen != "" {
		handlers[s.Config.AdminListen] = adminHandler(pages, registry, s.Config)
	}
	for address, h := range o.Handlers {
		handlers[address] = h
	}
	s.Store.Start()
	for address, h := range handlers {
		if o.StrictHost && address != s.Config.Listen { // against DNS rebinding; the public listener checks its own
			h = checkHost(h, loopback.IsHost)
		}
		l.setHandler(address, h)
	}
	return pages, stopTraces, nil
}

// readKeys reads the signing keys: from then on the JWKS is served while the database is unavailable, too.
func (s *Server) readKeys(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, shortLimit) // an unresponsive connection must not delay the jobs
	defer cancel()
	if err := s.OAuth.Keyring.Load(limited); err != nil {
		s.log.Error("signing keys cannot be read", slog.Any("error", err))
	}
}
