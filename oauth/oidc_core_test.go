package oauth_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
	"gatehouse/web/webtest"
)

func TestOpenIDCore(t *testing.T) { webtest.Run(t, openidCore) }

var openidCore = []webtest.Requirement{
	webtest.Req("C1", "OIDC Core §2, §3.1.3.6, CVE-2026-15612", "a code gives an ID token, RS256 by default, with every claim, checked by an ordinary library", func(t *testing.T, s *webtest.Server) {
		u := s.Person("alice")
		c := s.RelyingParty()
		b := s.Browser()
		before := s.Clock.Now()
		r := s.Redeem(c, b.Code(c, "alice", "scope", "openid email", "nonce", "n-0S6_WzA2Mj"))
		got := s.IDToken(c, r)
		header := decodePart(t, r.Text("id_token"), 0)
		if header["alg"] != "RS256" || header["typ"] != "JWT" || header["kid"] == nil {
			t.Errorf("header %v", header)
		}
		for name, want := range map[string]any{
			"iss": s.Issuer, "sub": u.ID, "aud": c.ClientID, "azp": c.ClientID, "nonce": "n-0S6_WzA2Mj", "acr": "1",
			"iat": float64(before.Unix()), "auth_time": float64(before.Unix()), "exp": float64(before.Add(time.Hour).Unix()),
		} {
			if got[name] != want {
				t.Errorf("%s is %v, want %v", name, got[name], want)
			}
		}
		if amr, _ := got["amr"].([]any); len(amr) != 1 || amr[0] != "pwd" || len(got["sid"].(string)) < 20 {
			t.Errorf("amr %v, sid %v", got["amr"], got["sid"])
		}
		if got["email"] != nil {
			t.Error("a claim of a scope stands in the ID token although there is a userinfo endpoint (§5.4)")
		}
		if got := s.IDToken(c, s.Redeem(c, b.Code(c, "alice", "scope", "openid"))); got["nonce"] != nil {
			t.Error("a nonce came from nowhere")
		}
		if r := s.Redeem(c, b.Code(c, "alice", "scope", "email read")); r.JSON["id_token"] != nil {
			t.Error("an ID token without openid")
		}
	}),
	webtest.Req("C2", "OIDC Core §3.1.3.7, OIDC Registration §2", "id_token_signed_response_alg chooses among RS256, PS256, ES256 and EdDSA; at_hash follows", func(t *testing.T, s *webtest.Server) {
		s.User("alice")
		for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
			c := s.RelyingParty(`"id_token_signed_response_alg":"` + alg + `"`)
			r := s.Tokens(c, "alice", "scope", "openid")
			s.IDToken(c, r)
			if got := decodePart(t, r.Text("id_token"), 0)["alg"]; got != alg {
				t.Errorf("got %v, want %s", got, alg)
			}
		}
		for _, alg := range []string{"none", "HS256", "RS512", "rs256"} {
			if _, err := register(t, s, `{"redirect_uris":["https://app.example/cb"],"id_token_signed_response_alg":"`+alg+`"}`); err == nil {
				t.Errorf("%s was accepted", alg)
			}
		}
	}),
	webtest.Req("C3", "OIDC Core §12.2", "a refresh gives an ID token of the same person, client and sign-in, with a new iat and no nonce", func(t *testing.T, s *webtest.Server) {
		s.User("alice")
		c := s.RelyingParty()
		r := s.Tokens(c, "alice", "scope", "openid email offline_access", "nonce", "n")
		first := s.IDToken(c, r)
		s.Clock.Advance(time.Minute)
		r = s.Refresh(c, r.Text("refresh_token")).OK(t)
		second := s.IDToken(c, r)
		for _, name := range []string{"iss", "sub", "aud", "azp", "auth_time", "sid", "acr"} {
			if first[name] != second[name] {
				t.Errorf("%s went from %v to %v", name, first[name], second[name])
			}
		}
		if second["iat"] == first["iat"] || second["nonce"] != nil {
			t.Errorf("iat %v and %v, nonce %v", first["iat"], second["iat"], second["nonce"])
		}
		if r.Header.Get("Cache-Control") != "no-store" {
			t.Error("it may be cached")
		}
		if r := s.Refresh(c, r.Text("refresh_token"), "scope", "email").OK(t); r.JSON["id_token"] != nil {
			t.Error("an ID token although the refresh left out openid")
		}
	}),
	webtest.Req("C4", "OIDC Discovery §4, RFC 8414 §5", "both names give the one document, with issuers that have a path by both rules", func(t *testing.T, s *webtest.Server) {
		one, two := s.Get("/.well-known/openid-configuration").OK(t), s.Get("/.well-known/oauth-authorization-server").OK(t)
		if one.Body != two.Body || one.Text("issuer") != s.Issuer || one.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s\n%s", one.Body, two.Body)
		}
		for name, want := range map[string]string{
			"userinfo_endpoint": "/oauth2/userinfo", "end_session_endpoint": "/oauth2/logout", "jwks_uri": "/.well-known/jwks.json",
		} {
			if one.Text(name) != s.Issuer+want {
				t.Errorf("%s is %q", name, one.Text(name))
			}
		}
		for name, want := range map[string]string{
			"scopes_supported": "openid", "subject_types_supported": "pairwise", "id_token_signing_alg_values_supported": "RS256",
			"response_types_supported": "code", "response_modes_supported": "form_post", "claims_supported": "phone_number_verified",
			"token_endpoint_auth_methods_supported": "private_key_jwt", "request_object_signing_alg_values_supported": "PS256",
			"prompt_values_supported": "select_account",
		} {
			if list, _ := one.JSON[name].([]any); !slices.Contains(list, any(want)) {
				t.Errorf("%s is %v", name, one.JSON[name])
			}
		}
		for _, name := range []string{"claims_parameter_supported", "request_parameter_supported", "request_uri_parameter_supported", "require_request_uri_registration", "backchannel_logout_supported", "backchannel_logout_session_supported"} {
			if one.JSON[name] != true {
				t.Errorf("%s is %v", name, one.JSON[name])
			}
		}
		deep := webtest.Start(t, storagetest.URL(t, s.Store.Engine()), webtest.Options{Path: "/tenant/one"})
		root := strings.TrimSuffix(deep.URL, "/tenant/one")
		for _, at := range []string{
			root + "/tenant/one/.well-known/openid-configuration", root + "/.well-known/openid-configuration/tenant/one", root + "/.well-known/oauth-authorization-server/tenant/one",
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
			storagetest.Must(t, err)
			if r := deep.Do(req); r.Status != 200 || r.Text("issuer") != deep.Issuer {
				t.Errorf("%s: %d %s", at, r.Status, r.Body)
			}
		}
		deep.User("alice")
		party := deep.RelyingParty()
		deep.IDToken(party, deep.Tokens(party, "alice", "scope", "openid"))
	}),
	webtest.Req("C5", "OIDC Core §5.3, RFC 6750 §2, §3, CVE-2026-55669", "userinfo takes the token in the header or the body of a form, and tells every mistake by its code", func(t *testing.T, s *webtest.Server) {
		u := s.User("alice")
		c := s.RelyingParty()
		tokens := s.Tokens(c, "alice", "scope", "openid offline_access")
		at := tokens.Text("access_token")
		ask := func(method, path, header string, form url.Values) webtest.Response {
			t.Helper()
			req := s.Request(method, path, form)
			if header != "" {
				req.Header.Set("Authorization", header)
			}
			return s.Do(req)
		}
		for name, r := range map[string]webtest.Response{
			"GET": ask("GET", "/oauth2/userinfo", "Bearer "+at, nil), "POST, header": ask("POST", "/oauth2/userinfo", "bearer "+at, nil),
			"POST, header, empty form": ask("POST", "/oauth2/userinfo", "Bearer "+at, url.Values{}),
			"POST, body":               ask("POST", "/oauth2/userinfo", "", url.Values{"access_token": {at}}),
		} {
			if r.Status != 200 || r.Text("sub") != u.ID || len(r.JSON) != 1 || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d %s", name, r.Status, r.Body)
			}
		}
		m := s.Machine("jobs")
		other := s.RelyingParty()
		read := s.Tokens(other, "alice", "scope", "read").Text("access_token")
		for name, x := range map[string]struct {
			r      webtest.Response
			status int
			code   string
		}{
			"no token":            {ask("GET", "/oauth2/userinfo", "", nil), 401, ""},
			"another scheme":      {ask("GET", "/oauth2/userinfo", "Basic eDp5", nil), 401, ""},
			"in the query":        {ask("GET", "/oauth2/userinfo?access_token="+at, "", nil), 400, "invalid_request"},
			"in query and header": {ask("GET", "/oauth2/userinfo?access_token="+at, "Bearer "+at, nil), 400, "invalid_request"},
			"twice":               {ask("POST", "/oauth2/userinfo", "Bearer "+at, url.Values{"access_token": {at}}), 400, "invalid_request"},
			"garbage":             {ask("GET", "/oauth2/userinfo", "Bearer x.y.z", nil), 401, "invalid_token"},
			"an ID token":         {ask("GET", "/oauth2/userinfo", "Bearer "+tokens.Text("id_token"), nil), 401, "invalid_token"},
			"a refresh token":     {ask("GET", "/oauth2/userinfo", "Bearer "+tokens.Text("refresh_token"), nil), 401, "invalid_token"},
			"a machine's token":   {ask("GET", "/oauth2/userinfo", "Bearer "+s.MachineToken(m), nil), 401, "invalid_token"},
			"a flipped bit":       {ask("GET", "/oauth2/userinfo", "Bearer "+flipped(at), nil), 401, "invalid_token"},
			"PUT":                 {ask("PUT", "/oauth2/userinfo", "Bearer x", nil), 405, "invalid_request"},
		} {
			challenge := x.r.Header.Get("WWW-Authenticate")
			told := x.code == "" && !strings.Contains(challenge, "error") || x.code != "" && strings.Contains(challenge, `error="`+x.code+`"`)
			if x.r.Status != x.status || !strings.HasPrefix(challenge, "Bearer ") || !told {
				t.Errorf("%s: %d %q %s", name, x.r.Status, challenge, x.r.Body)
			}
		}
		if r := s.Userinfo(read); r.Status != 403 && r.Status != 401 {
			t.Errorf("without openid: %d %s", r.Status, r.Body)
		}
		s.Post("/oauth2/revoke", c, url.Values{"token": {at}}).OK(t)
		if r := s.Userinfo(at); r.Status != 401 {
			t.Errorf("a revoked token: %d", r.Status)
		}
		at = s.Refresh(c, tokens.Text("refresh_token")).OK(t).Text("access_token")
		storagetest.Must(t, s.Store.DisableUser(t.Context(), u.ID, storagetest.Event("disable")))
		if r := s.Userinfo(at); r.Status != 401 {
			t.Errorf("of a disabled person: %d", r.Status)
		}
	}),
	webtest.Req("C5b", "RFC 6750 §3.1", "a token without openid is insufficient_scope at userinfo, and one narrowed to an API is not meant for it", func(t *testing.T, s *webtest.Server) {
		s.User("alice")
		c := s.RelyingParty()
		tokens := s.Tokens(c, "alice", "scope", "openid email read offline_access")
		if aud := claims(t, tokens.Text("access_token"))["aud"]; aud != s.Issuer {
			t.Errorf("aud is %v", aud)
		}
		next := s.Refresh(c, tokens.Text("refresh_token"), "scope", "email read").OK(t)
		r := s.Userinfo(next.Text("access_token"))
		if r.Status != 403 || r.Text("error") != "insufficient_scope" || !strings.Contains(r.Header.Get("WWW-Authenticate"), `scope="openid"`) {
			t.Errorf("%d %q %s", r.Status, r.Header.Get("WWW-Authenticate"), r.Body)
		}
		storagetest.Must(t, s.Store.CreateResource(t.Context(), storage.Resource{Identifier: "https://api.example", Name: "API", Scopes: storage.Strings{"read"}, CreatedAt: s.Clock.Now()}, storagetest.Event("resource")))
		both := s.Refresh(c, next.Text("refresh_token"), "scope", "openid read").OK(t)
		if aud, _ := claims(t, both.Text("access_token"))["aud"].([]any); len(aud) != 2 {
			t.Errorf("aud is %v, want the API and this server", claims(t, both.Text("access_token"))["aud"])
		}
		if r := s.Userinfo(both.Text("access_token")); r.Status != 200 {
			t.Errorf("with both: %d %s", r.Status, r.Body)
		}
		narrow := s.Refresh(c, both.Text("refresh_token"), "resource", "https://api.example").OK(t)
		if r := s.Userinfo(narrow.Text("access_token")); r.Status != 401 || r.Text("error") != "invalid_token" {
			t.Errorf("narrowed to the API: %d %s", r.Status, r.Body)
		}
	}),
	webtest.Req("C6", "OIDC Core §5.3.2", "userinfo is signed for a client that registered userinfo_signed_response_alg", func(t *testing.T, s *webtest.Server) {
		u := s.User("alice")
		for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
			c := s.RelyingParty(`"userinfo_signed_response_alg":"` + alg + `"`)
			r := s.Userinfo(s.Tokens(c, "alice", "scope", "openid email").Text("access_token"))
			if r.Status != 200 || r.Header.Get("Content-Type") != "application/jwt" || decodePart(t, r.Body, 0)["alg"] != alg {
				t.Fatalf("%s: %d %v %s", alg, r.Status, r.Header, r.Body)
			}
			payload := verified(t, s, r.Body)
			if payload["sub"] != u.ID || payload["iss"] != s.Issuer || payload["aud"] != c.ClientID || payload["email"] != "alice@example.com" || payload["exp"] != nil {
				t.Errorf("%s: %v", alg, payload)
			}
			// It is no ID token and passes for none.
			b := s.Browser()
			b.Authorize(c, "scope", "openid", "id_token_hint", r.Body).WantRedirectError(t, s, "invalid_request")
		}
	}),
	webtest.Req("C7", "OIDC Core §5.1, §5.4, CVE-2026-55982", "each scope gives its claims and no others, in their types, and nothing that there is not", func(t *testing.T, s *webtest.Server) {
		s.Person("alice")
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
		all := s.Userinfo(s.Tokens(c, "alice", "scope", webtest.AllScopes).Text("access_token")).OK(t).JSON
		address, _ := all["address"].(map[string]any)
		if address["formatted"] != "1 Main Street\n97477 Springfield\nOR\nUSA" || address["postal_code"] != "97477" || all["email_verified"] != true || all["phone_number_verified"] != false {
			t.Errorf("%v", all)
		}
		if _, ok := all["updated_at"].(float64); !ok {
			t.Errorf("updated_at is %T", all["updated_at"])
		}
		bob := s.Userinfo(s.Tokens(c, "bob", "scope", webtest.AllScopes).Text("access_token")).OK(t)
		if strings.Contains(bob.Body, "null") || bob.JSON["address"] != nil || bob.JSON["phone_number_verified"] != nil || bob.JSON["email_verified"] != false {
			t.Errorf("of somebody who told nothing: %s", bob.Body)
		}
	}),
	webtest.Req("C8", "OIDC Core §5.5", "the claims parameter asks for claims one by one: shown, remembered, placed, and only of scopes the client has", func(t *testing.T, s *webtest.Server) {
		s.Person("alice")
		c := s.RelyingParty()
		b := s.Browser()
		const one = `{"userinfo":{"name":{"essential":true},"nonsense":null},"id_token":{"email":null,"auth_time":{"essential":true}}}`
		page := b.SignIn(b.Authorize(c, "scope", "openid", "claims", one), "alice")
		if !strings.Contains(page.Text(), "See your full name") || !strings.Contains(page.Text(), "See your e-mail address") {
			t.Errorf("the consent page hides what is asked for: %s", page.Text())
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
			t.Error("what was allowed is asked for again")
		}
		b.Authorize(c, "scope", "openid", "claims", `{"userinfo":{"birthdate":null}}`, "prompt", "none").WantRedirectError(t, s, "consent_required")
		// Beside the scope that holds the claim it only says where it is wanted.
		r = s.Redeem(c, b.Code(c, "alice", "scope", "openid email", "claims", `{"id_token":{"email":{"value":"alice@example.com"},"email_verified":{"values":[false]}}}`))
		if got := s.IDToken(c, r); got["email"] != "alice@example.com" || got["email_verified"] != nil {
			t.Errorf("by value: %v", got)
		}
		small := s.Client(`{"redirect_uris":["` + webtest.Callback + `"],"scope":"openid"}`)
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
	webtest.Req("C8c", "RFC 6749 §6, CVE-2026-55982", "a token narrowed by a refresh does not tell what it was narrowed of, though claims asked for it by name", func(t *testing.T, s *webtest.Server) {
		s.Person("alice")
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
	webtest.Req("C8d", "OIDC Core §5.5", "a claim of an optional scope, asked for by its name alone, can be unticked too", func(t *testing.T, s *webtest.Server) {
		s.Person("alice")
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
		b.Authorize(c, "scope", "openid", "claims", `{"userinfo":{"email":null}}`, "prompt", "none").WantRedirectError(t, s, "consent_required")
	}),
	webtest.Req("C8b", "OIDC Core §5.5", "a claim of a scope that the person unticked is not given by its name either", func(t *testing.T, s *webtest.Server) {
		s.Person("alice")
		c := s.RelyingParty(`"gatehouse_optional_scopes":["email"]`)
		b := s.Browser()
		page := b.SignIn(b.Authorize(c, "scope", "openid email", "claims", `{"userinfo":{"email":{"essential":true}},"id_token":{"email":null}}`), "alice")
		form := page.Fields()
		form.Del("scope")
		form.Set("decision", "approve")
		r := s.Redeem(c, b.Submit("/consent", form).Location())
		if s.IDToken(c, r)["email"] != nil || s.Userinfo(r.Text("access_token")).OK(t).JSON["email"] != nil {
			t.Error("the e-mail address is told all the same")
		}
	}),
	webtest.Req("C9", "OIDC Core §8.1", "pairwise subjects: one per sector, the same everywhere in it, and nothing tells two sectors that they have one person", func(t *testing.T, s *webtest.Server) {
		u := s.User("alice")
		pair := func(host string) (c webtestClient) {
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
			t.Errorf("the access token tells %v", at["sub"])
		}
		if got := s.Userinfo(first.Text("access_token")).OK(t); got.Text("sub") != a["sub"] {
			t.Errorf("userinfo tells %s", got.Body)
		}
		for _, token := range []string{first.Text("access_token"), first.Text("refresh_token")} {
			if got := s.Introspect(one, token); got.Text("sub") != a["sub"] || got.Text("username") != "" || got.JSON["active"] != true {
				t.Errorf("introspection tells %s", got.Body)
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
	webtest.Req("C9b", "OIDC Core §8.1, OIDC Registration §5", "a sector document joins hosts; it must list every redirect URI", func(t *testing.T, s *webtest.Server) {
		host := webtest.NewHost(t)
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
	}).With("GATEHOUSE_FETCH_ALLOW_HOSTS=127.0.0.1"),
	webtest.Req("C10", "OIDC Core §3.1.2.1, §3.1.2.2", "id_token_hint: the same person goes on, another must sign in, expired or not, and only with a token of the client's own", func(t *testing.T, s *webtest.Server) {
		s.User("alice")
		s.User("bob")
		c, other := s.RelyingParty(), s.RelyingParty()
		b, bobs := s.Browser(), s.Browser()
		hint := s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("id_token")
		bob := s.Redeem(c, bobs.Code(c, "bob", "scope", "openid")).Text("id_token")
		silent := func(b *webtest.Browser, hint string) webtest.Page {
			return b.Authorize(c, "scope", "openid", "prompt", "none", "id_token_hint", hint)
		}
		if silent(b, hint).Location().Query().Get("code") == "" {
			t.Error("the same person is not let through")
		}
		silent(b, bob).WantRedirectError(t, s, "login_required")
		silent(s.Browser(), hint).WantRedirectError(t, s, "login_required")
		for name, wrong := range map[string]string{"garbage": "x", "flipped": flipped(hint), "of another client": s.Redeem(other, b.Code(other, "alice", "scope", "openid")).Text("id_token"), "an access token": s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("access_token")} {
			if got := silent(b, wrong).Location().Query().Get("error"); got != "invalid_request" {
				t.Errorf("%s: %q", name, got)
			}
		}
		s.Clock.Advance(90 * time.Minute) // the token has expired, the session has not
		b.Open("/account")
		if p := silent(b, hint); p.Location().Query().Get("code") == "" {
			t.Errorf("an expired hint: %s", p.Header.Get("Location"))
		}
		// Whoever signs in instead of the one named does not answer for them.
		page := b.Authorize(c, "scope", "openid", "id_token_hint", bob)
		if !strings.Contains(page.URL, "/login") {
			t.Fatalf("alice answers for bob at %s", page.URL)
		}
		b.SignIn(page, "alice").WantRedirectError(t, s, "login_required")
		page = b.Authorize(c, "scope", "openid", "id_token_hint", bob)
		if p := b.SignIn(page, "bob"); p.Location().Query().Get("code") == "" {
			t.Errorf("bob himself: %d %s", p.Status, p.Header.Get("Location"))
		}
		if strings.Contains(storagetest.Dump(t, s.Store, s.DB), hint) {
			t.Error("the database keeps the hint")
		}
	}),
	webtest.Req("C11", "OIDC Core §3.1.2.1, §3.1.2.6", "of several people in one browser the person chooses, a hint chooses, and silence is account_selection_required", func(t *testing.T, s *webtest.Server) {
		alice, bob := s.User("alice"), s.User("bob")
		c := s.RelyingParty()
		b := s.Browser()
		hint := s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("id_token")
		b.SignIn(b.Open("/login"), "bob")
		b.Authorize(c, "scope", "openid", "prompt", "none").WantRedirectError(t, s, "account_selection_required")
		if p := b.Authorize(c, "scope", "openid", "prompt", "none", "id_token_hint", hint); p.Location().Query().Get("code") == "" {
			t.Errorf("by id_token_hint: %s", p.Header.Get("Location"))
		}
		if p := b.Authorize(c, "scope", "openid", "prompt", "none", "login_hint", "Alice@Example.com"); p.Location().Query().Get("code") == "" {
			t.Errorf("by login_hint: %s", p.Header.Get("Location"))
		}
		// A guessed name tells an app that nobody allowed nothing of who is here.
		stranger := s.RelyingParty()
		for _, name := range []string{"alice", "bob", "carol"} {
			b.Authorize(stranger, "scope", "openid", "prompt", "none", "login_hint", name).WantRedirectError(t, s, "account_selection_required")
		}
		page := b.Authorize(c, "scope", "openid")
		if !strings.Contains(page.URL, "/select") || !strings.Contains(page.Text(), "alice@example.com") || !strings.Contains(page.Text(), "bob@example.com") {
			t.Fatalf("%s %s", page.URL, page.Text())
		}
		choose := func(page webtest.Page, session string) webtest.Page {
			form := page.Fields()
			form.Set("session", session)
			return b.Follow(b.Submit("/select", form))
		}
		for i, want := range []storage.User{bob, alice} { // the one who was last chosen comes first
			page := b.Authorize(c, "scope", "openid")
			answer := choose(page, page.Buttons("session")[min(i, 1)])
			if strings.Contains(answer.URL, "/consent") {
				answer = b.Follow(b.Decide(answer, "approve"))
			}
			if got := s.IDToken(c, s.Redeem(c, answer.Location()))["sub"]; got != want.ID {
				t.Errorf("choice %d is %v, want %s", i, got, want.Username)
			}
		}
		// A forged form, one of another session, one of another site.
		form := page.Fields()
		form.Set("session", "x")
		if p := b.Submit("/select", form); p.Status != http.StatusSeeOther || !strings.Contains(p.Header.Get("Location"), "/select") {
			t.Errorf("a session that is not there: %d", p.Status)
		}
		form.Set("form_token", "x")
		if p := b.Submit("/select", form); p.Status != http.StatusForbidden {
			t.Errorf("a forged form: %d", p.Status)
		}
		if p := b.SubmitFrom("https://evil.example", "/select", page.Fields()); p.Status != http.StatusForbidden {
			t.Errorf("from another site: %d", p.Status)
		}
		single := s.Browser()
		single.SignIn(single.Open("/login"), "alice")
		if p := single.Authorize(c, "scope", "openid", "prompt", "select_account"); !strings.Contains(p.URL, "/select") {
			t.Errorf("select_account with one person: %s", p.URL)
		}
	}),
	webtest.Req("C12", "OIDC Core §3.1.2.1", "max_age 0 and default_max_age ask for a fresh sign-in; login_hint fills the name in; what is not known is ignored", func(t *testing.T, s *webtest.Server) {
		s.User("alice")
		c := s.RelyingParty()
		strict := s.RelyingParty(`"default_max_age":60,"require_auth_time":true,"default_acr_values":["1"]`)
		b := s.Browser()
		b.Code(c, "alice", "scope", "openid")
		b.Code(strict, "alice", "scope", "openid")
		s.Clock.Advance(2 * time.Minute)
		for name, p := range map[string]webtest.Page{"max_age=0": b.Authorize(c, "scope", "openid", "max_age", "0"), "default_max_age": b.Authorize(strict, "scope", "openid")} {
			if !strings.Contains(p.URL, "/login") || !strings.Contains(p.Body, `value="alice"`) {
				t.Errorf("%s: %s", name, p.URL)
			}
		}
		if p := b.Authorize(strict, "scope", "openid", "max_age", "3600"); p.Location().Query().Get("code") == "" {
			t.Error("max_age does not override default_max_age")
		}
		if p := s.Browser().Authorize(c, "scope", "openid", "login_hint", "buffy@app.example"); !strings.Contains(p.Body, `value="buffy@app.example"`) {
			t.Error("the name is not filled in")
		}
		for _, change := range [][]string{{"display", "popup"}, {"ui_locales", "se xx"}, {"claims_locales", "se"}, {"acr_values", "1 2"}, {"extra", "foobar"}} {
			if got := s.IDToken(c, s.Redeem(c, b.Code(c, "alice", append([]string{"scope", "openid"}, change...)...))); got["acr"] != "1" {
				t.Errorf("%v: %v", change, got)
			}
		}
		b.Authorize(c, "scope", "openid", "registration", "{}").WantRedirectError(t, s, "registration_not_supported")
		b.Authorize(c, "scope", "openid", "nonce", strings.Repeat("n", 1001)).WantRedirectError(t, s, "invalid_request")
	}),
	webtest.Req("C13", "OAuth 2.0 Form Post Response Mode §2", "response_mode=form_post answers with a form that posts itself, on success and on error, also without JavaScript", func(t *testing.T, s *webtest.Server) {
		s.User("alice")
		c := s.RelyingParty()
		b := s.Browser()
		state := `<script>"'&=?#`
		page := b.SignIn(b.Authorize(c, "scope", "openid", "response_mode", "form_post", "state", state), "alice")
		answer := b.Decide(page, "approve")
		fields := answer.Fields()
		if answer.Status != 200 || answer.Header.Get("Location") != "" || fields.Get("state") != state || fields.Get("iss") != s.Issuer || !strings.Contains(answer.Body, `action="`+webtest.Callback+`"`) {
			t.Fatalf("%d %s", answer.Status, answer.Body)
		}
		if strings.Contains(answer.Body, "<script>") || !strings.Contains(answer.Header.Get("Content-Security-Policy"), "script-src 'self'") || !strings.Contains(answer.Body, "<noscript>") || answer.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v %s", answer.Header, answer.Body)
		}
		script := regexp.MustCompile(`/static/form_post\.[0-9a-f]{12}\.js`).FindString(answer.Body)
		if r := s.Get(script); r.Status != 200 || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/javascript") {
			t.Errorf("the script %s: %d", script, r.Status)
		}
		s.Redeem(c, &url.URL{RawQuery: url.Values{"code": fields["code"]}.Encode()})
		for change, want := range map[string]string{"scope": "invalid_scope", "prompt": "login_required"} {
			value := map[string]string{"scope": "openid nothing", "prompt": "none"}[change]
			p := s.Browser().Authorize(c, "scope", "openid", "response_mode", "form_post", change, value)
			if f := p.Fields(); p.Status != 200 || f.Get("error") != want || f.Get("state") != "the state" || f.Get("iss") != s.Issuer {
				t.Errorf("%s: %d %s", want, p.Status, p.Body)
			}
		}
		for _, mode := range []string{"fragment", "jwt", "FORM_POST"} {
			b.Authorize(c, "response_mode", mode).WantRedirectError(t, s, "invalid_request")
		}
		app := s.Client(`{"token_endpoint_auth_method":"none","redirect_uris":["com.example.app:/cb"],"scope":"openid"}`)
		if p := b.Authorize(app, "scope", "openid", "response_mode", "form_post"); p.Status != 303 || !strings.Contains(p.Header.Get("Location"), "com.example.app:/cb?error=invalid_request") {
			t.Errorf("a form to an app's own scheme: %d %s", p.Status, p.Header.Get("Location"))
		}
	}),
	webtest.Req("C14", "OIDC Core §3.1.2.1", "a confidential client whose record exempts it from PKCE is served without", func(t *testing.T, s *webtest.Server) {
		s.User("alice")
		c := s.RelyingParty(`"gatehouse_require_pkce":false`)
		to := s.Browser().Code(c, "alice", "scope", "openid", "code_challenge", "", "code_challenge_method", "")
		s.IDToken(c, s.Token(c, webtest.CodeForm(to, c, "code_verifier", "")).OK(t))
		s.Token(c, webtest.CodeForm(s.Browser().Code(c, "alice", "scope", "openid"), c, "code_verifier", "")).Want(t, 400, "invalid_grant")
	}),
	webtest.Req("C15", "OIDC Core §5.4", "gatehouse_id_token_claims puts the claims of the scopes into the ID token too", func(t *testing.T, s *webtest.Server) {
		s.Person("alice")
		c := s.RelyingParty(`"gatehouse_id_token_claims":true`)
		got := s.IDToken(c, s.Tokens(c, "alice", "scope", "openid email"))
		if got["email"] != "alice@example.com" || got["name"] != nil || got["iss"] != s.Issuer {
			t.Errorf("%v", got)
		}
	}),
	webtest.Req("C16", "OIDC Core §5.1", "people change their own profile, and only into what the claims allow", func(t *testing.T, s *webtest.Server) {
		s.Person("alice")
		c := s.RelyingParty()
		b := s.Browser()
		r := s.Redeem(c, b.Code(c, "alice", "scope", webtest.AllScopes))
		page := b.Open("/account/profile")
		if page.Status != 200 || !strings.Contains(page.Body, `value="Europe/Paris"`) {
			t.Fatalf("%d %s", page.Status, page.Text())
		}
		form := page.Fields()
		form.Set("name", "Alice <b>New</b>")
		form.Set("phone_number", "+44 20 7946 0000")
		form.Set("zoneinfo", "Europe/London")
		if p := b.Submit("/account/profile", form); p.Status != http.StatusSeeOther {
			t.Fatalf("%d %s", p.Status, p.Text())
		}
		got := s.Userinfo(r.Text("access_token")).OK(t).JSON
		if got["name"] != "Alice <b>New</b>" || got["zoneinfo"] != "Europe/London" || got["birthdate"] != nil || got["phone_number_verified"] != false {
			t.Errorf("%v", got)
		}
		if strings.Contains(b.Open("/account").Body, "<b>New") {
			t.Error("a name is not escaped")
		}
		for field, wrong := range map[string]string{
			"birthdate": "1990-02-30", "zoneinfo": "Mars/Olympus", "locale": "not a language", "picture": "javascript:alert(1)", "website": "ftp://x",
			"phone_number": "12", "name": strings.Repeat("x", 201), "given_name": "a\x01b",
		} {
			bad := url.Values{"form_token": form["form_token"], field: {wrong}}
			if p := b.Submit("/account/profile", bad); p.Status != http.StatusBadRequest || !strings.Contains(p.Text(), "Nothing was saved") {
				t.Errorf("%s %q: %d", field, wrong, p.Status)
			}
		}
		if p := b.Submit("/account/profile", url.Values{"name": {"x"}}); p.Status != http.StatusForbidden {
			t.Errorf("without a form token: %d", p.Status)
		}
		if p := s.Browser().Open("/account/profile"); p.Status != http.StatusSeeOther {
			t.Errorf("for nobody: %d", p.Status)
		}
	}),
	webtest.Req("C17", "OIDC Registration §2", "logo, policy and terms are shown at sign-in and consent; the logo is fetched by us and only if it is a picture", func(t *testing.T, s *webtest.Server) {
		s.User("alice")
		host := webtest.NewHost(t)
		host.Serve("/logo.png", "text/html", "\x89PNG\r\n\x1a\n and more")
		host.Serve("/logo.svg", "image/svg+xml", `<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`)
		host.Serve("/page", "image/png", "<html><script>alert(1)</script></html>")
		host.Serve("/large", "image/png", "\x89PNG\r\n\x1a\n"+strings.Repeat("x", 300<<10))
		c := s.RelyingParty(`"logo_uri":"`+host.URL+`/logo.png"`, `"policy_uri":"https://app.example/policy"`, `"tos_uri":"https://app.example/tos"`)
		b := s.Browser()
		login := b.Authorize(c, "scope", "openid")
		for _, p := range []webtest.Page{login, b.SignIn(login, "alice")} {
			if !strings.Contains(p.Body, `src="/logo/`+c.ClientID+`"`) || !strings.Contains(p.Body, "https://app.example/policy") || !strings.Contains(p.Body, "https://app.example/tos") || strings.Contains(p.Body, host.URL) {
				t.Errorf("%s: %s", p.URL, p.Body)
			}
		}
		r := s.Get("/logo/" + c.ClientID)
		if r.Status != 200 || r.Header.Get("Content-Type") != "image/png" || !strings.Contains(r.Header.Get("Content-Security-Policy"), "sandbox") || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%d %v", r.Status, r.Header)
		}
		s.Get("/logo/" + c.ClientID)
		if n := host.Asked("/logo.png"); n != 1 {
			t.Errorf("it was fetched %d times", n)
		}
		for _, path := range []string{"/logo.svg", "/page", "/large", "/nothing"} {
			other := s.RelyingParty(`"logo_uri":"` + host.URL + path + `"`)
			if r := s.Get("/logo/" + other.ClientID); r.Status != 404 || strings.Contains(r.Body, "script") {
				t.Errorf("%s: %d %s", path, r.Status, r.Body)
			}
		}
		if r := s.Get("/logo/nobody"); r.Status != 404 {
			t.Errorf("of nobody: %d", r.Status)
		}
	}).With("GATEHOUSE_FETCH_ALLOW_HOSTS=127.0.0.1"),
}
