package logout

import (
	"context"
	"net/url"
	"time"

	"github.com/google/uuid"

	"gatehouse/oauth/jwt"
	"gatehouse/storage"
)

const (
	tokenTTL = 2 * time.Minute
	event    = "http://schemas.openid.net/event/backchannel-logout"
)

// logoutToken is the payload of a logout token (OIDC Back-Channel Logout §2.4).
type logoutToken struct {
	Issuer   string              `json:"iss"`
	Subject  string              `json:"sub"`
	Audience string              `json:"aud"`
	IssuedAt int64               `json:"iat"`
	Expires  int64               `json:"exp"`
	JTI      string              `json:"jti"`
	Events   map[string]struct{} `json:"events"`
	SID      string              `json:"sid"`
}

// Message returns the URL and the form that report an ended session to the client (OIDC Back-Channel Logout §2.5), with
// a new logout token for each attempt. The URL is empty when the client does not accept logout tokens.
func (p *Provider) Message(ctx context.Context, c *storage.Client, d storage.Delivery) (string, url.Values, error) {
	if c.BackchannelLogoutURI == "" {
		return "", nil, nil
	}
	now := p.store.Now()
	token, err := p.keyring.SignJWT(ctx, c.IDTokenAlg, jwt.TypeLogout, logoutToken{
		Issuer: p.issuer, Subject: p.claims.Subject(c, d.UserID), Audience: c.ID,
		IssuedAt: now.Unix(), Expires: now.Add(tokenTTL).Unix(), JTI: uuid.NewString(),
		Events: map[string]struct{}{event: {}}, SID: p.claims.SessionID(c, d.SessionID),
	})
	return c.BackchannelLogoutURI, url.Values{"logout_token": {token}}, err
}
