package claims

import (
	"context"
	"slices"
	"strings"

	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// userData is what claims about a user are made from.
type userData struct {
	*storage.User
	groups []string // that the client gets
}

// standardClaim is a claim about a user (OIDC Core §5.1, and groups) with the scope that contains it (§5.4).
type standardClaim struct {
	name, scope string
	value       func(u *userData) any // nil when the user has none
}

var standardClaims = []standardClaim{
	{"name", protocol.ScopeProfile, func(u *userData) any { return stringClaim(u.Name) }},
	{"given_name", protocol.ScopeProfile, func(u *userData) any { return stringClaim(u.Profile.GivenName) }},
	{"family_name", protocol.ScopeProfile, func(u *userData) any { return stringClaim(u.Profile.FamilyName) }},
	{"middle_name", protocol.ScopeProfile, func(u *userData) any { return stringClaim(u.Profile.MiddleName) }},
	{"nickname", protocol.ScopeProfile, func(u *userData) any { return stringClaim(u.Profile.Nickname) }},
	{"preferred_username", protocol.ScopeProfile, func(u *userData) any { return stringClaim(u.Username) }},
	{"profile", protocol.ScopeProfile, func(u *userData) any { return stringClaim(u.Profile.Profile) }},
	{"picture", protocol.ScopeProfile, func(u *userData) any { return stringClaim(u.Profile.Picture) }},
	{"website", protocol.ScopeProfile, func(u *userData) any { return stringClaim(u.Profile.Website) }},
	{"gender", protocol.ScopeProfile, func(u *userData) any { return stringClaim(u.Profile.Gender) }},
	{"birthdate", protocol.ScopeProfile, func(u *userData) any { return stringClaim(u.Profile.Birthdate) }},
	{"zoneinfo", protocol.ScopeProfile, func(u *userData) any { return stringClaim(u.Profile.Zoneinfo) }},
	{"locale", protocol.ScopeProfile, func(u *userData) any { return stringClaim(u.Profile.Locale) }},
	{"updated_at", protocol.ScopeProfile, func(u *userData) any { return u.UpdatedAt.Unix() }},
	{"email", protocol.ScopeEmail, func(u *userData) any { return stringClaim(u.Email) }},
	{"email_verified", protocol.ScopeEmail, func(u *userData) any { return u.EmailVerifiedAt != nil }},
	{"address", protocol.ScopeAddress, addressOf},
	{"phone_number", protocol.ScopePhone, func(u *userData) any { return stringClaim(u.Profile.PhoneNumber) }},
	{"phone_number_verified", protocol.ScopePhone, func(u *userData) any {
		if u.Profile.PhoneNumber == "" {
			return nil
		}
		return u.PhoneVerifiedAt != nil
	}},
	{groupsClaim, protocol.ScopeGroups, func(u *userData) any { return u.groups }},
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

func addressOf(u *userData) any {
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

// userClaims returns the claims of the token's scopes and those that were granted by name. It reads the groups only if
// they are among them.
func (p *Provider) userClaims(
	ctx context.Context, c *storage.Client, u *storage.User, scopes, granted []string,
	requested map[string]*requestedClaim,
) (map[string]any, error) {
	data := &userData{User: u}
	if discloses(groupsClaim, protocol.ScopeGroups, scopes, granted, requested) {
		var err error
		if data.groups, err = p.groups(ctx, c, u.ID); err != nil {
			return nil, err
		}
	}
	out := selectClaims(data, scopes, granted, requested)
	if err := p.addAttributes(ctx, out, c, u, scopes, requested); err != nil {
		return nil, err
	}
	renameGroups(c, out)
	return out, nil
}

// selectClaims returns the claims that discloses selects and that the user has.
func selectClaims(u *userData, scopes, granted []string, requested map[string]*requestedClaim) map[string]any {
	out := map[string]any{}
	for _, s := range standardClaims {
		if !discloses(s.name, s.scope, scopes, granted, requested) {
			continue
		}
		// Groups are never left out because of a requested value: the client would keep those that it stored before.
		if v := s.value(u); v != nil && (s.name == groupsClaim || requested[s.name].accepts(v)) {
			out[s.name] = v
		}
	}
	return out
}

// discloses reports whether a claim is in a scope of the token, or was granted by name. If the grant includes the scope
// of the claim, the token needs that scope too, or a narrowed token would disclose more than its scopes.
func discloses(name, scope string, scopes, granted []string, requested map[string]*requestedClaim) bool {
	_, byName := requested[name]
	return slices.Contains(scopes, scope) || byName && !slices.Contains(granted, scope)
}
