package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"gatehouse/display"
	"gatehouse/oauth/credential"
	"gatehouse/oauth/protocol"
	"gatehouse/storage/reqevent"
	"gatehouse/web/page"
)

// fillEvent completes the event of a request whose response has been sent.
func fillEvent(event *reqevent.Event, r *http.Request, status int, err error, duration time.Duration) {
	event.Route, event.Status, event.Duration = routeOf(r), status, duration
	if err != nil {
		event.Err = err
	}
	if e := (*protocol.Error)(nil); errors.As(event.Err, &e) {
		event.ErrorCode = e.Code
		if e.Limit.Refused {
			event.Limit = e.Limit.Limit
		}
	}
	if event.ClaimedClientID == "" {
		event.ClaimedClientID, _, _ = r.BasicAuth()
	}
}

// logRequest writes the one log line of a request, at level info for an error of the caller and at level error for an
// error of the server.
func (s *Server) logRequest(r *http.Request, event *reqevent.Event) {
	attrs := make([]slog.Attr, 0, 14)
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	attrs = append(attrs,
		slog.String("method", r.Method), slog.String("route", event.Route), slog.Int("status", event.Status),
		slog.Float64("took_ms", float64(event.Duration.Microseconds())/1000), slog.String("address", event.Address))
	add("client_id", event.ClientID)
	if event.ClientID == "" {
		add("claimed_client_id", loggable(event.ClaimedClientID))
	}
	add("user_id", event.UserID)
	add("grant_type", event.GrantType)
	add("cause", event.InactiveReason) // of a successful response
	level := slog.LevelInfo
	if err := event.Err; err != nil {
		add("error", event.ErrorCode)
		if e := (*protocol.Error)(nil); errors.As(err, &e) && e.Code != "" { // none without an access token (RFC 6750 §3.1)
			attrs = append(attrs, slog.String("description", e.Description))
		}
		add("rule_id", event.FailureEvent)
		add("limit", event.Limit)
		if cause := causeOf(err); cause != nil {
			add("cause", cause.Error())
		}
		if event.Status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
			level = slog.LevelError
		}
	}
	s.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// causeOf returns the part of an error that code and description do not have, or nil.
func causeOf(err error) error {
	if e := (*protocol.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	if e := (*page.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// loggable returns the parts of a parameter that the log may contain: not a secret that was sent in the wrong
// parameter, and no control character beyond ASCII, which JSON does not escape and which a terminal would interpret.
func loggable(s string) string {
	if strings.HasPrefix(s, credential.Prefix) {
		return "(a credential)"
	}
	return display.Escape(s[:min(len(s), maxLoggedParameter)])
}

// maxLoggedParameter is the largest number of bytes of a parameter in the log.
const maxLoggedParameter = 60
