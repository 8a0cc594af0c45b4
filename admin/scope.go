package admin

import (
	"context"
	"errors"

	"gatehouse/oauth/client"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// ErrStandardScope is returned for the deletion of a scope that has a meaning to the server itself.
var ErrStandardScope = errors.New("the scope is built in and cannot be deleted")

// CheckScopeName returns an error when no scope can have the name.
func CheckScopeName(name string) error {
	if !client.IsValidScope(name) {
		return errors.New(`a scope has 1 to 100 printable ASCII characters, without space, " and \`)
	}
	return nil
}

// Scopes returns all scopes, sorted by name.
func (a *Admin) Scopes(ctx context.Context) ([]storage.Scope, error) {
	byName, err := a.store.Scopes(ctx)
	if err != nil {
		return nil, err
	}
	return sortedValues(byName), nil
}

// CreateScope registers a scope with the description that users see. It returns storage.ErrConflict when the scope
// exists.
func (a *Admin) CreateScope(ctx context.Context, name, description string) (storage.Scope, error) {
	v := storage.Scope{Name: name, Description: description, CreatedAt: a.store.Now()}
	if err := errors.Join(CheckScopeName(name), CheckDisplayable(description)); err != nil {
		return v, err
	}
	return v, a.store.CreateScope(ctx, v)
}

// UpdateScope changes the description of a scope.
func (a *Admin) UpdateScope(ctx context.Context, name, description string) error {
	if err := CheckDisplayable(description); err != nil {
		return err
	}
	return a.store.UpdateScope(ctx, name, description)
}

// CheckScopeDeletable returns ErrStandardScope for a scope that cannot be deleted.
func CheckScopeDeletable(name string) error {
	if protocol.IsStandardScope(name) {
		return ErrStandardScope
	}
	return nil
}

// DeleteScope deletes a scope. It returns an InUseError when clients, resources or attributes use it, unless force is
// set.
func (a *Admin) DeleteScope(ctx context.Context, name string, force bool) error {
	if err := CheckScopeDeletable(name); err != nil {
		return err
	}
	if !force {
		usedBy, err := a.scopeUsers(ctx, name)
		if err != nil {
			return err
		}
		if len(usedBy) > 0 {
			return &InUseError{"scope " + name, usedBy}
		}
	}
	return a.store.DeleteScope(ctx, name)
}

// scopeUsers returns the clients and resources that have a scope, and the attributes whose claims it contains.
func (a *Admin) scopeUsers(ctx context.Context, name string) (usedBy []string, err error) {
	attributes, err := a.Attributes(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range attributes {
		if v.Scope == name {
			usedBy = append(usedBy, "attribute "+v.Name)
		}
	}
	resources, err := a.Resources(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range resources {
		if r.Scopes.Has(name) {
			usedBy = append(usedBy, "resource "+r.Identifier)
		}
	}
	clients, err := a.allClients(ctx)
	for _, c := range clients {
		if c.Scopes.Has(name) {
			usedBy = append(usedBy, "client "+c.ID+" ("+c.Name+")")
		}
	}
	return usedBy, err
}
