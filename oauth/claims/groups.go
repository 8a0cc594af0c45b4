package claims

import (
	"context"
	"log/slog"
	"slices"

	"gatehouse/storage"
)

// groupsClaim is the name of the claim and of its scope.
const groupsClaim = "groups"

// maxGroups is the number of groups above which a client gets only those that are assigned to it: tokens that are
// larger than the headers and cookies of clients would break sign-in.
const maxGroups = 200

// groups returns the groups of a user that the client gets, sorted; never nil, because a client that copies the list
// must notice that the user has left the last group. It reads them each time, so that a change is visible at the next
// refresh.
func (p *Provider) groups(ctx context.Context, c *storage.Client, userID string) ([]string, error) {
	all, err := p.store.UserGroups(ctx, userID)
	if err != nil {
		return nil, err
	}
	out, limited := clientGroups(c, all)
	if limited {
		p.options.Log.WarnContext(ctx, "user has too many groups: the client gets only those that are assigned to it",
			slog.String("user_id", userID), slog.String("client_id", c.ID), slog.Int("groups", len(all)),
			slog.Int("assigned", len(out)))
	}
	return out, nil
}

// clientGroups returns those of the groups of a user that the client gets, sorted. limited reports whether it gets only
// those that it requires because there are too many.
func clientGroups(c *storage.Client, all []string) (out []string, limited bool) {
	assigned := c.ClaimGroups
	if limited = len(assigned) == 0 && len(all) > maxGroups; limited {
		assigned = c.RequiredGroups
	}
	out = make([]string, 0, len(all))
	for _, name := range all {
		if len(c.ClaimGroups) == 0 && !limited || assigned.Has(name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, limited
}
