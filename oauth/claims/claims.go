// Package claims provides what clients receive about users: subjects, the claims parameter, ID tokens, id_token_hint
// and the userinfo endpoint. It decides which claims a token with given scopes discloses; whether the user consented is
// decided before, by the permissions that a grant stores.
package claims

import (
	"encoding/base64"
	"log/slog"
	"time"

	"gatehouse/keyed"
	"gatehouse/oauth/keyring"
	"gatehouse/storage"
)

// Provider discloses claims about the users of one store.
type Provider struct {
	store   *storage.Store
	keyring *keyring.Keyring
	options Options
}

// Options are the settings of a Provider.
type Options struct {
	Issuer     string
	IDTokenTTL time.Duration
	// The keys of pairwise subjects and of the sid of browser sessions. Neither may change: clients store what is derived
	// from them.
	PairwiseKey, SessionIDKey []byte
	Log                       *slog.Logger
}

// New returns the provider of a store, which signs with the keyring.
func New(store *storage.Store, keys *keyring.Keyring, o Options) *Provider {
	return &Provider{store: store, keyring: keys, options: o}
}

// Subject returns the subject of a user at the client: the user's ID or, with pairwise subjects, a value for the
// client's sector alone (OIDC Core §8.1), which never changes.
func (p *Provider) Subject(c *storage.Client, userID string) string {
	if !c.IsPairwise() {
		return userID
	}
	return base64.RawURLEncoding.EncodeToString(keyed.MAC(p.options.PairwiseKey, c.Sector, userID))
}

// SessionID returns the sid of a browser session at the client. Each client gets a different one, so that two clients
// cannot find out by it that they have the same user.
func (p *Provider) SessionID(c *storage.Client, sessionID string) string {
	return base64.RawURLEncoding.EncodeToString(keyed.MAC(p.options.SessionIDKey, c.ID, sessionID)[:16])
}
