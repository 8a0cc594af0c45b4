package claims

import (
	"context"
	"slices"

	"gatehouse/storage"
)

// AccessTokenRoles returns the roles for an access token (RFC 9068 §2.2.3.1), sorted: those of the user or, without a
// user, of the client, at the only API in aud. It returns nil when that has no roles, or with several APIs, because a
// role at one of them would be valid at the others.
func (p *Provider) AccessTokenRoles(
	ctx context.Context, c *storage.Client, userID string, audience []string,
) (roles []string, err error) {
	resources, err := p.store.Resources(ctx)
	if err != nil {
		return nil, err
	}
	isIssuer := func(identifier string) bool { return identifier == p.options.Issuer }
	apis := slices.DeleteFunc(slices.Clone(audience), isIssuer)
	if len(apis) != 1 || !resources[apis[0]].HasRoles {
		return nil, nil
	}
	if userID == "" {
		roles, err = p.store.ClientRoles(ctx, apis[0], c.ID)
	} else {
		roles, err = p.store.UserRoles(ctx, apis[0], userID)
	}
	slices.Sort(roles)
	if roles == nil {
		roles = []string{}
	}
	return roles, err
}
