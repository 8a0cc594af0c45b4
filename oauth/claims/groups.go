package claims

import (
	"context"
	"log/slog"
	"slices"

	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// groupsClaim is the name of the claim unless a client has another one, and of its scope.
const groupsClaim = "groups"

// maxGroups is the number of groups above which a client or API gets only those that are assigned to it: tokens that
// are larger than the headers and cookies of clients would break sign-in.
const maxGroups = 200

// maxAccessTokenGroups is the size in bytes of the names of groups above which an access token has none: clients send
// it in a header, which many servers limit to 8 KiB.
const maxAccessTokenGroups = 4 << 10

// groups returns the groups of a user that the client gets, sorted; never nil, because a client that copies the list
// must notice that the user has left the last group. It reads them each time, so that a change is visible at the next
// refresh.
func (p *Provider) groups(ctx context.Context, c *storage.Client, userID string) ([]string, error) {
	return p.readGroups(ctx, c, userID, c.ClaimGroups, c.RequiredGroups)
}

// readGroups returns what selectGroups selects of the groups of a user, with a warning when there are too many.
func (p *Provider) readGroups(
	ctx context.Context, c *storage.Client, userID string, assigned, needed storage.Strings,
) ([]string, error) {
	all, err := p.store.UserGroups(ctx, userID)
	if err != nil {
		return nil, err
	}
	out, limited := selectGroups(all, assigned, needed)
	if limited {
		p.options.Log.WarnContext(ctx, "user has too many groups: only those that are assigned to the client or API are sent",
			slog.String("user_id", userID), slog.String("client_id", c.ID), slog.Int("groups", len(all)),
			slog.Int("sent", len(out)))
	}
	return out, nil
}

// selectGroups returns the groups that are assigned or, without assigned ones, all, sorted. limited reports whether it
// returns only the needed ones because there are too many.
func selectGroups(all []string, assigned, needed storage.Strings) (out []string, limited bool) {
	limited = len(assigned) == 0 && len(all) > maxGroups
	if limited {
		assigned = needed
	}
	out = make([]string, 0, len(all))
	for _, name := range all {
		if len(assigned) == 0 && !limited || storage.MatchesGroup(assigned, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, limited
}

// groupsClaimName returns the name of the claim of groups for the client.
func groupsClaimName(c *storage.Client) string {
	if c.GroupsClaimName != "" {
		return c.GroupsClaimName
	}
	return groupsClaim
}

// renameGroups gives the claim of groups and its values the names that the client gets.
func renameGroups(c *storage.Client, claims map[string]any) {
	groups, ok := claims[groupsClaim].([]string)
	if !ok {
		return
	}
	renamed := make([]string, len(groups))
	for i, name := range groups {
		renamed[i] = c.GroupsPrefix + name
	}
	delete(claims, groupsClaim)
	claims[groupsClaimName(c)] = renamed
}

// AccessTokenGroups returns the groups of the user for an access token (RFC 9068 §2.2.3.1), sorted: those of each API
// in aud that gets them, or nil when none does. A client that the operator has not verified could read them in the
// token, so its user must have granted it the scope groups.
func (p *Provider) AccessTokenGroups(
	ctx context.Context, c *storage.Client, userID string, audience, scopes []string,
) ([]string, error) {
	resources, err := p.store.Resources(ctx)
	if err != nil {
		return nil, err
	}
	var assigned storage.Strings
	get, all := false, false
	for _, identifier := range audience {
		if r := resources[identifier]; r.GroupsClaim {
			get, all, assigned = true, all || len(r.ClaimGroups) == 0, append(assigned, r.ClaimGroups...)
		}
	}
	if !get || c.IsUnverified() && !c.Vouched && !slices.Contains(scopes, protocol.ScopeGroups) {
		return nil, nil
	}
	needed := assigned
	if all {
		assigned = nil
	}
	groups, err := p.readGroups(ctx, c, userID, assigned, needed)
	if err != nil {
		return nil, err
	}
	size := 0
	for _, name := range groups {
		size += len(name)
	}
	if size > maxAccessTokenGroups {
		p.options.Log.WarnContext(ctx, "the groups of the user are too long for an access token: it has none",
			slog.String("user_id", userID), slog.String("client_id", c.ID), slog.Int("groups", len(groups)),
			slog.Int("bytes", size))
		return nil, nil
	}
	return groups, nil
}
