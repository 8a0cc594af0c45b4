package grant

import (
	"context"
	"fmt"
	"slices"

	"gatehouse/identity"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// checkSignIn returns the part of the audience for which the sign-in of a grant is enough, with its scopes. It returns
// invalid_grant when the sign-in is not enough for the client, or for none of the audience (RFC 9470). A request for
// codes has required that sign-in, so this happens only when a requirement is newer than the grant, or when the sign-in
// was too long ago.
func (t UserTokens) checkSignIn(
	ctx context.Context, c *storage.Client, terms storage.GrantTerms, audience, scopes []string,
) ([]string, []string, error) {
	if !identity.ACRSatisfies(terms.ACR, c.RequiredACR) {
		return nil, nil, protocol.NewError(protocol.InvalidGrant, weakSignIn("The client", c.RequiredACR, terms.ACR))
	}
	resources, err := t.Store.Resources(ctx)
	if err != nil {
		return nil, nil, err
	}
	reason := ""
	enough := slices.DeleteFunc(slices.Clone(audience), func(identifier string) bool {
		r := t.insufficientSignIn(resources[identifier], terms)
		if r != "" {
			reason = r
		}
		return r != ""
	})
	switch len(enough) {
	case len(audience):
		return audience, scopes, nil
	case 0:
		return nil, nil, protocol.NewError(protocol.InvalidGrant, reason)
	}
	return t.audience(ctx, c, enough, scopes)
}

// insufficientSignIn returns why the sign-in of a grant is not enough for a resource, or "".
func (t UserTokens) insufficientSignIn(r storage.Resource, terms storage.GrantTerms) string {
	if !identity.ACRSatisfies(terms.ACR, r.RequiredACR) {
		return weakSignIn("The resource", r.RequiredACR, terms.ACR)
	}
	if maxAge := r.AuthAge(); maxAge > 0 && t.Store.Now().Sub(terms.AuthTime) > maxAge {
		return fmt.Sprintf("The resource requires a sign-in at most %d seconds ago. Send a new authorization request "+
			"with max_age=%d (RFC 9470).", r.MaxAuthAge, r.MaxAuthAge)
	}
	return ""
}

func weakSignIn(requiredBy, required, acr string) string {
	return fmt.Sprintf("%s requires a sign-in with the acr %s, and the user signed in with %s. Send a new authorization "+
		"request with acr_values=%s (RFC 9470).", requiredBy, required, acr, required)
}
