package oauth

import (
	"context"
	"gatehouse/oauth/protocol"
	"slices"

	"github.com/ory/fosite"
)

// clientCredentials is the grant of machines (RFC 6749 §4.4). It asks the database nothing while the caches hold.
type clientCredentials struct{ grantHandler }

// HandleTokenEndpointRequest decides scopes and audience. There is never a refresh token (RFC 6749 §4.4.3) and no person,
// so offline_access, openid and the scopes of a person's claims are left out.
func (h clientCredentials) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	c, state := clientOf(r), stateOf(r)
	form := state.form
	if c.IsPublic() {
		return protocol.NewError(protocol.UnauthorizedClient, "A public client cannot use client_credentials.")
	}
	if err := h.allowed(ctx, c, state); err != nil {
		return err
	}
	scopes, err := h.Clients.Scopes(ctx, c, form.Get("scope"))
	if err != nil {
		return err
	}
	asked, err := h.Clients.Resources(ctx, c, form["resource"])
	if err != nil {
		return err
	}
	scopes = slices.DeleteFunc(slices.Clone(scopes), func(name string) bool { return slices.Contains(protocol.StandardScopes(), name) })
	if state.audience, state.scopes, err = h.Clients.Audience(ctx, c, asked, scopes); err != nil {
		return err
	}
	state.subject, state.ttl = c.ID, h.accessTTL(c)
	return nil
}
