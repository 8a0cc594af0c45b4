package protocol

import (
	"slices"
	"strings"
)

// IsReservedClaim reports whether a claim has a meaning of its own in a token, at userinfo or at introspection, so that
// no claim with a configurable name can have its name. Its case does not matter, because some libraries ignore it.
func IsReservedClaim(name string) bool {
	return slices.Contains([]string{
		// JWT (RFC 7519 §4.1) and its extensions
		"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "cnf", "act", "may_act", "events", "toe", "txn", "sub_id",
		// OIDC Core §2, §3.3.2.11, §5.6.2, §7.4, and OpenID Connect logout
		"azp", "nonce", "auth_time", "acr", "amr", "at_hash", "c_hash", "s_hash", "sid", "sub_jwk",
		"_claim_names", "_claim_sources",
		// access tokens (RFC 9068 §2.2) and introspection (RFC 7662 §2.2)
		"client_id", "scope", "gid", "cep", "active", "username", "token_type", "authorization_details",
		// the user (OIDC Core §5.1)
		"name", "given_name", "family_name", "middle_name", "nickname", "preferred_username", "profile", "picture",
		"website", "email", "email_verified", "gender", "birthdate", "zoneinfo", "locale", "phone_number",
		"phone_number_verified", "address", "updated_at",
	}, strings.ToLower(name))
}

// IsReservedAttribute reports whether no attribute of users can be the claim: one of IsReservedClaim, or one by which
// clients and APIs authorize users (RFC 9068 §2.2.3.1).
func IsReservedAttribute(claim string) bool {
	return IsReservedClaim(claim) || slices.Contains([]string{"groups", "roles", "entitlements"}, strings.ToLower(claim))
}
