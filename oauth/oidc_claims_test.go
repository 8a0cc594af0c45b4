package oauth_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/jwt"
)

var openidClaims = []servertest.Requirement{
	servertest.Req("C7", "OIDC Core §5.1, §5.4, CVE-2026-55982", "each scope returns its claims and no others, in their types, and omits missing values", func(t *testing.T, s *servertest.Server) {
		s.UserWithClaims("alice")
		s.User("bob")
		c := s.RelyingParty()
		want := map[string][]string{
			"profile": {"name", "given_name", "family_name", "middle_name", "nickname", "preferred_username", "profile", "picture", "website", "gender", "birthdate", "zoneinfo", "locale", "updated_at"},
			"email":   {"email", "email_verified"}, "address": {"address"}, "phone": {"phone_number", "phone_number_verified"},
		}
		for scope, names := range want {
			r := s.Userinfo(s.Tokens(c, "alice", "scope", "openid "+scope).Text("access_token")).OK(t)
			if len(r.JSON) != len(names)+1 {
				t.Errorf("%s gives %s", scope, r.Body)
			}
			for _, name := range names {
				if v, ok := r.JSON[name]; !ok || v == nil || v == "" {
					t.Errorf("%s: no %s in %s", scope, name, r.Body)
				}
			}
		}
		all := s.Userinfo(s.Tokens(c, "alice", "scope", servertest.AllScopes).Text("access_token")).OK(t).JSON
		address, _ := all["address"].(map[string]any)
		if address["formatted"] != "1 Main Street\n97477 Springfield\nOR\nUSA" || address["postal_code"] != "97477" || all["email_verified"] != true || all["phone_number_verified"] != false {
			t.Errorf("%v", all)
		}
		if _, ok := all["updated_at"].(float64); !ok {
			t.Errorf("updated_at is %T", all["updated_at"])
		}
		bob := s.Userinfo(s.Tokens(c, "bob", "scope", servertest.AllScopes).Text("access_token")).OK(t)
		if strings.Contains(bob.Body, "null") || bob.JSON["address"] != nil || bob.JSON["phone_number_verified"] != nil || bob.JSON["email_verified"] != false {
			t.Errorf("of a user without claims: %s", bob.Body)
		}
	}),
	servertest.Req("C8", "OIDC Core §5.5", "the claims parameter requests individual claims: shown, stored, in the requested place, and only of scopes the client has", func(t *testing.T, s *servertest.Server) {
		s.UserWithClaims("alice")
		c := s.RelyingParty()
		b := s.Browser()
		const one = `{"userinfo":{"name":{"essential":true},"nonsense":null},"id_token":{"email":null,"auth_time":{"essential":true}}}`
		page := b.SignIn(b.Authorize(c, "scope", "openid", "claims", one), "alice")
		if !strings.Contains(page.Text(), "See your full name") || !strings.Contains(page.Text(), "See your email address") {
			t.Errorf("the consent page does not show the requested claims: %s", page.Text())
		}
		r := s.Redeem(c, b.Decide(page, "approve").Location())
		if r.Text("scope") != "openid" {
			t.Errorf("scope is %q", r.Text("scope"))
		}
		if got := s.IDToken(c, r); got["email"] != "alice@example.com" || got["name"] != nil {
			t.Errorf("ID token %v", got)
		}
		if got := s.Userinfo(r.Text("access_token")).OK(t).JSON; got["name"] != "Alice Example" || got["email"] != nil {
			t.Errorf("userinfo %v", got)
		}
		if got := s.IDToken(c, s.Refresh(c, r.Text("refresh_token")).OK(t)); got["email"] != "alice@example.com" {
			t.Errorf("after a refresh %v", got)
		}
		if b.Authorize(c, "scope", "openid", "claims", one, "prompt", "none").Location().Query().Get("code") == "" {
			t.Error("what was allowed is requested again")
		}
		b.Authorize(c, "scope", "openid", "claims", `{"userinfo":{"birthdate":null}}`, "prompt", "none").WantRedirectError(t, s, "consent_required")
		// With the scope that contains the claim it only sets where the claim is returned.
		r = s.Redeem(c, b.Code(c, "alice", "scope", "openid email", "claims", `{"id_token":{"email":{"value":"alice@example.com"},"email_verified":{"values":[false]}}}`))
		if got := s.IDToken(c, r); got["email"] != "alice@example.com" || got["email_verified"] != nil {
			t.Errorf("by value: %v", got)
		}
		small := s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"openid"}`)
		r = s.Redeem(small, b.Code(small, "alice", "scope", "openid", "claims", one))
		if got := s.Userinfo(r.Text("access_token")).OK(t); len(got.JSON) != 1 {
			t.Errorf("beyond its scopes: %s", got.Body)
		}
		for _, wrong := range []string{"x", "[]", `{"userinfo":[]}`, `{"id_token":{"email":"x"}}`, `{"userinfo":{"a":"` + strings.Repeat("x", 5000) + `"}}`} {
			b.Authorize(c, "scope", "openid", "claims", wrong).WantRedirectError(t, s, "invalid_request")
		}
		b.Authorize(c, "scope", "openid", "claims", `{"id_token":{"acr":{"essential":true,"values":["urn:mace:incommon:iap:silver"]}}}`).WantRedirectError(t, s, "unmet_authentication_requirements")
		if b.Authorize(c, "scope", "openid", "claims", `{"id_token":{"acr":{"essential":true,"values":["0","1"]}}}`).Location().Query().Get("code") == "" {
			t.Error("an acr that can be met is refused")
		}
	}),
	servertest.Req("C8c", "RFC 6749 §6, CVE-2026-55982", "a token narrowed by a refresh does not disclose claims of the removed scopes, even if they were requested by name", func(t *testing.T, s *servertest.Server) {
		s.UserWithClaims("alice")
		c := s.RelyingParty()
		r := s.Tokens(c, "alice", "scope", "openid email phone", "claims", `{"userinfo":{"email":null,"name":null},"id_token":{"email":null}}`)
		if got := s.Userinfo(r.Text("access_token")).OK(t).JSON; got["email"] == nil || got["phone_number"] == nil || got["name"] == nil {
			t.Errorf("at first %v", got)
		}
		narrow := s.Refresh(c, r.Text("refresh_token"), "scope", "openid").OK(t)
		if got := s.Userinfo(narrow.Text("access_token")).OK(t).JSON; got["email"] != nil || got["phone_number"] != nil || got["name"] == nil {
			t.Errorf("narrowed %v", got)
		}
		if got := s.IDToken(c, narrow); got["email"] != nil {
			t.Errorf("narrowed, ID token %v", got)
		}
	}),
	servertest.Req("C8d", "OIDC Core §5.5", "a claim of an optional scope, requested only by name, can be unticked too", func(t *testing.T, s *servertest.Server) {
		s.UserWithClaims("alice")
		c := s.RelyingParty(`"gatehouse_optional_scopes":["email"]`)
		b := s.Browser()
		page := b.SignIn(b.Authorize(c, "scope", "openid", "claims", `{"userinfo":{"email":null,"name":null}}`), "alice")
		form := page.Fields()
		if got := form["scope"]; len(got) != 1 || got[0] != "claim:email" {
			t.Fatalf("the boxes are %v", got)
		}
		form.Del("scope")
		form.Set("decision", "approve")
		got := s.Userinfo(s.Redeem(c, b.Submit("/consent", form).Location()).Text("access_token")).OK(t).JSON
		if got["email"] != nil || got["name"] == nil {
			t.Errorf("%v", got)
		}
		// The refusal is stored: the next request succeeds without it and without a page.
		again := b.Authorize(c, "scope", "openid", "claims", `{"userinfo":{"email":null}}`, "prompt", "none")
		if got := s.Userinfo(s.Redeem(c, again.Location()).Text("access_token")).OK(t).JSON; got["email"] != nil {
			t.Errorf("%v", got)
		}
		page = b.Authorize(c, "scope", "openid", "claims", `{"userinfo":{"email":null}}`, "prompt", "consent")
		if got := page.Fields()["scope"]; len(got) != 0 {
			t.Errorf("ticked again: %v", got)
		}
	}),
	servertest.Req("C8e", "OIDC Core §5.5, §5.5.1", "a claims parameter that is not an object of the defined form is invalid_request, also without openid and inside a request object", func(t *testing.T, s *servertest.Server) {
		alice := s.User("alice")
		key := clientKey(t, jwt.ES256, "1")
		c := s.RelyingParty(`"jwks":` + servertest.JWKS(t, key))
		b := s.Browser()
		for _, wrong := range []string{
			`null`, `[]`, `"x"`, `7`, `true`, `x`, `{`, `{}x`, `{} {}`, `{"userinfo":null}`, `{"userinfo":"x"}`, `{"userinfo":[]}`, `{"id_token":7}`, `{"id_token":{"email":"x"}}`,
			`{"id_token":{"email":[]}}`, `{"id_token":{"email":true}}`, `{"userinfo":{"unheard_of":1}}`, `{"id_token":{"email":{"essential":"true"}}}`, `{"id_token":{"email":{"essential":null}}}`,
			`{"id_token":{"email":{"values":"x"}}}`, `{"id_token":{"email":{"values":{}}}}`, `{"id_token":{"email":{"values":null}}}`, `{"userinfo":{},"userinfo":{}}`,
			`{"userinfo":{"email":null,"email":{"essential":true}}}`, `{"userinfo":{"email":{"value":"a","value":"b"}}}`,
			`{"id_token":{"sub":{"value":7}}}`, `{"id_token":{"sub":{"value":null}}}`, `{"id_token":{"sub":{"value":""}}}`, `{"id_token":{"sub":{"values":["a","b"]}}}`, `{"id_token":{"sub":{"values":[7]}}}`,
			`{"id_token":{"sub":{"value":"a"}},"userinfo":{"sub":{"value":"b"}}}`,
		} {
			b.Authorize(c, "scope", "openid", "claims", wrong).WantRedirectError(t, s, "invalid_request")
			if strings.Contains(wrong, "sub") {
				continue // means something to OpenID Connect alone
			}
			b.Authorize(c, "scope", "read", "claims", wrong).WantRedirectError(t, s, "invalid_request")
			if json.Valid([]byte(wrong)) {
				openWithObject(b, "client_id", c.ClientID, "request", key.Sign(t, objectClaims(s, c, "claims", json.RawMessage(wrong)), nil)).WantRedirectError(t, s, "invalid_request")
			}
			if t.Failed() {
				t.Fatalf("claims=%s", wrong)
			}
		}
		for _, empty := range []string{`""`, `"{}"`} { // a string is no object, also one that holds an object
			openWithObject(b, "client_id", c.ClientID, "request", key.Sign(t, objectClaims(s, c, "claims", json.RawMessage(empty)), nil)).WantRedirectError(t, s, "invalid_request")
		}
		for _, right := range []string{
			`{}`, ` {"userinfo":{}} `, `{"other":7,"Userinfo":"x"}`, `{"id_token":{"email":{"essential":false,"value":null,"values":[],"extension":1}}}`,
			`{"id_token":{"sub":{"value":"` + alice.ID + `"}},"userinfo":{"sub":{"values":["` + alice.ID + `"]}}}`,
		} {
			b.Code(c, "alice", "scope", "openid", "claims", right)
		}
		// A single value of values demands the user as value does.
		b.Authorize(c, "scope", "openid", "prompt", "none", "claims", `{"id_token":{"sub":{"values":["x"]}}}`).WantRedirectError(t, s, "login_required")
		b.Authorize(c, "scope", "openid", "prompt", "none", "claims", `{"userinfo":{"sub":{"value":"x"}}}`).WantRedirectError(t, s, "login_required")
	}),
	servertest.Req("C8b", "OIDC Core §5.5", "a claim of a scope that the user unticked is not returned by name either", func(t *testing.T, s *servertest.Server) {
		s.UserWithClaims("alice")
		c := s.RelyingParty(`"gatehouse_optional_scopes":["email"]`)
		b := s.Browser()
		page := b.SignIn(b.Authorize(c, "scope", "openid email", "claims", `{"userinfo":{"email":{"essential":true}},"id_token":{"email":null}}`), "alice")
		form := page.Fields()
		form.Del("scope")
		form.Set("decision", "approve")
		r := s.Redeem(c, b.Submit("/consent", form).Location())
		if s.IDToken(c, r)["email"] != nil || s.Userinfo(r.Text("access_token")).OK(t).JSON["email"] != nil {
			t.Error("the email address is returned nevertheless")
		}
	}),
	servertest.Req("C9", "OIDC Core §8.1, P96", "pairwise subjects: one per sector, the same everywhere in it, and not linkable between sectors", func(t *testing.T, s *servertest.Server) {
		u := s.User("alice")
		pair := func(host string) (c clientInformation) {
			c = s.Client(`{"client_name":"` + host + `","grant_types":["authorization_code","refresh_token"],"redirect_uris":["https://` + host + `/callback"],"subject_type":"pairwise","scope":"openid email read"}`)
			return c
		}
		one, same, other := pair("app.example"), pair("app.example"), pair("other.example")
		b := s.Browser()
		first, second, third := s.Redeem(one, b.Code(one, "alice", "scope", "openid read")), s.Redeem(same, b.Code(same, "alice", "scope", "openid read")), s.Redeem(other, b.Code(other, "alice", "scope", "openid read"))
		a, a2, o := s.IDToken(one, first), s.IDToken(same, second), s.IDToken(other, third)
		if a["sub"] == u.ID || a["sub"] != a2["sub"] || a["sub"] == o["sub"] || a["sid"] == o["sid"] || a["sid"] == a2["sid"] {
			t.Errorf("sub %v, %v and %v; sid %v, %v, %v", a["sub"], a2["sub"], o["sub"], a["sid"], a2["sid"], o["sid"])
		}
		if at := claims(t, first.Text("access_token")); at["sub"] != a["sub"] {
			t.Errorf("the access token has %v", at["sub"])
		}
		if got := s.Userinfo(first.Text("access_token")).OK(t); got.Text("sub") != a["sub"] {
			t.Errorf("userinfo has %s", got.Body)
		}
		for _, token := range []string{first.Text("access_token"), first.Text("refresh_token")} {
			if got := s.Introspect(one, token); got.Text("sub") != a["sub"] || got.Text("username") != "" || got.JSON["active"] != true {
				t.Errorf("introspection has %s", got.Body)
			}
		}
		if b.Authorize(one, "scope", "openid read", "prompt", "none", "id_token_hint", first.Text("id_token")).Location().Query().Get("code") == "" {
			t.Error("its own ID token is no hint")
		}
		s.Post("/oauth2/revoke", one, url.Values{"token": {first.Text("access_token")}}).OK(t)
		if s.Active(one, first.Text("access_token")) {
			t.Error("it cannot be revoked")
		}
		for _, uris := range []string{`"https://a.example/cb","https://b.example/cb"`, `"https://a.example/cb","com.example.app:/cb"`} {
			if _, err := register(t, s, `{"redirect_uris":[`+uris+`],"subject_type":"pairwise"}`); err == nil {
				t.Errorf("%s without a sector document", uris)
			}
		}
		// The host of an app's own scheme, or a loopback address, proves nothing: each such client is a sector of its own.
		seen := map[any]bool{a["sub"]: true}
		for _, uri := range []string{"com.evil.app://app.example/callback", "http://127.0.0.1/cb", "http://127.0.0.1/cb"} {
			native := s.Client(`{"redirect_uris":["` + uri + `"],"subject_type":"pairwise","scope":"openid"}`)
			sub := s.IDToken(native, s.Redeem(native, s.Browser().Code(native, "alice", "scope", "openid")))["sub"]
			if seen[sub] {
				t.Errorf("%s has the subjects of another", uri)
			}
			seen[sub] = true
		}
	}),
	servertest.Req("C9b", "OIDC Core §8.1, OIDC Registration §5", "a sector document joins hosts; it must list every redirect URI", func(t *testing.T, s *servertest.Server) {
		host := servertest.NewHost(t)
		host.Serve("/sector.json", "application/json", `["https://a.example/cb","https://b.example/cb"]`)
		host.Serve("/wrong.json", "application/json", `{"a":1}`)
		metadata := func(path, more string) string {
			return `{"redirect_uris":["https://a.example/cb","https://b.example/cb"` + more + `],"subject_type":"pairwise","sector_identifier_uri":"` + host.URL + path + `"}`
		}
		if _, err := register(t, s, metadata("/sector.json", "")); err != nil {
			t.Error(err)
		}
		for name, m := range map[string]string{"not listed": metadata("/sector.json", `,"https://c.example/cb"`), "no array": metadata("/wrong.json", ""), "not there": metadata("/nothing", "")} {
			if code, err := register(t, s, m); err == nil || code != "invalid_client_metadata" {
				t.Errorf("%s: %v", name, err)
			}
		}
	}).WithSettings("GATEHOUSE_FETCH_ALLOW_HOSTS=127.0.0.1"),
}
