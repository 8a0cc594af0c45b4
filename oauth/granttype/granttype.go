// Package granttype has the grant types of the token endpoint and what distinguishes them. Metadata, registration, the
// parsing of requests and the expiry of clients read it; what a grant type does is decided by package grant.
package granttype

import "slices"

// The supported grant types.
const (
	AuthorizationCode = "authorization_code"
	RefreshToken      = "refresh_token"
	ClientCredentials = "client_credentials"
)

var types = []struct {
	name             string
	startsGrant      bool // of a user; such a grant can have refresh tokens
	operatorOnly     bool // a client that registers itself cannot use it; a client that may use it does not expire
	confidentialOnly bool // a public client cannot use it
	// parameters of the token request with a credential as value, which must not be in a URL
	credentials []string
}{
	{name: AuthorizationCode, startsGrant: true, credentials: []string{"code", "code_verifier"}},
	{name: RefreshToken, credentials: []string{"refresh_token"}},
	{name: ClientCredentials, operatorOnly: true, confidentialOnly: true},
}

// All returns the supported grant types.
func All() []string {
	out := make([]string, 0, len(types))
	for _, t := range types {
		out = append(out, t.name)
	}
	return out
}

// IsSupported reports whether the token endpoint has the grant type.
func IsSupported(name string) bool {
	for _, t := range types {
		if t.name == name {
			return true
		}
	}
	return false
}

// OfUsers returns the grant types that start the grant of a user, which can have refresh tokens.
func OfUsers() []string {
	var out []string
	for _, t := range types {
		if t.startsGrant {
			out = append(out, t.name)
		}
	}
	return out
}

// HasUsers reports whether a client with these grant types gets tokens for users.
func HasUsers(grantTypes []string) bool {
	return slices.ContainsFunc(grantTypes, func(g string) bool { return slices.Contains(OfUsers(), g) })
}

// OperatorOnly returns the grant types that only the operator can allow a client. A client with one of them does not
// expire when it is unused.
func OperatorOnly() []string {
	var out []string
	for _, t := range types {
		if t.operatorOnly {
			out = append(out, t.name)
		}
	}
	return out
}

// ConfidentialOnly returns the grant types that a public client cannot use.
func ConfidentialOnly() []string {
	var out []string
	for _, t := range types {
		if t.confidentialOnly {
			out = append(out, t.name)
		}
	}
	return out
}

// Credentials returns the parameters of all grant types that have a credential as value.
func Credentials() []string {
	var out []string
	for _, t := range types {
		out = append(out, t.credentials...)
	}
	return out
}
