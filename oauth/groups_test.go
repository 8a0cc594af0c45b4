package oauth_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

func TestGroups(t *testing.T) { servertest.Run(t, groupRequirements) }

// addToGroups creates the groups that do not exist and adds the user to them.
func addToGroups(s *servertest.Server, u storage.User, names ...string) {
	s.T.Helper()
	for _, name := range names {
		if _, err := s.Store.Group(s.T.Context(), name); err != nil {
			storagetest.Must(s.T, s.Store.CreateGroup(s.T.Context(), storage.Group{Name: name, CreatedAt: s.Clock.Now()}))
		}
		storagetest.Must(s.T, s.Store.AddGroupMembers(s.T.Context(), name, []string{u.ID}))
	}
}

// groupsOf returns the claim groups, or nil unless it is an array of strings.
func groupsOf(claims map[string]any) []string {
	list, ok := claims["groups"].([]any)
	if !ok {
		return nil
	}
	out := []string{}
	for _, v := range list {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

// groupsClient registers a client that may request groups, with further members.
func groupsClient(s *servertest.Server, more ...string) client.Information {
	return s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"openid groups offline_access",
		"grant_types":["authorization_code","refresh_token"]` + strings.Join(append([]string{""}, more...), ",") + `}`)
}

const groupScopes = "openid groups offline_access"

var groupRequirements = []servertest.Requirement{
	servertest.Req("PE46", "OIDC Core §5.1.2",
		"the scope groups exists without configuration; the claim groups is an array in ID token and userinfo for clients "+
			"that are granted it, also an empty one, and absent for others",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			c := groupsClient(s)
			for _, want := range [][]string{{}, {"admins", "staff"}} {
				addToGroups(s, u, want...)
				r := s.Tokens(c, "alice", "scope", groupScopes)
				for name, claims := range map[string]map[string]any{
					"ID token": s.IDToken(c, r), "userinfo": s.Userinfo(r.Text("access_token")).OK(t).JSON,
				} {
					if got := groupsOf(claims); got == nil || !slices.Equal(got, want) {
						t.Errorf("%s: groups = %v, want %q", name, claims["groups"], want)
					}
				}
			}
			r := s.Tokens(c, "alice", "scope", "openid offline_access")
			for _, claims := range []map[string]any{s.IDToken(c, r), s.Userinfo(r.Text("access_token")).OK(t).JSON} {
				if claims["groups"] != nil {
					t.Errorf("groups without the scope = %v, want none", claims["groups"])
				}
			}
			m := s.Get("/.well-known/openid-configuration").OK(t).JSON
			for _, member := range []string{"scopes_supported", "claims_supported"} {
				if list, _ := m[member].([]any); !slices.Contains(list, any("groups")) {
					t.Errorf("%s = %v, want groups in it", member, m[member])
				}
			}
		}),
	servertest.Req("PE46d", "OIDC Core §5.5.1",
		"a requested value does not remove the claim groups, or the client would keep those that it stored before",
		func(t *testing.T, s *servertest.Server) {
			addToGroups(s, s.User("alice"), "staff")
			c := groupsClient(s)
			r := s.Tokens(c, "alice", "scope", groupScopes,
				"claims", `{"id_token":{"groups":{"value":["x"]}},"userinfo":{"groups":{"values":[]}}}`)
			for _, claims := range []map[string]any{s.IDToken(c, r), s.Userinfo(r.Text("access_token")).OK(t).JSON} {
				if got := groupsOf(claims); !slices.Equal(got, []string{"staff"}) {
					t.Errorf("groups = %v, want staff", claims["groups"])
				}
			}
		}),
	servertest.Req("PE47", "OIDC Core §16.17",
		"a client with assigned groups gets only those; of more than 200 groups only assigned ones are sent, with a warning",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			addToGroups(s, u, "admins", "staff")
			all, assigned := groupsClient(s), groupsClient(s, `"gatehouse_claim_groups":["staff"]`)
			check := func(c client.Information, want ...string) {
				t.Helper()
				r := s.Tokens(c, "alice", "scope", groupScopes)
				if got := groupsOf(s.IDToken(c, r)); !slices.Equal(got, want) {
					t.Errorf("groups = %q, want %q", got, want)
				}
			}
			check(assigned, "staff")
			for i := range 198 {
				addToGroups(s, u, fmt.Sprintf("team-%03d", i))
			}
			if r := s.Tokens(all, "alice", "scope", groupScopes); len(groupsOf(s.IDToken(all, r))) != 200 {
				t.Errorf("%d groups, want 200", len(groupsOf(s.IDToken(all, r))))
			}
			addToGroups(s, u, "one-more")
			required := groupsClient(s, `"gatehouse_required_groups":["admins","one-more"]`)
			check(all)
			check(assigned, "staff")
			check(required, "admins", "one-more")
			if !strings.Contains(s.Logs(), "user has too many groups") {
				t.Error("no warning in the log, want one")
			}
		}),
	servertest.Req("PE49", "RFC 6749 §4.1.2.1",
		"a user who is in none of the required groups gets a page, and the client access_denied; with one it gets a code",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			addToGroups(s, s.User("bob"), "staff", "admins")
			c := groupsClient(s, `"gatehouse_required_groups":["staff","admins"]`)
			b := s.Browser()
			p := b.SignIn(b.Authorize(c, "scope", groupScopes), "alice")
			if p.Status != http.StatusForbidden || !strings.Contains(p.Text(), "You do not have access to") {
				t.Fatalf("page for a user without the group: %d %s", p.Status, p.Text())
			}
			form := url.Values{"request": {p.Fields().Get("request")}, "decision": {"approve"}}
			if to := b.Submit("/consent", form).Header.Get("Location"); !strings.Contains(to, "/oauth2/authorize/") {
				t.Errorf("approval without the group leads to %q, want back to the request", to)
			}
			b.Submit("/no-access", p.Fields()).WantRedirectError(t, s, "access_denied")
			b.Authorize(c, "scope", groupScopes, "prompt", "none").WantRedirectError(t, s, "consent_required")
			s.Browser().Code(c, "bob", "scope", groupScopes)
			addToGroups(s, u, "admins")
			b.Decide(b.Authorize(c, "scope", groupScopes), "approve")
			storagetest.Must(t, s.Store.RemoveGroupMembers(t.Context(), "admins", []string{u.ID}))
			b.Authorize(c, "scope", groupScopes, "prompt", "none").WantRedirectError(t, s, "access_denied")
			request := b.Authorize(c, "scope", groupScopes).Fields().Get("request")
			if p = b.SignIn(b.Open("/login?another=1&request="+request), "bob"); !hasCode(p) {
				t.Errorf("another account in the same browser: %d %s, want a code", p.Status, p.Text())
			}
		}),
	servertest.Req("PE49b", "RFC 7591 §2", "a required group must exist, and a client with it keeps it when it is deleted",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			addToGroups(s, u, "staff")
			c := groupsClient(s, `"gatehouse_required_groups":["staff"]`)
			r := s.Tokens(c, "alice", "scope", groupScopes)
			_, _, err := s.OAuth.Clients.Update(t.Context(), c.ClientID, []byte(`{"gatehouse_required_groups":["stuff"]}`))
			if err == nil || !strings.Contains(err.Error(), "There is no group stuff") {
				t.Errorf("update with an unknown group: %v, want an error", err)
			}
			storagetest.Must(t, s.Store.DeleteGroup(t.Context(), "staff"))
			s.Refresh(c, r.Text("refresh_token")).Want(t, 400, "invalid_grant")
			_, _, err = s.OAuth.Clients.Update(t.Context(), c.ClientID, []byte(`{"client_name":"Other"}`))
			storagetest.Must(t, err)
		}),
	servertest.Req("PE52", "RFC 6749 §6",
		"a change of groups is visible at the next refresh; removal from a required group ends tokens, codes and refresh",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			addToGroups(s, u, "staff", "a_b", "admins")
			c := groupsClient(s, `"gatehouse_required_groups":["a_b","staff"]`)
			r := s.Tokens(c, "alice", "scope", groupScopes)
			remove := func(name string) {
				t.Helper()
				storagetest.Must(t, s.Store.RemoveGroupMembers(t.Context(), name, []string{u.ID}))
			}
			remove("admins")
			remove("staff")
			r = s.Refresh(c, r.Text("refresh_token")).OK(t)
			if got := groupsOf(s.IDToken(c, r)); !slices.Equal(got, []string{"a_b"}) {
				t.Errorf("groups after a refresh = %q, want a_b", got)
			}
			code := s.Browser().Code(c, "alice", "scope", groupScopes)
			addToGroups(s, u, "axb", "staf") // neither a pattern nor a part of a required name
			remove("a_b")
			if s.Active(c, r.Text("access_token")) || s.Active(c, r.Text("refresh_token")) {
				t.Error("a token is active after the removal from the required group, want none")
			}
			if got := s.Userinfo(r.Text("access_token")).Status; got != http.StatusUnauthorized {
				t.Errorf("userinfo: status = %d, want 401", got)
			}
			s.Refresh(c, r.Text("refresh_token")).Want(t, 400, "invalid_grant")
			s.Token(c, servertest.CodeForm(code, c)).Want(t, 400, "invalid_grant")
		}),
}
