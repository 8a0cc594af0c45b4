package claims

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"gatehouse/identity"
	"gatehouse/oauth/accesstoken"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

// Userinfo serves GET and POST /oauth2/userinfo (OIDC Core §5.3). The access token is in the Authorization header or in
// the body of a form (RFC 6750 §2.1, §2.2), never in the URL.
func (p *Provider) Userinfo(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return protocol.MethodNotAllowedError("GET, POST", "Use GET or POST.").WithChallenge(protocol.Bearer)
	}
	token, err := protocol.AccessToken(r)
	if err != nil {
		return err
	}
	c, claims, err := p.userinfo(r.Context(), token)
	if err != nil {
		return err
	}
	if c.UserinfoAlg == "" {
		protocol.WriteJSON(w, http.StatusOK, claims)
		return nil
	}
	claims["iss"], claims["aud"] = p.options.Issuer, c.ID
	signed, err := p.keyring.SignJWT(r.Context(), c.UserinfoAlg, "", claims)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/jwt")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(signed)) // fails when the client has disconnected
	return nil
}

// errRevoked is the cause in the log. It takes no additional query to find out which of them it is.
var errRevoked = errors.New("the token or its grant was revoked, or its user or client is disabled")

// userinfo returns the claims that the access token discloses, and its client.
func (p *Provider) userinfo(ctx context.Context, token string) (*storage.Client, map[string]any, error) {
	refusal := protocol.BearerError(
		protocol.InvalidToken, "The access token is invalid, expired or revoked, or does not have this server in aud.",
	)
	claims, err := p.keyring.VerifyAccessToken(ctx, token)
	if errors.Is(err, accesstoken.ErrInvalid) {
		refusal.Err = err
		return nil, nil, refusal
	}
	if err != nil {
		return nil, nil, err
	}
	event := reqevent.FromContext(ctx)
	event.ClientID = claims.ClientID
	if claims.GrantID == "" {
		return nil, nil, refusal.WithCause(errors.New("the token was issued to the client itself, without a user"))
	}
	c, err := p.store.Client(ctx, claims.ClientID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil, refusal.WithCause(errors.New("the client was deleted"))
	}
	if err != nil {
		return nil, nil, protocol.UnavailableError(err)
	}
	if !c.IsPairwise() { // of a pairwise client the subject does not identify the user
		event.UserID = claims.Subject
	}
	scopes := strings.Fields(claims.Scope)
	if !slices.Contains(claims.Audience, p.options.Issuer) {
		return nil, nil, refusal.WithCause(errors.New("aud of the token does not have this server"))
	}
	u, grant, err := p.store.UserByToken(
		ctx, storage.TokenRef{JTI: claims.JTI, ClientID: claims.ClientID, GrantID: claims.GrantID},
	)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil, refusal.WithCause(errRevoked)
	}
	if err != nil {
		return nil, nil, protocol.UnavailableError(err)
	}
	event.UserID = u.ID
	if !slices.Contains(scopes, protocol.ScopeOpenID) {
		return nil, nil, protocol.InsufficientScopeError(protocol.ScopeOpenID)
	}
	if err := p.checkSignIn(ctx, c, claims); err != nil {
		return nil, nil, err
	}
	out, err := p.userClaims(ctx, c, &u, scopes, grant.Scopes, storedRequest(grant.Claims).Userinfo)
	if err != nil {
		return nil, nil, protocol.UnavailableError(err)
	}
	out["sub"] = p.Subject(c, u.ID)
	return c, out, nil
}

// checkSignIn returns insufficient_user_authentication when the sign-in of a token is weaker or older than the client,
// or this server as a resource, requires (RFC 9470 §3).
func (p *Provider) checkSignIn(ctx context.Context, c *storage.Client, claims *accesstoken.Claims) error {
	resources, err := p.store.Resources(ctx)
	if err != nil {
		return protocol.UnavailableError(err)
	}
	r := resources[p.options.Issuer]
	acr, maxAge := identity.StrongerACR(c.RequiredACR, r.RequiredACR), r.AuthAge()
	if identity.ACRSatisfies(claims.ACR, acr) {
		acr = ""
	}
	if p.store.Now().Sub(time.Unix(claims.AuthTime, 0)) <= maxAge {
		maxAge = 0
	}
	if acr == "" && maxAge == 0 {
		return nil
	}
	return protocol.InsufficientAuthenticationError(acr, maxAge)
}
