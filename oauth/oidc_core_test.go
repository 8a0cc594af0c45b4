package oauth_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

func TestOpenIDCore(t *testing.T) { servertest.Run(t, openidCore) }

var openidCore = slices.Concat(openidTokens, openidClaims)

var openidTokens = []servertest.Requirement{
	servertest.Req("C1", "OIDC Core §2, §3.1.3.6, CVE-2026-15612, P96", "a code returns an ID token, RS256 by default, with every claim, verified by an ordinary library", func(t *testing.T, s *servertest.Server) {
		u := s.UserWithClaims("alice")
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
	servertest.Req("C2", "OIDC Core §3.1.3.7, OIDC Registration §2", "id_token_signed_response_alg chooses among RS256, PS256, ES256 and EdDSA; at_hash follows", func(t *testing.T, s *servertest.Server) {
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
	servertest.Req("C3", "OIDC Core §12.2", "a refresh returns an ID token of the same user, client and sign-in, with a new iat and no nonce", func(t *testing.T, s *servertest.Server) {
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
	servertest.Req("C4", "OIDC Discovery §4, RFC 8414 §5", "both names return the same document, for issuers with a path by both rules", func(t *testing.T, s *servertest.Server) {
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
		deep := servertest.Start(t, storagetest.URL(t, s.Store.Engine()), servertest.Options{Path: "/tenant/one"})
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
	servertest.Req("C5", "OIDC Core §5.3, RFC 6750 §2, §3, CVE-2026-55669, GHSA-wxg7-w2v3-w38g, P64, P66", "userinfo accepts the token in the header or in a form body, and returns the error code of each invalid request", func(t *testing.T, s *servertest.Server) {
		u := s.User("alice")
		c := s.RelyingParty()
		tokens := s.Tokens(c, "alice", "scope", "openid offline_access")
		at := tokens.Text("access_token")
		send := func(method, path, header string, form url.Values) servertest.Response {
			t.Helper()
			req := s.Request(method, path, form)
			if header != "" {
				req.Header.Set("Authorization", header)
			}
			return s.Do(req)
		}
		for name, r := range map[string]servertest.Response{
			"GET": send("GET", "/oauth2/userinfo", "Bearer "+at, nil), "POST, header": send("POST", "/oauth2/userinfo", "bearer "+at, nil),
			"POST, header, empty form": send("POST", "/oauth2/userinfo", "Bearer "+at, url.Values{}),
			"POST, body":               send("POST", "/oauth2/userinfo", "", url.Values{"access_token": {at}}),
		} {
			if r.Status != 200 || r.Text("sub") != u.ID || len(r.JSON) != 1 || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d %s", name, r.Status, r.Body)
			}
		}
		m := s.Service("jobs")
		other := s.RelyingParty()
		read := s.Tokens(other, "alice", "scope", "read").Text("access_token")
		for name, x := range map[string]struct {
			r      servertest.Response
			status int
			code   string
		}{
			"no token":            {send("GET", "/oauth2/userinfo", "", nil), 401, ""},
			"another scheme":      {send("GET", "/oauth2/userinfo", "Basic eDp5", nil), 401, ""},
			"in the query":        {send("GET", "/oauth2/userinfo?access_token="+at, "", nil), 400, "invalid_request"},
			"in query and header": {send("GET", "/oauth2/userinfo?access_token="+at, "Bearer "+at, nil), 400, "invalid_request"},
			"twice":               {send("POST", "/oauth2/userinfo", "Bearer "+at, url.Values{"access_token": {at}}), 400, "invalid_request"},
			"garbage":             {send("GET", "/oauth2/userinfo", "Bearer x.y.z", nil), 401, "invalid_token"},
			"an ID token":         {send("GET", "/oauth2/userinfo", "Bearer "+tokens.Text("id_token"), nil), 401, "invalid_token"},
			"a refresh token":     {send("GET", "/oauth2/userinfo", "Bearer "+tokens.Text("refresh_token"), nil), 401, "invalid_token"},
			"a service's token":   {send("GET", "/oauth2/userinfo", "Bearer "+s.ServiceToken(m), nil), 401, "invalid_token"},
			"a flipped bit":       {send("GET", "/oauth2/userinfo", "Bearer "+withChangedSignature(at), nil), 401, "invalid_token"},
			"PUT":                 {send("PUT", "/oauth2/userinfo", "Bearer x", nil), 405, "invalid_request"},
		} {
			challenge := x.r.Header.Get("WWW-Authenticate")
			hasError := x.code == "" && !strings.Contains(challenge, "error") || x.code != "" && strings.Contains(challenge, `error="`+x.code+`"`)
			if x.r.Status != x.status || !strings.HasPrefix(challenge, "Bearer ") || !hasError {
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
		storagetest.Must(t, s.Store.DisableUser(t.Context(), u.ID))
		if r := s.Userinfo(at); r.Status != 401 {
			t.Errorf("of a disabled user: %d", r.Status)
		}
	}),
	servertest.Req("C5b", "RFC 6750 §3.1", "a token without openid is insufficient_scope at userinfo, and one narrowed to an API is not intended for it", func(t *testing.T, s *servertest.Server) {
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
		storagetest.Must(t, s.Store.CreateResource(t.Context(), storage.Resource{Identifier: "https://api.example", Name: "API", Scopes: storage.Strings{"read"}, CreatedAt: s.Clock.Now()}))
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
	servertest.Req("C6", "OIDC Core §5.3.2", "userinfo is signed for a client that registered userinfo_signed_response_alg", func(t *testing.T, s *servertest.Server) {
		u := s.User("alice")
		for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
			c := s.RelyingParty(`"userinfo_signed_response_alg":"` + alg + `"`)
			r := s.Userinfo(s.Tokens(c, "alice", "scope", "openid email").Text("access_token"))
			if r.Status != 200 || r.Header.Get("Content-Type") != "application/jwt" || decodePart(t, r.Body, 0)["alg"] != alg {
				t.Fatalf("%s: %d %v %s", alg, r.Status, r.Header, r.Body)
			}
			payload := verifiedClaims(t, s, r.Body)
			if payload["sub"] != u.ID || payload["iss"] != s.Issuer || payload["aud"] != c.ClientID || payload["email"] != "alice@example.com" || payload["exp"] != nil {
				t.Errorf("%s: %v", alg, payload)
			}
			// It is no ID token and passes for none.
			b := s.Browser()
			b.Authorize(c, "scope", "openid", "id_token_hint", r.Body).WantRedirectError(t, s, "invalid_request")
		}
	}),
}
