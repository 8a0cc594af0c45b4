// Package protocol has what every OAuth and OpenID Connect endpoint of the server shares: the error with its codes,
// status and response, JSON documents, bearer tokens, and the names of the standard scopes. What an
// endpoint accepts, and which error it returns, is decided by the endpoint.
package protocol

import "slices"

// The scopes that have a meaning to the server itself.
const (
	ScopeOpenID        = "openid" // makes a request one of OpenID Connect (OIDC Core §3.1.2.1)
	ScopeProfile       = "profile"
	ScopeEmail         = "email"
	ScopeAddress       = "address"
	ScopePhone         = "phone"
	ScopeGroups        = "groups"         // the groups of the user; not of OpenID Connect, but many clients request it
	ScopeOfflineAccess = "offline_access" // lets a grant outlive its browser session (OIDC Core §11)
)

// ClaimPrefix is the start of what a consent stores for a claim that was requested by name. No scope begins with it.
const ClaimPrefix = "claim:"

// StandardScopes returns the scopes of OpenID Connect and groups. They cannot be deleted.
func StandardScopes() []string {
	return []string{ScopeOpenID, ScopeProfile, ScopeEmail, ScopeAddress, ScopePhone, ScopeGroups, ScopeOfflineAccess}
}

// IsStandardScope reports whether name is one of StandardScopes.
func IsStandardScope(name string) bool { return slices.Contains(StandardScopes(), name) }
