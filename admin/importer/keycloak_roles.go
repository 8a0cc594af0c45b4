package importer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gatehouse/storage"
)

// roleRef is a role of a client, or of the realm if the client is empty.
type roleRef struct{ client, name string }

type keycloakRoles struct {
	Realm  records[keycloakRole]            `json:"realm"`
	Client map[string]records[keycloakRole] `json:"client"`
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
	for _, r := range k.roles.Realm.valid {
		k.composites[roleRef{"", r.Name}] = r.Composites
	}
	for client, roles := range k.roles.Client {
		for _, r := range roles.valid {
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
	walk(k.groups.valid, "", nil)
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
	if err := walk(realm.groups.valid); err != nil {
		return err
	}
	for _, client := range slices.Sorted(maps.Keys(im.options.Resources)) {
		roles, ok := realm.roles.Client[client]
		if !ok {
			im.report.fix("--resource %s=%s: the files have no roles of this client", client, im.options.Resources[client])
		}
		for _, r := range roles.valid {
			role := storage.Role{Resource: im.options.Resources[client], Name: r.Name, Description: r.Description}
			if _, err := im.createRole(ctx, role); err != nil {
				return err
			}
		}
	}
	return nil
}

// reportInvalid reports the groups, roles and clients of a realm that cannot be imported.
func (im *Importer) reportInvalid(realm *keycloakRealm) {
	for _, g := range realm.groups.invalid {
		im.report.Groups.Read++
		im.report.Groups.Invalid++
		im.report.problem(fmt.Sprintf("group %d (%s)", g.number, g.value.Name), g.err.Error()+
			"; users do not get the roles of this group and those below it")
	}
	for _, r := range realm.roles.Realm.invalid {
		im.reportInvalidRole("of the realm", r)
	}
	for _, client := range slices.Sorted(maps.Keys(realm.roles.Client)) {
		for _, r := range realm.roles.Client[client].invalid {
			im.reportInvalidRole("of the client "+client, r)
		}
	}
	for _, c := range realm.clients.invalid {
		im.invalidClient(fmt.Sprintf("client %d (%s)", c.number, c.value.ClientID), c.err)
	}
}

func (im *Importer) reportInvalidRole(of string, r invalidRecord[keycloakRole]) {
	im.report.Roles.Read++
	im.report.Roles.Invalid++
	im.report.problem(fmt.Sprintf("role %d (%s) %s", r.number, r.value.Name, of), r.err.Error()+
		"; users do not get the roles that it includes")
}

// groupOfPath returns the name of a group here: its path without the first slash.
func groupOfPath(path string) string { return strings.TrimPrefix(path, "/") }

// keycloakMemberships returns the groups and roles of a user. A role becomes a role of a resource if its client has
// one, and otherwise a group, because only the members of a group are visible to every client.
func (im *Importer) keycloakMemberships(
	realm *keycloakRealm, k keycloakUser,
) (groups []sourceGroup, roles []storage.Role) {
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
			roles = append(roles, storage.Role{Resource: im.options.Resources[r.client], Name: r.name})
		default:
			groups = append(groups, sourceGroup{"role of the client " + r.client, r.client + ":" + r.name})
		}
	}
	return groups, roles
}
