package importer

import (
	"context"
	"maps"
	"slices"
	"strings"

	"gatehouse/storage"
)

// roleRef is a role of a client, or of the realm if the client is empty.
type roleRef struct{ client, name string }

type keycloakRoles struct {
	Realm  []keycloakRole            `json:"realm"`
	Client map[string][]keycloakRole `json:"client"`
}

type keycloakRole struct {
	Name        string     `json:"name"`
	Description string     `json:"description"`
	Composites  composites `json:"composites"`
}

// composites are the roles that a role includes.
type composites struct {
	Realm  []string            `json:"realm"`
	Client map[string][]string `json:"client"`
}

type keycloakGroup struct {
	Name        string              `json:"name"`
	Path        string              `json:"path"`
	RealmRoles  []string            `json:"realmRoles"`
	ClientRoles map[string][]string `json:"clientRoles"`
	Attributes  map[string][]string `json:"attributes"`
	SubGroups   []keycloakGroup     `json:"subGroups"`
}

// keycloakOwnRoles are roles of the realm that have a meaning in Keycloak only, besides default-roles-REALM.
var keycloakOwnRoles = []string{"offline_access", "uma_authorization"}

// keycloakOwnClients are the clients of Keycloak's own pages and APIs.
var keycloakOwnClients = []string{
	"account", "account-console", "admin-cli", "broker", "realm-management", "security-admin-console",
}

// refs returns roles of the realm and of clients.
func refs(realm []string, clients map[string][]string) (out []roleRef) {
	for _, name := range realm {
		out = append(out, roleRef{"", name})
	}
	for _, client := range slices.Sorted(maps.Keys(clients)) {
		for _, name := range clients[client] {
			out = append(out, roleRef{client, name})
		}
	}
	return out
}

// index prepares the lookup of composite roles and of the roles of groups.
func (k *keycloakRealm) index() {
	k.composites, k.groupRoles = map[roleRef]composites{}, map[string][]roleRef{}
	for _, r := range k.roles.Realm {
		k.composites[roleRef{"", r.Name}] = r.Composites
	}
	for client, roles := range k.roles.Client {
		for _, r := range roles {
			k.composites[roleRef{client, r.Name}] = r.Composites
		}
	}
	var walk func(groups []keycloakGroup, parent string, inherited []roleRef)
	walk = func(groups []keycloakGroup, parent string, inherited []roleRef) {
		for i := range groups {
			g := &groups[i]
			if g.Path == "" {
				g.Path = parent + "/" + g.Name
			}
			k.groupRoles[g.Path] = slices.Concat(inherited, refs(g.RealmRoles, g.ClientRoles))
			walk(g.SubGroups, g.Path, k.groupRoles[g.Path])
		}
	}
	walk(k.groups, "", nil)
}

// effective returns the roles with those that they include.
func (k *keycloakRealm) effective(roles []roleRef) []roleRef {
	var out []roleRef
	seen := map[roleRef]bool{}
	for len(roles) > 0 {
		r := roles[0]
		roles = roles[1:]
		if seen[r] {
			continue
		}
		seen[r] = true
		out = append(out, r)
		c := k.composites[r]
		roles = append(slices.Clone(roles), refs(c.Realm, c.Client)...)
	}
	return out
}

// keycloakGroups creates the groups of a realm, and the roles of the clients that have a resource.
func (im *Importer) keycloakGroups(ctx context.Context, realm *keycloakRealm) error {
	var walk func(groups []keycloakGroup) error
	walk = func(groups []keycloakGroup) error {
		for _, g := range groups {
			if len(g.Attributes) > 0 {
				im.report.lose("attributes of a group")
			}
			if _, err := im.groupsOf(ctx, groupsNamed([]string{groupOfPath(g.Path)})); err != nil {
				return err
			}
			if err := walk(g.SubGroups); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(realm.groups); err != nil {
		return err
	}
	for client, resource := range im.options.Resources {
		for _, r := range realm.roles.Client[client] {
			if _, err := im.role(ctx, resource, r.Name, r.Description); err != nil {
				return err
			}
		}
	}
	return nil
}

// groupOfPath returns the name of a group here: its path without the first slash.
func groupOfPath(path string) string { return strings.TrimPrefix(path, "/") }

// keycloakMemberships returns the groups and roles of a user. A role becomes a role of a resource if its client has
// one, and otherwise a group, because only the members of a group are visible to every client.
func (im *Importer) keycloakMemberships(
	ctx context.Context, realm *keycloakRealm, k keycloakUser,
) (groups []sourceGroup, roles []storage.Role, err error) {
	direct := refs(k.RealmRoles, k.ClientRoles)
	for _, path := range k.Groups {
		groups = append(groups, sourceGroup{name: groupOfPath(path)})
		direct = append(direct, realm.groupRoles[path]...)
	}
	for _, r := range realm.effective(direct) {
		switch {
		case slices.Contains(keycloakOwnClients, r.client):
			if r.client == "realm-management" {
				im.report.lose("role %s of realm-management: administration of Keycloak", r.name)
			}
		case r.client == "" && (slices.Contains(keycloakOwnRoles, r.name) || strings.HasPrefix(r.name, "default-roles-")):
		case r.client == "":
			groups = append(groups, sourceGroup{"role of the realm", im.options.RolePrefix + r.name})
		case im.options.Resources[r.client] != "":
			role, err := im.role(ctx, im.options.Resources[r.client], r.name, "")
			if err != nil {
				return nil, nil, err
			}
			roles = append(roles, role)
		default:
			groups = append(groups, sourceGroup{"role of the client " + r.client, r.client + ":" + r.name})
		}
	}
	return groups, roles, nil
}
