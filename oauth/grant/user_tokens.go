package grant

import (
	"context"
	"errors"
	"slices"
	"time"

	"gatehouse/oauth/client"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

// UserTokens decides scopes, audience and lifetime of tokens under a user's grant, for every grant type that has one.
type UserTokens struct {
	Store     *storage.Store
	Clients   *client.Registry
	Issuer    string
	Lifetimes Lifetimes
}

// creationSkew is the maximum clock difference of two processes on SQLite; on PostgreSQL they share the database's
// time.
const creationSkew = 5 * time.Second

// newResult returns the tokens with these scopes of the grant. The code or refresh token is consumed by now, so what
// the operator has deleted since the grant was created is omitted rather than refused: scopes and resources that no
// longer exist and, if none remains, the token is for this server alone and has no scope.
func (t UserTokens) newResult(
	ctx context.Context, request *Request, grant storage.Grant, scopes []string,
) (*Result, error) {
	reqevent.FromContext(ctx).UserID = grant.UserID
	requested := request.Resources
	if len(requested) == 0 {
		requested = grant.Resources
	}
	scopes, resources, err := t.removeDeleted(ctx, request.Client, grant, scopes, requested)
	if err != nil {
		return nil, err
	}
	audience, scopes, err := t.audience(ctx, request.Client, resources, scopes)
	if err != nil || len(requested) > 0 && len(resources) == 0 {
		if e := (*protocol.Error)(nil); err != nil && (!errors.As(err, &e) || e.Code != protocol.InvalidScope) {
			return nil, err
		}
		audience, scopes = []string{t.Issuer}, nil
	}
	// Userinfo is a resource of this server. A token for requested resources is for those alone: an API that receives it
	// cannot use it at userinfo.
	if len(requested) == 0 && slices.Contains(scopes, protocol.ScopeOpenID) && !slices.Contains(audience, t.Issuer) {
		audience = append(slices.Clone(audience), t.Issuer)
	}
	if audience, scopes, err = t.checkSignIn(ctx, request.Client, grant.GrantTerms, audience, scopes); err != nil {
		return nil, err
	}
	untilExpiry := max(time.Second, grant.ExpiresAt.Sub(t.Store.Now()))
	return &Result{
		Subject: grant.UserID, Grant: grant, Audience: audience, Scopes: scopes,
		TTL: min(t.Lifetimes.accessToken(request.Client), untilExpiry).Truncate(time.Second),
	}, nil
}

// audience returns the aud and the scopes of a token. If the APIs accept different kinds of tokens, it is for some of
// them: the client requests another token for the others (client.Registry.OneFormat).
func (t UserTokens) audience(
	ctx context.Context, c *storage.Client, resources, scopes []string,
) (audience, remaining []string, err error) {
	audience, remaining, err = t.Clients.Audience(ctx, c, resources, scopes)
	if err != nil {
		return nil, nil, err
	}
	one, err := t.Clients.OneFormat(ctx, audience)
	if err != nil || len(one) == len(audience) {
		return audience, remaining, err
	}
	return t.Clients.Audience(ctx, c, one, remaining)
}

// removeDeleted returns those scopes and resources that still exist and that the client may still use. One that was
// deleted and created again since is not part of the grant.
func (t UserTokens) removeDeleted(
	ctx context.Context, c *storage.Client, grant storage.Grant, scopes, resources []string,
) ([]string, []string, error) {
	existingScopes, err := t.Store.Scopes(ctx)
	if err != nil {
		return nil, nil, err
	}
	existingResources, err := t.Store.Resources(ctx)
	if err != nil {
		return nil, nil, err
	}
	existed := func(created time.Time) bool { return !created.After(grant.CreatedAt.Add(creationSkew)) }
	scopes = slices.DeleteFunc(slices.Clone(scopes), func(name string) bool {
		scope, ok := existingScopes[name]
		return !ok || !existed(scope.CreatedAt) || c.IsUnverified() && !client.CanHaveScope(c, existingResources, name)
	})
	resources = slices.DeleteFunc(slices.Clone(resources), func(identifier string) bool {
		if identifier == t.Issuer {
			return false
		}
		resource, ok := existingResources[identifier]
		return !ok || !existed(resource.CreatedAt) || !client.CanUseResource(c, resource)
	})
	return scopes, resources, nil
}

// checkResources refuses requested resources beyond those granted with the granted scopes (RFC 8707 §2.2), ones to
// which none of the remaining scopes belongs, and ones that require another sign-in. It replaces the requested
// identifiers by the registered ones. The issuer was granted with openid.
func (t UserTokens) checkResources(
	ctx context.Context, request *Request, terms storage.GrantTerms, remaining []string,
) (err error) {
	if len(request.Resources) == 0 {
		return nil
	}
	granted, grantedScopes := []string(terms.Resources), []string(terms.Scopes)
	if request.Resources, err = t.Clients.Resources(ctx, request.Client, request.Resources); err != nil {
		return err
	}
	if len(granted) == 0 {
		if granted, _, err = t.Clients.Audience(ctx, request.Client, nil, grantedScopes); err != nil {
			return err
		}
	}
	for _, identifier := range request.Resources {
		isUserinfo := identifier == t.Issuer && slices.Contains(grantedScopes, protocol.ScopeOpenID)
		if !isUserinfo && !slices.Contains(granted, identifier) {
			return protocol.NewError(protocol.InvalidTarget, "resource was not granted with this authorization.")
		}
	}
	if err = t.Clients.CheckOneFormat(ctx, request.Resources); err != nil {
		return err
	}
	if _, _, err = t.Clients.Audience(ctx, request.Client, request.Resources, remaining); err != nil {
		return err
	}
	resources, err := t.Store.Resources(ctx)
	if err != nil {
		return err
	}
	for _, identifier := range request.Resources {
		if reason := t.insufficientSignIn(resources[identifier], terms); reason != "" {
			return protocol.NewError(protocol.InvalidTarget, reason)
		}
	}
	return nil
}
