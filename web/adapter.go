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
		aborted := errors.Is(err, http.ErrAbortHandler)
		if !aborted {
			err = s.writeError(rt, rec, r, err)
			s.send(rec, r)
		}
		fillEvent(event, r, rec.status, err, time.Since(started))
		end(event)
		if rt.kind != kindHealth {
			s.metrics.count(r.Method, event)
			s.logRequest(r, event)
		}
		if aborted {
			panic(http.ErrAbortHandler) // net/http closes the connection without a response
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

// run calls the handler after the checks of its kind. A panic becomes an error, and the process continues. A
// panic with http.ErrAbortHandler becomes that error.
func (s *Server) run(rt route, rec *recorder, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			rec.discard()
			if p == http.ErrAbortHandler { //nolint:errorlint // the sentinel itself is what net/http panics with
				err = http.ErrAbortHandler
				return
			}
			s.log.ErrorContext(r.Context(), "panic", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			err = errors.New("panic in a handler")
		}
	}()
	switch rt.kind {
	case kindPublic, kindAPI:
		allowAnyOrigin(rec.Header(), rt.kind)
		switch {
		case r.Method == http.MethodOptions:
			return allowRequest(rec, r)
		case rt.kind == kindPublic && r.Method != http.MethodGet && r.Method != http.MethodHead:
			return protocol.MethodNotAllowedError("GET", "This document can only be read, with GET.")
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

// allowAnyOrigin lets any origin read the response (CORS).
func allowAnyOrigin(h http.Header, kind kind) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Vary", "Origin")
	if kind == kindAPI {
		h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After, RateLimit, RateLimit-Policy")
	}
}

// allowRequest serves OPTIONS: a preflight request (CORS), by which a browser finds out what another origin may send.
func allowRequest(w http.ResponseWriter, _ *http.Request) error {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, POST")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, DPoP, MCP-Protocol-Version")
	h.Set("Access-Control-Max-Age", "3600")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// setCurrentActor sets the actor of the request to the current user of the browser.
func (s *Server) setCurrentActor(r *http.Request) error {
	user, err := s.users.CurrentUser(r)
	if err != nil {
		return err
	}
	event, id := reqevent.FromContext(r.Context()), ""
	if user != nil {
		id = user.User.ID
		event.UserLocale, event.UserZone = user.User.Profile.Locale, user.User.Profile.Zoneinfo
	}
	event.SetUser(id)
	return nil
}

// writeError writes the error or redirect that a handler returned, and returns the error that was written.
func (s *Server) writeError(rt route, rec *recorder, r *http.Request, err error) error {
	if err == nil {
		return nil
	}
	rec.discard() // a handler that returns an error has written nothing that the client may see
	if redirect := (*page.Redirect)(nil); errors.As(err, &redirect) {
		s.pages.WriteRedirect(rec, redirect)
		return nil
	}
	switch rt.kind {
	case kindPage, kindCrossSitePage:
		s.writePageError(rec, r, err)
		return err
	case kindHealth:
		writeNotReady(rec, err)
		return err
	case kindStatic:
		if isNotFound(err) {
			http.NotFound(rec, r)
			return err
		}
	}
	return s.writeJSONError(rec, r, err)
}

// isNotFound reports whether the error means that there is no such record or file.
func isNotFound(err error) bool {
	e := (*page.Error)(nil)
	return errors.Is(err, storage.ErrNotFound) || errors.As(err, &e) && e.Status == http.StatusNotFound
}

// writeJSONError writes a protocol error. Failed client authentication counts against the client and the network, and
// above the limit the status is 429: only requests that have failed are ever slowed down.
func (s *Server) writeJSONError(w http.ResponseWriter, r *http.Request, err error) error {
	e := oauth.AsError(err)
	if e.Code == protocol.InvalidClient {
		if limited := (*protocol.Error)(nil); errors.As(s.oauth.Clients.CountFailure(r.Context(), e.ClientID), &limited) {
			limited.Err, limited.ClientID = err, e.ClientID
			e = limited
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
