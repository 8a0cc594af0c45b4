package client

import (
	"context"
	"fmt"

	"gatehouse/oauth/protocol"
	"gatehouse/oauth/redirect"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/reqevent"
)

const manyFailuresDescription = "Too many failed client authentications. " +
	"Retry later, and check the client's credentials."

// CountFailure counts a failed client authentication for the network and for the client in that network. It returns
// the error of a limit that is exceeded, or nil.
func (g *Registry) CountFailure(ctx context.Context, clientID string) error {
	address, client := failureCounts(ctx, clientID)
	return protocol.LimitError(g.options.Limiter.Count(ctx, address, client), manyFailuresDescription)
}

func failureCounts(ctx context.Context, clientID string) (address, client ratelimit.Count) {
	network := reqevent.FromContext(ctx).Network()
	return ratelimit.Count{Limit: ratelimit.AddressFailure, Key: network},
		ratelimit.Count{Limit: ratelimit.ClientFailure, Key: clientID + " " + network}
}

// checkAssertionLimits refuses an assertion before its signature is verified when too many authentications of the
// client from this network failed. For an unverified client all failures of the network count, because an
// attacker can register another client at any time. For a client that the operator registered, failures of other
// clients do not count.
func (g *Registry) checkAssertionLimits(ctx context.Context, c *storage.Client) error {
	address, client := failureCounts(ctx, c.ID)
	counts := []ratelimit.Count{client}
	if c.IsUnverified() {
		counts = []ratelimit.Count{address, client}
	}
	return protocol.LimitError(g.options.Limiter.Check(ctx, counts...), manyFailuresDescription)
}

// RecordRefusedRedirect records an unregistered redirect URI in the audit log and returns the cause for the log.
func (g *Registry) RecordRefusedRedirect(ctx context.Context, clientID, parameter, uri string) error {
	sent := redirect.SanitizeForLog(uri)
	g.options.RecordFailure(ctx, audit.Event{
		Type: audit.RedirectRefused, ClientID: clientID, Claimed: true,
		Detail: map[string]any{"parameter": parameter, "sent": sent},
	})
	return fmt.Errorf("%s is not registered: %s", parameter, sent)
}
