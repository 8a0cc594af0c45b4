package oauth

import (
	"context"
	"errors"

	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// DeletedClientError is the cause of invalid_client for a self-registered client that was deleted. A client does not
// learn this at the authorization endpoint, so the page names it and what the user can do.
type DeletedClientError struct{ Client storage.DeletedClient }

// Error implements error.
func (e *DeletedClientError) Error() string { return "the client was deleted" }

// unusableClientError returns invalid_client for a client that an authorization request names and that is unknown or
// disabled.
func (s *Server) unusableClientError(ctx context.Context, id string, cause error) error {
	deleted, err := s.store.DeletedClient(ctx, id)
	switch {
	case err == nil:
		cause = &DeletedClientError{Client: deleted}
	case !errors.Is(err, storage.ErrNotFound):
		return protocol.UnavailableError(err)
	}
	e := protocol.NewError(protocol.InvalidClient,
		"client_id "+params.Sanitize(id)+" is not registered with this server.")
	return e.WithCause(cause)
}
