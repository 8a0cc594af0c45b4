package client

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/oauth/redirect"
	"gatehouse/storage"
	"gatehouse/storage/audit"
)

// UnusableCause returns the reason, for the log, why an endpoint handles a client like an unknown one. c and err are
// the result of storage.Store.Client. It returns nil when the client can be used or could not be read.
func UnusableCause(c *storage.Client, err error) error {
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return errors.New("unknown client")
	case err == nil && c.DisabledAt != nil:
		return errors.New("the client is disabled")
	}
	return nil
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
