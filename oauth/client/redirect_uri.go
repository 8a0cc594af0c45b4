package client

import (
	"context"
	"fmt"

	"gatehouse/oauth/redirect"
	"gatehouse/storage/audit"
)

// RecordRefusedRedirect records an unregistered redirect URI in the audit log and returns the cause for the log.
func (g *Registry) RecordRefusedRedirect(ctx context.Context, clientID, parameter, uri string) error {
	sent := redirect.SanitizeForLog(uri)
	g.options.RecordFailure(ctx, audit.Event{
		Type: audit.RedirectRefused, ClientID: clientID, Claimed: true,
		Detail: map[string]any{"parameter": parameter, "sent": sent},
	})
	return fmt.Errorf("%s is not registered: %s", parameter, sent)
}
