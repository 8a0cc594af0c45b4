package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"gatehouse/config"
	"gatehouse/oauth/fetch"
)

// gates are the listeners. Each is open before what it leads to is there, and says so until then.
type gates struct {
	config      config.Config
	log         *slog.Logger
	all         map[string]*gate
	certificate *certificate // nil without TLS
	failed      chan error
}

type gate struct {
	server   *http.Server
	listener net.Listener
	handler  atomic.Pointer[http.Handler]
	draining atomic.Bool
}

// The time limits of a connection. A body of 64 KiB takes no honest caller long.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 20 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
)

// openGates opens a listener for each address that is not empty.
func openGates(ctx context.Context, cfg config.Config, log *slog.Logger, addresses ...string) (*gates, error) {
	g := &gates{config: cfg, log: log, all: map[string]*gate{}, failed: make(chan error, len(addresses))}
	for _, address := range addresses {
		if address == "" {
			continue
		}
		if err := g.listen(ctx, address); err != nil {
			return nil, errors.Join(err, g.shutdown(ctx, time.Second))
		}
	}
	return g, nil
}

// listen opens one listener. The public one speaks TLS when there is a certificate.
func (g *gates) listen(ctx context.Context, address string) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		setting := "--sample-listen"
		switch address {
		case g.config.Listen:
			setting = "GATEHOUSE_LISTEN (--listen)"
		case g.config.AdminListen:
			setting = "GATEHOUSE_ADMIN_LISTEN (--admin-listen)"
		}
		return fmt.Errorf("cannot listen; free the address or set %s to another: %w", setting, err)
	}
	most := 0
	if address == g.config.Listen {
		most = maxConnections(g.config)
	}
	listener = newBoundedListener(listener, most, g.log)
	server := &http.Server{
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: g.config.RequestTimeout + time.Minute,
		// A place in work costs less than what a stream may hold: few streams, many connections.
		HTTP2:       &http.HTTP2Config{MaxConcurrentStreams: 64},
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	if g.config.TLSCertFile != "" && address == g.config.Listen {
		if g.certificate, err = loadCertificate(g.config.TLSCertFile, g.config.TLSKeyFile, g.log); err != nil {
			return errors.Join(err, listener.Close())
		}
		server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, CipherSuites: fetch.TLS12CipherSuites(), GetCertificate: g.certificate.get}
	}
	one := &gate{server: server, listener: listener}
	server.Handler = one
	g.all[address] = one
	go func() {
		err := error(nil)
		if server.TLSConfig != nil {
			err = server.ServeTLS(listener, "", "")
		} else {
			err = server.Serve(listener)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			g.failed <- err
		}
	}()
	return nil
}

// ServeHTTP leads to what the gate was opened to. Before, only /healthz is green.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g.draining.Load() {
		w.Header().Set("Connection", "close") // a connection closed while idle may lose the request that is just coming
	}
	if h := g.handler.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	if strings.HasSuffix(r.URL.Path, "/healthz") {
		_, _ = io.WriteString(w, "ok\n")
		return
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails: the program would have ended
	w.Header().Set("X-Request-Id", hex.EncodeToString(id[:]))
	w.Header().Set("Retry-After", "5")
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, "starting", http.StatusServiceUnavailable)
}

// open lets requests through to a handler.
func (g *gates) open(address string, h http.Handler) { g.all[address].handler.Store(&h) }

func (g *gates) address(address string) net.Addr { return g.all[address].listener.Addr() }

// drain goes on serving for a while, and asks every client to come back by another connection.
func (g *gates) drain(d time.Duration) {
	for _, one := range g.all {
		one.draining.Store(true)
	}
	if d > 0 {
		<-time.After(d)
	}
}

// shutdown lets requests in flight finish, for as long as ctx and the limit allow.
func (g *gates) shutdown(ctx context.Context, limit time.Duration) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	var errs []error
	for _, one := range g.all {
		if err := one.server.Shutdown(limited); err != nil {
			errs = append(errs, fmt.Errorf("requests were still in flight: %w", err), one.server.Close())
		}
	}
	return errors.Join(errs...)
}
