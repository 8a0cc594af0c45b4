package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"gatehouse/oauth"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
	"gatehouse/web/page"
)

// serve returns the adapter of a route: it reads the body, runs the handler, writes its error as the kind of the route
// requires, and records the request event.
func (s *Server) serve(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started, event := time.Now(), reqevent.FromContext(r.Context())
		rec := newRecorder(w)
		defer rec.release()
		var err error
		if rt.readsBody() { // before the timeout of the request starts, and before it acquires a slot
			err = s.readBody(rec, r)
			event.BodySize = rec.request.read.Len()
			if err == nil {
				err = checkFieldCount(rt.pattern, r, rec.request.read.Bytes())
			}
		}
		ctx, end := s.startRequest(rt, r)
		r = r.WithContext(ctx)
		if err == nil {
			err = s.runInSlot(rt, rec, r)
		}
		err = s.writeError(rt, rec, r, err)
		s.send(rec, r)
		fillEvent(event, r, rec.status, err, time.Since(started))
		end(event)
		if rt.kind != kindHealth {
			s.metrics.count(r.Method, event)
			s.logRequest(r, event)
		}
	})
}

// readsBody reports whether handlers of the route may read a body.
func (rt route) readsBody() bool {
	return rt.kind != kindHealth && rt.kind != kindPublic && rt.kind != kindStatic
}

// startRequest limits the time of a request and starts its trace. end finishes both.
func (s *Server) startRequest(rt route, r *http.Request) (ctx context.Context, end func(*reqevent.Event)) {
	ctx, cancel := r.Context(), context.CancelFunc(func() {})
	if s.timeout > 0 && rt.kind != kindPublic { // public documents only wait for keys, rarely, with a timeout of its own
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
	}
	if s.tracer == nil || rt.kind == kindHealth {
		return ctx, func(*reqevent.Event) { cancel() }
	}
	ctx, span := s.startSpan(ctx, r)
	return ctx, func(event *reqevent.Event) {
		endSpan(span, event)
		cancel()
	}
}

// runInSlot runs the handler in one of the slots for requests in flight, which it releases even when the handler
// panics. Health checks need no slot.
func (s *Server) runInSlot(rt route, rec *recorder, r *http.Request) error {
	if rt.kind != kindHealth {
		if err := s.acquireSlot(); err != nil {
			return err
		}
		defer s.releaseSlot()
	}
	return s.run(rt, rec, r)
}

// run calls the handler after the checks of its kind. A panic becomes an error, and the process continues.
func (s *Server) run(rt route, rec *recorder, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // the sentinel itself is what net/http panics with
				panic(p)
			}
			s.log.ErrorContext(r.Context(), "panic", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			err = errors.New("panic in a handler")
			rec.discard()
		}
	}()
	switch rt.kind {
	case kindPublic, kindAPI:
		if allowAnyOrigin(rt.kind, rec, r) {
			return nil
		}
	case kindPage:
		if err := s.crossOrigin.Check(r); err != nil {
			return &page.Error{Status: http.StatusForbidden, Key: "error.cross_site", Err: err}
		}
		fallthrough
	case kindCrossSitePage:
		page.SetHeaders(rec.Header())
		if err := s.setCurrentActor(r); err != nil {
			return err
		}
	}
	return rt.handler(rec, r)
}

// allowAnyOrigin lets any origin read the response (CORS). It reports whether it has already written the response: to a
// preflight request, or to a method that public documents do not have.
func allowAnyOrigin(kind kind, w http.ResponseWriter, r *http.Request) (written bool) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Vary", "Origin")
	if kind == kindAPI {
		h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After, RateLimit, RateLimit-Policy")
	}
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", "GET, POST")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		h.Set("Access-Control-Max-Age", "3600")
		w.WriteHeader(http.StatusNoContent)
		return true
	}
	if kind == kindPublic && r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET")
		http.Error(w, "only GET", http.StatusMethodNotAllowed)
		return true
	}
	return false
}

// setCurrentActor sets the actor of the request to the current user of the browser.
func (s *Server) setCurrentActor(r *http.Request) error {
	user, err := s.users.CurrentUser(r)
	if err != nil {
		return err
	}
	id := ""
	if user != nil {
		id = user.User.ID
	}
	reqevent.FromContext(r.Context()).SetUser(id)
	return nil
}

// writeError writes the error or redirect that a handler returned, and returns the error that was written.
func (s *Server) writeError(rt route, rec *recorder, r *http.Request, err error) error {
	if err == nil || rec.status != 0 {
		return err
	}
	if redirect := (*page.Redirect)(nil); errors.As(err, &redirect) {
		s.pages.WriteRedirect(rec, redirect)
		return nil
	}
	switch rt.kind {
	case kindPage, kindCrossSitePage:
		s.writePageError(rec, r, err)
		return err
	case kindHealth:
		http.Error(rec, notReady, http.StatusServiceUnavailable)
		return err
	case kindStatic:
		if errors.Is(err, storage.ErrNotFound) {
			http.NotFound(rec, r)
			return err
		}
	}
	return s.writeJSONError(rec, r, err)
}

// writeJSONError writes a protocol error. Failed client authentication counts against the client and the network, and
// above the limit the status is 429: only requests that have failed are ever slowed down.
func (s *Server) writeJSONError(w http.ResponseWriter, r *http.Request, err error) error {
	e := oauth.AsError(err)
	if e.Code == protocol.InvalidClient {
		if over := (*protocol.Error)(nil); errors.As(s.oauth.Clients.CountFailure(r.Context(), e.ClientID), &over) {
			over.Err, over.ClientID = err, e.ClientID
			e = over
		}
	}
	protocol.WriteError(w, e)
	return e
}

// routeOf returns the pattern of the request's route, without its method.
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
