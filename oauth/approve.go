package oauth

import (
	"context"
	"errors"
	"net/url"
	"slices"

	"gatehouse/identity"
	"gatehouse/oauth/claims"
	"gatehouse/oauth/grant"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// Consent returns what the user allowed the client before, or nil when there is no user or no consent.
func (s *Server) Consent(
	ctx context.Context, a *AuthorizationRequest, user *identity.SignedInUser,
) (*storage.Consent, error) {
	if user == nil {
		return nil, nil //nolint:nilnil // no user, so no consent
	}
	c, err := s.store.Consent(ctx, user.User.ID, a.Client.ID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil //nolint:nilnil // as above
	}
	if err != nil {
		return nil, protocol.UnavailableError(err)
	}
	return &c, nil
}

// LacksGroup reports whether there is a user who is in none of the groups that the client requires.
func (s *Server) LacksGroup(
	ctx context.Context, a *AuthorizationRequest, user *identity.SignedInUser,
) (bool, error) {
	if user == nil {
		return false, nil
	}
	has, err := s.store.HasRequiredGroup(ctx, a.Client, user.User.ID)
	if err != nil {
		return false, protocol.UnavailableError(err)
	}
	return !has, nil
}

// NeedsConfirmation reports whether the user must confirm that they want to continue with a client that is not
// verified: the operator has neither listed its document, nor registered it in advance, nor vouched for it, and fewer
// users than the limit have allowed it as it is currently described. It is false for a user who has.
func (s *Server) NeedsConfirmation(
	ctx context.Context, a *AuthorizationRequest, user *identity.SignedInUser, consent *storage.Consent,
) (bool, error) {
	if user == nil || !a.Client.IsDocument() || s.Clients.IsTrusted(a.Client) {
		return false, nil
	}
	// This user allowed it on the consent page before.
	if consent != nil && consent.RedirectURI != "" && !a.isStale(consent) {
		return false, nil
	}
	limit := s.options.UnverifiedUsers
	n, err := s.store.CountConsents(ctx, a.Client, limit)
	if err != nil {
		return false, protocol.UnavailableError(err)
	}
	return n < limit, nil
}

// ConsentDecision is the approval of an authorization request.
type ConsentDecision struct {
	Refused  []string         // names of the optional permissions that are not granted
	Prompted bool             // the user decided on the consent page just now
	Consent  *storage.Consent // otherwise the earlier consent that Decide relied on; nil when the client skips consent
}

// ErrConsentStale is returned by Approve when the consent that it relied on was withdrawn in the meantime, or the
// client is no longer described as the user was shown. The consent page must be shown.
var ErrConsentStale = errors.New("consent withdrawn or client description changed")

// Approve issues a code for the user and returns the response to the client. A stored request is decided once; the
// second call returns *RequestExpiredError. It returns ErrConsentStale when the consent page must be shown first, and
// unmet_authentication_requirements when the user did not sign in with an acr that the client accepts.
func (s *Server) Approve(
	ctx context.Context, a *AuthorizationRequest, user *identity.SignedInUser, decision ConsentDecision,
) (Response, error) {
	if err := a.checkACR(user); err != nil { // Decide prompts for consent first
		return Response{}, err
	}
	if err := grant.CheckUserLimit(ctx, s.options.Limiter, user.User.ID+" "+a.Client.ID); err != nil {
		return Response{}, err
	}
	if err := s.recordClientUse(ctx, a.Client); err != nil {
		return Response{}, err
	}
	code, err := s.issueCode(ctx, a, s.approvalRecord(a, user, decision))
	if errors.Is(err, storage.ErrConsumed) {
		return Response{}, &RequestExpiredError{Client: a.Client, Decided: true}
	}
	if errors.Is(err, storage.ErrConsentWithdrawn) {
		return Response{}, ErrConsentStale
	}
	if err != nil {
		return Response{}, err
	}
	return s.response(a.RedirectURI, a.State, a.responseMode, url.Values{"code": {code}}), nil
}

// recordClientUse stores that the client is used, if it would expire without that.
func (s *Server) recordClientUse(ctx context.Context, c *storage.Client) error {
	if !c.ShouldRecordUse(s.store.Now()) {
		return nil
	}
	if err := s.store.RecordClientUse(ctx, c.ID); err != nil {
		return protocol.UnavailableError(err)
	}
	return nil
}

// approvalRecord returns the approval to store. Its code has no hash yet.
func (s *Server) approvalRecord(
	a *AuthorizationRequest, user *identity.SignedInUser, decision ConsentDecision,
) storage.Approval {
	now, refused := s.store.Now(), func(name string) bool { return slices.Contains(decision.Refused, name) }
	granted := slices.DeleteFunc(slices.Clone(a.Scopes), refused)
	grantedClaims := slices.DeleteFunc(slices.Clone(a.Claims), refused)
	openID := slices.Contains(granted, protocol.ScopeOpenID)
	row := storage.AuthorizationCode{
		GrantTerms: storage.GrantTerms{
			ClientID: a.Client.ID, UserID: user.User.ID, ClientEpoch: a.Client.Epoch, UserEpoch: user.User.Epoch,
			Scopes: granted, Resources: a.Resources, SessionID: user.Session.ID,
			Offline:  slices.Contains(granted, protocol.ScopeOfflineAccess),
			AuthTime: user.Session.AuthTime, ACR: a.grantedACR(user.Session.ACR), AMR: user.Session.AMR,
		},
		RedirectURI: a.RedirectURI, RedirectSent: a.redirectURISent, CreatedAt: now, ExpiresAt: now.Add(s.options.CodeTTL),
	}
	if a.challenge != "" {
		row.Challenge = &a.challenge
	}
	if openID {
		row.Nonce, row.Claims = a.nonce, a.claims.Granted(granted, grantedClaims)
	}
	record := storage.Approval{
		RequestID: a.ID, Code: row, FromConsentPage: decision.Prompted, DescribedAt: a.Client.DescribedAt,
		Allowed: storage.Strings{}, Refused: storage.Strings{},
	}
	for _, p := range a.Permissions {
		_, claim := claims.ClaimName(p.Name)
		switch {
		case p.Optional && refused(p.Name):
			record.Refused = append(record.Refused, p.consentValues()...)
		case openID || !claim: // only OpenID Connect has claims
			record.Allowed = append(record.Allowed, p.consentValues()...)
		}
	}
	if c := decision.Consent; c != nil && !a.Client.SkipConsent {
		record.ConsentID = c.ID
	}
	return record
}

// RecordApproval stores what the user allowed on the consent page without issuing a code, because max_age passed while
// the page was open and the user must sign in again. It returns *RequestExpiredError when it was already decided, and
// ErrConsentStale when the client is no longer described as the user was shown.
func (s *Server) RecordApproval(
	ctx context.Context, a *AuthorizationRequest, user *identity.SignedInUser, decision ConsentDecision,
) error {
	if err := s.recordClientUse(ctx, a.Client); err != nil {
		return err
	}
	err := s.store.RecordApproval(ctx, s.approvalRecord(a, user, decision))
	switch {
	case errors.Is(err, storage.ErrConsumed):
		return &RequestExpiredError{Client: a.Client, Decided: true}
	case errors.Is(err, storage.ErrConsentWithdrawn):
		return ErrConsentStale
	case err != nil:
		return protocol.UnavailableError(err)
	}
	return nil
}

// Deny decides the request and returns the response to the client: access_denied.
func (s *Server) Deny(ctx context.Context, a *AuthorizationRequest, user *identity.SignedInUser) (Response, error) {
	return s.deny(ctx, a, user, storage.Denial{}, protocol.NewError(protocol.AccessDenied, "The user denied the request."))
}

// DenyWithoutGroup does the same as Deny for a user who is in none of the groups that the client requires.
func (s *Server) DenyWithoutGroup(
	ctx context.Context, a *AuthorizationRequest, user *identity.SignedInUser,
) (Response, error) {
	return s.deny(ctx, a, user, storage.Denial{Reason: "no required group"},
		protocol.NewError(protocol.AccessDenied, descriptionNoAccess))
}

// DenyWithoutTerms does the same as Deny for a user who does not accept the terms of use.
func (s *Server) DenyWithoutTerms(
	ctx context.Context, a *AuthorizationRequest, user *identity.SignedInUser,
) (Response, error) {
	return s.deny(ctx, a, user, storage.Denial{Reason: "terms not accepted"},
		protocol.NewError(protocol.AccessDenied, "The user has not accepted the terms of use of this server."))
}

// DenyWithoutFactor decides the request of a user who does not add the factor that the operator requires, and returns
// the response to the client: unmet_authentication_requirements.
func (s *Server) DenyWithoutFactor(
	ctx context.Context, a *AuthorizationRequest, user *identity.SignedInUser,
) (Response, error) {
	return s.deny(ctx, a, user, storage.Denial{Reason: "no required factor"}, a.unmetACRError())
}

func (s *Server) deny(
	ctx context.Context, a *AuthorizationRequest, user *identity.SignedInUser, denial storage.Denial, e *protocol.Error,
) (Response, error) {
	denial.RequestID, denial.ClientID, denial.Scopes = a.ID, a.Client.ID, a.Scopes
	if user != nil {
		denial.UserID = user.User.ID
	}
	err := s.store.DenyRequest(ctx, denial)
	if errors.Is(err, storage.ErrConsumed) {
		return Response{}, &RequestExpiredError{Client: a.Client, Decided: true}
	}
	if err != nil {
		return Response{}, protocol.UnavailableError(err)
	}
	return s.ErrorResponse(a.asRedirectError(e)), nil
}

// WithdrawConsent ends a user's consent, and with it every grant and token of the client for that user. It returns
// storage.ErrNotFound when the user has no such consent.
func (s *Server) WithdrawConsent(ctx context.Context, userID, consentID string) error {
	return s.store.WithdrawConsent(ctx, userID, consentID)
}
