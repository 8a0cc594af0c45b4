package oauth_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"gatehouse/admin"
	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/identity"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

func TestAttributes(t *testing.T) { servertest.Run(t, attributeRequirements) }

// adminOf returns the operations of the operator of a server.
func adminOf(s *servertest.Server) *admin.Admin {
	return admin.New(s.Store, s.Users, s.OAuth.Clients, s.OAuth.Keyring)
}

// createAttribute creates an attribute in the scope company, which is created if there is none.
func createAttribute(s *servertest.Server, name, attributeType, userAccess string, constant ...string) {
	s.T.Helper()
	_, err := s.Store.CreateMissingScopes(s.T.Context(), []string{"company"})
	storagetest.Must(s.T, err)
	scope := "company"
	_, err = adminOf(s).CreateAttribute(s.T.Context(), name, attributeType,
		admin.AttributeChanges{Scope: &scope, UserAccess: &userAccess, Constant: constant})
	storagetest.Must(s.T, err)
}

// setAttribute sets the value of an attribute of a user.
func setAttribute(s *servertest.Server, u storage.User, name string, value ...string) {
	s.T.Helper()
	_, err := s.Users.Update(s.T.Context(), u, identity.Changes{Attributes: map[string][]string{name: value}})
	storagetest.Must(s.T, err)
}

// attributesClient registers a client that may request the scope company, with further members.
func attributesClient(s *servertest.Server, more ...string) client.Information {
	return s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"openid company groups offline_access",
		"grant_types":["authorization_code","refresh_token"]` + strings.Join(append([]string{""}, more...), ",") + `}`)
}

// wantAttributes checks the claims that are not the same for every user, sub included.
func wantAttributes(t *testing.T, name string, got map[string]any, want map[string]string) {
	t.Helper()
	for claim, value := range want {
		text := ""
		if got[claim] != nil {
			text = fmt.Sprintf("%T %v", got[claim], got[claim])
		}
		if text != value {
			t.Errorf("%s: %s is %q, want %q", name, claim, text, value)
		}
	}
}

var attributeRequirements = []servertest.Requirement{
	servertest.Req("PE50", "OIDC Core §5.1.2, §5.5",
		"attributes of users and constants are claims of their scope, in their type: at userinfo, in ID tokens of clients "+
			"registered for that, and where the claims parameter requests them with the scope",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			c := attributesClient(s)
			for name, attributeType := range map[string]string{
				"department": storage.AttributeString, "level": storage.AttributeNumber,
				"contractor": storage.AttributeBoolean, "sites": storage.AttributeStrings, "unset": storage.AttributeString,
			} {
				createAttribute(s, name, attributeType, storage.AccessNone)
			}
			createAttribute(s, "tenant", storage.AttributeString, storage.AccessNone, "example")
			setAttribute(s, u, "department", "R&D <new>")
			setAttribute(s, u, "level", "7.5")
			setAttribute(s, u, "contractor", "false")
			setAttribute(s, u, "sites", "Paris", "Rome")
			all := map[string]string{
				"department": "string R&D <new>", "level": "float64 7.5", "contractor": "bool false",
				"sites": "[]interface {} [Paris Rome]", "tenant": "string example", "unset": "",
			}
			none := map[string]string{"department": "", "level": "", "contractor": "", "sites": "", "tenant": ""}
			r := s.Tokens(c, "alice", "scope", "openid company offline_access")
			wantAttributes(t, "userinfo", s.Userinfo(r.Text("access_token")).OK(t).JSON, all)
			wantAttributes(t, "ID token", s.IDToken(c, r), none)
			wantAttributes(t, "access token", claims(t, r.Text("access_token")), none)
			small := s.Refresh(c, r.Text("refresh_token"), "scope", "openid").OK(t)
			wantAttributes(t, "userinfo without the scope", s.Userinfo(small.Text("access_token")).OK(t).JSON, none)

			const parameter = `{"id_token":{"department":null,"level":{"value":8},"tenant":{"value":"example"}},` +
				`"userinfo":{"sites":{"values":[["Oslo"]]}}}`
			r = s.Tokens(c, "alice", "scope", "openid company", "claims", parameter)
			wantAttributes(t, "ID token with requested claims", s.IDToken(c, r), map[string]string{
				"department": "string R&D <new>", "tenant": "string example", "level": "", "sites": "",
			})
			wantAttributes(t, "userinfo without the requested value", s.Userinfo(r.Text("access_token")).OK(t).JSON,
				map[string]string{"sites": "", "level": "float64 7.5"})
			r = s.Tokens(c, "alice", "scope", "openid", "claims", parameter)
			wantAttributes(t, "ID token with requested claims without the scope", s.IDToken(c, r), none)
			other := attributesClient(s, `"gatehouse_id_token_claims":true`)
			wantAttributes(t, "ID token of a client registered for claims",
				s.IDToken(other, s.Tokens(other, "alice", "scope", "openid company")), all)
			storagetest.Eventually(t, "claims_supported has the attribute", func() bool {
				list, _ := s.Get("/.well-known/openid-configuration").OK(t).JSON["claims_supported"].([]any)
				return slices.Contains(list, any("department")) && slices.Contains(list, any("email"))
			})
		}),
	servertest.Req("PE50b", "RFC 6749 §6",
		"a change of a value is in the next response; a deleted attribute or user keeps no value",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			c := attributesClient(s, `"gatehouse_id_token_claims":true`)
			createAttribute(s, "department", storage.AttributeString, storage.AccessNone)
			setAttribute(s, u, "department", "Sales")
			r := s.Tokens(c, "alice", "scope", "openid company offline_access")
			check := func(name, want string) {
				t.Helper()
				r = s.Refresh(c, r.Text("refresh_token")).OK(t)
				for where, got := range map[string]map[string]any{
					"ID token": s.IDToken(c, r), "userinfo": s.Userinfo(r.Text("access_token")).OK(t).JSON,
				} {
					wantAttributes(t, name+": "+where, got, map[string]string{"department": want})
				}
			}
			check("at first", "string Sales")
			setAttribute(s, u, "department", "Research")
			check("changed", "string Research")
			ctx := t.Context()
			storagetest.Must(t, adminOf(s).DeleteAttribute(ctx, "department"))
			check("deleted", "")
			createAttribute(s, "department", storage.AttributeString, storage.AccessNone)
			check("created again", "")
			setAttribute(s, u, "department", "Sales")
			setAttribute(s, u, "department")
			check("removed", "")
			setAttribute(s, u, "department", "Sales")
			storagetest.Must(t, s.Store.DeleteUser(ctx, u.ID, 0))
			if values, err := s.Store.UserAttributes(ctx, u.ID); err != nil || len(values) > 0 {
				t.Errorf("values of a deleted user: %v, %v, want none", values, err)
			}
		}),
	servertest.Req("PE50c", "RFC 9068 §6",
		"a client does not get an attribute as the claim in which it gets groups",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			createAttribute(s, "teams", storage.AttributeStrings, storage.AccessEdit)
			setAttribute(s, u, "teams", "admins")
			addToGroups(s, u, "staff")
			c := attributesClient(s, `"gatehouse_groups_claim_name":"Teams"`)
			for scope, want := range map[string]string{"openid company": "", "openid company groups": "[staff]"} {
				got := s.Userinfo(s.Tokens(c, "alice", "scope", scope).Text("access_token")).OK(t).JSON
				wantAttributes(t, scope, got, map[string]string{"teams": ""})
				if text := fmt.Sprint(got["Teams"]); want != "" && text != want {
					t.Errorf("scope %s: Teams = %s, want %s", scope, text, want)
				}
			}
		}),
	servertest.Req("PE50d", "OIDC Core §5.1.2",
		"a user sees on the profile page the attributes that are for users, changes those that users may edit and no "+
			"others, and an error is shown next to its field",
		checkAttributesOnProfilePage),
	servertest.Req("PE50f", "[decision 59](decisions/0059-attributes-of-users.md)",
		"a template is a claim made from properties of the user, which a user who lacks one of them does not have",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			_, err := s.Store.CreateMissingScopes(t.Context(), []string{"company"})
			storagetest.Must(t, err)
			scope, read := "company", storage.AccessRead
			for name, template := range map[string]string{
				"login": "{username}@corp.example", "full_name": "{given_name} {family_name} ({username})",
			} {
				_, err := adminOf(s).CreateAttribute(t.Context(), name, storage.AttributeString,
					admin.AttributeChanges{Scope: &scope, UserAccess: &read, Template: &template})
				storagetest.Must(t, err)
			}
			c := attributesClient(s)
			check := func(want map[string]string) {
				t.Helper()
				r := s.Tokens(c, "alice", "scope", "openid company")
				wantAttributes(t, "userinfo", s.Userinfo(r.Text("access_token")).OK(t).JSON, want)
			}
			check(map[string]string{"login": "string alice@corp.example", "full_name": ""})
			_, err = s.Users.Update(t.Context(), u, identity.Changes{
				Profile: &storage.Profile{GivenName: "{email}", FamilyName: "Ng"},
			})
			storagetest.Must(t, err)
			check(map[string]string{"login": "string alice@corp.example", "full_name": "string {email} Ng (alice)"})
			b := s.Browser()
			b.SignIn(b.Open("/login"), "alice")
			if p := b.Open("/account/profile"); !strings.Contains(p.Text(), "alice@corp.example") {
				t.Errorf("the profile page is %s, want the template in it", p.Text())
			}
			setsValue := identity.Changes{Attributes: map[string][]string{"login": {"root"}}}
			if _, err := s.Users.Update(t.Context(), u, setsValue); err == nil {
				t.Error("a user got a separate value of a template")
			}
			for _, template := range []string{
				"", "none", "{sub}", "{password}", "{username", "{{username}}", "{username}}",
				strings.Repeat("{email}", 6), strings.Repeat("x", 200) + "{email}",
			} {
				_, err := adminOf(s).UpdateAttribute(t.Context(), "login", admin.AttributeChanges{Template: &template})
				if err == nil || !strings.Contains(err.Error(), "template") {
					t.Errorf("template %q: %v, want an error", template, err)
				}
			}
		}),
	servertest.Req("PE50e", "[design](design.md)",
		"a scope of attributes that belongs to no API is allowed once, and not for each API that the token is for",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			createAttribute(s, "department", storage.AttributeString, storage.AccessNone)
			createResource(s, "https://api.example", false, "read")
			c := s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"openid company read"}`)
			s.Tokens(c, "alice", "scope", "openid company read")
			consent, err := s.Store.Consent(t.Context(), u.ID, c.ClientID)
			storagetest.Must(t, err)
			want := storage.Strings{"#company", "#openid", "https://api.example#read"}
			if got := slices.Sorted(slices.Values(consent.ResourceScopes)); !slices.Equal(got, want) {
				t.Errorf("the consent covers %q, want %q", got, want)
			}
		}),
	servertest.Req("PE51b", "RFC 7519 §4.1, OIDC Core §5.1, RFC 9068 §2.2.3.1",
		"the claim of an attribute is not a reserved claim, a claim for authorization or the claim of another attribute, "+
			"regardless of upper and lower case",
		func(t *testing.T, s *servertest.Server) {
			createAttribute(s, "department", storage.AttributeString, storage.AccessNone)
			for _, claim := range slices.Concat([]string{
				"sub", "Sub", "iss", "aud", "exp", "email", "Email_Verified", "nonce", "cnf", "client_id", "scope", "groups",
				"Roles", "entitlements", "a b", "", "DEPARTMENT",
			}, claimsOfProfile()) {
				scope := "company"
				_, err := adminOf(s).CreateAttribute(t.Context(), "other", storage.AttributeString,
					admin.AttributeChanges{Scope: &scope, Claim: &claim})
				if err == nil || !strings.Contains(err.Error(), "claim") {
					t.Errorf("claim %q of an attribute: error %v, want a refusal", claim, err)
				}
			}
			for _, scope := range []string{"openid", "offline_access", "unknown"} {
				_, err := adminOf(s).CreateAttribute(t.Context(), "other", storage.AttributeString,
					admin.AttributeChanges{Scope: &scope})
				if err == nil || !strings.Contains(err.Error(), scope) {
					t.Errorf("attribute in the scope %s: error %v, want a refusal", scope, err)
				}
			}
			claim := "https://example.com/department"
			_, err := adminOf(s).UpdateAttribute(t.Context(), "department", admin.AttributeChanges{Claim: &claim})
			storagetest.Must(t, err)
		}),
}

// claimsOfProfile returns the claims that users set on their profile page.
func claimsOfProfile() []string {
	var out []string
	for _, c := range identity.ProfileClaims() {
		if !slices.Contains([]string{"street_address", "locality", "region", "postal_code", "country"}, c.Name) {
			out = append(out, c.Name) // the others are members of address
		}
	}
	return out
}

func checkAttributesOnProfilePage(t *testing.T, s *servertest.Server) {
	u := s.User("alice")
	b := s.Browser()
	b.SignIn(b.Follow(b.Open("/account/profile")), "alice")
	createAttribute(s, "hidden", storage.AttributeString, storage.AccessNone)
	createAttribute(s, "office", storage.AttributeString, storage.AccessRead)
	createAttribute(s, "tenant", storage.AttributeString, storage.AccessRead, "Example & Co")
	createAttribute(s, "level", storage.AttributeNumber, storage.AccessEdit)
	createAttribute(s, "sites", storage.AttributeStrings, storage.AccessEdit)
	createAttribute(s, "remote", storage.AttributeBoolean, storage.AccessEdit)
	setAttribute(s, u, "hidden", "the hidden value")
	setAttribute(s, u, "office", "Desk <7>")
	setAttribute(s, u, "sites", "Paris", "Rome")
	profile := b.Open("/account/profile")
	for _, part := range []string{"Desk &lt;7&gt;", "Example &amp; Co", "Paris\nRome", `name="attribute.level"`} {
		if !strings.Contains(profile.Body, part) {
			t.Errorf("the profile page does not have %s", part)
		}
	}
	if strings.Contains(profile.Body, "hidden value") || strings.Contains(profile.Body, "attribute.hidden") {
		t.Error("the profile page has an attribute that is not for users")
	}
	// The form names attributes that the user may not edit.
	form := profile.Fields()
	form.Set("attributes", form.Get("attributes")+" hidden office tenant unknown")
	for name, value := range map[string]string{
		"hidden": "mine", "office": "mine", "tenant": "mine", "unknown": "mine", "level": "seven", "remote": "true",
		"sites": "Oslo\r\n\r\nBern",
	} {
		form.Set("attribute."+name, value)
	}
	refused := b.Submit("/account/profile", form)
	for _, part := range []string{
		`aria-describedby="attribute.level-problem"`, `id="attribute.level-problem">Enter a number`, `value="seven"`,
		"Oslo", `value="true" selected`, "Nothing was saved. Correct the marked fields.",
	} {
		if refused.Status != http.StatusBadRequest || !strings.Contains(refused.Body, part) {
			t.Errorf("the refused form: %d %s, want 400 with %s", refused.Status, refused.Body, part)
		}
	}
	form.Set("attribute.level", "7")
	if p := b.Submit("/account/profile", form); p.Status != http.StatusSeeOther {
		t.Fatalf("the changed attributes: %d %s, want 303", p.Status, p.Text())
	}
	form.Set("attributes", "remote") // the form of a page that was opened before the others were created
	form.Set("attribute.remote", "")
	if p := b.Submit("/account/profile", form); p.Status != http.StatusSeeOther {
		t.Fatalf("the removed attribute: %d %s, want 303", p.Status, p.Text())
	}
	got, err := s.Store.UserAttributes(t.Context(), u.ID)
	storagetest.Must(t, err)
	want := `map[hidden:"the hidden value" level:7 office:"Desk \u003c7\u003e" sites:["Oslo","Bern"]]`
	if text := fmt.Sprint(got); text != want {
		t.Errorf("values of the user: %s, want %s", text, want)
	}
	form.Del("form_token")
	if p := b.Submit("/account/profile", form); p.Status != http.StatusForbidden {
		t.Errorf("without a form token: status = %d, want 403", p.Status)
	}
}
