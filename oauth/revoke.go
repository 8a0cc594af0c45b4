package oauth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"gatehouse/oauth/accesstoken"
	"gatehouse/oauth/credential"
	"gatehouse/oauth/protocol"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/reqevent"
)

// Revoke serves POST /oauth2/revoke (RFC 7009 §2). Revoking a refresh token revokes its grant with all access tokens;
// revoking an access token revokes that token alone. The response to an unknown token, or to one of another client, is
// 200 without effect (§2.2).
func (s *Server) Revoke(w http.ResponseWriter, r *http.Request) error {
	c, form, err := s.readClientRequest(r)
	if err != nil {
		return err
	}
	token := form.Get("token")
	if token == "" {
		return protocol.NewError(protocol.InvalidRequest, "token is missing.")
	}
	count := ratelimit.Count{Limit: ratelimit.Revocation, Key: clientLimitKey(r.Context(), c)}
	d := s.options.Limiter.Count(r.Context(), count)
	if err := protocol.LimitError(d, "Too many revocation requests. Wait, and send each token once."); err != nil {
		return err
	}
	if err := s.revokeToken(r.Context(), c, token); err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

// revokeToken distinguishes the kinds of token by their format, so that a wrong token_type_hint does not matter.
func (s *Server) revokeToken(ctx context.Context, c *storage.Client, token string) error {
	if s.format.Valid(credential.RefreshToken, token) {
		return s.revokeRefreshToken(ctx, c, token)
	}
	// Expiry is not checked: a process with a wrong clock must not respond 200 and leave the token active elsewhere.
	claims, err := s.Keyring.ParseAccessToken(ctx, token)
	if errors.Is(err, accesstoken.ErrInvalid) {
		return nil
	}
	if err != nil || claims.ClientID != c.ID {
		return err
	}
	expires := time.Unix(claims.ExpiresAt, 0)
	if s.store.Now().Sub(expires) >= storage.RevokedRetention {
		return nil // expired by every clock; its row would be deleted immediately
	}
	event := audit.Event{
		ClientID: c.ID, GrantID: claims.GrantID, Scopes: claims.Scope, Token: audit.TokenReference(token),
	}
	if claims.GrantID != "" {
		grant, err := s.store.Grant(ctx, claims.GrantID)
		if err != nil {
			return ignoreNotFound(err)
		}
		event.UserID = grant.UserID
		reqevent.FromContext(ctx).UserID = grant.UserID
	}
	return ignoreNotFound(s.store.RevokeToken(ctx, storage.RevokedToken{JTI: claims.JTI, ExpiresAt: expires}, event))
}

// revokeRefreshToken revokes the grant of a refresh token, if it is the client's.
func (s *Server) revokeRefreshToken(ctx context.Context, c *storage.Client, token string) error {
	grant, err := s.store.Grant(ctx, credential.GrantID(s.format.GrantName(token)))
	if err != nil || grant.ClientID != c.ID {
		return ignoreNotFound(err)
	}
	reqevent.FromContext(ctx).UserID = grant.UserID
	return ignoreNotFound(s.store.RevokeGrant(ctx, grant.ID, "revoked_by_client", audit.Event{
		ClientID: c.ID, UserID: grant.UserID, Token: audit.TokenReference(token),
	}))
}

// ignoreNotFound returns nil for an unknown token, which needs no revocation, and 503 for a storage fault.
func ignoreNotFound(err error) error {
	if err == nil || errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return protocol.UnavailableError(err)
}
