package admin

import (
	"context"
	"errors"
	"slices"
	"strings"

	"gatehouse/display"
	"gatehouse/storage"
)

// RoleInformation is a role with its holders.
type RoleInformation struct {
	storage.Role
	Users   []string `json:"users"`   // usernames
	Groups  []string `json:"groups"`  // names
	Clients []string `json:"clients"` // client_ids
}

// RoleHolders are users by username, email address or sub, groups by name, and clients by client_id or name.
type RoleHolders struct{ Users, Groups, Clients []string }

// UnknownResourceError is returned for a resource that does not exist.
type UnknownResourceError struct{ Resource string }

// Error implements error.
func (e *UnknownResourceError) Error() string { return unknownRecord("resource", e.Resource) }

// CheckRoleName returns an error when no role can have the name.
func CheckRoleName(name string) error {
	if name == "" || len(name) > 60 || !display.IsVisibleASCII(name) || strings.ContainsAny(name, `"\,`) {
		return errors.New("a role has 1 to 60 printable ASCII characters, without spaces, commas, quotation marks and " +
			"backslashes")
	}
	return nil
}

// Roles returns the roles of a resource, or all with "", by resource and name. It returns an UnknownResourceError when
// there is no such resource.
func (a *Admin) Roles(ctx context.Context, resource string) ([]storage.Role, error) {
	if resource != "" {
		if err := a.checkResourceExists(ctx, resource); err != nil {
			return nil, err
		}
	}
	return a.store.Roles(ctx, resource)
}

func (a *Admin) checkResourceExists(ctx context.Context, identifier string) error {
	resources, err := a.store.Resources(ctx)
	if _, ok := resources[identifier]; err == nil && !ok {
		return &UnknownResourceError{identifier}
	}
	return err
}

// Role returns a role with its holders. It returns storage.ErrNotFound when there is none.
func (a *Admin) Role(ctx context.Context, resource, name string) (RoleInformation, error) {
	out := RoleInformation{Users: []string{}, Groups: []string{}, Clients: []string{}}
	roles, err := a.store.Roles(ctx, resource)
	if err != nil {
		return out, err
	}
	i := slices.IndexFunc(roles, func(r storage.Role) bool { return r.Name == name })
	if i < 0 {
		return out, storage.ErrNotFound
	}
	out.Role = roles[i]
	holders, err := a.store.RoleAssignees(ctx, resource, name)
	if err != nil {
		return out, err
	}
	for _, id := range holders.Users {
		u, err := a.store.User(ctx, id)
		if errors.Is(err, storage.ErrNotFound) { // deleted in the meantime
			continue
		}
		if err != nil {
			return out, err
		}
		out.Users = append(out.Users, u.Username)
	}
	out.Groups, out.Clients = append(out.Groups, holders.Groups...), append(out.Clients, holders.Clients...)
	for _, list := range [][]string{out.Users, out.Groups, out.Clients} {
		slices.Sort(list)
	}
	return out, nil
}

// CreateRole creates a role at a resource. It returns an UnknownResourceError when there is no such resource, and
// storage.ErrConflict when it has the role.
func (a *Admin) CreateRole(ctx context.Context, resource, name string, c GroupChanges) (storage.Role, error) {
	r := storage.Role{Resource: resource, Name: name, CreatedAt: a.store.Now()}
	if err := errors.Join(CheckRoleName(name), c.apply(&r.Description, &r.SignInRequirement)); err != nil {
		return r, err
	}
	err := a.store.CreateRole(ctx, r)
	if errors.Is(err, storage.ErrNotFound) {
		return r, &UnknownResourceError{resource}
	}
	return r, err
}

// UpdateRole changes a role. It returns storage.ErrNotFound when there is none.
func (a *Admin) UpdateRole(ctx context.Context, resource, name string, c GroupChanges) error {
	return a.store.UpdateRole(ctx, resource, name, func(r *storage.Role) error {
		return c.apply(&r.Description, &r.SignInRequirement)
	})
}

// GrantRole grants a role to users, groups and clients.
func (a *Admin) GrantRole(ctx context.Context, resource, name string, to RoleHolders) error {
	return a.changeHolders(ctx, resource, name, to, a.store.GrantRole)
}

// RevokeRole revokes a role of users, groups and clients.
func (a *Admin) RevokeRole(ctx context.Context, resource, name string, from RoleHolders) error {
	return a.changeHolders(ctx, resource, name, from, a.store.RevokeRole)
}

// changeHolders finds the holders and calls change. It returns an UnknownUserError, UnknownGroupError or
// UnknownClientError for one that does not exist.
func (a *Admin) changeHolders(
	ctx context.Context, resource, name string, holders RoleHolders,
	change func(ctx context.Context, resource, name string, holders storage.Assignees) error,
) error {
	var ids storage.Assignees
	for _, name := range holders.Users {
		u, err := a.User(ctx, name)
		if err != nil {
			return orUnknown(err, &UnknownUserError{name})
		}
		ids.Users = append(ids.Users, u.ID)
	}
	for _, name := range holders.Groups {
		if _, err := a.store.Group(ctx, name); err != nil {
			return orUnknown(err, &UnknownGroupError{name})
		}
		ids.Groups = append(ids.Groups, name)
	}
	for _, idOrName := range holders.Clients {
		c, err := findClient(ctx, a.store, idOrName)
		if err != nil {
			return orUnknown(err, &UnknownClientError{idOrName})
		}
		ids.Clients = append(ids.Clients, c.ID)
	}
	return change(ctx, resource, name, ids)
}

// orUnknown returns unknown instead of storage.ErrNotFound.
func orUnknown(err, unknown error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return unknown
	}
	return err
}

// DeleteRole deletes a role with its assignments.
func (a *Admin) DeleteRole(ctx context.Context, resource, name string) error {
	return a.store.DeleteRole(ctx, resource, name)
}
