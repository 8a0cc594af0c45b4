package oauth

import (
	"context"

	"gatehouse/identity"
)

// RecordSignIn records that the user signed in for a stored request of the browser, and makes that user its subject. It
// returns storage.ErrNotFound when the request was decided in the meantime.
func (s *Server) RecordSignIn(
	ctx context.Context, a *AuthorizationRequest, browser []byte, user *identity.SignedInUser,
) error {
	if err := s.store.RecordSignIn(ctx, a.ID, browser, user.Session.ID); err != nil {
		return err
	}
	a.Approved = a.Approved && a.SessionID == user.Session.ID
	a.SessionID, a.SignedIn = user.Session.ID, true
	return nil
}

// SelectSession makes the user, who is signed in to the browser, the subject of a stored request.
func (s *Server) SelectSession(
	ctx context.Context, a *AuthorizationRequest, browser []byte, user *identity.SignedInUser,
) error {
	return s.store.SelectSession(ctx, a.ID, browser, user.Session.ID)
}
