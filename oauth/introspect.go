package oauth

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"gatehouse/oauth/accesstoken"
	"gatehouse/oauth/client"
	"gatehouse/oauth/credential"
	"gatehouse/oauth/protocol"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/reqevent"
)

// introspection is the JSON of an introspection response (RFC 7662 §2.2).
type introspection struct {
	Active    bool     `json:"active"`
	Scope     string   `json:"scope,omitempty"`
	ClientID  string   `json:"client_id,omitempty"`
	Username  string   `json:"username,omitempty"`
	TokenType string   `json:"token_type,omitempty"`
	Exp       int64    `json:"exp,omitempty"`
	Iat       int64    `json:"iat,omitempty"`
	Sub       string   `json:"sub,omitempty"`
	Aud       []string `json:"aud,omitempty"`
	Iss       string   `json:"iss,omitempty"`
	JTI       string   `json:"jti,omitempty"`
	AuthTime  int64    `json:"auth_time,omitempty"`
	ACR       string   `json:"acr,omitempty"`
	AMR       []string `json:"amr,omitempty"`
	Groups    []string `json:"groups,omitzero"`
	Roles     []string `json:"roles,omitzero"`
}

// Introspect serves POST /oauth2/introspect (RFC 7662 §2) for confidential clients. A token that is unknown, expired,
// revoked or not intended for the caller is inactive, and the response has no other member.
func (s *Server) Introspect(w http.ResponseWriter, r *http.Request) error {
	caller, form, err := s.readClientRequest(r)
	if err != nil {
		return err
	}
	count := ratelimit.Count{Limit: ratelimit.Introspection, Key: clientLimitKey(r.Context(), caller)}
	decision := s.options.Limiter.Count(r.Context(), count)
	err = protocol.LimitError(decision,
		"Too many introspection requests. Verify the signature offline, or cache the response for a few seconds.")
	if err != nil {
		return err
	}
	protocol.SetRateLimitHeaders(w.Header(), decision)
	if caller.IsPublic() {
		return protocol.NewError(protocol.InvalidClient, "A public client cannot introspect tokens.").WithClient(caller.ID)
	}
	token := form.Get("token")
	if token == "" {
		return protocol.NewError(protocol.InvalidRequest, "token is missing.")
	}
	response, err := s.introspect(r.Context(), caller, token)
	if err != nil {
		return err
	}
	protocol.WriteJSON(w, http.StatusOK, response)
	return nil
}

// introspect distinguishes the kinds of token by their format, so that a wrong token_type_hint does not matter.
func (s *Server) introspect(ctx context.Context, caller *storage.Client, token string) (introspection, error) {
	if s.format.Valid(credential.RefreshToken, token) {
		return s.introspectRefresh(ctx, caller, token)
	}
	claims, err := s.Keyring.VerifyAccessToken(ctx, token)
	if errors.Is(err, accesstoken.ErrInvalid) {
		return s.inactive(ctx, caller, token, nil, "unknown, forged or expired")
	}
	if err != nil {
		return introspection{}, err
	}
	aud, scope, groups, err := s.visiblePart(ctx, claims, caller)
	if err != nil {
		return introspection{}, err
	}
	if len(aud) == 0 {
		return s.inactive(ctx, caller, token, claims, "not intended for this client")
	}
	ref := storage.TokenRef{
		JTI: claims.JTI, ClientID: claims.ClientID, ClientEpoch: claims.ClientEpoch, GrantID: claims.GrantID,
	}
	username, err := s.store.ActiveToken(ctx, ref)
	if errors.Is(err, storage.ErrNotFound) {
		return s.inactive(ctx, caller, token, claims, s.revokedReason(ctx, claims))
	}
	if err != nil {
		return introspection{}, protocol.UnavailableError(err)
	}
	s.recordTokenUser(ctx, claims)
	if username != "" && !slices.Contains(strings.Fields(claims.Scope), usernameScope) {
		username = ""
	}
	if username, err = s.introspectionUsername(ctx, claims.ClientID, username); err != nil {
		return introspection{}, err
	}
	return introspection{
		Active: true, Scope: scope, ClientID: claims.ClientID, Username: username, TokenType: protocol.Bearer,
		Exp: claims.ExpiresAt, Iat: claims.IssuedAt, Sub: claims.Subject, Aud: aud, Iss: claims.Issuer,
		JTI: claims.JTI, AuthTime: claims.AuthTime, ACR: claims.ACR, AMR: claims.AMR, Groups: groups,
		Roles: claims.Roles, // of the only API in aud
	}, nil
}

// recordTokenUser adds the user of an active access token to the request event. The subject of a pairwise client does
// not identify the user.
func (s *Server) recordTokenUser(ctx context.Context, claims *accesstoken.Claims) {
	if claims.GrantID == "" {
		return
	}
	if c, err := s.store.Client(ctx, claims.ClientID); err == nil && !c.IsPairwise() {
		reqevent.FromContext(ctx).UserID = claims.Subject
	}
}

// inactive returns the response for an inactive token and records the reason, which only the operator sees.
func (s *Server) inactive(
	ctx context.Context, caller *storage.Client, token string, claims *accesstoken.Claims, reason string,
) (introspection, error) {
	event := audit.Event{
		Type: audit.IntrospectionFailed, ClientID: caller.ID, Token: audit.TokenReference(token),
		Detail: map[string]any{"reason": reason},
	}
	if claims != nil {
		event.GrantID = claims.GrantID
		event.Detail["token_client"] = claims.ClientID
	}
	s.recordFailure(ctx, event)
	reqevent.FromContext(ctx).InactiveReason = reason
	return introspection{}, nil
}

// revokedReason returns why a valid access token is not active. It makes additional queries only at the log
// level debug.
func (s *Server) revokedReason(ctx context.Context, claims *accesstoken.Claims) string {
	if !s.options.Log.Enabled(ctx, slog.LevelDebug) {
		return "revoked"
	}
	if claims.GrantID == "" {
		c, err := s.store.Client(ctx, claims.ClientID)
		if cause := client.UnusableCause(c, err); cause != nil {
			return cause.Error()
		}
		return "the token, or all tokens of the client, were revoked"
	}
	var refusal *storage.RefusalError
	if err := s.store.GrantRefusal(ctx, claims.GrantID, claims.ClientID); errors.As(err, &refusal) {
		return refusal.Reason
	}
	return "revoked"
}

// introspectionUsername returns the username, or "" when the token's client has pairwise subjects: a username would let
// it correlate its users with those of other clients (OIDC Core §8.1).
func (s *Server) introspectionUsername(ctx context.Context, clientID, username string) (string, error) {
	if username == "" {
		return "", nil
	}
	c, err := s.store.Client(ctx, clientID)
	if err != nil {
		return "", protocol.UnavailableError(err)
	}
	if c.IsPairwise() {
		return "", nil
	}
	return username, nil
}

// usernameScope is the scope that includes the username (preferred_username, OIDC Core §5.4). Without it, a token does
// not disclose the username to the client or an API (RFC 7662 §4).
const usernameScope = protocol.ScopeProfile

// visiblePart returns the part of the token's aud, scope and groups that the caller may see; without aud the token is
// not intended for the caller. The client that the token was issued to sees everything. An introspector of resources in
// aud sees only those resources, and the groups if one of them gets them. It does not see scopes that belong only to
// others, nor the standard scopes, which are about the claims of this server (RFC 7662 §2.2, §4).
func (s *Server) visiblePart(
	ctx context.Context, claims *accesstoken.Claims, caller *storage.Client,
) (aud []string, scope string, groups []string, err error) {
	if claims.ClientID == caller.ID {
		return claims.Audience, claims.Scope, claims.Groups, nil
	}
	resources, err := s.store.Resources(ctx)
	if err != nil {
		return nil, "", nil, protocol.UnavailableError(err)
	}
	for _, identifier := range claims.Audience {
		if resources[identifier].Introspectors.Has(caller.ID) {
			aud = append(aud, identifier)
			if resources[identifier].GroupsClaim {
				groups = claims.Groups
			}
		}
	}
	if len(aud) == 0 {
		return nil, "", nil, nil
	}
	scopes := slices.DeleteFunc(strings.Fields(claims.Scope), func(name string) bool {
		if slices.ContainsFunc(aud, func(identifier string) bool { return resources[identifier].Scopes.Has(name) }) {
			return false
		}
		if protocol.IsStandardScope(name) {
			return true
		}
		for _, r := range resources {
			if r.Scopes.Has(name) {
				return true
			}
		}
		return false // a scope without a resource may be for any of them
	})
	return aud, strings.Join(scopes, " "), groups, nil
}

// introspectRefresh returns the response for a refresh token, which only its own client may introspect.
func (s *Server) introspectRefresh(ctx context.Context, caller *storage.Client, token string) (introspection, error) {
	grant, username, err := s.store.ActiveGrant(ctx, credential.GrantID(s.format.GrantName(token)))
	if errors.Is(err, storage.ErrNotFound) {
		return s.inactive(ctx, caller, token, nil, "unknown, revoked or expired")
	}
	if err != nil {
		return introspection{}, protocol.UnavailableError(err)
	}
	if grant.ClientID != caller.ID || !slices.Equal(grant.CurrentHash, credential.Hash(token)) ||
		grant.RefreshExpiresAt == nil || !s.store.Now().Before(*grant.RefreshExpiresAt) {
		return s.inactive(ctx, caller, token, nil, "another client's, rotated or expired")
	}
	reqevent.FromContext(ctx).UserID = grant.UserID
	if caller.IsPairwise() || !grant.Scopes.Has(usernameScope) {
		username = ""
	}
	return introspection{
		Active: true, Scope: strings.Join(grant.Scopes, " "), ClientID: grant.ClientID, Username: username,
		TokenType: "refresh_token", Exp: grant.RefreshExpiresAt.Unix(), Iat: grant.CreatedAt.Unix(),
		Sub: s.Claims.Subject(caller, grant.UserID), Iss: s.options.Issuer,
	}, nil
}
