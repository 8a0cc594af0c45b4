package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gatehouse/identity"
	"gatehouse/storage"
)

// GroupInformation is a group with the usernames of its members.
type GroupInformation struct {
	storage.Group
	Members []string `json:"members"`
}

// CheckGroupName returns an error when no group can have the name. Lists of groups are separated by spaces and
// commas, an item with * is a pattern, and in flags any is every group.
func CheckGroupName(name string) error {
	isSeparator := func(r rune) bool { return unicode.IsSpace(r) || r == ',' || r == '*' }
	if n := utf8.RuneCountInString(name); n == 0 || n > 100 || strings.ContainsFunc(name, isSeparator) ||
		strings.EqualFold(name, "any") {
		return errors.New("a group has 1 to 100 characters, without spaces, commas and asterisks, and is not called any")
	}
	return CheckDisplayable(name)
}

// Groups returns all groups, sorted by name.
func (a *Admin) Groups(ctx context.Context) ([]storage.Group, error) {
	all, err := a.store.Groups(ctx)
	sortByName(all, func(g storage.Group) (string, string) { return g.Name, g.Name })
	return all, err
}

// Group returns a group with its members, sorted by username. It returns storage.ErrNotFound when there is none.
func (a *Admin) Group(ctx context.Context, name string) (GroupInformation, error) {
	g, err := a.store.Group(ctx, name)
	if err != nil {
		return GroupInformation{}, err
	}
	members, err := readAll(ctx, func(ctx context.Context, after string, limit int) ([]storage.User, error) {
		return a.store.GroupMembers(ctx, name, after, limit)
	}, func(u storage.User) string { return u.ID })
	sortByName(members, func(u storage.User) (string, string) { return u.Username, u.ID })
	out := GroupInformation{Group: g, Members: []string{}}
	for _, u := range members {
		out.Members = append(out.Members, u.Username)
	}
	return out, err
}

// CreateGroup creates a group without members. It returns storage.ErrConflict when there is one with the name in any
// case.
func (a *Admin) CreateGroup(ctx context.Context, name, description string) (storage.Group, error) {
	g := storage.Group{Name: name, Description: description, CreatedAt: a.store.Now()}
	if err := errors.Join(CheckGroupName(name), CheckDisplayable(description)); err != nil {
		return g, err
	}
	return g, a.store.CreateGroup(ctx, g)
}

// GroupChanges are the properties of a group to set; nil leaves one unchanged.
type GroupChanges struct {
	Description *string
	RequiredACR *string    // as an operator writes it
	EnrolUntil  *time.Time // until when members may postpone adding the factors; zero: they may not
}

// UpdateGroup changes a group. It returns storage.ErrNotFound when there is none.
func (a *Admin) UpdateGroup(ctx context.Context, name string, c GroupChanges) error {
	if c.Description != nil {
		if err := CheckDisplayable(*c.Description); err != nil {
			return err
		}
	}
	acr := ""
	if c.RequiredACR != nil {
		var err error
		if acr, err = identity.ParseRequiredACR(*c.RequiredACR); err != nil {
			return fmt.Errorf("required_acr: %w", err)
		}
	}
	return a.store.UpdateGroup(ctx, name, func(g *storage.Group) error {
		if c.Description != nil {
			g.Description = *c.Description
		}
		if c.RequiredACR != nil {
			g.RequiredACR = acr
		}
		if c.EnrolUntil != nil {
			g.EnrolUntil = nil
			if !c.EnrolUntil.IsZero() {
				g.EnrolUntil = c.EnrolUntil
			}
		}
		if g.RequiredACR == "" && c.EnrolUntil != nil && !c.EnrolUntil.IsZero() {
			return errors.New("--enrol-until has no effect on a group that requires no factor; " +
				"add --required-acr mfa or --required-acr phr")
		}
		return nil
	})
}

// AddToGroup adds users, by username, email address or sub, to a group.
func (a *Admin) AddToGroup(ctx context.Context, name string, users []string) error {
	return a.changeMembers(ctx, name, users, a.store.AddGroupMembers)
}

// RemoveFromGroup removes users, by username, email address or sub, from a group. Where the group is required, their
// tokens are no longer active unless they are in another required group.
func (a *Admin) RemoveFromGroup(ctx context.Context, name string, users []string) error {
	return a.changeMembers(ctx, name, users, a.store.RemoveGroupMembers)
}

// UnknownUserError is returned for a user that does not exist.
type UnknownUserError struct{ Name string }

// Error implements error.
func (e *UnknownUserError) Error() string { return fmt.Sprintf("there is no user %s", e.Name) }

func (a *Admin) changeMembers(
	ctx context.Context, name string, users []string, change func(ctx context.Context, name string, ids []string) error,
) error {
	ids := make([]string, len(users))
	for i, user := range users {
		u, err := a.User(ctx, user)
		if errors.Is(err, storage.ErrNotFound) {
			return &UnknownUserError{user}
		}
		if err != nil {
			return err
		}
		ids[i] = u.ID
	}
	return change(ctx, name, ids)
}

// DeleteGroup deletes a group. It returns an InUseError when clients or resources name it, unless force is set: a
// client that requires no other group would be closed to every user.
func (a *Admin) DeleteGroup(ctx context.Context, name string, force bool) error {
	if _, err := a.store.Group(ctx, name); err != nil {
		return err
	}
	if !force {
		usedBy, err := a.groupUsers(ctx, name)
		if err != nil {
			return err
		}
		if len(usedBy) > 0 {
			return &InUseError{"group " + name, usedBy}
		}
	}
	return a.store.DeleteGroup(ctx, name)
}

// groupUsers returns the clients and resources that name a group.
func (a *Admin) groupUsers(ctx context.Context, name string) (usedBy []string, err error) {
	clients, err := a.allClients(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range clients {
		if c.ClaimGroups.Has(name) || c.RequiredGroups.Has(name) {
			usedBy = append(usedBy, "client "+c.ID+" ("+c.Name+")")
		}
	}
	resources, err := a.Resources(ctx)
	for _, r := range resources {
		if r.ClaimGroups.Has(name) {
			usedBy = append(usedBy, "resource "+r.Identifier)
		}
	}
	return usedBy, err
}
