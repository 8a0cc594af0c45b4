package oauth

import (
	"context"
	"log/slog"
	"net/url"
	"strings"

	"gatehouse/oauth/protocol"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/reqevent"
)

// clientLimitKey returns the rate limit key of an authenticated client. Any caller can send the client_id of a public
// client, so each network has a separate count and cannot exhaust the limit of the others.
func clientLimitKey(ctx context.Context, c *storage.Client) string {
	if c.IsPublic() {
		return c.ID + " " + reqevent.FromContext(ctx).Network()
	}
	return c.ID
}

// recordFailure records a failure that changed nothing in the audit log, within its rate limits. It does not change the
// response: the request log has a failure that cannot be recorded.
func (s *Server) recordFailure(ctx context.Context, e audit.Event) {
	if err := s.store.Audit.RecordFailure(ctx, s.options.Limiter, e); err != nil {
		s.options.Log.WarnContext(ctx, "failure event not recorded", slog.String("event", e.Type), slog.Any("error", err))
	}
}

// recordRefusedRequest records refused scopes or resources in the audit log, if that is the error.
func (s *Server) recordRefusedRequest(ctx context.Context, clientID string, form url.Values, err error) {
	event := audit.Event{ClientID: clientID}
	var requested string
	switch AsError(err).Code {
	case protocol.InvalidScope:
		event.Type, requested = audit.ScopeRefused, form.Get("scope")
	case protocol.InvalidTarget:
		var resources []string
		for _, resource := range form["resource"] {
			resources = append(resources, redirect.SanitizeForLog(resource))
		}
		event.Type, requested = audit.ResourceRefused, strings.Join(resources, " ")
	default:
		return
	}
	event.Detail = map[string]any{"asked": strings.ToValidUTF8(requested[:min(len(requested), 500)], "?")}
	s.recordFailure(ctx, event)
}
