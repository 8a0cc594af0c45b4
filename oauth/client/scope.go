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

// Scopes returns the scopes of a scope parameter, each once, or the client's default when the parameter is absent. It
// returns invalid_scope for a scope that does not exist or is not registered for the client (RFC 6749 §3.3).
//
// An unverified client often requests every scope that the metadata lists. What it cannot have is left
// out of its request, and the response lists what was granted; it gets invalid_scope if none remains. offline_access is
// left out for every client that cannot have it.
func (g *Registry) Scopes(
	ctx context.Context, c *storage.Client, parameter string, resources []string,
) ([]string, error) {
	allowed, err := g.allowedScopes(ctx, c)
	if err != nil {
		return nil, err
	}
	if parameter == "" {
		return slices.DeleteFunc(defaultScopes(c, allowed, resources), func(name string) bool {
			return allowed.check(c, name) != ""
		}), nil
	}
	var requested []string
	refused := ""
	for name := range strings.SplitSeq(parameter, " ") {
		if name == "" || slices.Contains(requested, name) {
			continue
		}
		reason := allowed.check(c, name)
		switch {
		case reason == "":
			requested = append(requested, name)
		case name == protocol.ScopeOfflineAccess:
		case !c.IsUnverified():
			return nil, protocol.NewError(protocol.InvalidScope, "scope "+params.Sanitize(name)+reason)
		case refused == "":
			refused = "scope " + params.Sanitize(name) + reason
		}
	}
	if len(requested) == 0 && refused != "" {
		return nil, protocol.NewError(protocol.InvalidScope, refused)
	}
	return requested, nil
}

// allowedScopes are the scopes and resources that exist.
type allowedScopes struct {
	scopes    map[string]storage.Scope
	resources map[string]storage.Resource
}

func (g *Registry) allowedScopes(ctx context.Context, c *storage.Client) (a allowedScopes, err error) {
	if a.scopes, err = g.store.Scopes(ctx); err == nil && c.IsUnverified() {
		a.resources, err = g.store.Resources(ctx)
	}
	if err != nil {
		return a, protocol.UnavailableError(err)
	}
	return a, nil
}

// check returns why the client cannot request a scope, as the end of a sentence, or "".
func (a allowedScopes) check(c *storage.Client, name string) string {
	if _, ok := a.scopes[name]; !ok {
		return " does not exist."
	}
	if !CanHaveScope(c, a.resources, name) {
		return " is not registered for this client."
	}
	return ""
}

// defaultScopes returns the scopes of a request without any: those that the operator set for the client, otherwise all
// that are registered for it except offline_access, and those of the open resources that it requests.
func defaultScopes(c *storage.Client, allowed allowedScopes, resources []string) []string {
	if c.DefaultScopes != nil {
		return slices.Clone(*c.DefaultScopes)
	}
	isOffline := func(name string) bool { return name == protocol.ScopeOfflineAccess }
	scopes := slices.DeleteFunc(slices.Clone(c.Scopes), isOffline)
	for _, identifier := range resources {
		r := allowed.resources[identifier]
		for _, name := range r.Scopes {
			if !c.Scopes.Has(name) && HasScopeAt(c, r, name) && !slices.Contains(scopes, name) {
				scopes = append(scopes, name)
			}
		}
	}
	return scopes
}

// Resources returns the identifiers of the resource parameters of a request as they are registered, each once (RFC 8707
// §2). It returns invalid_target unless each is an absolute URI without fragment, registered, and one that the client
// can use. The issuer is the identifier of userinfo, for clients with openid. Without resource parameters it returns
// the default resource of the client, if it has one.
func (g *Registry) Resources(ctx context.Context, c *storage.Client, requested []string) ([]string, error) {
	if len(requested) == 0 && c.DefaultResource != "" {
		requested = []string{c.DefaultResource}
	}
	if len(requested) == 0 {
		return nil, nil
	}
	resources, err := g.store.Resources(ctx)
	if err != nil {
		return nil, protocol.UnavailableError(err)
	}
	var out []string
	for _, identifier := range requested {
		invalidTarget := func(reason string) error {
			return protocol.NewError(protocol.InvalidTarget, "resource "+params.Sanitize(identifier)+reason)
		}
		if u, err := url.Parse(identifier); err != nil || !u.IsAbs() || strings.Contains(identifier, "#") {
			return nil, invalidTarget(" must be an absolute URI without a fragment.")
		}
		registered, ok := g.registeredResource(resources, identifier)
		switch {
		case !ok:
			return nil, invalidTarget(" is not registered.")
		case registered == g.options.Issuer && c.Scopes.Has(protocol.ScopeOpenID):
		case registered == g.options.Issuer && resources[registered].Identifier == "",
			!CanUseResource(c, resources[registered]):
			return nil, invalidTarget(" is not allowed for this client.")
		}
		if !slices.Contains(out, registered) {
			out = append(out, registered)
		}
	}
	return out, nil
}

// registeredResource returns the identifier of a resource as it is registered. Clients add or omit the slash of an
// empty path (RFC 3986 §6.2.3).
func (g *Registry) registeredResource(
	resources map[string]storage.Resource, identifier string,
) (found string, ok bool) {
	canonical := storage.CanonicalResource(identifier)
	if canonical == storage.CanonicalResource(g.options.Issuer) {
		return g.options.Issuer, true
	}
	if _, ok := resources[identifier]; ok {
		return identifier, true
	}
	for _, r := range resources {
		if r.Canonical == canonical && (found == "" || r.Identifier < found) {
			found = r.Identifier
		}
	}
	return found, found != ""
}

// CanUseResource reports whether the client may request the resource: it is on the client's list or, if there is none,
// the client has one of its scopes, names it as its audience or default, or registered dynamically and the resource is
// open.
func CanUseResource(c *storage.Client, r storage.Resource) bool {
	if c.Resources != nil {
		return c.Resources.Has(r.Identifier)
	}
	isDefault := c.DefaultResource != "" && c.DefaultResource == r.Identifier
	return isDefault || isOpenTo(c, r) || c.Audience.Has(r.Identifier) ||
		slices.ContainsFunc(r.Scopes, c.Scopes.Has)
}

// isOpenTo reports whether the resource is open to the client: it registered dynamically, and the operator did not
// limit it to other resources.
func isOpenTo(c *storage.Client, r storage.Resource) bool {
	return r.OpenToApps && c.IsUnverified() && (c.Resources == nil || c.Resources.Has(r.Identifier))
}

// HasScopeAt reports whether the resource has the scope and the client may have it there. A scope that is not
// registered for the client is one of open resources alone, also when another resource has it. A standard scope is
// always one of the client, because it gives claims about the user, wherever it is used.
func HasScopeAt(c *storage.Client, r storage.Resource, name string) bool {
	return r.Scopes.Has(name) && (c.Scopes.Has(name) || isOpenTo(c, r) && !protocol.IsStandardScope(name))
}

// CanHaveScope reports whether the client may have the scope at all: it is registered for the client, or a resource
// that is open to the client has it.
func CanHaveScope(c *storage.Client, resources map[string]storage.Resource, name string) bool {
	if c.Scopes.Has(name) {
		return true
	}
	for _, r := range resources {
		if HasScopeAt(c, r, name) {
			return true
		}
	}
	return false
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
		remaining = scopesOf(c, requested, scopes, resources)
		if len(remaining) == 0 && len(scopes) > 0 {
			return nil, nil, protocol.NewError(protocol.InvalidScope, "None of the scopes belongs to a requested resource.")
		}
		return requested, remaining, nil
	}
	for _, r := range resources {
		hasScope := func(name string) bool { return HasScopeAt(c, r, name) }
		if CanUseResource(c, r) && slices.ContainsFunc(scopes, hasScope) {
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

// scopesOf returns the scopes that the client may have at one of the requested resources, and those of no resource.
func scopesOf(
	c *storage.Client, requested, scopes []string, resources map[string]storage.Resource,
) (out []string) {
	for _, name := range scopes {
		hasResource, isRequested := false, false
		for _, r := range resources {
			if r.Scopes.Has(name) {
				hasResource = true
				isRequested = isRequested || slices.Contains(requested, r.Identifier) && HasScopeAt(c, r, name)
			}
		}
		if !hasResource || isRequested {
			out = append(out, name)
		}
	}
	return out
}
