package oauth

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"gatehouse/oauth/accesstoken"
	"gatehouse/oauth/grant"
	"gatehouse/oauth/granttype"
	"gatehouse/oauth/protocol"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/reqevent"
)

// Token serves POST /oauth2/token (RFC 6749 §3.2): parse, authenticate the client, check limits, grant, issue, respond.
func (s *Server) Token(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	request, err := grant.ParseRequest(r)
	if err != nil {
		return err
	}
	if request.Client, err = s.Clients.Authenticate(ctx, r, request.Form); err != nil {
		return err
	}
	limit, err := s.checkTokenLimits(ctx, request.Client)
	if err != nil {
		return err
	}
	if !request.Client.GrantTypes.Has(request.GrantType) {
		return protocol.NewError(protocol.UnauthorizedClient, "The client is not registered for this grant type.")
	}
	result, err := s.authorizeGrant(ctx, request) // fosite dispatches to the handler of the grant type, in package grant
	if err != nil {
		s.recordRefusedRequest(ctx, request.Client.ID, request.Form, err)
		return err
	}
	response, err := s.issueTokens(ctx, request.Client, result)
	if err != nil {
		return err
	}
	protocol.SetRateLimitHeaders(w.Header(), limit)
	protocol.WriteJSON(w, http.StatusOK, response)
	return nil
}

// grantHandlers returns the handler of each grant type.
func (s *Server) grantHandlers() map[string]grant.Handler {
	o := s.options
	lifetimes := grant.Lifetimes{
		AccessToken: o.AccessTokenTTL, RefreshIdle: o.RefreshIdleTTL, RefreshMax: o.RefreshMaxTTL,
		RefreshGrace: o.RefreshGrace,
	}
	tokens := grant.UserTokens{Store: s.store, Clients: s.Clients, Issuer: o.Issuer, Lifetimes: lifetimes}
	return map[string]grant.Handler{
		granttype.AuthorizationCode: grant.AuthorizationCode{
			Store: s.store, Tokens: tokens, Format: s.format, Lifetimes: lifetimes, RecordFailure: s.recordFailure,
		},
		granttype.RefreshToken: grant.RefreshToken{
			Store: s.store, Tokens: tokens, Format: s.format, Lifetimes: lifetimes, Limiter: o.Limiter,
			Successors: o.Keys.RefreshSuccessor, RecordFailure: s.recordFailure, Log: o.Log,
		},
		granttype.ClientCredentials: grant.ClientCredentials{Clients: s.Clients, Lifetimes: lifetimes},
	}
}

// checkTokenLimits counts a token request of an authenticated client.
func (s *Server) checkTokenLimits(ctx context.Context, c *storage.Client) (ratelimit.Decision, error) {
	d := s.options.Limiter.Count(ctx,
		ratelimit.Count{Limit: ratelimit.TokenAddress, Key: reqevent.FromContext(ctx).Network()},
		ratelimit.Count{Limit: ratelimit.TokenClient, Key: clientLimitKey(ctx, c)})
	return d, protocol.LimitError(d,
		"Too many token requests. Cache a token until shortly before it expires, and use it for every call.")
}

// tokenResponse is the JSON of a successful token response (RFC 6749 §5.1).
type tokenResponse struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"` // OIDC Core §3.1.3.3
	Scope        string `json:"scope"`              // always sent: it may be less than was requested
}

// issueTokens signs the tokens of a result. Access tokens are not stored; where no state change has recorded the token,
// its audit row is queued.
func (s *Server) issueTokens(ctx context.Context, c *storage.Client, result *grant.Result) (tokenResponse, error) {
	claims, err := s.accessTokenClaims(ctx, c, result)
	if err != nil {
		return tokenResponse{}, err
	}
	response := tokenResponse{
		TokenType: protocol.Bearer, ExpiresIn: int64(result.TTL / time.Second), RefreshToken: result.RefreshToken,
		Scope: claims.Scope,
	}
	format, err := s.Clients.TokenFormat(ctx, claims.Audience)
	if err != nil {
		return tokenResponse{}, err
	}
	if response.AccessToken, err = s.Keyring.SignAccessToken(ctx, format, claims); err != nil {
		return tokenResponse{}, err
	}
	if !result.Recorded {
		event := audit.Event{
			Type: audit.TokenIssued, ClientID: c.ID, UserID: result.Grant.UserID, GrantID: result.Grant.ID, Scopes: claims.Scope,
			Token: audit.TokenReference(response.AccessToken), Detail: result.AuditDetail,
		}
		if err := s.store.Audit.RecordLater(ctx, event); err != nil {
			return tokenResponse{}, protocol.UnavailableError(err)
		}
	}
	if result.HasUser() && slices.Contains(result.Scopes, protocol.ScopeOpenID) {
		response.IDToken, err = s.Claims.IDToken(ctx, c, result.Grant, result.Scopes, response.AccessToken)
		if errors.Is(err, storage.ErrNotFound) { // the user was deleted after the code or refresh token was consumed
			return tokenResponse{}, protocol.NewError(protocol.InvalidGrant,
				"The code or token is invalid, expired or already used.").WithCause(err)
		}
		if err != nil {
			return tokenResponse{}, err
		}
	}
	return response, nil
}

// accessTokenClaims returns the claims of the access token (RFC 9068 §2.2): of a user's grant or, with client
// credentials, of the client's epoch.
func (s *Server) accessTokenClaims(
	ctx context.Context, c *storage.Client, result *grant.Result,
) (*accesstoken.Claims, error) {
	jti, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	now := s.store.Now()
	claims := &accesstoken.Claims{
		Issuer: s.options.Issuer, Subject: result.Subject, Audience: result.Audience, ClientID: c.ID,
		Scope: strings.Join(result.Scopes, " "), JTI: jti.String(), IssuedAt: now.Unix(),
		ExpiresAt: now.Add(result.TTL).Unix(),
	}
	if g := result.Grant; result.HasUser() {
		claims.Subject = s.Claims.Subject(c, result.Subject)
		claims.GrantID, claims.AuthTime, claims.ACR, claims.AMR = g.ID, g.AuthTime.Unix(), g.ACR, g.AMR
		if claims.Groups, err = s.Claims.AccessTokenGroups(ctx, c, g.UserID, result.Audience, result.Scopes); err != nil {
			return nil, protocol.UnavailableError(err)
		}
	} else {
		claims.ClientEpoch = c.Epoch
	}
	if claims.Roles, err = s.Claims.AccessTokenRoles(ctx, c, result.Grant.UserID, result.Audience); err != nil {
		return nil, protocol.UnavailableError(err)
	}
	return claims, nil
}
