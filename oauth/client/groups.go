package client

import (
	"context"
	"errors"
	"slices"
	"strings"

	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// ErrNoGroup is in the error for a group that does not exist.
var ErrNoGroup = errors.New("no such group")

// checkNewGroups returns invalid_client_metadata and ErrNoGroup when the client has a group that does not exist and
// that it did not have before: with a misspelled group it would be closed to every user. A group that was deleted since
// does not prevent other changes.
func checkNewGroups(ctx context.Context, tx *storage.Store, before, after *storage.Client) error {
	old := slices.Concat(before.ClaimGroups, before.RequiredGroups)
	isPattern := func(item string) bool { return strings.HasSuffix(item, storage.GroupPattern) }
	claimed := slices.DeleteFunc(slices.Clone(after.ClaimGroups), isPattern)
	for _, name := range slices.Concat(claimed, after.RequiredGroups) {
		if slices.Contains(old, name) {
			continue
		}
		_, err := tx.Group(ctx, name)
		if errors.Is(err, storage.ErrNotFound) {
			return protocol.NewError(protocol.InvalidClientMetadata, "There is no group "+params.Sanitize(name)+".").
				WithCause(ErrNoGroup)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
