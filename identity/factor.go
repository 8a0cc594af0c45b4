package identity

import (
	"context"

	"gatehouse/storage"
)

// Factors returns the ways in which a user can authenticate.
func (u *Users) Factors(ctx context.Context, userID string) (storage.Factors, error) {
	return u.store.Factors(ctx, userID)
}
