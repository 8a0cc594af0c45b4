package storage_test

import (
	"errors"
	"fmt"
	"testing"

	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// TestRoleChangesAreRecordedOnce assigns and removes a role repeatedly: only what changes is in the audit log.
func TestRoleChangesAreRecordedOnce(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		ctx := t.Context()
		const api = "https://api.example"
		if err := f.CreateRole(ctx, storage.Role{Resource: api, Name: "editor"}); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("role at an unknown resource: %v, want ErrNotFound", err)
		}
		storagetest.Must(t, f.CreateResource(ctx, storage.Resource{Identifier: api}))
		storagetest.Must(t, f.CreateGroup(ctx, storage.Group{Name: "staff"}))
		storagetest.Must(t, f.CreateRole(ctx, storage.Role{Resource: api, Name: "editor"}))
		err := f.CreateRole(ctx, storage.Role{Resource: api, Name: "editor"})
		if !errors.Is(err, storage.ErrConflict) {
			t.Errorf("second role of the name: %v, want ErrConflict", err)
		}
		all := storage.Assignees{
			Users: []string{f.user.ID, "deleted"}, Groups: []string{"staff", "deleted"},
			Clients: []string{f.client.ID, "deleted"},
		}
		for range 2 {
			storagetest.Must(t, f.GrantRole(ctx, api, "editor", all))
		}
		for range 2 {
			storagetest.Must(t, f.RevokeRole(ctx, api, "editor", all))
		}
		for event, want := range map[string]int{audit.RoleCreated: 1, audit.RoleGranted: 3, audit.RoleRevoked: 3} {
			rows, err := f.Audit.Rows(ctx, audit.Filter{Event: event, Limit: 10})
			storagetest.Must(t, err)
			if len(rows) != want {
				t.Errorf("%d events %s, want %d", len(rows), event, want)
			}
		}
		if err := f.GrantRole(ctx, api, "owner", all); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("unknown role: %v, want ErrNotFound", err)
		}
	})
}

func TestResourceHasAtMostHundredRoles(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		storagetest.Must(t, f.CreateResource(t.Context(), storage.Resource{Identifier: "https://api.example"}))
		create := func(i int) error {
			r := storage.Role{Resource: "https://api.example", Name: fmt.Sprintf("role-%d", i)}
			return f.CreateRole(t.Context(), r)
		}
		for i := range storage.MaxRoles {
			storagetest.Must(t, create(i))
		}
		if err := create(storage.MaxRoles); !errors.Is(err, storage.ErrTooManyRoles) {
			t.Errorf("role %d: %v, want ErrTooManyRoles", storage.MaxRoles+1, err)
		}
	})
}
