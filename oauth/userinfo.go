package oauth

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"gatehouse/oauth/accesstoken"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

// Userinfo serves GET and POST /oauth2/userinfo (OIDC Core §5.3). The access token comes in the header or in the body of
// a form (RFC 6750 §2.1, §2.2), never in the query.
func (s *Server) Userinfo(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return protocol.MethodNotAllowed("GET, POST", "Use GET or POST.").WithChallenge(protocol.Bearer)
	}
	token, err := protocol.AccessToken(r)
	if err != nil {
		return err
	}
	c, claims, err := s.userinfo(r.Context(), token)
	if err != nil {
		return err
	}
	if c.UserinfoAlg == "" {
		protocol.WriteJSON(w, http.StatusOK, claims)
		return nil
	}
	claims["iss"], claims["aud"] = s.options.Issuer, c.ID
	signed, err := s.Keyring.SignJWT(r.Context(), c.UserinfoAlg, "", claims)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/jwt")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(signed)) // a client that went away
	return nil
}

func (s *Server) userinfo(ctx context.Context, token string) (*storage.Client, map[string]any, error) {
	refuse := protocol.BearerError(protocol.InvalidToken, "The access token is invalid, expired or revoked, or is not meant for this endpoint.")
	claims, err := s.Keyring.VerifyAccessToken(ctx, token)
	if errors.Is(err, accesstoken.ErrInvalid) {
		refuse.Err = err
		return nil, nil, refuse
	}
	if err != nil {
		return nil, nil, err
	}
	refuse.ClientID = claims.ClientID
	event := reqevent.From(ctx)
	event.ClientID = claims.ClientID
	scopes := strings.Fields(claims.Scope)
	if claims.GrantID == "" || !slices.Contains(claims.Audience, s.options.Issuer) {
		return nil, nil, refuse
	}
	u, grant, err := s.store.UserByToken(ctx, storage.TokenRef{JTI: claims.JTI, ClientID: claims.ClientID, GrantID: claims.GrantID})
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil, refuse
	}
	if err != nil {
		return nil, nil, protocol.Unavailable(err)
	}
	event.UserID = u.ID
	if !slices.Contains(scopes, protocol.ScopeOpenID) {
		return nil, nil, protocol.InsufficientScopeError(protocol.ScopeOpenID).WithClient(claims.ClientID)
	}
	c, err := s.store.Client(ctx, claims.ClientID)
	if err != nil {
		return nil, nil, protocol.Unavailable(err)
	}
	out := map[string]any{}
	addClaims(out, &u, scopes, grant.Scopes, keptClaims(grant.Claims).Userinfo)
	out["sub"] = s.Subject(c, u.ID)
	return c, out, nil
}
