package oauth_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/jwt"
)

var openidClaims = slices.Concat(scopeClaims, pairwiseSubjects)

// approveWithoutOptional approves the consent page with no optional box selected.
func approveWithoutOptional(b *servertest.Browser, page servertest.Page) servertest.Page {
	form := page.Fields()
	form.Del("scope")
	form.Set("decision", "approve")
	return b.Submit("/consent", form)
}

// wantClaims fails the test unless got has these claims; nil means that a claim is absent.
func wantClaims(t *testing.T, name string, got, want map[string]any) {
	t.Helper()
	for claim, value := range want {
		if got[claim] != value {
			t.Errorf("%s: %s = %v, want %v in %v", name, claim, got[claim], value, got)
		}
	}
}

var scopeClaims = []servertest.Requirement{
	servertest.Req("C7", "OIDC Core §5.1, §5.4, CVE-2026-55982",
		"each scope returns its claims and no others, in their types, and omits missing values",
		func(t *testing.T, s *servertest.Server) {
			s.UserWithClaims("alice")
			s.User("bob")
			c := s.RelyingParty()
			userinfo := func(user, scope string) servertest.Response {
				return s.Userinfo(s.Tokens(c, user, "scope", scope).Text("access_token")).OK(t)
			}
			for scope, names := range map[string][]string{
				"profile": {
					"name", "given_name", "family_name", "middle_name", "nickname", "preferred_username", "profile", "picture",
					"website", "gender", "birthdate", "zoneinfo", "locale", "updated_at",
				},
				"email": {"email", "email_verified"}, "address": {"address"},
				"phone": {"phone_number", "phone_number_verified"},
			} {
				r := userinfo("alice", "openid "+scope)
				if len(r.JSON) != len(names)+1 {
					t.Errorf("scope %s: %s, want %d claims and sub", scope, r.Body, len(names))
				}
				for _, name := range names {
					if v, ok := r.JSON[name]; !ok || v == nil || v == "" {
						t.Errorf("scope %s: %s = %v, want a value", scope, name, v)
					}
				}
			}
			all := userinfo("alice", servertest.AllScopes).JSON
			wantClaims(t, "all scopes", all, map[string]any{"email_verified": true, "phone_number_verified": false})
			address, _ := all["address"].(map[string]any)
			wantClaims(t, "the address", address, map[string]any{
				"formatted": "1 Main Street\n97477 Springfield\nOR\nUSA", "postal_code": "97477",
			})
			if _, ok := all["updated_at"].(float64); !ok {
				t.Errorf("updated_at is a %T, want a number", all["updated_at"])
			}
			bob := userinfo("bob", servertest.AllScopes)
			wantClaims(t, "a user without claims", bob.JSON, map[string]any{
				"address": nil, "phone_number_verified": nil, "email_verified": false,
			})
			if strings.Contains(bob.Body, "null") {
				t.Errorf("a user without claims: %s, want no null", bob.Body)
			}
		}),
	servertest.Req("C8", "OIDC Core §5.5",
		"the claims parameter requests individual claims: shown, stored, returned where requested, and only of scopes the "+
			"client has",
		func(t *testing.T, s *servertest.Server) {
			s.UserWithClaims("alice")
			c := s.RelyingParty()
			b := s.Browser()
			const parameter = `{"userinfo":{"name":{"essential":true},"nonsense":null},` +
				`"id_token":{"email":null,"auth_time":{"essential":true}}}`
			authorize := func(claims string, changes ...string) servertest.Page {
				return b.Authorize(c, append([]string{"scope", "openid", "claims", claims}, changes...)...)
			}
			checkRequestedClaims(t, s, c, b, parameter)
			if !hasCode(authorize(parameter, "prompt", "none")) {
				t.Error("claims that the user allowed are requested again")
			}
			authorize(`{"userinfo":{"birthdate":null}}`, "prompt", "none").WantRedirectError(t, s, "consent_required")
			// With the scope that contains the claim it only sets where the claim is returned.
			to := b.Code(c, "alice", "scope", "openid email", "claims",
				`{"id_token":{"email":{"value":"alice@example.com"},"email_verified":{"values":[false]}}}`)
			wantClaims(t, "ID token of claims requested by value", s.IDToken(c, s.Redeem(c, to)), map[string]any{
				"email": "alice@example.com", "email_verified": nil,
			})
			small := s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"openid"}`)
			r := s.Redeem(small, b.Code(small, "alice", "scope", "openid", "claims", parameter))
			if got := s.Userinfo(r.Text("access_token")).OK(t); len(got.JSON) != 1 {
				t.Errorf("userinfo of a client without the scopes: %s, want only sub", got.Body)
			}
			for _, invalid := range []string{
				"x", "[]", `{"userinfo":[]}`, `{"id_token":{"email":"x"}}`,
				`{"userinfo":{"a":"` + strings.Repeat("x", 5000) + `"}}`,
			} {
				authorize(invalid).WantRedirectError(t, s, "invalid_request")
			}
			authorize(`{"id_token":{"acr":{"essential":true,"values":["urn:mace:incommon:iap:silver"]}}}`).
				WantRedirectError(t, s, "unmet_authentication_requirements")
			if !hasCode(authorize(`{"id_token":{"acr":{"essential":true,"values":["0","1"]}}}`)) {
				t.Error("an essential acr with a supported value is refused")
			}
		}),
	servertest.Req("C8c", "RFC 6749 §6, CVE-2026-55982",
		"a token narrowed by a refresh does not disclose claims of the removed scopes, even if they were requested by name",
		func(t *testing.T, s *servertest.Server) {
			s.UserWithClaims("alice")
			c := s.RelyingParty()
			r := s.Tokens(c, "alice", "scope", "openid email phone",
				"claims", `{"userinfo":{"email":null,"name":null},"id_token":{"email":null}}`)
			got := s.Userinfo(r.Text("access_token")).OK(t).JSON
			if got["email"] == nil || got["phone_number"] == nil || got["name"] == nil {
				t.Errorf("userinfo before the refresh: %v, want email, phone_number and name", got)
			}
			narrowed := s.Refresh(c, r.Text("refresh_token"), "scope", "openid").OK(t)
			wantClaims(t, "userinfo of the narrowed token", s.Userinfo(narrowed.Text("access_token")).OK(t).JSON,
				map[string]any{"email": nil, "phone_number": nil, "name": "Alice Example"})
			wantClaims(t, "ID token of the narrowed token", s.IDToken(c, narrowed), map[string]any{"email": nil})
		}),
	servertest.Req("C8d", "OIDC Core §5.5",
		"the user can also deselect a claim of an optional scope that was requested only by name",
		func(t *testing.T, s *servertest.Server) {
			s.UserWithClaims("alice")
			c := s.RelyingParty(`"gatehouse_optional_scopes":["email"]`)
			b := s.Browser()
			authorize := func(claims string, changes ...string) servertest.Page {
				return b.Authorize(c, append([]string{"scope", "openid", "claims", claims}, changes...)...)
			}
			userinfo := func(p servertest.Page) map[string]any {
				return s.Userinfo(s.Redeem(c, p.Location()).Text("access_token")).OK(t).JSON
			}
			page := b.SignIn(authorize(`{"userinfo":{"email":null,"name":null}}`), "alice")
			if got := page.Fields()["scope"]; len(got) != 1 || got[0] != "claim:email" {
				t.Fatalf("boxes = %v, want claim:email", got)
			}
			wantClaims(t, "userinfo without the deselected claim", userinfo(approveWithoutOptional(b, page)),
				map[string]any{"email": nil, "name": "Alice Example"})
			// The refusal is stored: the next request succeeds without the claim and without a page.
			const email = `{"userinfo":{"email":null}}`
			wantClaims(t, "userinfo after a second request", userinfo(authorize(email, "prompt", "none")),
				map[string]any{"email": nil})
			if got := authorize(email, "prompt", "consent").Fields()["scope"]; len(got) != 0 {
				t.Errorf("selected boxes = %v after the refusal, want none", got)
			}
		}),
	servertest.Req("C8e", "OIDC Core §5.5, §5.5.1",
		"a claims parameter of any other form is invalid_request, also without openid and inside a request object",
		func(t *testing.T, s *servertest.Server) {
			alice := s.User("alice")
			key := clientKey(t, jwt.ES256, "1")
			c := s.RelyingParty(`"jwks":` + servertest.JWKS(t, key))
			b := s.Browser()
			authorize := func(claims string, changes ...string) servertest.Page {
				return b.Authorize(c, append([]string{"scope", "openid", "claims", claims}, changes...)...)
			}
			openObject := func(claims string) servertest.Page {
				object := objectClaims(s, c, "claims", json.RawMessage(claims))
				return openWithObject(b, "client_id", c.ClientID, "request", key.Sign(t, object, nil))
			}
			for _, invalid := range invalidClaimsParameters {
				authorize(invalid).WantRedirectError(t, s, "invalid_request")
				if strings.Contains(invalid, "sub") {
					continue // sub has a meaning only in OpenID Connect
				}
				authorize(invalid, "scope", "read").WantRedirectError(t, s, "invalid_request")
				if json.Valid([]byte(invalid)) {
					openObject(invalid).WantRedirectError(t, s, "invalid_request")
				}
				if t.Failed() {
					t.Fatalf("the request with claims=%s was not refused as invalid_request", invalid)
				}
			}
			for _, text := range []string{`""`, `"{}"`} { // a string is no object, not even with the JSON of one
				openObject(text).WantRedirectError(t, s, "invalid_request")
			}
			value := `{"value":"` + alice.ID + `"}`
			for _, valid := range []string{
				`{}`, ` {"userinfo":{}} `, `{"other":7,"Userinfo":"x"}`,
				`{"id_token":{"email":{"essential":false,"value":null,"values":[],"extension":1}}}`,
				`{"id_token":{"sub":` + value + `},"userinfo":{"sub":{"values":["` + alice.ID + `"]}}}`,
			} {
				b.Code(c, "alice", "scope", "openid", "claims", valid)
			}
			// A single value of values demands the user as value does.
			for _, other := range []string{
				`{"id_token":{"sub":{"values":["x"]}}}`, `{"userinfo":{"sub":{"value":"x"}}}`,
			} {
				authorize(other, "prompt", "none").WantRedirectError(t, s, "login_required")
			}
		}),
	servertest.Req("C8b", "OIDC Core §5.5",
		"a claim of a scope that the user deselected is not returned by name either",
		func(t *testing.T, s *servertest.Server) {
			s.UserWithClaims("alice")
			c := s.RelyingParty(`"gatehouse_optional_scopes":["email"]`)
			b := s.Browser()
			page := b.Authorize(c, "scope", "openid email",
				"claims", `{"userinfo":{"email":{"essential":true}},"id_token":{"email":null}}`)
			r := s.Redeem(c, approveWithoutOptional(b, b.SignIn(page, "alice")).Location())
			wantClaims(t, "ID token", s.IDToken(c, r), map[string]any{"email": nil})
			wantClaims(t, "userinfo", s.Userinfo(r.Text("access_token")).OK(t).JSON, map[string]any{"email": nil})
		}),
}

// invalidClaimsParameters do not have the form of OIDC Core §5.5, or name no subject or two.
var invalidClaimsParameters = []string{
	`null`, `[]`, `"x"`, `7`, `true`, `x`, `{`, `{}x`, `{} {}`, `{"userinfo":null}`, `{"userinfo":"x"}`, `{"userinfo":[]}`,
	`{"id_token":7}`, `{"id_token":{"email":"x"}}`, `{"id_token":{"email":[]}}`, `{"id_token":{"email":true}}`,
	`{"userinfo":{"unheard_of":1}}`,
	`{"id_token":{"email":{"essential":"true"}}}`, `{"id_token":{"email":{"essential":null}}}`,
	`{"id_token":{"email":{"values":"x"}}}`, `{"id_token":{"email":{"values":{}}}}`,
	`{"id_token":{"email":{"values":null}}}`,
	`{"userinfo":{},"userinfo":{}}`, `{"userinfo":{"email":null,"email":{"essential":true}}}`,
	`{"userinfo":{"email":{"value":"a","value":"b"}}}`,
	`{"id_token":{"sub":{"value":7}}}`, `{"id_token":{"sub":{"value":null}}}`, `{"id_token":{"sub":{"value":""}}}`,
	`{"id_token":{"sub":{"values":["a","b"]}}}`, `{"id_token":{"sub":{"values":[7]}}}`,
	`{"id_token":{"sub":{"value":"a"}},"userinfo":{"sub":{"value":"b"}}}`,
}

// checkRequestedClaims signs alice in and allows name at userinfo and email in the ID token, as the claims parameter
// requests, and checks where each is shown and returned.
func checkRequestedClaims(
	t *testing.T, s *servertest.Server, c clientInformation, b *servertest.Browser, parameter string,
) {
	t.Helper()
	page := b.SignIn(b.Authorize(c, "scope", "openid", "claims", parameter), "alice")
	for _, text := range []string{"See your full name", "See your email address"} {
		if !strings.Contains(page.Text(), text) {
			t.Errorf("the consent page is %s, want %q on it", page.Text(), text)
		}
	}
	r := s.Redeem(c, b.Decide(page, "approve").Location())
	if r.Text("scope") != "openid" {
		t.Errorf("scope = %q, want openid", r.Text("scope"))
	}
	wantClaims(t, "ID token", s.IDToken(c, r), map[string]any{"email": "alice@example.com", "name": nil})
	wantClaims(t, "userinfo", s.Userinfo(r.Text("access_token")).OK(t).JSON,
		map[string]any{"email": nil, "name": "Alice Example"})
	wantClaims(t, "ID token after a refresh", s.IDToken(c, s.Refresh(c, r.Text("refresh_token")).OK(t)),
		map[string]any{"email": "alice@example.com"})
}
