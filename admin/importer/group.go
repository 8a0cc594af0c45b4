package importer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gatehouse/admin"
	"gatehouse/storage"
)

// groupsOf returns the names here of groups of the other system, and creates those that do not exist.
func (im *Importer) groupsOf(ctx context.Context, names []string) (groups []string, err error) {
	for _, name := range names {
		group, known := im.groups[name]
		if !known {
			if group, err = im.createGroup(ctx, name); err != nil {
				return nil, err
			}
			im.groups[name] = group
		}
		if group != "" && !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
	}
	return groups, nil
}

// createGroup returns the name of the group of another system here. It returns "" for a group whose name cannot be
// used.
func (im *Importer) createGroup(ctx context.Context, name string) (string, error) {
	im.report.Groups.Read++
	clean := strings.Join(strings.FieldsFunc(name, func(r rune) bool { return r == ' ' || r == ',' || r == '*' }), "-")
	if err := admin.CheckGroupName(clean); err != nil {
		im.report.Groups.Invalid++
		im.report.problem("group "+name, err.Error())
		return "", nil
	}
	if clean != name {
		im.report.fix("the group %q is now %q: a name has no spaces, commas and asterisks", name, clean)
	}
	if existing, ok := im.groupKeys[strings.ToLower(clean)]; ok {
		im.report.Groups.Unchanged++
		return existing, nil
	}
	im.report.Groups.Created++
	im.groupKeys[strings.ToLower(clean)] = clean
	if im.options.DryRun {
		return clean, nil
	}
	return clean, im.store.CreateGroup(ctx, storage.Group{Name: clean, CreatedAt: im.store.Now()})
}

// role returns a role of a resource, which it creates if it does not exist.
func (im *Importer) role(ctx context.Context, resource, name, description string) (storage.Role, error) {
	r := storage.Role{Resource: resource, Name: name}
	if im.roles == nil {
		all, err := im.store.Roles(ctx, "")
		if err != nil {
			return r, err
		}
		im.roles = map[storage.Role]bool{}
		for _, existing := range all {
			im.roles[storage.Role{Resource: existing.Resource, Name: existing.Name}] = false
		}
		if im.resources, err = im.store.Resources(ctx); err != nil {
			return r, err
		}
	}
	if _, ok := im.resources[resource]; !ok {
		return r, &admin.UnknownResourceError{Resource: resource}
	}
	counted, exists := im.roles[r]
	if counted {
		return r, nil
	}
	im.roles[r] = true
	im.report.Roles.Read++
	if exists {
		im.report.Roles.Unchanged++
		return r, nil
	}
	if err := admin.CheckRoleName(name); err != nil {
		return r, fmt.Errorf("the role %q: %w", name, err)
	}
	im.report.Roles.Created++
	if im.options.DryRun {
		return r, nil
	}
	created := storage.Role{Resource: resource, Name: name, Description: description, CreatedAt: im.store.Now()}
	return r, im.store.CreateRole(ctx, created)
}
