package oauth_test

import (
	"fmt"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

func TestRoles(t *testing.T) { servertest.Run(t, roleRequirements) }

const rolesAPI = "https://api.example"

// createRoles creates roles at a resource.
func createRoles(s *servertest.Server, resource string, names ...string) {
	s.T.Helper()
	for _, name := range names {
		storagetest.Must(s.T, s.Store.CreateRole(s.T.Context(),
			storage.Role{Resource: resource, Name: name, CreatedAt: s.Clock.Now()}))
	}
}

// wantRoles checks the claim roles; without want there must be none.
func wantRoles(t *testing.T, name string, claims map[string]any, want ...string) {
	t.Helper()
	got, ok := claims["roles"].([]any)
	if ok != (want != nil) || ok && fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: roles = %v, want %q", name, claims["roles"], want)
	}
}

var roleRequirements = []servertest.Requirement{
	servertest.Req("PE48", "RFC 9068 §2.2.3.1",
		"an access token for an API has the roles of the user at it, those of groups included, an empty array without one, "+
			"and no claim when it has no roles; introspection has the same",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			api := registerDefaultAPI(t, s)
			registerAPI(t, s, "https://other.example", "other")
			c := s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"openid read other"}`)
			accessToken := func(changes ...string) string { return s.Tokens(c, "alice", changes...).Text("access_token") }
			wantRoles(t, "of an API without roles", claims(t, accessToken("scope", "read")))
			createRoles(s, rolesAPI, "editor", "viewer", "owner")
			wantRoles(t, "of a user without roles", claims(t, accessToken("scope", "read")), []string{}...)
			addToGroups(s, u, "staff")
			ctx := t.Context()
			storagetest.Must(t, s.Store.GrantRole(ctx, rolesAPI, "viewer", storage.Assignees{Users: []string{u.ID}}))
			storagetest.Must(t, s.Store.GrantRole(ctx, rolesAPI, "editor",
				storage.Assignees{Users: []string{u.ID}, Groups: []string{"staff"}}))
			r := s.Tokens(c, "alice", "scope", "openid read")
			token := r.Text("access_token")
			wantRoles(t, "with userinfo in aud", claims(t, token), "editor", "viewer")
			wantRoles(t, "introspection", s.Introspect(api, token).JSON, "editor", "viewer")
			wantRoles(t, "ID token", s.IDToken(c, r))
			wantRoles(t, "for another API", claims(t, accessToken("scope", "read other", "resource", "https://other.example")))
			wantRoles(t, "for two APIs", claims(t, accessToken("scope", "read other")))
		}),
	servertest.Req("PE48b", "RFC 6749 §6",
		"a change of roles or groups is in the next refreshed token; a deleted role, group or user keeps no assignment",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			registerDefaultAPI(t, s)
			createRoles(s, rolesAPI, "editor", "viewer")
			addToGroups(s, u, "staff")
			ctx := t.Context()
			user, group := storage.Assignees{Users: []string{u.ID}}, storage.Assignees{Groups: []string{"staff"}}
			storagetest.Must(t, s.Store.GrantRole(ctx, rolesAPI, "editor", group))
			storagetest.Must(t, s.Store.GrantRole(ctx, rolesAPI, "viewer", user))
			c := s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"read offline_access",
				"grant_types":["authorization_code","refresh_token"]}`)
			r := s.Tokens(c, "alice", "scope", "read offline_access")
			wantRoles(t, "at first", claims(t, r.Text("access_token")), "editor", "viewer")
			refresh := func(name string, want ...string) {
				t.Helper()
				r = s.Refresh(c, r.Text("refresh_token")).OK(t)
				wantRoles(t, name, claims(t, r.Text("access_token")), want...)
			}
			storagetest.Must(t, s.Store.DeleteGroup(ctx, "staff"))
			addToGroups(s, u, "staff")
			refresh("after the group was deleted and created again", "viewer")
			storagetest.Must(t, s.Store.RevokeRole(ctx, rolesAPI, "viewer", user))
			storagetest.Must(t, s.Store.GrantRole(ctx, rolesAPI, "editor", user))
			refresh("after an assignment", "editor")
			storagetest.Must(t, s.Store.DeleteRole(ctx, rolesAPI, "editor"))
			createRoles(s, rolesAPI, "editor")
			refresh("after the role was deleted and created again", []string{}...)
			storagetest.Must(t, s.Store.GrantRole(ctx, rolesAPI, "editor", user))
			storagetest.Must(t, s.Store.DeleteUser(ctx, u.ID, 0))
			if got, err := s.Store.RoleAssignees(ctx, rolesAPI, "editor"); err != nil || len(got.Users) != 0 {
				t.Errorf("holders after the user was deleted: %v, %v, want none", got, err)
			}
		}),
	servertest.Req("PE48c", "RFC 9068 §2.2.3.1, RFC 6749 §4.4",
		"a token of client credentials has the roles of the client, and a user's token does not",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			registerDefaultAPI(t, s)
			createRoles(s, rolesAPI, "importer")
			c := s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"read",
				"grant_types":["authorization_code","client_credentials"]}`)
			holder := storage.Assignees{Clients: []string{c.ClientID}}
			wantRoles(t, "without a role", claims(t, s.ServiceToken(c)), []string{}...)
			storagetest.Must(t, s.Store.GrantRole(t.Context(), rolesAPI, "importer", holder))
			wantRoles(t, "of the client", claims(t, s.ServiceToken(c)), "importer")
			wantRoles(t, "of a user", claims(t, s.Tokens(c, "alice", "scope", "read").Text("access_token")), []string{}...)
			storagetest.Must(t, s.Store.RevokeRole(t.Context(), rolesAPI, "importer", holder))
			wantRoles(t, "after it was removed", claims(t, s.ServiceToken(c)), []string{}...)
		}),
}
