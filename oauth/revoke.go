package oauth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/ory/fosite"

	"gatehouse/oauth/accesstoken"
	"gatehouse/oauth/credential"
	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

// Revoke serves POST /oauth2/revoke (RFC 7009 §2). Revoking a refresh token ends its grant with every access token under
// it; revoking an access token ends that token alone. An unknown token, or another client's, is answered 200 and nothing
// happens (§2.2).
func (s *Server) Revoke(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Form(r)
	if err != nil {
		return err
	}
	if err := params.CheckListLengths(form); err != nil {
		return err
	}
	if form.Get("token") == "" {
		// Who asks comes first: 401 is told before 400.
		if _, err := s.provider.AuthenticateClient(r.Context(), withForm(r, form), form); err != nil {
			return err
		}
		return protocol.NewError(protocol.InvalidRequest, "The parameter token is missing.")
	}
	if err := s.provider.NewRevocationRequest(r.Context(), withForm(r, fositeParameters(form))); err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

// revoker is fosite's revocation handler for both kinds of token.
type revoker struct{ *Server }

// RevokeToken tells the kinds apart by their form, so a wrong token_type_hint never matters.
func (h revoker) RevokeToken(ctx context.Context, token string, _ fosite.TokenType, client fosite.Client) error {
	c, ok := client.(fositeClient)
	if !ok {
		return errNotUsed
	}
	clientID := c.ID
	if err := protocol.LimitError(h.options.Limiter.Count(ctx, ratelimit.Count{Limit: ratelimit.Revocation, Key: clientLimitKey(ctx, c.Client)}), "Too many revocations. Wait, and send each token once."); err != nil {
		return err
	}
	if h.format.Valid(credential.RefreshToken, token) {
		grant, err := h.store.Grant(ctx, credential.GrantID(h.format.GrantName(token)))
		if err == nil && grant.ClientID == clientID {
			reqevent.From(ctx).UserID = grant.UserID
			err = h.store.RevokeGrant(ctx, grant.ID, "revoked_by_client", storage.Event{Type: storage.GrantRevoked, ClientID: clientID, UserID: grant.UserID, Token: storage.TokenReference(token)})
		}
		return ignoreNotFound(err)
	}
	// The times are not checked: a process with a wrong clock must not respond 200 and leave the token active
	// elsewhere.
	claims, err := h.Keyring.ParseAccessToken(ctx, token)
	if errors.Is(err, accesstoken.ErrInvalid) {
		return nil
	}
	if err != nil || claims.ClientID != clientID {
		return err
	}
	expires := time.Unix(claims.ExpiresAt, 0)
	if h.store.Now().Sub(expires) >= storage.RevokedRetention {
		return nil // expired by every clock; its row would be deleted immediately
	}
	event := storage.Event{Type: storage.TokenRevoked, ClientID: clientID, GrantID: claims.GrantID, Scopes: claims.Scope, Token: storage.TokenReference(token)}
	if claims.GrantID != "" {
		grant, err := h.store.Grant(ctx, claims.GrantID)
		if err != nil {
			return ignoreNotFound(err)
		}
		event.UserID = grant.UserID
		reqevent.From(ctx).UserID = grant.UserID
	}
	return ignoreNotFound(h.store.RevokeToken(ctx, storage.RevokedToken{JTI: claims.JTI, ExpiresAt: expires}, event))
}

// ignoreNotFound turns a storage fault into 503 and an unknown token into success.
func ignoreNotFound(err error) error {
	if err == nil || errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return protocol.Unavailable(err)
}
