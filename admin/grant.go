package admin

import "context"

// RevokeUserTokens ends every session, grant and token of the user. One grant ends when the user withdraws the consent
// that it is under, which is oauth.Server.WithdrawConsent.
func (a *Admin) RevokeUserTokens(ctx context.Context, id string) error {
	return a.store.RevokeUserTokens(ctx, id)
}

// RevokeClientTokens revokes every token and grant of the client.
func (a *Admin) RevokeClientTokens(ctx context.Context, id string) error {
	return a.store.RevokeClientTokens(ctx, id)
}
