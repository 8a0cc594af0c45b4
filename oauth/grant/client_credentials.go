package grant

import (
	"context"
	"slices"

	"gatehouse/oauth/client"
	"gatehouse/oauth/protocol"
)

// ClientCredentials issues tokens to a client on its own behalf (RFC 6749 §4.4). It makes no query while the caches are
// valid.
type ClientCredentials struct {
	Clients   *client.Registry
	Lifetimes Lifetimes
}

// Authorize decides scopes and audience. There is no refresh token (RFC 6749 §4.4.3) and no user, so the standard
// scopes are omitted.
func (h ClientCredentials) Authorize(ctx context.Context, request *Request) (*Result, error) {
	c := request.Client
	if c.IsPublic() {
		return nil, protocol.NewError(protocol.UnauthorizedClient, "A public client cannot use client_credentials.")
	}
	if c.IsUnverified() { // without a user's consent, only what the operator registered for it counts
		registered := *c
		registered.RegistrationHash, registered.DocumentHash = nil, nil
		c = &registered
	}
	resources, err := h.Clients.Resources(ctx, c, request.Resources)
	if err != nil {
		return nil, err
	}
	scopes, err := h.Clients.Scopes(ctx, c, request.Scope, resources)
	if err != nil {
		return nil, err
	}
	scopes = slices.DeleteFunc(slices.Clone(scopes), protocol.IsStandardScope)
	audience, scopes, err := h.Clients.Audience(ctx, c, resources, scopes)
	if err != nil {
		return nil, err
	}
	if err := h.Clients.CheckOneFormat(ctx, audience); err != nil {
		return nil, err
	}
	return &Result{Subject: c.ID, Audience: audience, Scopes: scopes, TTL: h.Lifetimes.accessToken(c)}, nil
}
