package client

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// Scopes returns the scopes of a scope parameter, each once, or the client's default when the parameter is
// absent. It returns invalid_scope unless every scope exists and is registered for the client (RFC 6749 §3.3).
func (g *Registry) Scopes(ctx context.Context, c *storage.Client, parameter string) ([]string, error) {
	scopes, err := g.store.Scopes(ctx)
	if err != nil {
		return nil, protocol.UnavailableError(err)
	}
	var requested []string
	if parameter == "" {
		for _, name := range defaultScopes(c) {
			if _, ok := scopes[name]; ok && c.Scopes.Has(name) {
				requested = append(requested, name)
			}
		}
		return requested, nil
	}
	for name := range strings.SplitSeq(parameter, " ") {
		if name == "" || slices.Contains(requested, name) {
			continue
		}
		if _, ok := scopes[name]; !ok {
			return nil, protocol.NewError(protocol.InvalidScope, "scope "+params.Sanitize(name)+" does not exist.")
		}
		if !c.Scopes.Has(name) {
			return nil, protocol.NewError(
				protocol.InvalidScope, "scope "+params.Sanitize(name)+" is not registered for this client.",
			)
		}
		requested = append(requested, name)
	}
	return requested, nil
}

func defaultScopes(c *storage.Client) []string {
	if c.DefaultScopes != nil {
		return *c.DefaultScopes
	}
	return slices.DeleteFunc(slices.Clone(c.Scopes), func(name string) bool { return name == protocol.ScopeOfflineAccess })
}

// Resources returns the resource parameters of a request, each once (RFC 8707 §2). It returns invalid_target
// unless each is an absolute URI without fragment, registered, and one that the client can use.
func (g *Registry) Resources(ctx context.Context, c *storage.Client, requested []string) ([]string, error) {
	if len(requested) == 0 {
		return nil, nil
	}
	resources, err := g.store.Resources(ctx)
	if err != nil {
		return nil, protocol.UnavailableError(err)
	}
	var out []string
	for _, identifier := range requested {
		if u, err := url.Parse(identifier); err != nil || !u.IsAbs() || strings.Contains(identifier, "#") {
			return nil, protocol.NewError(
				protocol.InvalidTarget, "resource "+params.Sanitize(identifier)+" must be an absolute URI without a fragment.",
			)
		}
		r, ok := resources[identifier]
		if !ok {
			return nil, protocol.NewError(protocol.InvalidTarget, "resource "+params.Sanitize(identifier)+" is not registered.")
		}
		if !CanUseResource(c, r) {
			return nil, protocol.NewError(
				protocol.InvalidTarget, "resource "+params.Sanitize(identifier)+" is not allowed for this client.",
			)
		}
		if !slices.Contains(out, identifier) {
			out = append(out, identifier)
		}
	}
	return out, nil
}

// CanUseResource reports whether the client may request the resource: it is on the client's list or, if there is none,
// the client has one of its scopes or names it as its audience.
func CanUseResource(c *storage.Client, r storage.Resource) bool {
	if c.Resources != nil {
		return c.Resources.Has(r.Identifier)
	}
	return c.Audience.Has(r.Identifier) || slices.ContainsFunc(r.Scopes, c.Scopes.Has)
}

// Audience returns the aud of a token: the requested resources; otherwise those of its scopes; otherwise the client's
// own audience; otherwise the issuer. If resources are requested, scopes that belong only to others are left out of the
// token. It returns invalid_scope if none remains.
func (g *Registry) Audience(
	ctx context.Context, c *storage.Client, requested, scopes []string,
) (aud, remaining []string, err error) {
	resources, err := g.store.Resources(ctx)
	if err != nil {
		return nil, nil, protocol.UnavailableError(err)
	}
	if len(requested) > 0 {
		remaining = scopesOf(requested, scopes, resources)
		if len(remaining) == 0 && len(scopes) > 0 {
			return nil, nil, protocol.NewError(protocol.InvalidScope, "None of the scopes belongs to a requested resource.")
		}
		return requested, remaining, nil
	}
	for _, r := range resources {
		if CanUseResource(c, r) && slices.ContainsFunc(scopes, r.Scopes.Has) {
			aud = append(aud, r.Identifier)
		}
	}
	slices.Sort(aud)
	switch {
	case len(aud) > 0:
	case len(c.Audience) > 0:
		aud = c.Audience
	default:
		aud = []string{g.options.Issuer}
	}
	return aud, scopes, nil
}

// scopesOf returns the scopes that belong to one of the requested resources or to no resource.
func scopesOf(requested, scopes []string, resources map[string]storage.Resource) (out []string) {
	for _, name := range scopes {
		hasResource, isRequested := false, false
		for _, r := range resources {
			if r.Scopes.Has(name) {
				hasResource, isRequested = true, isRequested || slices.Contains(requested, r.Identifier)
			}
		}
		if !hasResource || isRequested {
			out = append(out, name)
		}
	}
	return out
}
