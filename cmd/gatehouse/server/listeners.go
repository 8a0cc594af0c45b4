package server

import (
	"context"
	"crypto/tls"
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
	"gatehouse/storage/reqevent"
)

// Listeners accept connections before the server behind them is ready. Until then /healthz returns 200 and every other
// path responds with 503.
type Listeners struct {
	config      config.Config
	log         *slog.Logger
	listeners   map[string]*listener
	certificate *certificate // nil without TLS
	failed      chan error
}

type listener struct {
	server   *http.Server
	listener net.Listener
	handler  atomic.Pointer[http.Handler]
	draining atomic.Bool
}

// ReadTimeout is how long a request may take to arrive. A legitimate client sends a body of 64 KiB much faster.
const ReadTimeout = 20 * time.Second

// The other limits of a connection.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
	// maxStreams is low because a slot for a request in progress costs less than what a stream may buffer: few streams,
	// many connections.
	maxStreams = 64
)

// Listen opens a listener for each address that is not empty.
func Listen(ctx context.Context, cfg config.Config, log *slog.Logger, addresses ...string) (*Listeners, error) {
	l := &Listeners{config: cfg, log: log, listeners: map[string]*listener{}, failed: make(chan error, len(addresses))}
	for _, address := range addresses {
		if address == "" {
			continue
		}
		if err := l.listen(ctx, address); err != nil {
			return nil, errors.Join(err, l.Shutdown(ctx, time.Second))
		}
	}
	return l, nil
}

// listen opens one listener. The public one uses TLS when there is a certificate.
func (l *Listeners) listen(ctx context.Context, address string) error {
	public := address == l.config.Listen
	inner, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("cannot listen; free the address or set %s to another: %w", l.settingOf(address), err)
	}
	maximum := 0
	if public {
		maximum = maxConnections(l.config)
	}
	added := &listener{listener: newBoundedListener(inner, maximum, l.log)}
	added.server = &http.Server{
		Handler: added, ReadHeaderTimeout: headerTimeout, ReadTimeout: ReadTimeout,
		WriteTimeout: l.config.RequestTimeout + time.Minute, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ErrorLog: slog.NewLogLogger(l.log.Handler(), slog.LevelDebug),
	}
	if l.config.TLSCertFile != "" && public {
		if l.certificate, err = loadCertificate(l.config.TLSCertFile, l.config.TLSKeyFile, l.log); err != nil {
			return errors.Join(err, added.listener.Close())
		}
		added.server.TLSConfig = &tls.Config{
			MinVersion: tls.VersionTLS12, CipherSuites: fetch.TLS12CipherSuites(), GetCertificate: l.certificate.get,
		}
	}
	l.listeners[address] = added
	go func() {
		if err := added.serve(); !errors.Is(err, http.ErrServerClosed) {
			l.failed <- err
		}
	}()
	return nil
}

// settingOf returns the setting that has the address.
func (l *Listeners) settingOf(address string) string {
	switch address {
	case l.config.Listen:
		return "GATEHOUSE_LISTEN (--listen)"
	case l.config.AdminListen:
		return "GATEHOUSE_ADMIN_LISTEN (--admin-listen)"
	}
	return "--sample-listen"
}

func (l *listener) serve() error {
	if l.server.TLSConfig != nil {
		return l.server.ServeTLS(l.listener, "", "")
	}
	return l.server.Serve(l.listener)
}

// ServeHTTP serves a request with the handler of setHandler, or with 503 before it is set.
func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if l.draining.Load() {
		w.Header().Set("Connection", "close") // closing an idle connection could lose a request that is just arriving
	}
	if h := l.handler.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	if strings.HasSuffix(r.URL.Path, "/healthz") {
		_, _ = io.WriteString(w, "ok\n")
		return
	}
	w.Header().Set("X-Request-Id", reqevent.NewRequestID())
	w.Header().Set("Retry-After", "5")
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, "starting", http.StatusServiceUnavailable)
}

// setHandler sets the handler of the listener on an address.
func (l *Listeners) setHandler(address string, h http.Handler) {
	l.listeners[address].handler.Store(&h)
}

// Address returns the address on which the listener of a setting accepts connections, with its actual port.
func (l *Listeners) Address(address string) net.Addr { return l.listeners[address].listener.Addr() }

// drain continues to serve for a duration and makes every client use another connection afterwards.
func (l *Listeners) drain(d time.Duration) {
	for _, each := range l.listeners {
		each.draining.Store(true)
	}
	if d > 0 {
		<-time.After(d)
	}
}

// Shutdown lets requests in flight finish, for as long as the limit allows.
func (l *Listeners) Shutdown(ctx context.Context, limit time.Duration) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	var errs []error
	for _, each := range l.listeners {
		if err := each.server.Shutdown(limited); err != nil {
			errs = append(errs, fmt.Errorf("requests were still in flight: %w", err), each.server.Close())
		}
	}
	return errors.Join(errs...)
}
