package importer

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"gatehouse/admin"
	"gatehouse/storage"
)

// roleState is what an import has done with a role.
type roleState int

const (
	roleUnknown roleState = iota
	roleExists            // before the import
	roleCounted           // by the report; it exists
	roleRefused           // its name is not accepted
)

// readRoles reads the resources and roles that exist.
func (im *Importer) readRoles(ctx context.Context) (err error) {
	if im.resources, err = im.store.Resources(ctx); err != nil {
		return err
	}
	all, err := im.store.Roles(ctx, "")
	im.roles = map[storage.Role]roleState{}
	for _, r := range all {
		im.roles[storage.Role{Resource: r.Resource, Name: r.Name}] = roleExists
	}
	return err
}

// checkRole returns a *recordError for a role that cannot be created.
func (im *Importer) checkRole(resource, name string) error {
	if _, ok := im.resources[resource]; !ok {
		return recordErrorf("%w", &admin.UnknownResourceError{Resource: resource})
	}
	if err := admin.CheckRoleName(name); err != nil {
		return recordErrorf("the role %q: %w", name, err)
	}
	return nil
}

// checkResources returns an error unless the resources of the options exist.
func (im *Importer) checkResources() error {
	for _, client := range slices.Sorted(maps.Keys(im.options.Resources)) {
		uri := im.options.Resources[client]
		if _, ok := im.resources[uri]; !ok {
			return fmt.Errorf("--resource %s=%s: %w", client, uri, &admin.UnknownResourceError{Resource: uri})
		}
	}
	return nil
}

// hasNewMemberships reports whether a user has a group or role that is new to the import.
func (im *Importer) hasNewMemberships(q queued) bool {
	return slices.ContainsFunc(q.groups, func(g sourceGroup) bool {
		_, known := im.groups[g]
		return !known
	}) || slices.ContainsFunc(q.roles, func(r storage.Role) bool { return im.roles[r] < roleCounted })
}

// memberships returns the groups and roles of a user, and creates those that do not exist.
func (im *Importer) memberships(ctx context.Context, q queued) (groups []string, roles []storage.Role, err error) {
	for _, r := range q.roles {
		ok, err := im.createRole(ctx, r)
		if err != nil {
			return nil, nil, err
		}
		if ok {
			roles = append(roles, r)
		}
	}
	groups, err = im.groupsOf(ctx, q.groups)
	return groups, roles, err
}

// createRole creates a role unless it exists. ok is false for one whose name is not accepted, which is reported.
func (im *Importer) createRole(ctx context.Context, r storage.Role) (ok bool, err error) {
	key := storage.Role{Resource: r.Resource, Name: r.Name}
	state := im.roles[key]
	if state >= roleCounted {
		return state == roleCounted, nil
	}
	im.report.Roles.Read++
	if err := im.checkRole(r.Resource, r.Name); err != nil {
		im.roles[key] = roleRefused
		im.report.Roles.Invalid++
		im.report.problem("role of "+r.Resource, err.Error()+"; no user gets it")
		return false, nil
	}
	im.roles[key] = roleCounted
	if state == roleExists {
		im.report.Roles.Unchanged++
		return true, nil
	}
	im.report.Roles.Created++
	if admin.CheckDisplayable(r.Description) != nil {
		r.Description = ""
		im.report.lose("description of a role, which cannot be displayed")
	}
	if im.options.DryRun {
		return true, nil
	}
	r.CreatedAt = im.store.Now()
	return true, im.store.CreateRole(ctx, r)
}
