// Package web connects HTTP to the rest of the server: the route table, the middleware, the adapters that write errors,
// the request log, metrics and traces. It decides nothing about grants, tokens, clients or users.
package web

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"gatehouse/identity"
	"gatehouse/loopback"
	"gatehouse/oauth"
	"gatehouse/oauth/protocol"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/web/account"
	"gatehouse/web/interaction"
	"gatehouse/web/page"
	"gatehouse/web/selfservice"
)

// Server serves every route.
type Server struct {
	store   *storage.Store
	users   *identity.Users
	oauth   *oauth.Server
	limiter *ratelimit.Limiter
	log     *slog.Logger

	pages       *page.Renderer
	interaction *interaction.Pages
	account     *account.Pages
	selfService *selfservice.Pages

	issuer         *url.URL
	trustedProxies []netip.Prefix
	strictHost     bool
	crossOrigin    *http.CrossOriginProtection
	proxyCheck     *proxyCheck
	metrics        *metrics
	tracer         trace.Tracer // nil: requests are not traced

	inFlight    atomic.Int64
	maxInFlight int64         // 0: any number
	sending     atomic.Int64  // bytes of responses that are being sent
	largeBodies atomic.Int64  // bodies beyond smallBody that are being read
	timeout     time.Duration // of one request, 0: none

	draining   atomic.Bool
	readiness  readiness
	checkReady func() error // an additional condition of /readyz
}

// Options are the settings and dependencies of a Server.
type Options struct {
	Store   *storage.Store
	Users   *identity.Users
	OAuth   *oauth.Server
	Log     *slog.Logger
	Limiter *ratelimit.Limiter    // nil: nothing is limited
	Meters  prometheus.Registerer // nil: metrics are not exported
	Tracer  trace.Tracer          // nil: requests are not traced
	Ready   func() error          // an additional condition of /readyz; nil: none

	SelfService    selfservice.Options
	Issuer         *url.URL
	FormKey        []byte       // of the form tokens
	Pages          page.Options // without the two above
	TrustedProxies []netip.Prefix
	MaxRequests    int           // in flight, 0: any number
	RequestTimeout time.Duration // 0: none
	// StrictHost refuses requests whose Host is not the issuer's, which stops another site from reaching a development
	// server through a name it controls (DNS rebinding).
	StrictHost bool
}

// New returns a server. It fails when a template or a message is missing.
func New(o Options) (*Server, error) {
	o.Pages.Issuer, o.Pages.FormKey = o.Issuer, o.FormKey
	pages, err := page.New(o.Pages)
	if err != nil {
		return nil, err
	}
	interactionPages, err := interaction.New(o.Store, o.Users, o.OAuth, o.Limiter, pages, o.SelfService.TermsURL)
	if err != nil {
		return nil, err
	}
	accountPages, err := account.New(o.Store, o.Users, o.OAuth, o.Limiter, pages)
	if err != nil {
		return nil, err
	}
	selfServicePages, err := selfservice.New(o.Users, o.Limiter, pages, o.SelfService)
	if err != nil {
		return nil, err
	}
	s := &Server{
		store: o.Store, users: o.Users, oauth: o.OAuth, limiter: o.Limiter, log: o.Log, pages: pages,
		interaction: interactionPages, account: accountPages, selfService: selfServicePages,
		issuer: o.Issuer, trustedProxies: o.TrustedProxies, strictHost: o.StrictHost,
		crossOrigin: http.NewCrossOriginProtection(), tracer: o.Tracer,
		maxInFlight: int64(o.MaxRequests), timeout: o.RequestTimeout, checkReady: o.Ready,
	}
	if err := s.crossOrigin.AddTrustedOrigin(o.Issuer.Scheme + "://" + o.Issuer.Host); err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	if s.checkReady == nil {
		s.checkReady = func() error { return nil }
	}
	s.proxyCheck = &proxyCheck{log: o.Log, localIssuer: loopback.IsHost(o.Issuer.Hostname())}
	if s.metrics, err = newMetrics(s, o.Meters); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return s, nil
}

// CheckPages returns an error that names the file and line of every invalid template. An error in the
// layout hides errors in other templates.
func CheckPages(o page.Options) error {
	pages, err := page.New(o)
	if err != nil {
		return err
	}
	_, interactionErr := interaction.New(nil, nil, nil, nil, pages, "")
	_, accountErr := account.New(nil, nil, nil, nil, pages)
	_, selfServiceErr := selfservice.New(nil, nil, pages, selfservice.Options{})
	return errors.Join(interactionErr, accountErr, selfServiceErr)
}

// Handler returns the handler of every route.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, rt := range s.routes() {
		mux.Handle(s.mountPattern(rt), s.serve(rt))
	}
	if s.issuer.Path != "" { // OAuth's rule for the same document (RFC 8414 §5)
		mux.Handle(openidPath+s.issuer.Path, s.serve(route{kind: kindPublic, handler: s.oauth.Metadata}))
	}
	for _, path := range slices.Compact([]string{"", s.issuer.Path}) { // clients try several and parse the response
		unknown := s.serve(route{kind: kindPublic, handler: refuseUnknownDocument})
		mux.Handle(path+"/.well-known", unknown)
		mux.Handle(path+"/.well-known/", unknown)
	}
	notFound := func(http.ResponseWriter, *http.Request) error { return s.pages.NotFound() }
	mux.Handle("/", s.serve(route{kind: kindPage, handler: notFound}))
	return s.withEvent(mux)
}

// refuseUnknownDocument refuses a request for a well-known URL (RFC 8615) that does not exist.
func refuseUnknownDocument(http.ResponseWriter, *http.Request) error {
	return protocol.NewError(protocol.InvalidRequest, "There is no document at this URL.").WithStatus(http.StatusNotFound)
}

// mountPattern returns the pattern of a route below the issuer's path. OAuth's metadata goes before that path (RFC 8414
// §3.1).
func (s *Server) mountPattern(rt route) string {
	if s.issuer.Path == "" || rt.kind == kindHealth {
		return rt.pattern
	}
	if rt.pattern == metadataPath {
		return metadataPath + s.issuer.Path
	}
	method, path, found := strings.Cut(rt.pattern, " ")
	if !found {
		return s.issuer.Path + rt.pattern
	}
	return method + " " + s.issuer.Path + path
}
