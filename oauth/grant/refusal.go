package grant

import (
	"context"
	"errors"

	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/reqevent"
)

// FailureRecorder records a refused code or refresh token in the audit log.
type FailureRecorder func(ctx context.Context, e audit.Event)

// recordRefusal records why a code or refresh token was refused. The client_id of a public client is unauthenticated.
func (f FailureRecorder) recordRefusal(
	ctx context.Context, event string, c *storage.Client, reason *storage.RefusalError, token []byte,
	detail map[string]any,
) {
	if reason.UserID != "" {
		reqevent.FromContext(ctx).UserID = reason.UserID
	}
	if detail == nil {
		detail = map[string]any{}
	}
	detail["reason"] = reason.Reason
	f(ctx, audit.Event{
		Type: event, ClientID: c.ID, Claimed: c.IsPublic(), UserID: reason.UserID, GrantID: reason.GrantID,
		Token: audit.HashReference(token), Detail: detail,
	})
}

// isRefusal reports whether the store refused a code or token, which is invalid_grant. Any other error is a fault.
func isRefusal(err error) bool {
	return errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrConsumed) || errors.Is(err, storage.ErrReused)
}
