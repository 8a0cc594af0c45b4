// Package admin has the operations of an operator on clients, users, groups, attributes, scopes, resources,
// registration tokens, signing keys and grants, for the commands and a later admin API. It finds records by the names
// that operators use, checks what they enter, and refuses or reports changes with consequences elsewhere. It parses no
// flags and no requests, and prints nothing.
package admin

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gatehouse/display"
	"gatehouse/identity"
	"gatehouse/oauth/client"
	"gatehouse/oauth/keyring"
	"gatehouse/storage"
)

// Admin performs the operations on one store.
type Admin struct {
	store   *storage.Store
	users   *identity.Users
	clients *client.Registry
	keyring *keyring.Keyring
}

// New returns an Admin.
func New(store *storage.Store, users *identity.Users, clients *client.Registry, keys *keyring.Keyring) *Admin {
	return &Admin{store: store, users: users, clients: clients, keyring: keys}
}

// CheckDisplayable returns an error when s, a string that pages show, has characters that cannot be displayed. An empty
// string is valid.
func CheckDisplayable(s string) error {
	if s == "" {
		return nil
	}
	return display.CheckName(s)
}

// readAll returns the records of all pages. read returns the records that follow an id, up to pageSize.
func readAll[T any](
	ctx context.Context, read func(ctx context.Context, after string, limit int) ([]T, error), id func(T) string,
) (all []T, err error) {
	for after := ""; ; {
		page, err := read(ctx, after, pageSize)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(page) < pageSize {
			return all, nil
		}
		after = id(page[len(page)-1])
	}
}

// sortedValues returns the values of a map in the order of its keys.
func sortedValues[T any](byKey map[string]T) []T {
	values := []T{}
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		values = append(values, byKey[key])
	}
	return values
}

// sortByName sorts records by name without regard to case, then by id. It is done here because the order of text in
// PostgreSQL depends on the collation of the database.
func sortByName[T any](records []T, key func(T) (name, id string)) {
	slices.SortFunc(records, func(a, b T) int {
		nameA, idA := key(a)
		nameB, idB := key(b)
		return cmp.Or(strings.Compare(strings.ToLower(nameA), strings.ToLower(nameB)),
			strings.Compare(nameA, nameB), strings.Compare(idA, idB))
	})
}

// InUseError is returned for a scope or group that cannot be deleted because clients, resources or attributes have it.
type InUseError struct {
	Record string   // "scope NAME" or "group NAME"
	UsedBy []string // "client ID (NAME)", "resource URI" or "attribute NAME"
}

// Error implements error.
func (e *InUseError) Error() string {
	return fmt.Sprintf("%s is in use by %s", e.Record, strings.Join(e.UsedBy, ", "))
}
