package oauth

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/ory/fosite"

	"gatehouse/oauth/accesstoken"
	"gatehouse/oauth/jwt"
	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

// tokenBody is the JSON of a successful token response (RFC 6749 §5.1).
type tokenBody struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"` // OIDC Core §3.1.3.3
	Scope        string `json:"scope"`              // always: it may be less than was asked for
}

// Token serves POST /oauth2/token (RFC 6749 §3.2). It dispatches on grant_type.
func (s *Server) Token(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Form(r)
	if err != nil {
		return err
	}
	switch form.Get("grant_type") {
	case protocol.GrantClientCredentials, protocol.GrantAuthorizationCode, protocol.GrantRefreshToken:
	case "":
		return protocol.NewError(protocol.InvalidRequest, "The parameter grant_type is missing.")
	default:
		return protocol.NewError(protocol.UnsupportedGrantType, "The grant type is not supported; the metadata lists those that are.")
	}
	reqevent.From(r.Context()).GrantType = form.Get("grant_type")
	if err := params.CheckListLengths(form); err != nil {
		return err
	}
	ctx, state := r.Context(), &tokenState{form: form}
	access, err := s.provider.NewAccessRequest(ctx, withForm(r, fositeParameters(form)), state)
	if err != nil {
		if access != nil {
			s.recordInvalidScope(ctx, clientIDOf(access), form, err)
		}
		return err
	}
	response, err := s.provider.NewAccessResponse(ctx, access)
	if err != nil {
		return err
	}
	protocol.SetRateLimitHeaders(w.Header(), state.decision)
	protocol.WriteJSON(w, http.StatusOK, tokenBody{
		AccessToken: response.GetAccessToken(), TokenType: response.GetTokenType(), ExpiresIn: int64(state.ttl / time.Second),
		RefreshToken: state.refresh, IDToken: state.idToken, Scope: strings.Join(state.scopes, " "),
	})

	return nil
}

// grantHandler is the part of a token endpoint handler that is alike for all grant types.
type grantHandler struct {
	*Server
	grantType string
}

func (h grantHandler) CanSkipClientAuth(context.Context, fosite.AccessRequester) bool { return false }

func (h grantHandler) CanHandleTokenEndpointRequest(_ context.Context, r fosite.AccessRequester) bool {
	return r.GetGrantTypes().ExactOne(h.grantType)
}

// PopulateTokenEndpointResponse signs the token that the handler decided on.
func (h grantHandler) PopulateTokenEndpointResponse(ctx context.Context, r fosite.AccessRequester, response fosite.AccessResponder) error {
	if !h.CanHandleTokenEndpointRequest(ctx, r) {
		return fosite.ErrUnknownRequest
	}
	return h.issue(ctx, r, response)
}

// allowed refuses a client that is not registered for the grant type, or asks too often.
func (h grantHandler) allowed(ctx context.Context, c *storage.Client, state *tokenState) (err error) {
	if state.decision, err = h.checkTokenLimits(ctx, c); err != nil {
		return err
	}
	if !c.GrantTypes.Has(h.grantType) {
		return protocol.NewError(protocol.UnauthorizedClient, "The client is not registered for this grant type.")
	}
	return nil
}

// issue signs the access token that the state describes and puts it in the response. Nothing of it is stored; where no
// state change has recorded it, its audit row follows in a batch.
func (s *Server) issue(ctx context.Context, r fosite.AccessRequester, response fosite.AccessResponder) error {
	c, state, now := clientOf(r), stateOf(r), s.store.Now()
	jti, err := uuid.NewV7()
	if err != nil {
		return err
	}
	claims := &accesstoken.Claims{
		Issuer: s.options.Issuer, Subject: state.subject, Audience: state.audience, ClientID: c.ID,
		Scope: strings.Join(state.scopes, " "), JTI: jti.String(), IssuedAt: now.Unix(), ExpiresAt: now.Add(state.ttl).Unix(),
	}
	if g := state.grant; g.ID != "" {
		claims.Subject = s.Subject(c, state.subject)
		claims.GrantID, claims.AuthTime, claims.ACR, claims.AMR = g.ID, g.AuthTime.Unix(), g.ACR, g.AMR
	} else {
		claims.ClientEpoch = c.Epoch
	}
	token, err := s.Keyring.SignAccessToken(ctx, claims)
	if err != nil {
		return err
	}
	if !state.recorded {
		event := storage.Event{Type: storage.TokenIssued, ClientID: c.ID, UserID: state.grant.UserID, GrantID: state.grant.ID, Scopes: claims.Scope, Token: storage.TokenReference(token), Detail: state.detail}
		if err := s.store.RecordLater(ctx, event); err != nil {
			return protocol.Unavailable(err)
		}
	}
	if state.grant.ID != "" && slices.Contains(state.scopes, protocol.ScopeOpenID) {
		if state.idToken, err = s.idToken(ctx, c, state, token); err != nil {
			return err
		}
	}
	response.SetAccessToken(token)
	response.SetTokenType("Bearer")
	return nil
}

// idToken signs the ID token that goes with an access token.
func (s *Server) idToken(ctx context.Context, c *storage.Client, state *tokenState, accessToken string) (string, error) {
	claims, err := s.idTokenClaims(ctx, c, state.grant, state.scopes, jwt.LeftHalfHash(c.IDTokenAlg, accessToken))
	if err != nil {
		return "", err
	}
	return s.Keyring.SignJWT(ctx, c.IDTokenAlg, jwt.TypeJWT, claims)
}

// accessTTL is how long the client's access tokens live, in whole seconds.
func (s *Server) accessTTL(c *storage.Client) time.Duration {
	if c.AccessTokenTTL != nil {
		return *c.AccessTokenTTL
	}
	return s.options.AccessTokenTTL.Truncate(time.Second)
}

func orDefault(own *time.Duration, otherwise time.Duration) time.Duration {
	if own != nil {
		return *own
	}
	return otherwise
}
