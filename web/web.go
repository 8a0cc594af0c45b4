// Package web is what a browser or an HTTP client meets: the route table, the middleware, the pages and the adapters
// that turn errors into answers. It shows what oauth and identity decide and decides nothing about grants, tokens,
// clients or keys itself.
package web

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"gatehouse/config"
	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/ratelimit"
	"gatehouse/storage"
)

// Server is the public web site on one store.
type Server struct {
	store   *storage.Store
	users   *identity.Users
	oauth   *oauth.Server
	log     *slog.Logger
	limiter *ratelimit.Limiter
	pages   *pages
	issuer  *url.URL
	base    string // the issuer's path
	proxies []netip.Prefix
	strict  bool // refuse other Hosts
	cross   *http.CrossOriginProtection
	formKey []byte // of the form tokens
	peers   *peers
	metrics *metrics
	tracer  trace.Tracer // nil: requests are not traced

	inFlight    atomic.Int64
	sending     atomic.Int64  // bytes of answers on their way
	large       atomic.Int64  // bodies beyond smallBody that are being read
	maxInFlight int64         // requests in flight at once, 0: any number
	timeout     time.Duration // of one request, 0: none
	draining    atomic.Bool

	readiness readiness
	also      func() error // an additional condition of /readyz
}

// Options are what a Server is made of.
type Options struct {
	Config  config.Config
	Store   *storage.Store
	Users   *identity.Users
	OAuth   *oauth.Server
	Log     *slog.Logger
	Limiter *ratelimit.Limiter    // nil: nothing is limited
	Meters  prometheus.Registerer // nil: nobody reads them
	Tracer  trace.Tracer          // nil: requests are not traced
	Ready   func() error          // an additional condition of /readyz; nil: none
	// StrictHost refuses requests whose Host is not the issuer's, which stops another site from reaching a development
	// server through a name it controls (DNS rebinding).
	StrictHost bool
}

// New returns the site. It fails when a template or a text is missing.
func New(o Options) (*Server, error) {
	issuer := o.Config.IssuerURL()
	pages, err := loadPages(issuer)
	if err != nil {
		return nil, err
	}
	s := &Server{
		store: o.Store, users: o.Users, oauth: o.OAuth, log: o.Log, pages: pages, issuer: issuer, base: issuer.Path,
		proxies: o.Config.TrustedProxies, strict: o.StrictHost, cross: http.NewCrossOriginProtection(),
		formKey: o.Store.Key(storage.FormKey),
	}
	if err := s.cross.AddTrustedOrigin(issuer.Scheme + "://" + issuer.Host); err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	if s.also = o.Ready; s.also == nil {
		s.also = func() error { return nil }
	}
	s.limiter, s.tracer, s.maxInFlight, s.timeout = o.Limiter, o.Tracer, int64(o.Config.MaxRequests), o.Config.RequestTimeout
	host, _ := netip.ParseAddr(issuer.Hostname())
	s.peers = &peers{log: o.Log, local: issuer.Hostname() == "localhost" || host.IsLoopback()}
	if s.metrics, err = newMetrics(s, o.Meters); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return s, nil
}

// Drain makes /readyz answer that this process is about to stop, while it goes on serving.
func (s *Server) Drain() { s.draining.Store(true) }

// Handler serves every route.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range routes {
		mux.Handle(r.pattern(s), s.serve(r))
	}
	if s.base != "" { // OAuth's rule for the same document (RFC 8414 §5)
		mux.Handle(openidPath+s.base, s.serve(route{kind: public, handler: (*Server).metadata}))
	}
	mux.Handle("/", s.serve(route{kind: page, handler: (*Server).notFound}))
	return s.outermost(mux)
}

// pattern is the route's pattern below the issuer's path. OAuth's metadata goes before that path (RFC 8414 §3.1).
func (r route) pattern(s *Server) string {
	if s.base == "" {
		return r.path
	}
	method, path, found := strings.Cut(r.path, " ")
	if !found {
		method, path = "", method
	} else {
		method += " "
	}
	if path == metadataPath {
		return method + path + s.base
	}
	if r.kind == health {
		return r.path
	}
	return method + s.base + path
}
