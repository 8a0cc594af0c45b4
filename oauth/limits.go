package oauth

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"

	"gatehouse/oauth/protocol"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

const errManyFailures = "Too many failed client authentications. Wait, and check the client's credentials."

// CountFailure counts a failed client authentication for the network and for the client in that network. It returns
// the error of a limit that is exceeded, or nil.
func (s *Server) CountFailure(ctx context.Context, clientID string) error {
	address, client := failureCounts(ctx, clientID)
	return protocol.LimitError(s.options.Limiter.Count(ctx, address, client), errManyFailures)
}

func failureCounts(ctx context.Context, clientID string) (address, client ratelimit.Count) {
	network := reqevent.From(ctx).Network()
	return ratelimit.Count{Limit: ratelimit.AddressFailure, Key: network}, ratelimit.Count{Limit: ratelimit.ClientFailure, Key: clientID + " " + network}
}

// checkAssertionLimits refuses an assertion before its signature is verified when too many authentications of the
// client from this network failed. For a dynamically registered client all failures of the network count, because an
// attacker can register another client at any time. For a client that the operator registered, failures of other
// clients do not count.
func (s *Server) checkAssertionLimits(ctx context.Context, c *storage.Client) error {
	address, client := failureCounts(ctx, c.ID)
	counts := []ratelimit.Count{client}
	if c.IsSelfRegistered() {
		counts = []ratelimit.Count{address, client}
	}
	return protocol.LimitError(s.options.Limiter.Check(ctx, counts...), errManyFailures)
}

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
		// It takes the right secret, so no stranger's failures stand in its way.
		counts = []ratelimit.Count{{Limit: ratelimit.RecordedFailure, Key: e.Type + " " + e.ClientID}}
		s.options.Log.WarnContext(ctx, "the right secret of a client came from an address that it may not come from", slog.String("client_id", e.ClientID))
	}
	if s.options.Limiter.Count(ctx, counts...).Refused {
		return
	}
	if err := s.store.RecordIfRoom(ctx, e); err != nil {
		s.options.Log.WarnContext(ctx, "a failure was not recorded", slog.String("event", e.Type), slog.Any("error", err))
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

// mayComeFrom reports whether the client may authenticate from where the request came.
func mayComeFrom(ctx context.Context, c *storage.Client) bool {
	if len(c.AllowedNetworks) == 0 {
		return true
	}
	address, err := netip.ParseAddr(reqevent.From(ctx).Address)
	if err != nil {
		return false
	}
	for _, network := range c.AllowedNetworks {
		if p, err := netip.ParsePrefix(network); err == nil && p.Contains(address) {
			return true
		}
	}
	return false
}

// networks puts CIDRs and single addresses into plain form, or says which is neither.
func networks(list List) (List, error) {
	var out List
	for _, item := range list {
		p, err := netip.ParsePrefix(item)
		if err != nil {
			a, aerr := netip.ParseAddr(item)
			if aerr != nil || a.Zone() != "" {
				return nil, protocol.NewError(protocol.InvalidClientMetadata, "gatehouse_allowed_networks: "+item+" is neither a CIDR like 192.0.2.0/24 or 2001:db8::/32 nor a single address.")
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if p != p.Masked() {
			return nil, protocol.NewError(protocol.InvalidClientMetadata, "gatehouse_allowed_networks: "+item+" has bits set that its mask leaves out; write "+p.Masked().String()+", or the one address alone.")
		}
		if p.Addr().Is4In6() {
			return nil, protocol.NewError(protocol.InvalidClientMetadata, "gatehouse_allowed_networks must have IPv4 networks in their own form, like 192.0.2.0/24.")
		}
		out = append(out, p.Masked().String())
	}
	return out, nil
}
