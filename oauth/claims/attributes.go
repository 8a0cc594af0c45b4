package claims

import (
	"context"
	"maps"
	"slices"
	"strings"

	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// addAttributes adds the attributes whose scope is among scopes. It reads the user's values only if there is such an
// attribute that has them. It skips an attribute whose claim is reserved, possibly since a later version, or is
// the claim in which the client gets groups: otherwise a user could enter groups.
func (p *Provider) addAttributes(
	ctx context.Context, out map[string]any, c *storage.Client, u *storage.User, scopes []string,
	requested map[string]*requestedClaim,
) error {
	attributes, err := p.store.Attributes(ctx)
	if err != nil {
		return err
	}
	var values map[string]string
	for _, a := range attributes {
		if !slices.Contains(scopes, a.Scope) || strings.EqualFold(a.Claim, groupsClaimName(c)) ||
			protocol.IsReservedAttribute(a.Claim) {
			continue
		}
		if values == nil && a.HasUserValues() {
			if values, err = p.store.UserAttributes(ctx, u.ID); err != nil {
				return err
			}
		}
		if v := a.Value(u, values); v != nil && requested[a.Claim].accepts(v) {
			out[a.Claim] = v
		}
	}
	return nil
}

// AttributeClaims returns the names of the claims of all attributes, sorted.
func (p *Provider) AttributeClaims(ctx context.Context) ([]string, error) {
	scopes, err := p.scopesByClaim(ctx)
	return slices.Sorted(maps.Keys(scopes)), err
}

// scopesByClaim returns the scope of each attribute claim.
func (p *Provider) scopesByClaim(ctx context.Context) (map[string]string, error) {
	attributes, err := p.store.Attributes(ctx)
	out := make(map[string]string, len(attributes))
	for _, a := range attributes {
		out[a.Claim] = a.Scope
	}
	return out, err
}

// WithAttributes returns the request with the attribute claims that exist. They can be requested only together with
// their scope, because the consent page describes only the scope.
func (p *Provider) WithAttributes(ctx context.Context, r Request) (Request, error) {
	if len(r.Userinfo) == 0 && len(r.IDToken) == 0 {
		return r, nil
	}
	var err error
	r.attributes, err = p.scopesByClaim(ctx)
	return r, err
}
