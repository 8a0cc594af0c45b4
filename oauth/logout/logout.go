// Package logout decides which session a logout request of a client ends (OIDC RP-Initiated Logout) and builds the
// logout tokens that report an ended session to clients (OIDC Back-Channel Logout). Ending sessions is left to
// identity, sending to notify, and pages to web.
package logout

import (
	"gatehouse/oauth/claims"
	"gatehouse/oauth/client"
	"gatehouse/oauth/keyring"
	"gatehouse/storage"
)

// Provider serves logout requests and builds logout tokens.
type Provider struct {
	issuer  string
	store   *storage.Store
	keyring *keyring.Keyring
	clients *client.Registry
	claims  *claims.Provider
	key     []byte // of sealed requests
}

// New returns a provider for an issuer.
func New(
	issuer string, store *storage.Store, keys *keyring.Keyring, clients *client.Registry, c *claims.Provider, key []byte,
) *Provider {
	return &Provider{
		issuer: issuer, store: store, keyring: keys, clients: clients, claims: c, key: key,
	}
}
