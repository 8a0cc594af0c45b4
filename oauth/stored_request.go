package oauth

import (
	"context"
	"maps"
	"net/http"
	"net/url"

	"gatehouse/identity"
	"gatehouse/oauth/client"
	"gatehouse/oauth/credential"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

const (
	requestIDSize       = 32
	maxStoredParameters = 16 << 10
)

// Size returns the approximate number of bytes of parameters that StoreRequest stores.
func (a *AuthorizationRequest) Size() (n int) {
	for name, values := range a.form {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return n
}

// StoreRequest stores a request that needs a page and sets its ID. It returns invalid_request when it is too large.
func (s *Server) StoreRequest(ctx context.Context, a *AuthorizationRequest) error {
	form := maps.Clone(a.form)
	form.Del("id_token_hint") // tokens are not stored; the subject of the hint is
	parameters := form.Encode()
	if len(parameters) > maxStoredParameters {
		return protocol.NewError(protocol.InvalidRequest,
			"The request is larger than 16 KiB.").WithStatus(http.StatusRequestEntityTooLarge)
	}
	a.ID = credential.Random(requestIDSize)
	r := storage.AuthorizationRequest{
		ID: a.ID, ClientID: a.Client.ID, Parameters: parameters,
		CreatedAt: a.CreatedAt, ExpiresAt: a.CreatedAt.Add(s.options.RequestTTL),
		HintSubject: a.RequiredSubject, ClientEpoch: a.Client.Epoch,
	}
	if err := s.store.CreateRequest(ctx, &r); err != nil {
		return protocol.UnavailableError(err)
	}
	return nil
}

// RequestExpiredError is returned by Resume, with the request's client if it still exists, for a request that expired,
// was already decided, or was sent before all tokens of its client were revoked.
type RequestExpiredError struct {
	Client  *storage.Client
	Decided bool
}

// Error implements error.
func (e *RequestExpiredError) Error() string {
	return "authorization request expired or already decided"
}

// Resume returns a stored request of the browser with that cookie hash. With claim, the first browser claims it.
// It returns storage.ErrOtherBrowser, storage.ErrNotFound, *RequestExpiredError, or the errors of Begin: the request is
// validated again, because the client may have changed.
func (s *Server) Resume(ctx context.Context, id string, browser []byte, claim bool) (*AuthorizationRequest, error) {
	read := s.store.ClaimedRequest
	if claim {
		read = s.store.ClaimRequest
	}
	if len(id) != requestIDSize || !client.IsWellFormedID(id) {
		return nil, storage.ErrNotFound
	}
	r, err := read(ctx, id, browser)
	if err != nil {
		return nil, err
	}
	if r.DecidedAt != nil || !s.store.Now().Before(r.ExpiresAt) {
		expired := &RequestExpiredError{Decided: r.DecidedAt != nil}
		if c, err := s.store.Client(ctx, r.ClientID); err == nil {
			expired.Client = c
		}
		return nil, expired
	}
	form, err := url.ParseQuery(r.Parameters)
	if err != nil {
		return nil, err
	}
	// The stored parameters are verified: if they had to be signed, Begin checked that before StoreRequest.
	a, err := s.validateRequest(ctx, form, form, true, nil)
	if err != nil {
		return nil, err
	}
	if r.ClientEpoch < a.Client.Epoch { // the client was disabled in the meantime, or its tokens revoked
		return nil, &RequestExpiredError{Client: a.Client}
	}
	a.ID, a.CreatedAt, a.SessionID, a.RequiredSubject = r.ID, r.CreatedAt, r.SessionID, r.HintSubject
	a.SignedIn, a.Approved = r.SignedInAt != nil, r.ApprovedAt != nil
	// The user confirmed a client as it was described then.
	a.Confirmed = r.ConfirmedAt != nil &&
		(a.Client.DescribedAt == nil || !r.ConfirmedAt.Before(*a.Client.DescribedAt))
	return a, nil
}

// RecordSignIn records that the user signed in for a stored request of the browser, and makes that user its subject. It
// returns storage.ErrNotFound when the request was decided in the meantime.
func (s *Server) RecordSignIn(
	ctx context.Context, a *AuthorizationRequest, browser []byte, user *identity.SignedInUser,
) error {
	if err := s.store.RecordSignIn(ctx, a.ID, browser, user.Session.ID); err != nil {
		return err
	}
	isSame := a.SessionID == user.Session.ID
	a.Approved, a.Confirmed = a.Approved && isSame, a.Confirmed && isSame
	a.SessionID, a.SignedIn = user.Session.ID, true
	return nil
}

// SelectSession makes the user, who is signed in to the browser, the subject of a stored request.
func (s *Server) SelectSession(
	ctx context.Context, a *AuthorizationRequest, browser []byte, user *identity.SignedInUser,
) error {
	return s.store.SelectSession(ctx, a.ID, browser, user.Session.ID)
}

// Confirm records that the user confirmed that they want to continue with a client that is not verified. It returns
// storage.ErrNotFound when the request was decided, or another account selected, in the meantime.
func (s *Server) Confirm(
	ctx context.Context, a *AuthorizationRequest, browser []byte, user *identity.SignedInUser,
) error {
	return s.store.ConfirmRequest(ctx, a.ID, browser, user.Session.ID)
}
