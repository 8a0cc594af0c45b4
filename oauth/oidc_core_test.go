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

var openidCore = slices.Concat(openidTokens, userinfo, openidClaims)

var openidTokens = []servertest.Requirement{
	servertest.Req("C1", "OIDC Core §2, §3.1.3.6, CVE-2026-15612, P96",
		"a code returns an ID token, RS256 by default, with every claim, which go-oidc verifies",
		func(t *testing.T, s *servertest.Server) {
			u := s.UserWithClaims("alice")
			c := s.RelyingParty()
			b := s.Browser()
			now := s.Clock.Now()
			r := s.Redeem(c, b.Code(c, "alice", "scope", "openid email", "nonce", "n-0S6_WzA2Mj"))
			got := s.IDToken(c, r)
			header := decodePart(t, r.Text("id_token"), 0)
			wantClaims(t, "header", header, map[string]any{"alg": "RS256", "typ": "JWT"})
			if header["kid"] == nil {
				t.Errorf("header = %v, want a kid", header)
			}
			// A claim of a scope is not in the ID token, because there is a userinfo endpoint (§5.4).
			wantClaims(t, "ID token", got, map[string]any{
				"iss": s.Issuer, "sub": u.ID, "aud": c.ClientID, "azp": c.ClientID, "nonce": "n-0S6_WzA2Mj", "acr": "1",
				"iat": float64(now.Unix()), "auth_time": float64(now.Unix()), "exp": float64(now.Add(time.Hour).Unix()),
				"email": nil,
			})
			if amr, _ := got["amr"].([]any); len(amr) != 1 || amr[0] != "pwd" {
				t.Errorf("amr = %v, want pwd", got["amr"])
			}
			if sid, _ := got["sid"].(string); len(sid) < 20 {
				t.Errorf("sid = %v, want at least 20 characters", got["sid"])
			}
			withoutNonce := s.IDToken(c, s.Redeem(c, b.Code(c, "alice", "scope", "openid")))
			wantClaims(t, "ID token of a request without nonce", withoutNonce, map[string]any{"nonce": nil})
			if r := s.Redeem(c, b.Code(c, "alice", "scope", "email read")); r.JSON["id_token"] != nil {
				t.Errorf("id_token = %v without the scope openid, want none", r.JSON["id_token"])
			}
		}),
	servertest.Req("C2", "OIDC Core §3.1.3.7, OIDC Registration §2",
		"id_token_signed_response_alg chooses among RS256, PS256, ES256 and EdDSA; at_hash follows",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
				c := s.RelyingParty(`"id_token_signed_response_alg":"` + alg + `"`)
				r := s.Tokens(c, "alice", "scope", "openid")
				s.IDToken(c, r)
				if got := decodePart(t, r.Text("id_token"), 0)["alg"]; got != alg {
					t.Errorf("alg = %v, want %s", got, alg)
				}
			}
			for _, alg := range []string{"none", "HS256", "RS512", "rs256"} {
				metadata := `{"redirect_uris":["https://app.example/cb"],"id_token_signed_response_alg":"` + alg + `"}`
				if _, err := register(t, s, metadata); err == nil {
					t.Errorf("id_token_signed_response_alg %s was registered", alg)
				}
			}
		}),
	servertest.Req("C3", "OIDC Core §12.2",
		"a refresh returns an ID token of the same user, client and sign-in, with a new iat and no nonce",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.RelyingParty()
			r := s.Tokens(c, "alice", "scope", "openid email offline_access", "nonce", "n")
			first := s.IDToken(c, r)
			s.Clock.Advance(time.Minute)
			r = s.Refresh(c, r.Text("refresh_token")).OK(t)
			second := s.IDToken(c, r)
			for _, name := range []string{"iss", "sub", "aud", "azp", "auth_time", "sid", "acr"} {
				if first[name] != second[name] {
					t.Errorf("%s = %v after the refresh, want %v as before", name, second[name], first[name])
				}
			}
			if second["iat"] == first["iat"] || second["nonce"] != nil {
				t.Errorf("iat = %v and then %v, nonce = %v, want another iat and no nonce",
					first["iat"], second["iat"], second["nonce"])
			}
			if got := r.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control = %q, want no-store", got)
			}
			r = s.Refresh(c, r.Text("refresh_token"), "scope", "email").OK(t)
			if r.JSON["id_token"] != nil {
				t.Errorf("id_token = %v after a refresh without openid, want none", r.JSON["id_token"])
			}
		}),
	servertest.Req("C4", "OIDC Discovery §4, RFC 8414 §5",
		"both names return the same document, for issuers with a path by both rules",
		func(t *testing.T, s *servertest.Server) {
			m := s.Get("/.well-known/openid-configuration").OK(t)
			other := s.Get("/.well-known/oauth-authorization-server").OK(t)
			if m.Body != other.Body {
				t.Errorf("openid-configuration is\n%s\noauth-authorization-server is\n%s\nwant the same", m.Body, other.Body)
			}
			if got := m.Header.Get("Content-Type"); m.Text("issuer") != s.Issuer || got != "application/json" {
				t.Errorf("issuer = %q with Content-Type %q, want %s and application/json", m.Text("issuer"), got, s.Issuer)
			}
			wantClaims(t, "metadata", m.JSON, map[string]any{
				"userinfo_endpoint":    s.Issuer + "/oauth2/userinfo",
				"end_session_endpoint": s.Issuer + "/oauth2/logout",
				"jwks_uri":             s.Issuer + "/.well-known/jwks.json",

				"claims_parameter_supported":           true,
				"request_parameter_supported":          true,
				"request_uri_parameter_supported":      true,
				"require_request_uri_registration":     true,
				"backchannel_logout_supported":         true,
				"backchannel_logout_session_supported": true,
			})
			for name, want := range map[string]string{
				"scopes_supported": "openid", "subject_types_supported": "pairwise", "response_types_supported": "code",
				"response_modes_supported": "form_post", "claims_supported": "phone_number_verified",
				"prompt_values_supported":                     "select_account",
				"id_token_signing_alg_values_supported":       "RS256",
				"token_endpoint_auth_methods_supported":       "private_key_jwt",
				"request_object_signing_alg_values_supported": "PS256",
			} {
				if list, _ := m.JSON[name].([]any); !slices.Contains(list, any(want)) {
					t.Errorf("%s = %v, want %s in it", name, m.JSON[name], want)
				}
			}
			deep := servertest.Start(t, storagetest.URL(t, s.Store.Engine()), servertest.Options{Path: "/tenant/one"})
			origin := strings.TrimSuffix(deep.URL, "/tenant/one")
			for _, path := range []string{
				"/tenant/one/.well-known/openid-configuration", "/.well-known/openid-configuration/tenant/one",
				"/.well-known/oauth-authorization-server/tenant/one",
			} {
				if r := getURL(t, deep, origin+path); r.Status != 200 || r.Text("issuer") != deep.Issuer {
					t.Errorf("%s: %d %s, want 200 with the issuer %s", path, r.Status, r.Body, deep.Issuer)
				}
			}
			deep.User("alice")
			party := deep.RelyingParty()
			deep.IDToken(party, deep.Tokens(party, "alice", "scope", "openid"))
		}),
}

// requestUserinfo sends a request to the userinfo endpoint with this Authorization header, or without one if empty.
func requestUserinfo(s *servertest.Server, method, query, authorization string, form url.Values) servertest.Response {
	s.T.Helper()
	req := s.Request(method, "/oauth2/userinfo"+query, form)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	return s.Do(req)
}

var userinfo = []servertest.Requirement{
	servertest.Req("C5", "OIDC Core §5.3, RFC 6750 §2, §3, CVE-2026-55669, GHSA-wxg7-w2v3-w38g, P64, P66",
		"userinfo accepts the token in the header or in a form body, and returns the error code of each invalid request",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			c := s.RelyingParty()
			tokens := s.Tokens(c, "alice", "scope", "openid offline_access")
			token := tokens.Text("access_token")
			for name, r := range map[string]servertest.Response{
				"GET":                      requestUserinfo(s, "GET", "", "Bearer "+token, nil),
				"POST, header":             requestUserinfo(s, "POST", "", "bearer "+token, nil),
				"POST, header, empty form": requestUserinfo(s, "POST", "", "Bearer "+token, url.Values{}),
				"POST, body":               requestUserinfo(s, "POST", "", "", url.Values{"access_token": {token}}),
			} {
				if r.Status != 200 || r.Text("sub") != u.ID || len(r.JSON) != 1 {
					t.Errorf("%s: %d %s, want 200 with only sub %s", name, r.Status, r.Body, u.ID)
				}
				contentType, caching := r.Header.Get("Content-Type"), r.Header.Get("Cache-Control")
				if contentType != "application/json" || caching != "no-store" {
					t.Errorf("%s: Content-Type %q and Cache-Control %q, want application/json and no-store",
						name, contentType, caching)
				}
			}
			checkInvalidUserinfoRequests(t, s, tokens)
			read := s.Tokens(s.RelyingParty(), "alice", "scope", "read").Text("access_token")
			if r := s.Userinfo(read); r.Status != 403 && r.Status != 401 {
				t.Errorf("a token without openid: %d %s, want 401 or 403", r.Status, r.Body)
			}
			s.Post("/oauth2/revoke", c, url.Values{"token": {token}}).OK(t)
			if r := s.Userinfo(token); r.Status != 401 {
				t.Errorf("a revoked token: status = %d, want 401", r.Status)
			}
			token = s.Refresh(c, tokens.Text("refresh_token")).OK(t).Text("access_token")
			storagetest.Must(t, s.Store.DisableUser(t.Context(), u.ID))
			if r := s.Userinfo(token); r.Status != 401 {
				t.Errorf("a token of a disabled user: status = %d, want 401", r.Status)
			}
		}),
	servertest.Req("C5b", "RFC 6750 §3.1",
		"a token without openid is insufficient_scope at userinfo, and one narrowed to an API is not intended for it",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.RelyingParty()
			tokens := s.Tokens(c, "alice", "scope", "openid email read offline_access")
			if aud := claims(t, tokens.Text("access_token"))["aud"]; aud != s.Issuer {
				t.Errorf("aud = %v, want %s", aud, s.Issuer)
			}
			next := s.Refresh(c, tokens.Text("refresh_token"), "scope", "email read").OK(t)
			r := s.Userinfo(next.Text("access_token"))
			challenge := r.Header.Get("WWW-Authenticate")
			if r.Status != 403 || r.Text("error") != "insufficient_scope" || !strings.Contains(challenge, `scope="openid"`) {
				t.Errorf("a token without openid: %d %s with %q, want 403 insufficient_scope with the scope openid",
					r.Status, r.Body, challenge)
			}
			storagetest.Must(t, s.Store.CreateResource(t.Context(), storage.Resource{
				Identifier: "https://api.example", Name: "API", Scopes: storage.Strings{"read"}, CreatedAt: s.Clock.Now(),
			}))
			both := s.Refresh(c, next.Text("refresh_token"), "scope", "openid read").OK(t)
			if aud, _ := claims(t, both.Text("access_token"))["aud"].([]any); len(aud) != 2 {
				t.Errorf("aud = %v, want the API and this server", claims(t, both.Text("access_token"))["aud"])
			}
			if r := s.Userinfo(both.Text("access_token")); r.Status != 200 {
				t.Errorf("a token for the API and this server: %d %s, want 200", r.Status, r.Body)
			}
			narrowed := s.Refresh(c, both.Text("refresh_token"), "resource", "https://api.example").OK(t)
			if r := s.Userinfo(narrowed.Text("access_token")); r.Status != 401 || r.Text("error") != "invalid_token" {
				t.Errorf("a token narrowed to the API: %d %s, want 401 invalid_token", r.Status, r.Body)
			}
		}),
	servertest.Req("C6", "OIDC Core §5.3.2",
		"userinfo is signed for a client that registered userinfo_signed_response_alg",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
				c := s.RelyingParty(`"userinfo_signed_response_alg":"` + alg + `"`)
				r := s.Userinfo(s.Tokens(c, "alice", "scope", "openid email").Text("access_token"))
				contentType := r.Header.Get("Content-Type")
				if r.Status != http.StatusOK || contentType != "application/jwt" {
					t.Fatalf("%s: %d with Content-Type %q: %s, want 200 and application/jwt",
						alg, r.Status, contentType, r.Body)
				}
				if got := decodePart(t, r.Body, 0)["alg"]; got != alg {
					t.Fatalf("alg = %v, want %s", got, alg)
				}
				wantClaims(t, alg, verifiedClaims(t, s, r.Body), map[string]any{
					"sub": u.ID, "iss": s.Issuer, "aud": c.ClientID, "email": "alice@example.com", "exp": nil,
				})
				// It is no ID token and is not accepted as one.
				hinted := s.Browser().Authorize(c, "scope", "openid", "id_token_hint", r.Body)
				hinted.WantRedirectError(t, s, "invalid_request")
			}
		}),
}

// checkInvalidUserinfoRequests checks the status and the challenge for each invalid request to the userinfo endpoint.
func checkInvalidUserinfoRequests(t *testing.T, s *servertest.Server, tokens servertest.Response) {
	t.Helper()
	token := tokens.Text("access_token")
	inQuery, inBody := "?access_token="+token, url.Values{"access_token": {token}}
	get := func(authorization string) servertest.Response {
		return requestUserinfo(s, "GET", "", authorization, nil)
	}
	for name, x := range map[string]struct {
		r      servertest.Response
		status int
		code   string
	}{
		"no token":            {get(""), 401, ""},
		"another scheme":      {get("Basic eDp5"), 401, ""},
		"in the query":        {requestUserinfo(s, "GET", inQuery, "", nil), 400, "invalid_request"},
		"in query and header": {requestUserinfo(s, "GET", inQuery, "Bearer "+token, nil), 400, "invalid_request"},
		"in body and header":  {requestUserinfo(s, "POST", "", "Bearer "+token, inBody), 400, "invalid_request"},
		"not a token":         {get("Bearer x.y.z"), 401, "invalid_token"},
		"an ID token":         {get("Bearer " + tokens.Text("id_token")), 401, "invalid_token"},
		"a refresh token":     {get("Bearer " + tokens.Text("refresh_token")), 401, "invalid_token"},
		"a service's token":   {get("Bearer " + s.ServiceToken(s.Service("jobs"))), 401, "invalid_token"},
		"another signature":   {get("Bearer " + withChangedSignature(token)), 401, "invalid_token"},
		"PUT":                 {requestUserinfo(s, "PUT", "", "Bearer x", nil), 405, "invalid_request"},
	} {
		challenge := x.r.Header.Get("WWW-Authenticate")
		hasCode := strings.Contains(challenge, `error="`+x.code+`"`)
		if x.code == "" {
			hasCode = !strings.Contains(challenge, "error")
		}
		if x.r.Status != x.status || !strings.HasPrefix(challenge, "Bearer ") || !hasCode {
			t.Errorf("%s: %d with the challenge %q: %s, want %d and Bearer with the error %q",
				name, x.r.Status, challenge, x.r.Body, x.status, x.code)
		}
	}
}
