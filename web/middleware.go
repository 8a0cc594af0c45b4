package web

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"gatehouse/display"
	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/storage/reqevent"
)

const (
	maxURL = 32 << 10 // bytes of the request line
	// Browsers store at most 180 cookies of a site, and reverse proxies allow 100 header fields.
	maxFields  = 100
	maxCookies = 200
	maxHops    = 100 // proxies in X-Forwarded-For, counted from the last
	// Media types have one or two parameters, and quoting and continuations are expensive to parse.
	maxContentType = 500
)

// outermost gives every request its event and refuses what no route should see.
func (s *Server) outermost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var id [8]byte
		_, _ = rand.Read(id[:]) // never fails: the program would have ended
		event := &reqevent.Event{Address: s.clientAddress(r), UserAgent: r.UserAgent(), RequestID: hex.EncodeToString(id[:])}
		h := w.Header()
		h.Set("X-Request-Id", event.RequestID)
		h.Set("X-Content-Type-Options", "nosniff")
		if s.issuer.Scheme == "https" {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		r = r.WithContext(reqevent.With(r.Context(), event))
		switch {
		case len(r.RequestURI) > maxURL:
			s.serve(route{kind: page, handler: errorHandler(http.StatusRequestURITooLong, "error.malformed")}).ServeHTTP(w, r)
		case largeHeader(r.Header):
			s.serve(route{kind: page, handler: errorHandler(http.StatusRequestHeaderFieldsTooLarge, "error.header")}).ServeHTTP(w, r)
		case s.strict && r.Host != s.issuer.Host && !strings.HasPrefix(r.URL.Path, s.base+"/static/"): // the error page needs its style sheet
			s.serve(route{kind: page, handler: (*Server).wrongHost}).ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// largeHeader reports whether a header has more fields, cookies or media type parameters than real clients send.
func largeHeader(h http.Header) bool {
	fields, cookies := 0, 0
	for _, values := range h {
		fields += len(values)
	}
	for _, v := range h["Cookie"] {
		cookies += strings.Count(v, ";") + 1
	}
	return fields > maxFields || cookies > maxCookies || len(h.Get("Content-Type")) > maxContentType
}

// maxConsentFields is the largest number of fields of the consent form, which has one for each scope and claim.
const maxConsentFields = 300

// tooMany returns an error for more parameters in the query or form than real clients send.
func tooMany(path string, r *http.Request) error {
	if err := params.CheckParameterCount(r.URL.RawQuery, params.MaxParameters); err != nil {
		return err
	}
	if b, ok := r.Body.(*body); ok && strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), params.FormType) {
		if path == consentPath {
			return params.CheckParameterCount(b.read.Bytes(), maxConsentFields)
		}
		return params.CheckParameterCount(b.read.Bytes(), params.MaxParameters)
	}
	return nil
}

// serve is the adapter of a route: it sets the headers of the route's kind, runs the handler, answers its error in the
// kind's own language, and writes one log line.
func (s *Server) serve(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		rec := newRecorder(w)
		defer rec.free()
		var err error
		if rt.kind != health && rt.kind != public && rt.kind != static { // those read none
			err = s.readBody(rec, r) // before the time of the request begins, and before it takes a place
			if err == nil {
				err = tooMany(rt.path, r)
			}
		}
		ctx, end := s.begin(rt, r)
		r = r.WithContext(ctx)
		if err == nil {
			err = s.work(rt, rec, r)
		}
		if err != nil && rec.status == 0 {
			switch rt.kind {
			case page, crossSitePage:
				s.answerPage(rec, r, err)
			case health:
				http.Error(rec, "not ready", http.StatusServiceUnavailable)
			default:
				err = s.answerJSON(rec, r, err)
			}
		}
		s.send(rec, r)
		took := time.Since(began)
		end(rec.status, err)
		if rt.kind != health {
			s.metrics.count(routeOf(r), r.Method, rec.status, err, took)
			s.logRequest(rec, r, err, took)
		}
	})
}

// work runs the handler in a place of its own, which it gives back also when the handler panics. Whether the process lives
// is told without one.
func (s *Server) work(rt route, w http.ResponseWriter, r *http.Request) error {
	if rt.kind != health {
		if err := s.acquireSlot(); err != nil {
			return err
		}
		defer s.releaseSlot()
	}
	return s.run(rt, w, r)
}

// begin limits the time of a request and starts its trace. end finishes both.
func (s *Server) begin(rt route, r *http.Request) (ctx context.Context, end func(status int, err error)) {
	ctx, cancel := r.Context(), context.CancelFunc(func() {})
	if s.timeout > 0 && rt.kind != public { // those wait for nothing but, seldom, for keys, which has a limit of its own
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
	}
	if s.tracer == nil || rt.kind == health {
		return ctx, func(int, error) { cancel() }
	}
	ctx, span := s.startSpan(ctx, r)
	return ctx, func(status int, err error) {
		endSpan(span, status, err)
		cancel()
	}
}

// routeOf is the pattern of the request's route, without its method.
func routeOf(r *http.Request) string {
	pattern := r.Pattern
	if _, path, ok := strings.Cut(pattern, " "); ok {
		pattern = path
	}
	if pattern == "" {
		return "none"
	}
	return pattern
}

// run calls the handler behind the guards of its kind. A panic becomes an error and the process lives.
func (s *Server) run(rt route, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // the sentinel itself is what net/http panics with
				panic(p)
			}
			s.log.ErrorContext(r.Context(), "panic", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			err = errors.New("panic in a handler")
			if rec, ok := w.(*recorder); ok { // nothing was sent: the answer is that it failed
				rec.status = 0
				rec.body.Reset()
			}
		}
	}()
	switch rt.kind {
	case public, api:
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Vary", "Origin")
		if rt.kind == api {
			h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After, RateLimit, RateLimit-Policy")
		}
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", "GET, POST")
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
			h.Set("Access-Control-Max-Age", "3600")
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		if rt.kind == public && r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET")
			http.Error(w, "only GET", http.StatusMethodNotAllowed)
			return nil
		}
	case page:
		if err := s.cross.Check(r); err != nil {
			return &pageError{status: http.StatusForbidden, text: "error.cross", cause: err}
		}
		s.pageHeaders(w)
		if err := s.setCurrentActor(r); err != nil {
			return err
		}
	case crossSitePage:
		s.pageHeaders(w)
		if err := s.setCurrentActor(r); err != nil {
			return err
		}
	}
	return rt.handler(s, w, r)
}

// setActor makes the person last chosen in the browser the actor of what a page does.
func (s *Server) setCurrentActor(r *http.Request) error {
	who, err := s.users.CurrentUser(r)
	if err != nil {
		return err
	}
	setActor(r, who)
	return nil
}

// setActor makes a user the actor of what the request does, none when who is nil.
func setActor(r *http.Request, who *identity.SignedInUser) {
	event := reqevent.From(r.Context())
	event.Actor = "anonymous"
	if who != nil {
		event.Actor = "user:" + who.User.ID
	}
}

// answerJSON writes a protocol error. Failed client authentication counts against the client and the network, and past
// the limit the answer is 429: only what has failed is ever slowed down.
func (s *Server) answerJSON(w http.ResponseWriter, r *http.Request, err error) error {
	e := oauth.AsError(err)
	if e.Code == protocol.InvalidClient {
		if over := (*protocol.Error)(nil); errors.As(s.oauth.CountFailure(r.Context(), e.ClientID), &over) {
			over.Err, over.ClientID = err, e.ClientID
			e = over
		}
	}
	protocol.WriteError(w, e)
	return e
}

// logRequest writes the request's one log line: information for what the caller got wrong, an error for what we did.
func (s *Server) logRequest(w *recorder, r *http.Request, err error, took time.Duration) {
	level := slog.LevelInfo
	event := reqevent.From(r.Context())
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs, slog.String("method", r.Method), slog.String("route", routeOf(r)),
		slog.Int("status", w.status), slog.Float64("took_ms", float64(took.Microseconds())/1000), slog.String("address", event.Address))
	if id := clientOf(r); id != "" {
		attrs = append(attrs, slog.String("client_id", id))
	}
	if grant := r.PostForm.Get("grant_type"); grant != "" {
		attrs = append(attrs, slog.String("grant_type", loggable(grant)))
	}
	if err != nil {
		var e *protocol.Error
		if errors.As(err, &e) {
			if e.Code != "" { // without an access token there is none (RFC 6750 §3.1)
				attrs = append(attrs, slog.String("error", e.Code), slog.String("description", e.Description))
			}
			if d := e.Limit; d.Refused {
				attrs = append(attrs, slog.String("limit", d.Limit))
			}
		}
		if cause := causeOf(err); cause != nil {
			attrs = append(attrs, slog.String("cause", cause.Error()))
		}
		if w.status >= 500 && !errors.Is(err, context.Canceled) {
			level = slog.LevelError
		}
	}
	s.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// causeOf is what the log says beyond code and description.
func causeOf(err error) error {
	var e *protocol.Error
	if errors.As(err, &e) {
		return e.Err
	}
	var p *pageError
	if errors.As(err, &p) {
		return p.cause
	}
	return err
}

// clientOf is the client a request names, right or wrong.
func clientOf(r *http.Request) string {
	id, _, ok := r.BasicAuth()
	if !ok {
		id = r.Form.Get("client_id")
	}
	return loggable(id)
}

// loggable returns the parts of a parameter that the log may contain: not a secret that was sent in the wrong
// parameter, and no control character beyond ASCII, which JSON does not escape and which a terminal would interpret.
func loggable(s string) string {
	if strings.HasPrefix(s, "gate_") {
		return "(a credential)"
	}
	return display.Escape(clip(s, 60))
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// clientAddress is the caller's IP address: the peer's or, when that is a trusted proxy, the last one in
// X-Forwarded-For that is not. The elements before an unparsable value may be forged by the
// caller, so the search ends there.
func (s *Server) clientAddress(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		return host
	}
	addr := peer.Addr().Unmap().WithZone("")
	if !s.trusted(addr) {
		s.peers.observe(r, addr)
		return addr.String()
	}
	forwarded := r.Header.Values("X-Forwarded-For")
	if len(forwarded) == 0 {
		return addr.String()
	}
	hops := 0
	for i := len(forwarded) - 1; i >= 0; i-- {
		for rest, more := forwarded[i], true; more; hops++ {
			var hop string
			if hop, rest, more = lastElement(rest); hops == maxHops {
				return addr.String()
			}
			hopAddress, ok := forwardedAddress(hop)
			if !ok {
				s.peers.warnUnreadable(addr, hop)
				return addr.String()
			}
			addr = hopAddress
			if !s.trusted(addr) {
				return addr.String()
			}
		}
	}
	return addr.String()
}

// forwardedAddress parses an element of X-Forwarded-For: an IP address, optionally with a port or, for IPv6, in
// brackets. It refuses zones, which are valid only on the host of the proxy.
func forwardedAddress(element string) (netip.Addr, bool) {
	element = strings.Trim(element, " \t")
	addr, err := netip.ParseAddr(element)
	if err != nil {
		var withPort netip.AddrPort
		if inner, ok := strings.CutPrefix(element, "["); ok && strings.HasSuffix(inner, "]") {
			addr, err = netip.ParseAddr(strings.TrimSuffix(inner, "]"))
			if addr.Is4() {
				return netip.Addr{}, false
			}
		} else if withPort, err = netip.ParseAddrPort(element); err == nil {
			addr = withPort.Addr()
		}
	}
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

// lastElement splits the last element from a comma-separated list. more reports whether there are elements before it.
func lastElement(list string) (element, before string, more bool) {
	i := strings.LastIndexByte(list, ',')
	if i < 0 {
		return list, "", false
	}
	return list[i+1:], list[:i], true
}

func (s *Server) trusted(a netip.Addr) bool {
	for _, p := range s.proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
