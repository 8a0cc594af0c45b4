package oauth_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

func TestGroupClaims(t *testing.T) { servertest.Run(t, groupClaims) }

// setGroupsClaim sets which groups the access tokens of a resource have.
func setGroupsClaim(s *servertest.Server, identifier string, groups ...string) {
	s.T.Helper()
	storagetest.Must(s.T, s.Store.UpdateResource(s.T.Context(), identifier, func(r *storage.Resource) error {
		r.GroupsClaim, r.ClaimGroups = true, groups
		return nil
	}))
}

// wantGroups checks the claim groups; without want there must be none.
func wantGroups(t *testing.T, name string, claims map[string]any, want ...string) {
	t.Helper()
	if got := groupsOf(claims); (got == nil) != (want == nil) || !slices.Equal(got, want) {
		t.Errorf("%s: groups = %v, want %q", name, claims["groups"], want)
	}
}

var groupClaims = []servertest.Requirement{
	servertest.Req("PE46b", "RFC 9068 §2.2.3.1",
		"an access token has the groups of the user only for APIs that get them, and so has introspection",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			addToGroups(s, u, "staff", "team-a", "admins")
			api, other := registerDefaultAPI(t, s), registerAPI(t, s, "https://other.example", "other")
			c := s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"read other",
				"grant_types":["authorization_code","refresh_token"]}`)
			r := s.Tokens(c, "alice", "scope", "read other")
			wantGroups(t, "without the setting", claims(t, r.Text("access_token")))
			setGroupsClaim(s, "https://api.example", "team-*", "staff")
			token := s.Tokens(c, "alice", "scope", "read other").Text("access_token")
			wantGroups(t, "for both APIs", claims(t, token), "staff", "team-a")
			wantGroups(t, "introspection by the API", s.Introspect(api, token).JSON, "staff", "team-a")
			wantGroups(t, "introspection by the client", s.Introspect(c, token).JSON, "staff", "team-a")
			wantGroups(t, "introspection by the other API", s.Introspect(other, token).JSON)
			token = s.Tokens(c, "alice", "scope", "read other", "resource", "https://other.example").Text("access_token")
			wantGroups(t, "for the other API", claims(t, token))
			storagetest.Must(t, s.Store.RemoveGroupMembers(t.Context(), "staff", []string{u.ID}))
			storagetest.Must(t, s.Store.RemoveGroupMembers(t.Context(), "team-a", []string{u.ID}))
			r = s.Tokens(c, "alice", "scope", "read")
			wantGroups(t, "of a user in none of them", claims(t, r.Text("access_token")), []string{}...)
		}),
	servertest.Req("PE46c", "RFC 9068 §6",
		"an access token of a client that registered itself or has a document has groups only with the scope groups, "+
			"unless the operator vouched for it, and none above 4 KiB, with a warning",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			addToGroups(s, u, "staff")
			createResource(s, openAPI, true, "x.read")
			setGroupsClaim(s, openAPI)
			c := selfRegisterPublic(s, servertest.Callback)
			groupsOfToken := func() map[string]any {
				return claims(t, tokensFor(s, c, "scope", "x.read").Text("access_token"))
			}
			wantGroups(t, "without the scope", groupsOfToken())
			document := tokensFor(s, newDocumentHost(t).client(), "scope", "x.read").Text("access_token")
			wantGroups(t, "of a client with a document", claims(t, document))
			changeClient(s, c, `{"gatehouse_vouched":true}`)
			wantGroups(t, "of a client that was checked", groupsOfToken(), "staff")
			for i := range 42 {
				addToGroups(s, u, fmt.Sprintf("%s%02d", strings.Repeat("g", 96), i))
			}
			wantGroups(t, "of a user with too long names", groupsOfToken())
			if !strings.Contains(s.Logs(), "too long for an access token") {
				t.Error("no warning in the log, want one")
			}
		}).WithSettings(append(slices.Clone(documentSettings), openRegistration)...),
	servertest.Req("PE47b", "OIDC Core §5.1.2",
		"a client gets its groups under another name, with a prefix and by patterns, in ID token and userinfo",
		func(t *testing.T, s *servertest.Server) {
			addToGroups(s, s.User("alice"), "staff", "team-a", "team-b")
			c := groupsClient(s, `"gatehouse_groups_claim_name":"https://example.com/roles"`,
				`"gatehouse_groups_prefix":"oidc:"`, `"gatehouse_claim_groups":["team-*"]`)
			r := s.Tokens(c, "alice", "scope", groupScopes)
			want := fmt.Sprint([]string{"oidc:team-a", "oidc:team-b"})
			for name, got := range map[string]map[string]any{
				"ID token": s.IDToken(c, r), "userinfo": s.Userinfo(r.Text("access_token")).OK(t).JSON,
			} {
				if fmt.Sprint(got["https://example.com/roles"]) != want || got["groups"] != nil {
					t.Errorf("%s: %v, want the claim https://example.com/roles %s and no groups", name, got, want)
				}
			}
		}),
	servertest.Req("PE51", "RFC 7519 §4.1, OIDC Core §5.1",
		"no claim with a configurable name has the name of a claim with a meaning of its own, in any case",
		func(t *testing.T, s *servertest.Server) {
			c := groupsClient(s)
			set := func(name string) error {
				_, _, err := s.OAuth.Clients.Update(t.Context(), c.ClientID,
					[]byte(`{"gatehouse_groups_claim_name":"`+name+`"}`))
				return err
			}
			for _, name := range []string{"sub", "Sub", "iss", "aud", "exp", "email", "email_verified", "nonce", "cnf", "a b"} {
				if err := set(name); err == nil || !strings.Contains(err.Error(), "name of another claim") {
					t.Errorf("groups_claim_name %q: error %v, want a refusal", name, err)
				}
			}
			for _, name := range []string{"roles", "entitlements", "cognito:groups", "groups", ""} {
				storagetest.Must(t, set(name))
			}
			self := client.Metadata{OperatorMetadata: client.OperatorMetadata{GroupsPrefix: "\u202e"}}
			self.RedirectURIs = client.List{servertest.Callback}
			if _, _, err := s.OAuth.Clients.Create(t.Context(), self); err == nil {
				t.Error("a prefix with an invisible character was registered, want a refusal")
			}
		}),
}
