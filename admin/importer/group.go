package importer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gatehouse/admin"
	"gatehouse/storage"
)

// sourceGroup is a group of the other system, or a role there that becomes a group.
type sourceGroup struct {
	kind string // of a role; empty for a group
	name string // as it shall be here, before the characters are checked
}

func (g sourceGroup) String() string {
	if g.kind == "" {
		return fmt.Sprintf("the group %q", g.name)
	}
	return fmt.Sprintf("the %s that becomes the group %q", g.kind, g.name)
}

func groupsNamed(names []string) []sourceGroup {
	out := make([]sourceGroup, len(names))
	for i, name := range names {
		out[i].name = name
	}
	return out
}

// groupsOf returns the names here of groups of the other system, and creates those that do not exist.
func (im *Importer) groupsOf(ctx context.Context, all []sourceGroup) (groups []string, err error) {
	for _, g := range all {
		group, known := im.groups[g]
		if !known {
			if group, err = im.createGroup(ctx, g); err != nil {
				return nil, err
			}
			im.groups[g] = group
		}
		if group != "" && !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
	}
	return groups, nil
}

// createGroup returns the name of the group of another system here. It returns "" for a group whose name cannot be
// used. Two groups whose names are the same here are one, which is reported; a group and a role, or roles of different
// clients, never are, because one would give what the other does.
func (im *Importer) createGroup(ctx context.Context, g sourceGroup) (string, error) {
	im.report.Groups.Read++
	clean := strings.Join(strings.FieldsFunc(g.name, func(r rune) bool { return r == ' ' || r == ',' || r == '*' }), "-")
	if err := admin.CheckGroupName(clean); err != nil {
		im.report.Groups.Invalid++
		im.report.problem("group "+g.name, err.Error())
		return "", nil
	}
	key := strings.ToLower(clean)
	if other, ok := im.origins[key]; ok && other.kind != g.kind {
		im.report.Groups.Conflicts++
		im.report.problem(g.String(), "it has the name of "+other.String()+"; no user gets it")
		return "", nil
	} else if ok {
		im.report.fix("%s and %s have become one group: check what it grants", other, g)
	} else {
		im.origins[key] = g
	}
	if clean != g.name {
		im.report.fix("the group %q is now %q: a name has no spaces, commas and asterisks", g.name, clean)
	}
	if existing, ok := im.groupKeys[key]; ok {
		im.report.Groups.Unchanged++
		if im.origins[key] == g {
			im.joined = append(im.joined, existing)
		}
		return existing, nil
	}
	im.report.Groups.Created++
	im.groupKeys[key] = clean
	if im.options.DryRun {
		return clean, nil
	}
	return clean, im.store.CreateGroup(ctx, storage.Group{Name: clean, CreatedAt: im.store.Now()})
}

// maxJoined is how many of the groups that existed before the report names.
const maxJoined = 20

// listJoined reports the groups that existed before, which users have joined. A repeated import adds no user.
func (im *Importer) listJoined() {
	if len(im.joined) == 0 || im.report.Users.Created == 0 {
		return
	}
	more := ""
	if n := len(im.joined) - maxJoined; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	im.report.fix("groups that existed before, of which users are members now; check what they grant: %s%s",
		strings.Join(im.joined[:min(len(im.joined), maxJoined)], ", "), more)
}
