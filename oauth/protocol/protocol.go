// Package protocol has what every OAuth and OpenID Connect endpoint of the server shares: the error with its codes,
// status and response, JSON documents, bearer tokens, and the names of grant types and standard scopes. What an
// endpoint accepts, and which error it returns, is decided by the endpoint.
package protocol

import "slices"

// The grant types.
const (
	GrantAuthorizationCode = "authorization_code"
	GrantRefreshToken      = "refresh_token"
	GrantClientCredentials = "client_credentials"
)

// grantTypes are the supported grant types. Registration, metadata and the token endpoint read what they need here.
var grantTypes = []struct {
	name         string
	startsGrant  bool // of a user; such a grant can have refresh tokens
	operatorOnly bool // a client that registers itself cannot use it
}{
	{name: GrantAuthorizationCode, startsGrant: true},
	{name: GrantRefreshToken},
	{name: GrantClientCredentials, operatorOnly: true},
}

// GrantTypes returns the supported grant types.
func GrantTypes() []string {
	out := make([]string, 0, len(grantTypes))
	for _, g := range grantTypes {
		out = append(out, g.name)
	}
	return out
}

// UserGrantTypes returns the grant types that start the grant of a user, which can have refresh tokens.
func UserGrantTypes() []string {
	var out []string
	for _, g := range grantTypes {
		if g.startsGrant {
			out = append(out, g.name)
		}
	}
	return out
}

// IsOperatorOnly reports whether only clients that the operator registers can use the grant type.
func IsOperatorOnly(grantType string) bool {
	for _, g := range grantTypes {
		if g.name == grantType {
			return g.operatorOnly
		}
	}
	return false
}

// HasUsers reports whether a client with these grant types gets tokens for users.
func HasUsers(grantTypes []string) bool {
	return slices.ContainsFunc(grantTypes, func(g string) bool { return slices.Contains(UserGrantTypes(), g) })
}

// The scopes that have a meaning to the server itself.
const (
	ScopeOpenID        = "openid" // makes a request one of OpenID Connect (OIDC Core §3.1.2.1)
	ScopeProfile       = "profile"
	ScopeEmail         = "email"
	ScopeAddress       = "address"
	ScopePhone         = "phone"
	ScopeOfflineAccess = "offline_access" // lets a grant outlive its browser session (OIDC Core §11)
)

// ClaimPrefix is the start of what a consent stores for a claim that was requested by name. No scope begins with it.
const ClaimPrefix = "claim:"

// StandardScopes returns the scopes of OpenID Connect. They cannot be deleted.
func StandardScopes() []string {
	return []string{ScopeOpenID, ScopeProfile, ScopeEmail, ScopeAddress, ScopePhone, ScopeOfflineAccess}
}

// IsStandardScope reports whether name is one of StandardScopes.
func IsStandardScope(name string) bool { return slices.Contains(StandardScopes(), name) }
