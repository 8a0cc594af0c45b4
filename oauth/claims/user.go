package claims

import (
	"slices"
	"strings"

	"gatehouse/storage"
)

// standardClaim is a claim about a user (OIDC Core §5.1) with the scope that contains it (§5.4).
type standardClaim struct {
	name, scope string
	value       func(u *storage.User) any // nil when the user has none
}

var standardClaims = []standardClaim{
	{"name", "profile", func(u *storage.User) any { return textClaim(u.Name) }},
	{"given_name", "profile", func(u *storage.User) any { return textClaim(u.Profile.GivenName) }},
	{"family_name", "profile", func(u *storage.User) any { return textClaim(u.Profile.FamilyName) }},
	{"middle_name", "profile", func(u *storage.User) any { return textClaim(u.Profile.MiddleName) }},
	{"nickname", "profile", func(u *storage.User) any { return textClaim(u.Profile.Nickname) }},
	{"preferred_username", "profile", func(u *storage.User) any { return textClaim(u.Username) }},
	{"profile", "profile", func(u *storage.User) any { return textClaim(u.Profile.Profile) }},
	{"picture", "profile", func(u *storage.User) any { return textClaim(u.Profile.Picture) }},
	{"website", "profile", func(u *storage.User) any { return textClaim(u.Profile.Website) }},
	{"gender", "profile", func(u *storage.User) any { return textClaim(u.Profile.Gender) }},
	{"birthdate", "profile", func(u *storage.User) any { return textClaim(u.Profile.Birthdate) }},
	{"zoneinfo", "profile", func(u *storage.User) any { return textClaim(u.Profile.Zoneinfo) }},
	{"locale", "profile", func(u *storage.User) any { return textClaim(u.Profile.Locale) }},
	{"updated_at", "profile", func(u *storage.User) any { return u.UpdatedAt.Unix() }},
	{"email", "email", func(u *storage.User) any { return textClaim(u.Email) }},
	{"email_verified", "email", func(u *storage.User) any { return u.EmailVerifiedAt != nil }},
	{"address", "address", addressOf},
	{"phone_number", "phone", func(u *storage.User) any { return textClaim(u.Profile.PhoneNumber) }},
	{"phone_number_verified", "phone", func(u *storage.User) any {
		if u.Profile.PhoneNumber == "" {
			return nil
		}
		return u.PhoneVerifiedAt != nil
	}},
}

func textClaim(s string) any {
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
