package grant

import (
	"context"
	"errors"

	"gatehouse/storage"
	"gatehouse/storage/audit"
)

// Refusals records refused codes and refresh tokens in the audit log.
type Refusals func(ctx context.Context, e audit.Event)

// record records why a code or refresh token was refused. The client_id of a public client is unauthenticated.
func (f Refusals) record(
	ctx context.Context, event string, c *storage.Client, refusal *storage.RefusalError, token []byte,
	detail map[string]any,
) {
	if detail == nil {
		detail = map[string]any{}
	}
	detail["reason"] = refusal.Reason
	f(ctx, audit.Event{
		Type: event, ClientID: c.ID, Claimed: c.IsPublic(), UserID: refusal.UserID, GrantID: refusal.GrantID,
		Token: audit.HashReference(token), Detail: detail,
	})
}

// isRefusal reports whether the store refused a code or token, which is invalid_grant. Any other error is a fault.
func isRefusal(err error) bool {
	return errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrConsumed) || errors.Is(err, storage.ErrReused)
}
