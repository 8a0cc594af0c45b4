package oauth

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"gatehouse/oauth/protocol"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

// clientLimitKey returns the rate limit key of an authenticated client. Anyone can send the client_id of a public client,
// so each network has a separate count and cannot use up the limit of the others.
func clientLimitKey(ctx context.Context, c *storage.Client) string {
	if c.IsPublic() {
		return c.ID + " " + reqevent.From(ctx).Network()
	}
	return c.ID
}

// checkTokenLimits counts a token request of an authenticated client.
func (s *Server) checkTokenLimits(ctx context.Context, c *storage.Client) (ratelimit.Decision, error) {
	d := s.options.Limiter.Count(ctx,
		ratelimit.Count{Limit: ratelimit.TokenAddress, Key: reqevent.From(ctx).Network()},
		ratelimit.Count{Limit: ratelimit.TokenClient, Key: clientLimitKey(ctx, c)})
	return d, protocol.LimitError(d, "Too many token requests. Keep a token until shortly before it expires, and use it for every call.")
}

// checkUserTokenLimit counts an issuance for a user. The key identifies the user and client, or the grant.
func (s *Server) checkUserTokenLimit(ctx context.Context, key string) error {
	d := s.options.Limiter.Count(ctx, ratelimit.Count{Limit: ratelimit.TokenUser, Key: key})
	return protocol.LimitError(d, "Too many tokens for this user. Keep a token until shortly before it expires.")
}

// recordFailure records a failure that changed nothing. It never makes the answer another one: what cannot be recorded now is in the
// log all the same. Only so many of a kind get a row, or whoever fails fastest would fill the disk; who is over the limit of
// their network takes nothing from that of all.
func (s *Server) recordFailure(ctx context.Context, e storage.Event) {
	s.store.Seen(e)
	counts := []ratelimit.Count{{Limit: ratelimit.RecordedFailure, Key: e.Type + " " + reqevent.From(ctx).Network()}, {Limit: ratelimit.AllRecordedFailures}}
	if e.Type == storage.AddressRefused {
		// It requires a valid secret, so failures of others must not suppress it.
		counts = []ratelimit.Count{{Limit: ratelimit.RecordedFailure, Key: e.Type + " " + e.ClientID}}
		s.options.Log.WarnContext(ctx, "valid client secret from a network that is not allowed", slog.String("client_id", e.ClientID))
	}
	if s.options.Limiter.Count(ctx, counts...).Refused {
		return
	}
	if err := s.store.RecordIfRoom(ctx, e); err != nil {
		s.options.Log.WarnContext(ctx, "failure event not recorded", slog.String("event", e.Type), slog.Any("error", err))
	}
}

// recordRefusedRedirect records an unregistered redirect URI in the audit log and returns the cause for the log. name
// is the name of the parameter.
func (s *Server) recordRefusedRedirect(ctx context.Context, clientID, name, uri string) error {
	sent := loggableURI(uri)
	s.recordFailure(ctx, storage.Event{Type: storage.RedirectRefused, ClientID: clientID, Claimed: true, Detail: map[string]any{"parameter": name, "sent": sent}})
	return fmt.Errorf("%s is not registered: %s", name, sent)
}

// maxLoggedURI is the maximum length of a logged URI.
const maxLoggedURI = 200

// loggableURI returns the parts of a URI that the log and the audit log may contain, in printable ASCII: not the
// query, fragment and user, which may be secrets.
func loggableURI(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(not a URI)"
	}
	u.User, u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = nil, "", false, "", ""
	s := u.String()
	if strings.Contains(s, "gate_") {
		return "(contains a credential)"
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, s[:min(len(s), maxLoggedURI)])
}

// recordRefusal records why a code or refresh token was refused. The id of a public client is unauthenticated.
func (s *Server) recordRefusal(ctx context.Context, event string, c *storage.Client, refusal *storage.Refusal, token []byte, detail map[string]any) {
	detail["reason"] = refusal.Reason
	s.recordFailure(ctx, storage.Event{
		Type: event, ClientID: c.ID, Claimed: c.IsPublic(), UserID: refusal.UserID, GrantID: refusal.GrantID, Token: storage.HashReference(token), Detail: detail,
	})
}

// recordInvalidScope records the errors that an operator looks for: refused scopes. Failed authentication is recorded where it fails.
func (s *Server) recordInvalidScope(ctx context.Context, clientID string, form url.Values, err error) {
	if err != nil && AsError(err).Code == protocol.InvalidScope {
		scope := form.Get("scope")
		if len(scope) > 500 {
			scope = scope[:500]
		}
		s.recordFailure(ctx, storage.Event{Type: storage.ScopeRefused, ClientID: clientID, Detail: map[string]any{"asked": strings.ToValidUTF8(scope, "?")}})
	}
}
