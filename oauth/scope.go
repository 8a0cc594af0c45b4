package oauth

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// scopes returns what a scope parameter asks for, each name once, or the client's default when it is absent. Every name
// must exist and be allowed to the client (RFC 6749 §3.3).
func (s *Server) scopes(ctx context.Context, c *storage.Client, parameter string) ([]string, error) {
	known, err := s.store.Scopes(ctx)
	if err != nil {
		return nil, protocol.Unavailable(err)
	}
	var asked []string
	if parameter == "" {
		for _, name := range defaultScopes(c) {
			if _, ok := known[name]; ok && c.Scopes.Has(name) {
				asked = append(asked, name)
			}
		}
		return asked, nil
	}
	for name := range strings.SplitSeq(parameter, " ") {
		if name == "" || slices.Contains(asked, name) {
			continue
		}
		if _, ok := known[name]; !ok {
			return nil, protocol.NewError(protocol.InvalidScope, "The scope "+params.Sanitize(name)+" does not exist.")
		}
		if !c.Scopes.Has(name) {
			return nil, protocol.NewError(protocol.InvalidScope, "The client is not registered for the scope "+params.Sanitize(name)+".")
		}
		asked = append(asked, name)
	}
	return asked, nil
}

func defaultScopes(c *storage.Client) []string {
	if c.DefaultScopes != nil {
		return *c.DefaultScopes
	}
	return slices.DeleteFunc(slices.Clone(c.Scopes), func(name string) bool { return name == protocol.ScopeOfflineAccess })
}

// resources checks the resource parameters of a request (RFC 8707 §2): absolute URIs without fragment, registered, and
// permitted to the client.
func (s *Server) resources(ctx context.Context, c *storage.Client, asked []string) ([]string, error) {
	if len(asked) == 0 {
		return nil, nil
	}
	known, err := s.store.Resources(ctx)
	if err != nil {
		return nil, protocol.Unavailable(err)
	}
	var out []string
	for _, identifier := range asked {
		if u, err := url.Parse(identifier); err != nil || !u.IsAbs() || strings.Contains(identifier, "#") {
			return nil, protocol.NewError(protocol.InvalidTarget, "The resource "+params.Sanitize(identifier)+" is not an absolute URI without fragment.")
		}
		r, ok := known[identifier]
		if !ok {
			return nil, protocol.NewError(protocol.InvalidTarget, "The resource "+params.Sanitize(identifier)+" is not known.")
		}
		if !canUseResource(c, r) {
			return nil, protocol.NewError(protocol.InvalidTarget, "The client may not ask for the resource "+params.Sanitize(identifier)+".")
		}
		if !slices.Contains(out, identifier) {
			out = append(out, identifier)
		}
	}
	return out, nil
}

// canUseResource reports whether the client may name the resource: it is on the client's list or, where there is none, the
// client has one of its scopes or names it as its audience.
func canUseResource(c *storage.Client, r storage.Resource) bool {
	if c.Resources != nil {
		return c.Resources.Has(r.Identifier)
	}
	return c.Audience.Has(r.Identifier) || slices.ContainsFunc(r.Scopes, c.Scopes.Has)
}

// audience decides what a token is meant for: the resources asked for; else those of its scopes; else the
// client's own audience; else the issuer. With resources asked for, scopes that belong only to others are left out of
// the token; a request that is left with none is refused.
func (s *Server) audience(ctx context.Context, c *storage.Client, asked, scopes []string) (aud, kept []string, err error) {
	known, err := s.store.Resources(ctx)
	if err != nil {
		return nil, nil, protocol.Unavailable(err)
	}
	if len(asked) > 0 {
		for _, name := range scopes {
			owned, meant := false, false
			for _, r := range known {
				if r.Scopes.Has(name) {
					owned, meant = true, meant || slices.Contains(asked, r.Identifier)
				}
			}
			if !owned || meant {
				kept = append(kept, name)
			}
		}
		if len(kept) == 0 && len(scopes) > 0 {
			return nil, nil, protocol.NewError(protocol.InvalidScope, "None of the scopes belongs to the resource asked for.")
		}
		return asked, kept, nil
	}
	for _, r := range known {
		if canUseResource(c, r) && slices.ContainsFunc(scopes, r.Scopes.Has) {
			aud = append(aud, r.Identifier)
		}
	}
	slices.Sort(aud)
	switch {
	case len(aud) > 0:
	case len(c.Audience) > 0:
		aud = c.Audience
	default:
		aud = []string{s.options.Issuer}
	}
	return aud, scopes, nil
}
