package oauth

import (
	"context"
	"maps"
	"slices"

	"gatehouse/storage"
)

// Permission is one thing that an authorization request asks the user to allow.
type Permission struct {
	Name      string   // a scope, or "claim:NAME" for a claim requested by name; empty: access to the API itself
	Resources []string // the identifiers of the APIs that it is for (RFC 8707); empty: none
	Optional  bool     // the user may refuse it and allow the rest
}

// words returns the permission as a consent stores it.
func (p Permission) words() storage.Strings {
	if len(p.Resources) == 0 {
		return storage.Strings{storage.ResourceScope("", p.Name)}
	}
	out := make(storage.Strings, 0, len(p.Resources))
	for _, identifier := range p.Resources {
		out = append(out, storage.ResourceScope(identifier, p.Name))
	}
	return out
}

// allowedBy reports whether the consent covers the permission at every API that it is for.
func (p Permission) allowedBy(c *storage.Consent) bool {
	return c != nil && !slices.ContainsFunc(p.words(), func(w string) bool { return !c.ResourceScopes.Has(w) })
}

// refusedBy reports whether the user has refused the permission and not allowed it since. What is no longer optional
// cannot have been refused.
func (p Permission) refusedBy(c *storage.Consent) bool {
	return c != nil && p.Optional && !p.allowedBy(c) &&
		!slices.ContainsFunc(p.words(), func(w string) bool { return !c.ResourceScopes.Has(w) && !c.Refused.Has(w) })
}

// resolvePermissions decides which APIs the requested scopes are for, by the rules of audience, and what the user is asked
// to allow.
func (s *Server) resolvePermissions(ctx context.Context, a *Authorization) error {
	known, err := s.store.Resources(ctx)
	if err != nil {
		return unavailable(err)
	}
	identifiers := slices.Sorted(maps.Keys(known))
	meant := slices.Sorted(slices.Values(a.Resources)) // what the token is for
	for _, identifier := range identifiers {
		if r := known[identifier]; len(a.Resources) == 0 && permitted(a.Client, r) && slices.ContainsFunc(a.Scopes, r.Scopes.Has) {
			meant = append(meant, identifier)
		}
	}
	required := map[string]bool{} // resources that a required scope is for
	for _, name := range a.Scopes {
		p := Permission{Name: name, Optional: a.Client.OptionalScopes.Has(name)}
		owned := false
		for _, identifier := range identifiers {
			if !known[identifier].Scopes.Has(name) {
				continue
			}
			owned = true
			if slices.Contains(meant, identifier) {
				p.Resources = append(p.Resources, identifier)
			}
		}
		if !owned && !slices.Contains(StandardScopes, name) {
			p.Resources = meant // every API that gets the token sees it
		}
		for _, identifier := range p.Resources {
			required[identifier] = required[identifier] || !p.Optional
		}
		a.Permissions = append(a.Permissions, p)
	}
	for _, word := range a.Claims {
		a.Permissions = append(a.Permissions, Permission{Name: word, Optional: OptionalClaim(a.Client, word)})
	}
	for _, identifier := range slices.Sorted(slices.Values(a.Resources)) {
		if !required[identifier] { // the token is for that API also when the user refuses all that is optional
			a.Permissions = append(a.Permissions, Permission{Resources: []string{identifier}})
		}
	}
	return nil
}

// stale reports whether the user allowed the client under another description, so that nothing counts as allowed.
func (a *Authorization) stale(c *storage.Consent) bool {
	return c != nil && a.Client.DescribedAt != nil && c.UpdatedAt.Before(*a.Client.DescribedAt)
}

// Allowed reports whether the user has allowed the permission to the client as it describes itself now.
func (a *Authorization) Allowed(p Permission, c *storage.Consent) bool {
	return !a.stale(c) && p.allowedBy(c)
}

// Refused reports whether the user has refused the permission at one of its APIs, whatever it is now.
func (a *Authorization) Refused(p Permission, c *storage.Consent) bool {
	return c != nil && slices.ContainsFunc(p.words(), c.Refused.Has)
}

// Selected reports whether an optional permission starts ticked on the consent page: as the user left it the last time, or
// as the operator set for the client.
func (a *Authorization) Selected(p Permission, c *storage.Consent) bool {
	switch {
	case a.Allowed(p, c):
		return true
	case a.Refused(p, c):
		return false
	}
	return a.Client.SelectsOptionalScopes()
}

// RefusedBefore returns the names of the optional permissions that the user has refused and not allowed since.
func (a *Authorization) RefusedBefore(c *storage.Consent) []string {
	var out []string
	for _, p := range a.Permissions {
		if p.refusedBy(c) {
			out = append(out, p.Name)
		}
	}
	return out
}
