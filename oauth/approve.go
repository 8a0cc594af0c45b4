package oauth

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/ory/fosite"

	"gatehouse/identity"
	"gatehouse/oauth/credential"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// Consent returns what the person allowed the client before, or nil.
func (s *Server) Consent(ctx context.Context, a *AuthorizationRequest, who *identity.SignedInUser) (*storage.Consent, error) {
	if who == nil {
		return nil, nil //nolint:nilnil // nobody has allowed anything
	}
	c, err := s.store.Consent(ctx, who.User.ID, a.Client.ID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil //nolint:nilnil // as above
	}
	if err != nil {
		return nil, protocol.Unavailable(err)
	}
	return &c, nil
}

// ConsentDecision is a yes to an authorization request.
type ConsentDecision struct {
	Refused  []string         // names of the optional permissions that are not granted
	Prompted bool             // whether the person said so on the consent page just now
	Consent  *storage.Consent // otherwise, what they said before, on which Decide relied; nil when the operator vouches
}

// ErrConsentStale is returned by Approve when the consent it relied on was withdrawn meanwhile, or the client is not any more
// what the person was shown: the person must be asked.
var ErrConsentStale = errors.New("the consent was withdrawn")

// Approve issues a code for the person and returns the answer to the client. A stored request is answered once; the second
// answer is *ErrExpired.
func (s *Server) Approve(ctx context.Context, a *AuthorizationRequest, who *identity.SignedInUser, answer ConsentDecision) (Response, error) {
	if err := s.checkUserTokenLimit(ctx, who.User.ID+" "+a.Client.ID); err != nil {
		return Response{}, err
	}
	if a.Client.ShouldRecordUse(s.store.Now()) {
		if err := s.store.RecordClientUse(ctx, a.Client.ID); err != nil {
			return Response{}, protocol.Unavailable(err)
		}
	}
	a.request.SetResponseTypeHandled("code")
	approval := &approval{AuthorizationRequest: a, who: who, answer: answer}
	response, err := fosite.NewOAuth2Provider(clientManager{s}, s.config).NewAuthorizeResponse(ctx, a.request, approval)
	if errors.Is(err, storage.ErrConsumed) {
		return Response{}, &RequestExpiredError{Client: a.Client, Decided: true}
	}
	if errors.Is(err, storage.ErrConsentWithdrawn) {
		return Response{}, ErrConsentStale
	}
	if err != nil {
		return Response{}, err
	}
	return s.response(a.RedirectURI, a.State, a.responseMode, url.Values{"code": {response.GetCode()}}), nil
}

// approval is what issueCode is handed as fosite's session.
type approval struct {
	*AuthorizationRequest
	tokenState

	who    *identity.SignedInUser
	answer ConsentDecision
}

func (a *approval) Clone() fosite.Session { c := *a; return &c }

// issueCode is the handler of the authorization endpoint: it stores the code with all its grant will be made of.
type issueCode struct{ *Server }

func (h issueCode) HandleAuthorizeEndpointRequest(ctx context.Context, r fosite.AuthorizeRequester, response fosite.AuthorizeResponder) error {
	a, ok := r.GetSession().(*approval)
	if !ok {
		return errNotUsed
	}
	code := h.format.New(credential.Code)
	record := h.approvalRecord(a.AuthorizationRequest, a.who, a.answer)
	record.Code.Hash = credential.Hash(code)
	if err := h.store.IssueCode(ctx, record, storage.Event{Type: storage.CodeIssued}); err != nil {
		return err
	}
	response.AddParameter("code", code)
	return nil
}

// approvalRecord returns the approval to store. Its code has no hash yet.
func (s *Server) approvalRecord(a *AuthorizationRequest, who *identity.SignedInUser, answer ConsentDecision) storage.Approval {
	now, refused := s.store.Now(), func(name string) bool { return slices.Contains(answer.Refused, name) }
	granted, claims := slices.DeleteFunc(slices.Clone(a.Scopes), refused), slices.DeleteFunc(slices.Clone(a.Claims), refused)
	openID := slices.Contains(granted, protocol.ScopeOpenID)
	row := storage.AuthorizationCode{
		ClientID: a.Client.ID, UserID: who.User.ID, ClientEpoch: a.Client.Epoch, UserEpoch: who.User.Epoch,
		Scopes: granted, Resources: a.Resources, SessionID: who.Session.ID, Offline: slices.Contains(granted, protocol.ScopeOfflineAccess),
		AuthTime: who.Session.AuthTime, ACR: who.Session.ACR, AMR: who.Session.AMR,
		RedirectURI: a.RedirectURI, RedirectSent: a.redirectURISent, CreatedAt: now, ExpiresAt: now.Add(s.options.CodeTTL),
	}
	if a.challenge != "" {
		row.Challenge = &a.challenge
	}
	if openID {
		row.Nonce, row.Claims = a.nonce, a.claims.kept(granted, claims)
	}
	record := storage.Approval{RequestID: a.ID, Code: row, FromConsentPage: answer.Prompted, DescribedAt: a.Client.DescribedAt, Allowed: storage.Strings{}, Refused: storage.Strings{}}
	for _, p := range a.Permissions {
		_, claim := ClaimOf(p.Name)
		switch {
		case p.Optional && refused(p.Name):
			record.Refused = append(record.Refused, p.consentValues()...)
		case openID || !claim: // only OpenID Connect has claims
			record.Allowed = append(record.Allowed, p.consentValues()...)
		}
	}
	if c := answer.Consent; c != nil && !a.Client.SkipConsent {
		record.ConsentID = c.ID
	}
	return record
}

// RecordApproval stores what the user allowed on the consent page without issuing a code, because max_age passed while
// the page was open and the user must sign in again. It returns *ErrExpired when the request was already answered, and
// ErrConsentWithdrawn when the client is no longer described as the user was shown.
func (s *Server) RecordApproval(ctx context.Context, a *AuthorizationRequest, who *identity.SignedInUser, answer ConsentDecision) error {
	if a.Client.ShouldRecordUse(s.store.Now()) {
		if err := s.store.RecordClientUse(ctx, a.Client.ID); err != nil {
			return protocol.Unavailable(err)
		}
	}
	err := s.store.RecordApproval(ctx, s.approvalRecord(a, who, answer))
	switch {
	case errors.Is(err, storage.ErrConsumed):
		return &RequestExpiredError{Client: a.Client, Decided: true}
	case errors.Is(err, storage.ErrConsentWithdrawn):
		return ErrConsentStale
	case err != nil:
		return protocol.Unavailable(err)
	}
	return nil
}

// Deny answers a request with access_denied and returns the answer to the client.
func (s *Server) Deny(ctx context.Context, a *AuthorizationRequest, who *identity.SignedInUser) (Response, error) {
	event := storage.Event{Type: storage.ConsentDenied, ClientID: a.Client.ID, Scopes: strings.Join(a.Scopes, " ")}
	if who != nil {
		event.UserID = who.User.ID
	}
	err := s.store.DecideRequest(ctx, a.ID, &event)
	if errors.Is(err, storage.ErrConsumed) {
		return Response{}, &RequestExpiredError{Client: a.Client, Decided: true}
	}
	if err != nil {
		return Response{}, protocol.Unavailable(err)
	}
	return s.ErrorResponse(a.refuse(protocol.NewError(protocol.AccessDenied, "The person did not allow it."))), nil
}

// WithdrawConsent ends a person's consent, and with it every grant and token of the client for them. It returns
// storage.ErrNotFound when they have no such consent.
func (s *Server) WithdrawConsent(ctx context.Context, userID, consentID string) error {
	return s.store.WithdrawConsent(ctx, userID, consentID, storage.Event{Type: storage.ConsentWithdrawn})
}
