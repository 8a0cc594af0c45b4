package oauth

import (
	"context"
	"maps"
	"slices"

	"gatehouse/oauth/claims"
	"gatehouse/oauth/client"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// Permission is an item of an authorization request that the user is prompted to allow.
type Permission struct {
	Name      string   // a scope, or "claim:NAME" for a claim requested by name; empty: access to the API itself
	Resources []string // the identifiers of the APIs that it is for (RFC 8707); empty: none
	Optional  bool     // the user may refuse it and allow the rest
}

// consentValues returns the permission as a consent stores it.
func (p Permission) consentValues() storage.Strings {
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
	return c != nil && !slices.ContainsFunc(p.consentValues(), func(v string) bool { return !c.ResourceScopes.Has(v) })
}

// refusedBy reports whether the user refused the permission and has not allowed it since. It is false for a permission
// that is no longer optional.
func (p Permission) refusedBy(c *storage.Consent) bool {
	return c != nil && p.Optional && !p.allowedBy(c) &&
		!slices.ContainsFunc(p.consentValues(), func(v string) bool { return !c.ResourceScopes.Has(v) && !c.Refused.Has(v) })
}

// intendedResources returns the identifiers of the resources that the token is for, sorted: those of the request, or
// without any those that have one of the scopes.
func intendedResources(a *AuthorizationRequest, resources map[string]storage.Resource) []string {
	intended := slices.Sorted(slices.Values(a.Resources))
	for _, identifier := range slices.Sorted(maps.Keys(resources)) {
		if r := resources[identifier]; len(a.Resources) == 0 && client.CanUseResource(a.Client, r) &&
			slices.ContainsFunc(a.Scopes, func(name string) bool { return client.HasScopeAt(a.Client, r, name) }) {
			intended = append(intended, identifier)
		}
	}
	return intended
}

// isUserScope reports whether a scope that belongs to no API is about claims of the user, and not about APIs.
func isUserScope(name string, attributes map[string]storage.Attribute) bool {
	for _, a := range attributes {
		if a.Scope == name {
			return true
		}
	}
	return protocol.IsStandardScope(name)
}

// resolvePermissions decides which APIs the requested scopes are for, by the rules of audience, and what the user is
// prompted to allow.
func (s *Server) resolvePermissions(ctx context.Context, a *AuthorizationRequest) error {
	resources, err := s.store.Resources(ctx)
	if err != nil {
		return protocol.UnavailableError(err)
	}
	identifiers := slices.Sorted(maps.Keys(resources))
	intended := intendedResources(a, resources)
	if len(a.Resources) == 0 { // resources that were requested can each get a token
		if err := s.Clients.CheckOneFormat(ctx, intended); err != nil {
			return err
		}
	}
	attributes, err := s.store.Attributes(ctx)
	if err != nil {
		return protocol.UnavailableError(err)
	}
	required := map[string]bool{} // resources that a required scope is for
	for _, name := range a.Scopes {
		p := Permission{Name: name, Optional: a.Client.OptionalScopes.Has(name)}
		owned := false
		for _, identifier := range identifiers {
			if !resources[identifier].Scopes.Has(name) {
				continue
			}
			owned = true
			if slices.Contains(intended, identifier) && client.HasScopeAt(a.Client, resources[identifier], name) {
				p.Resources = append(p.Resources, identifier)
			}
		}
		if !owned && !isUserScope(name, attributes) {
			p.Resources = intended // every API that receives the token sees the scope
		}
		for _, identifier := range p.Resources {
			required[identifier] = required[identifier] || !p.Optional
		}
		a.Permissions = append(a.Permissions, p)
	}
	for _, claim := range a.Claims {
		a.Permissions = append(a.Permissions, Permission{Name: claim, Optional: claims.IsOptional(a.Client, claim)})
	}
	for _, identifier := range slices.Sorted(slices.Values(a.Resources)) {
		_, isResource := resources[identifier]
		isUserinfo := identifier == s.options.Issuer && !isResource // allowed with the scope openid
		// The token is for that API even if the user refuses every optional scope.
		if !required[identifier] && !isUserinfo {
			a.Permissions = append(a.Permissions, Permission{Resources: []string{identifier}})
		}
	}
	if len(a.Resources) == 0 && len(intended) > 0 && a.Client.IsUnverified() {
		// What the user allows, also when another resource is opened later. The token is for userinfo too, as if no
		// resource was stored.
		a.Resources = intended
		if a.isOpenID() {
			a.Resources = append(a.Resources, s.options.Issuer)
		}
	}
	return nil
}

// isStale reports whether the user allowed the client with another description, which invalidates the consent.
func (a *AuthorizationRequest) isStale(c *storage.Consent) bool {
	return c != nil && HasChangedDescription(a.Client, *c)
}

// IsAllowed reports whether the user allowed the permission to the client as it is currently described.
func (a *AuthorizationRequest) IsAllowed(p Permission, c *storage.Consent) bool {
	return !a.isStale(c) && p.allowedBy(c)
}

// WasRefused reports whether the user refused the permission at one of its APIs, even if it is no longer optional.
func (a *AuthorizationRequest) WasRefused(p Permission, c *storage.Consent) bool {
	return c != nil && slices.ContainsFunc(p.consentValues(), c.Refused.Has)
}

// IsSelected reports whether an optional permission is initially selected on the consent page: as the user last left
// it, or as the operator set for the client.
func (a *AuthorizationRequest) IsSelected(p Permission, c *storage.Consent) bool {
	switch {
	case a.IsAllowed(p, c):
		return true
	case a.WasRefused(p, c):
		return false
	}
	return a.Client.SelectsOptionalScopes()
}

// RefusedBefore returns the names of the optional permissions that the user refused and has not allowed since.
func (a *AuthorizationRequest) RefusedBefore(c *storage.Consent) []string {
	var out []string
	for _, p := range a.Permissions {
		if p.refusedBy(c) {
			out = append(out, p.Name)
		}
	}
	return out
}
