package admin

import (
	"context"
	"time"

	"gatehouse/storage"
)

// CreateRegistrationToken creates an initial access token (RFC 7591 §1.2) for a number of registrations and returns it
// with its record, which does not have the token.
func (a *Admin) CreateRegistrationToken(
	ctx context.Context, note string, uses int64, ttl time.Duration,
) (token string, record storage.RegistrationToken, err error) {
	if err := CheckDisplayable(note); err != nil {
		return "", record, err
	}
	return a.clients.CreateInitialAccessToken(ctx, note, uses, ttl)
}

// RegistrationTokens returns the initial access tokens that have not expired or been consumed.
func (a *Admin) RegistrationTokens(ctx context.Context) ([]storage.RegistrationToken, error) {
	return a.store.RegistrationTokens(ctx)
}

// DeleteRegistrationToken revokes an initial access token.
func (a *Admin) DeleteRegistrationToken(ctx context.Context, id string) error {
	return a.store.DeleteRegistrationToken(ctx, id)
}
