package claims

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"gatehouse/oauth/jwt"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// IDTokenClaims returns the names of the claims of ID tokens that are not about the user.
func IDTokenClaims() []string {
	return []string{"iss", "sub", "aud", "azp", "exp", "iat", "auth_time", "nonce", "acr", "amr", "at_hash", "sid"}
}

// idToken has the claims of every ID token (OIDC Core §2). The nonce is empty after a refresh (§12.2).
type idToken struct {
	Issuer          string   `json:"iss"`
	Subject         string   `json:"sub"`
	Audience        string   `json:"aud"`
	AuthorizedParty string   `json:"azp"`
	IssuedAt        int64    `json:"iat"`
	ExpiresAt       int64    `json:"exp"`
	AuthTime        int64    `json:"auth_time"`
	ACR             string   `json:"acr"`
	AMR             []string `json:"amr"`
	SessionID       string   `json:"sid"`
	AccessTokenHash string   `json:"at_hash"`
	Nonce           string   `json:"nonce,omitempty"`
}

// IDToken returns a signed ID token of a grant, with the groups if the token has that scope, with the claims of its
// other scopes if the client is registered for that, and with the claims that were requested for ID tokens. It is bound
// to the access token of the same response.
func (p *Provider) IDToken(
	ctx context.Context, c *storage.Client, g storage.Grant, scopes []string, accessToken string,
) (string, error) {
	now := p.store.Now()
	token := &idToken{
		Issuer: p.options.Issuer, Subject: p.Subject(c, g.UserID), Audience: c.ID, AuthorizedParty: c.ID,
		IssuedAt: now.Unix(), ExpiresAt: now.Add(p.options.IDTokenTTL).Unix(), AuthTime: g.AuthTime.Unix(),
		ACR: g.ACR, AMR: g.AMR, SessionID: p.SessionID(c, g.SessionID),
		AccessTokenHash: jwt.LeftHalfHash(c.IDTokenAlg, accessToken), Nonce: g.Nonce,
	}
	user, err := p.idTokenUserClaims(ctx, c, g, scopes)
	if err != nil {
		return "", err
	}
	if len(user) == 0 {
		return p.keyring.SignJWT(ctx, c.IDTokenAlg, jwt.TypeJWT, token)
	}
	b, err := json.Marshal(token)
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(b, &user); err != nil { // adds the claims of every ID token
		return "", err
	}
	return p.keyring.SignJWT(ctx, c.IDTokenAlg, jwt.TypeJWT, user)
}

// idTokenUserClaims returns the claims about the user in an ID token. It reads the user only if there can be any.
func (p *Provider) idTokenUserClaims(
	ctx context.Context, c *storage.Client, g storage.Grant, scopes []string,
) (map[string]any, error) {
	requested := storedRequest(g.Claims).IDToken
	if !c.IDTokenClaims && len(requested) == 0 && !slices.Contains(scopes, protocol.ScopeGroups) {
		return nil, nil
	}
	u, err := p.store.User(ctx, g.UserID)
	if err != nil {
		return nil, err
	}
	out, err := p.userClaims(ctx, c, &u, scopes, g.Scopes, requested)
	if err != nil {
		return nil, err
	}
	if groups := groupsClaimName(c); !c.IDTokenClaims {
		// Of the claims of the scopes only groups and those that are requested for ID tokens.
		maps.DeleteFunc(out, func(name string, _ any) bool { _, ok := requested[name]; return !ok && name != groups })
	}
	return out, nil
}

// ErrInvalidHint is returned by ParseHint for a token that is no ID token of this server.
var ErrInvalidHint = errors.New("not an ID token of this server")

// Hint is an ID token of this server in id_token_hint, expired or not. It names a user and authenticates nothing.
type Hint struct {
	Issuer    string       `json:"iss"`
	Subject   string       `json:"sub"`
	Audience  jwt.Audience `json:"aud"`
	SessionID string       `json:"sid"`
	ExpiresAt int64        `json:"exp"`
}

// ClientID returns the client that the token was issued to.
func (h Hint) ClientID() string { return h.Audience[0] }

// ParseHint verifies an id_token_hint. It returns ErrInvalidHint for any other token, or one whose key was deleted.
func (p *Provider) ParseHint(ctx context.Context, token string) (Hint, error) {
	t, err := p.keyring.VerifyJWT(ctx, token)
	if errors.Is(err, jwt.ErrInvalid) {
		return Hint{}, ErrInvalidHint
	}
	if err != nil {
		return Hint{}, err
	}
	var h Hint
	if err := json.Unmarshal(t.Payload, &h); err != nil || t.Type != jwt.TypeJWT || h.Issuer != p.options.Issuer ||
		h.Subject == "" || len(h.Audience) != 1 || h.ExpiresAt == 0 { // another kind of token
		return Hint{}, ErrInvalidHint
	}
	return h, nil
}
