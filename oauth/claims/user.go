package claims

import (
	"slices"
	"strings"

	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// standardClaim is a claim about a user (OIDC Core §5.1) with the scope that contains it (§5.4).
type standardClaim struct {
	name, scope string
	value       func(u *storage.User) any // nil when the user has none
}

var standardClaims = []standardClaim{
	{"name", protocol.ScopeProfile, func(u *storage.User) any { return stringClaim(u.Name) }},
	{"given_name", protocol.ScopeProfile, func(u *storage.User) any { return stringClaim(u.Profile.GivenName) }},
	{"family_name", protocol.ScopeProfile, func(u *storage.User) any { return stringClaim(u.Profile.FamilyName) }},
	{"middle_name", protocol.ScopeProfile, func(u *storage.User) any { return stringClaim(u.Profile.MiddleName) }},
	{"nickname", protocol.ScopeProfile, func(u *storage.User) any { return stringClaim(u.Profile.Nickname) }},
	{"preferred_username", protocol.ScopeProfile, func(u *storage.User) any { return stringClaim(u.Username) }},
	{"profile", protocol.ScopeProfile, func(u *storage.User) any { return stringClaim(u.Profile.Profile) }},
	{"picture", protocol.ScopeProfile, func(u *storage.User) any { return stringClaim(u.Profile.Picture) }},
	{"website", protocol.ScopeProfile, func(u *storage.User) any { return stringClaim(u.Profile.Website) }},
	{"gender", protocol.ScopeProfile, func(u *storage.User) any { return stringClaim(u.Profile.Gender) }},
	{"birthdate", protocol.ScopeProfile, func(u *storage.User) any { return stringClaim(u.Profile.Birthdate) }},
	{"zoneinfo", protocol.ScopeProfile, func(u *storage.User) any { return stringClaim(u.Profile.Zoneinfo) }},
	{"locale", protocol.ScopeProfile, func(u *storage.User) any { return stringClaim(u.Profile.Locale) }},
	{"updated_at", protocol.ScopeProfile, func(u *storage.User) any { return u.UpdatedAt.Unix() }},
	{"email", protocol.ScopeEmail, func(u *storage.User) any { return stringClaim(u.Email) }},
	{"email_verified", protocol.ScopeEmail, func(u *storage.User) any { return u.EmailVerifiedAt != nil }},
	{"address", protocol.ScopeAddress, addressOf},
	{"phone_number", protocol.ScopePhone, func(u *storage.User) any { return stringClaim(u.Profile.PhoneNumber) }},
	{"phone_number_verified", protocol.ScopePhone, func(u *storage.User) any {
		if u.Profile.PhoneNumber == "" {
			return nil
		}
		return u.PhoneVerifiedAt != nil
	}},
}

func stringClaim(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// addressClaim is the address with the lines of a mailing label (OIDC Core §5.1.1).
type addressClaim struct {
	Formatted string `json:"formatted"`
	storage.Address
}

func addressOf(u *storage.User) any {
	a := u.Profile.Address
	if a == (storage.Address{}) {
		return nil
	}
	var lines []string
	for _, line := range []string{a.Street, strings.TrimSpace(a.PostalCode + " " + a.Locality), a.Region, a.Country} {
		if line != "" {
			lines = append(lines, line)
		}
	}
	return addressClaim{strings.Join(lines, "\n"), a}
}

// Names returns the names of the claims about a user.
func Names() []string {
	out := make([]string, 0, len(standardClaims))
	for _, c := range standardClaims {
		out = append(out, c.name)
	}
	return out
}

// userClaims returns the claims of the token's scopes and those that were granted by name. If the grant includes the
// scope of a claim, the token needs that scope too, or a narrowed token would disclose more than its scopes.
func userClaims(u *storage.User, scopes, granted []string, requested map[string]*requestedClaim) map[string]any {
	out := map[string]any{}
	for _, s := range standardClaims {
		r, byName := requested[s.name]
		if !slices.Contains(scopes, s.scope) && (!byName || slices.Contains(granted, s.scope)) {
			continue
		}
		if v := s.value(u); v != nil && r.accepts(v) {
			out[s.name] = v
		}
	}
	return out
}
