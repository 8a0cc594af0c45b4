package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"gatehouse/identity"
	"gatehouse/oauth/client"
	"gatehouse/storage"
)

// ResourceChanges are the properties of a resource to set; nil leaves one unchanged.
type ResourceChanges struct {
	Name          *string
	Scopes        *[]string // those that do not exist are registered
	Introspectors *[]string // client_ids or names
	OpenToApps    *bool     // whether clients that registered dynamically may request it
	// Whether this server serves its metadata (RFC 9728).
	PublishMetadata *bool
	GroupsClaim     *bool     // whether its access tokens have the groups of the user
	ClaimGroups     *[]string // which of them; those that end with * are patterns; empty: all
	TokenTyp        *string   // the header typ of its access tokens
	TokenAlg        *string   // the header alg
	RequiredACR     *string   // the acr of the sign-in that it requires, as an operator writes it
	MaxAuthAge      *int64    // how many seconds ago that sign-in may have been, 0: any time
}

// UnknownClientError is returned for an introspector that is not registered.
type UnknownClientError struct{ Client string }

// Error implements error.
func (e *UnknownClientError) Error() string { return unknownRecord("client", e.Client) }

// UnknownGroupError is returned for a group that does not exist.
type UnknownGroupError struct{ Group string }

// Error implements error.
func (e *UnknownGroupError) Error() string { return unknownRecord("group", e.Group) }

// SharedScope is a scope that several resources have.
type SharedScope struct {
	Scope  string
	Others []string // identifiers of the other resources
	// Whether they accept different formats of access tokens, so that no token is for all of them.
	DifferentFormats bool
}

// CheckResource returns an error when no resource can have the identifier.
func CheckResource(identifier string) error { return client.CheckResource(identifier) }

// Resources returns all resources, sorted by identifier.
func (a *Admin) Resources(ctx context.Context) ([]storage.Resource, error) {
	byIdentifier, err := a.store.Resources(ctx)
	if err != nil {
		return nil, err
	}
	return sortedValues(byIdentifier), nil
}

// CreateResource registers a resource and the scopes of it that do not exist yet, which it returns. It returns
// storage.ErrConflict when the resource exists, also in another spelling (storage.CanonicalResource).
func (a *Admin) CreateResource(
	ctx context.Context, identifier string, c ResourceChanges,
) (r storage.Resource, newScopes []string, err error) {
	if err := CheckResource(identifier); err != nil {
		return r, nil, err
	}
	err = a.store.Tx(ctx, func(tx *storage.Store) (err error) {
		r = storage.Resource{
			Identifier: identifier, Scopes: storage.Strings{}, Introspectors: storage.Strings{}, ClaimGroups: storage.Strings{},
			CreatedAt: a.store.Now(),
		}
		registered, err := tx.Resources(ctx)
		if err != nil {
			return err
		}
		canonical := storage.CanonicalResource(identifier)
		for _, other := range registered {
			if other.Canonical == canonical {
				return fmt.Errorf("create resource: %w with %s", storage.ErrConflict, other.Identifier)
			}
		}
		if newScopes, err = c.apply(ctx, tx, &r); err != nil {
			return err
		}
		return tx.CreateResource(ctx, r)
	})
	return r, newScopes, err
}

// UpdateResource changes a resource and returns it with the scopes that did not exist before.
func (a *Admin) UpdateResource(
	ctx context.Context, identifier string, c ResourceChanges,
) (after storage.Resource, newScopes []string, err error) {
	err = a.store.Tx(ctx, func(tx *storage.Store) error {
		return tx.UpdateResource(ctx, identifier, func(r *storage.Resource) error {
			added, err := c.apply(ctx, tx, r)
			after, newScopes = *r, added
			return err
		})
	})
	return after, newScopes, err
}

// apply sets the properties in the record and registers scopes that do not exist, which it returns.
func (c ResourceChanges) apply(
	ctx context.Context, tx *storage.Store, r *storage.Resource,
) (newScopes []string, err error) {
	if c.Name != nil {
		if err := CheckDisplayable(*c.Name); err != nil {
			return nil, err
		}
		r.Name = *c.Name
	}
	if c.OpenToApps != nil {
		r.OpenToApps = *c.OpenToApps
	}
	if c.PublishMetadata != nil {
		if err := client.CheckPublished(r.Identifier); *c.PublishMetadata && err != nil {
			return nil, fmt.Errorf("%q %w", r.Identifier, err)
		}
		r.PublishMetadata = *c.PublishMetadata
	}
	if err := c.applyGroups(ctx, tx, r); err != nil {
		return nil, err
	}
	if err := c.applyTokenFormat(r); err != nil {
		return nil, err
	}
	if c.RequiredACR != nil {
		acr, err := identity.ParseRequiredACR(*c.RequiredACR)
		if err != nil {
			return nil, fmt.Errorf("required_acr: %w", err)
		}
		r.RequiredACR = acr
	}
	if c.MaxAuthAge != nil {
		r.MaxAuthAge = *c.MaxAuthAge
	}
	if c.Introspectors != nil {
		introspectors := storage.Strings{}
		for _, idOrName := range *c.Introspectors {
			found, err := findClient(ctx, tx, idOrName)
			if errors.Is(err, storage.ErrNotFound) {
				return nil, &UnknownClientError{idOrName}
			}
			if err != nil {
				return nil, err
			}
			introspectors = append(introspectors, found.ID)
		}
		r.Introspectors = introspectors
	}
	if c.Scopes == nil {
		return nil, nil
	}
	for _, name := range *c.Scopes {
		if err := CheckScopeName(name); err != nil {
			return nil, fmt.Errorf("scope %q: %w", name, err)
		}
	}
	r.Scopes = *c.Scopes
	return tx.CreateMissingScopes(ctx, r.Scopes)
}

// applyGroups sets which groups the access tokens of the resource have.
func (c ResourceChanges) applyGroups(ctx context.Context, tx *storage.Store, r *storage.Resource) error {
	if c.GroupsClaim != nil {
		r.GroupsClaim = *c.GroupsClaim
	}
	if c.ClaimGroups == nil {
		return nil
	}
	for _, name := range *c.ClaimGroups {
		if strings.HasSuffix(name, storage.GroupPattern) || r.ClaimGroups.Has(name) {
			continue
		}
		_, err := tx.Group(ctx, name)
		if errors.Is(err, storage.ErrNotFound) {
			return &UnknownGroupError{name}
		}
		if err != nil {
			return err
		}
	}
	if r.ClaimGroups = *c.ClaimGroups; len(r.ClaimGroups) > 0 && !r.GroupsClaim {
		return errors.New("--claim-group has no effect on a resource without --groups-claim; add it")
	}
	return nil
}

// applyTokenFormat sets the format of the access tokens.
func (c ResourceChanges) applyTokenFormat(r *storage.Resource) error {
	if c.TokenTyp != nil {
		if err := client.CheckTokenTyp(*c.TokenTyp); err != nil {
			return fmt.Errorf("token_typ: %w", err)
		}
		r.TokenTyp = *c.TokenTyp
	}
	if c.TokenAlg != nil {
		if err := client.CheckTokenAlg(*c.TokenAlg); err != nil {
			return fmt.Errorf("token_alg: %w", err)
		}
		r.TokenAlg = *c.TokenAlg
	}
	return nil
}

// PublishedResource is a resource with what its API needs to name this server as its authorization server (RFC 9728).
type PublishedResource struct {
	storage.Resource

	Metadata    *client.ResourceMetadata `json:"metadata,omitempty"`     // of an identifier that can have it
	MetadataURL string                   `json:"metadata_url,omitempty"` // where this server serves it
	// The WWW-Authenticate header that the API sends with status 401, when this server serves its metadata.
	Challenge string `json:"www_authenticate,omitempty"`
}

// Published returns the resource with its metadata.
func (a *Admin) Published(r storage.Resource) PublishedResource {
	p := PublishedResource{Resource: r}
	if client.CheckPublished(r.Identifier) == nil {
		m := a.clients.MetadataOf(r)
		p.Metadata = &m
	}
	if r.PublishMetadata {
		p.MetadataURL = a.clients.MetadataURL(r)
		p.Challenge = `Bearer resource_metadata="` + p.MetadataURL + `"`
	}
	return p
}

// SharedScopes returns the scopes of a resource that other resources also have: without the parameter resource, a token
// with one of them is for all these resources, or is refused when they accept different formats.
func (a *Admin) SharedScopes(ctx context.Context, r storage.Resource) ([]SharedScope, error) {
	all, err := a.Resources(ctx)
	if err != nil {
		return nil, err
	}
	var shared []SharedScope
	for _, scope := range r.Scopes {
		s := SharedScope{Scope: scope}
		for _, other := range all {
			if other.Identifier != r.Identifier && other.Scopes.Has(scope) {
				s.Others = append(s.Others, other.Identifier)
				s.DifferentFormats = s.DifferentFormats || !client.SameTokenFormat(r, other)
			}
		}
		if len(s.Others) > 0 {
			shared = append(shared, s)
		}
	}
	return shared, nil
}

// DeleteResource deletes a resource.
func (a *Admin) DeleteResource(ctx context.Context, identifier string) error {
	return a.store.DeleteResource(ctx, identifier)
}
