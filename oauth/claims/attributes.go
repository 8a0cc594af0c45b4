package claims

import (
	"context"
	"maps"
	"slices"
	"strings"

	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// addAttributes adds the attributes of a user that are claims of the scopes. It reads the user's values only if there
// are any. No attribute is the claim under which the client gets groups, because the client would take what the user
// entered for groups, or one that was not reserved when the attribute was created.
func (p *Provider) addAttributes(
	ctx context.Context, out map[string]any, c *storage.Client, userID string, scopes []string,
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
		stored := a.Constant
		if stored == "" {
			if values == nil {
				if values, err = p.store.UserAttributes(ctx, userID); err != nil {
					return err
				}
			}
			stored = values[a.Name]
		}
		if v := a.Parse(stored); v != nil && requested[a.Claim].accepts(v) {
			out[a.Claim] = v
		}
	}
	return nil
}

// AttributeNames returns the names of the claims that attributes of users are, sorted.
func (p *Provider) AttributeNames(ctx context.Context) ([]string, error) {
	scopes, err := p.attributeScopes(ctx)
	return slices.Sorted(maps.Keys(scopes)), err
}

// attributeScopes returns the scopes of the claims that attributes of users are.
func (p *Provider) attributeScopes(ctx context.Context) (map[string]string, error) {
	attributes, err := p.store.Attributes(ctx)
	out := make(map[string]string, len(attributes))
	for _, a := range attributes {
		out[a.Claim] = a.Scope
	}
	return out, err
}

// WithAttributes returns the request with the claims that attributes of users are. They can only be requested together
// with their scope, which the operator describes to the user.
func (p *Provider) WithAttributes(ctx context.Context, r Request) (Request, error) {
	if len(r.Userinfo) == 0 && len(r.IDToken) == 0 {
		return r, nil
	}
	var err error
	r.attributes, err = p.attributeScopes(ctx)
	return r, err
}
