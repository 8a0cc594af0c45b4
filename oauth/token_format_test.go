package oauth_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/oauth/jwt"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

func TestTokenFormats(t *testing.T) { servertest.Run(t, tokenFormats) }

// setTokenFormat sets the headers of the access tokens of a resource.
func setTokenFormat(s *servertest.Server, identifier, typ, alg string) {
	s.T.Helper()
	storagetest.Must(s.T, s.Store.UpdateResource(s.T.Context(), identifier, func(r *storage.Resource) error {
		r.TokenTyp, r.TokenAlg = typ, alg
		return nil
	}))
}

// checkFormat checks the headers of an access token, and its signature with the key of the JWKS.
func checkFormat(s *servertest.Server, token, typ, alg string) {
	s.T.Helper()
	header := decodePart(s.T, token, 0)
	if header["typ"] != typ || header["alg"] != alg {
		s.T.Errorf("typ = %v, alg = %v, want %s and %s", header["typ"], header["alg"], typ, alg)
	}
	var set jose.JSONWebKeySet
	storagetest.Must(s.T, json.Unmarshal([]byte(s.Get("/.well-known/jwks.json").OK(s.T).Body), &set))
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
	storagetest.Must(s.T, err)
	keys := set.Key(header["kid"].(string))
	if len(keys) != 1 || keys[0].Algorithm != alg {
		s.T.Fatalf("the JWKS has %d keys with the kid and alg %s, want one", len(keys), alg)
	}
	if _, err := jws.Verify(keys[0]); err != nil {
		s.T.Errorf("verify a token with typ %s and alg %s: %v", typ, alg, err)
	}
}

// formatAPI is a resource whose access tokens have a format of their own.
const formatAPI = "https://api.example"

// formatClient registers a client for the scopes api.read, files.read and openid.
func formatClient(s *servertest.Server, more ...string) client.Information {
	s.T.Helper()
	return s.Client(`{` + strings.Join(append([]string{`"redirect_uris":["` + servertest.Callback + `"],
		"scope":"openid offline_access api.read files.read",
		"grant_types":["authorization_code","refresh_token","client_credentials"]`}, more...), ",") + `}`)
}

var tokenFormats = []servertest.Requirement{
	servertest.Req("P62b", "RFC 9068 §2.1, RFC 7518 §3.1",
		"an API chooses typ and alg of its access tokens; they work at introspection, userinfo and revocation as others",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			createResource(s, formatAPI, false, "api.read")
			c := formatClient(s)
			for _, typ := range []string{"JWT", "at+jwt"} {
				for _, alg := range jwt.Algorithms {
					setTokenFormat(s, formatAPI, typ, alg)
					r := s.Tokens(c, "alice", "scope", "openid offline_access api.read")
					token := r.Text("access_token")
					checkFormat(s, token, typ, alg)
					s.Userinfo(token).OK(t)
					if !s.Active(c, token) {
						t.Errorf("a token with typ %s and alg %s is inactive", typ, alg)
					}
					s.Post("/oauth2/revoke", c, withParameters(nil, "token", token)).OK(t)
					if s.Active(c, token) {
						t.Errorf("a revoked token with typ %s and alg %s is active", typ, alg)
					}
					checkFormat(s, s.Refresh(c, r.Text("refresh_token")).Text("access_token"), typ, alg)
					service := s.Token(c, withParameters(clientCredentialsForm, "scope", "api.read")).OK(t)
					checkFormat(s, service.Text("access_token"), typ, alg)
				}
			}
			setTokenFormat(s, formatAPI, "JWT", "RS256")
			before := s.Tokens(c, "alice", "scope", "openid api.read").Text("access_token")
			checkFormat(s, s.Tokens(c, "alice", "scope", "openid").Text("access_token"), "at+jwt", "ES256")
			setTokenFormat(s, formatAPI, "", "")
			checkFormat(s, s.Tokens(c, "alice", "scope", "openid api.read").Text("access_token"), "at+jwt", "ES256")
			if !s.Active(c, before) {
				t.Error("a token that was issued before the API chose another format is inactive")
			}
			metadata := s.Get("/.well-known/oauth-authorization-server").JSON
			if got := metadata["access_token_signing_alg_values_supported"]; len(got.([]any)) != len(jwt.Algorithms) {
				t.Errorf("access_token_signing_alg_values_supported = %v, want %q", got, jwt.Algorithms)
			}
		}).WithSettings("GATEHOUSE_RATE_LIMITS=off"),
	servertest.Req("P62c", "RFC 8725 §3.11, §3.12",
		"no other token is accepted as an access token with the typ JWT, and such a token is accepted as no other token",
		func(t *testing.T, s *servertest.Server) {
			alice := s.User("alice")
			createResource(s, formatAPI, false, "api.read")
			setTokenFormat(s, formatAPI, "JWT", "RS256")
			jwks := s.Get("/.well-known/jwks.json").Body // a client that names the keys of this server as its own
			c := formatClient(s, `"userinfo_signed_response_alg":"RS256"`, `"jwks":`+jwks,
				`"post_logout_redirect_uris":["`+postLogoutURI+`"]`)
			b := s.Browser()
			r := s.Redeem(c, b.Code(c, "alice", "scope", "openid api.read"))
			access, idToken := r.Text("access_token"), r.Text("id_token")
			userinfo := s.Userinfo(access).OK(t).Body
			checkFormat(s, idToken, "JWT", "RS256")
			// As an ID token, a request object and a client assertion:
			b.Authorize(c, "scope", "openid", "prompt", "none", "id_token_hint", access).
				WantRedirectError(t, s, "invalid_request")
			b.Open(logoutPath("id_token_hint", access, "post_logout_redirect_uri", postLogoutURI))
			if !isSignedIn(b) {
				t.Error("an access token as id_token_hint ended the session")
			}
			openObjectOf(b, c, access).WantRedirectError(t, s, "invalid_request_object")
			keyed := registerKeyClient(s, `"jwks":`+jwks)
			tokenByAssertion(s, access, "client_id", keyed.ClientID).Want(t, 400, "invalid_request")
			tokenByAssertion(s, access).Want(t, 401, "invalid_client")
			// Other tokens as access tokens. The last ones have every claim of an access token.
			now := s.Clock.Now().Unix()
			all := claims(t, access)
			all["sub"], all["exp"], all["azp"] = alice.ID, now+60, c.ClientID
			sign := func(typ string, claims any) string {
				token, err := s.OAuth.Keyring.SignJWT(t.Context(), "RS256", typ, claims)
				storagetest.Must(t, err)
				return token
			}
			for name, token := range map[string]string{
				"an ID token": idToken, "signed userinfo": userinfo,
				"a logout token": sign(jwt.TypeLogout, all), "an ID token with its claims": sign(jwt.TypeJWT, all),
				"signed userinfo with its claims": sign("", all),
				"an access token with another header": forge(t, access, map[string]any{
					"alg": "RS256", "typ": "at+jwt", "kid": decodePart(t, access, 0)["kid"],
				}, nil),
			} {
				if s.Active(c, token) {
					t.Errorf("%s is active as an access token", name)
				}
				if got := s.Userinfo(token).Status; got != 401 {
					t.Errorf("userinfo with %s: status = %d, want 401", name, got)
				}
				s.Post("/oauth2/revoke", c, withParameters(nil, "token", token)).OK(t)
			}
			if !s.Active(c, access) {
				t.Error("revoking tokens of another kind with its jti has revoked the access token")
			}
		}).WithSettings("GATEHOUSE_RATE_LIMITS=off"),
	servertest.Req("P62d", "RFC 8707 §2.2",
		"a token is never for APIs that accept different formats: the client requests one token for each",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			createResource(s, formatAPI, false, "api.read")
			createResource(s, mcpServer, false, "files.read")
			setTokenFormat(s, formatAPI, "JWT", "RS256")
			c := formatClient(s)
			const scope = "openid offline_access api.read files.read"
			b := s.Browser()
			b.Authorize(c, "scope", scope).WantRedirectError(t, s, "invalid_target")
			form := withParameters(clientCredentialsForm, "scope", "api.read files.read")
			s.Token(c, form).Want(t, 400, "invalid_target")
			form["resource"] = []string{formatAPI, mcpServer}
			s.Token(c, form).Want(t, 400, "invalid_target")
			form["resource"] = []string{formatAPI}
			checkFormat(s, s.Token(c, form).OK(t).Text("access_token"), "JWT", "RS256")

			q := servertest.AuthorizeForm(c, "scope", scope)
			q["resource"] = []string{formatAPI, mcpServer}
			page := b.SignIn(b.Follow(b.Open("/oauth2/authorize?"+q.Encode())), "alice")
			to := b.Follow(b.Decide(page, "approve")).Location()
			code := servertest.CodeForm(to, c)
			code["resource"] = []string{formatAPI, mcpServer}
			s.Token(c, code).Want(t, 400, "invalid_target") // and the code is still valid
			delete(code, "resource")
			r := s.Token(c, code).OK(t)
			check := func(r servertest.Response, audience, typ, alg string) {
				t.Helper()
				token := r.OK(t).Text("access_token")
				if got := audienceOf(t, token); !slices.Equal(got, []string{audience}) {
					t.Errorf("aud = %q, want only %s", got, audience)
				}
				checkFormat(s, token, typ, alg)
			}
			check(r, mcpServer, "at+jwt", "ES256") // without resource, for the API with the default format
			if got := r.Text("scope"); strings.Contains(got, "api.read") {
				t.Errorf("scope = %q, want it without the scope of the other API", got)
			}
			r = s.Refresh(c, r.Text("refresh_token"), "resource", formatAPI)
			check(r, formatAPI, "JWT", "RS256")
			setTokenFormat(s, mcpServer, "JWT", "EdDSA")
			check(s.Refresh(c, r.Text("refresh_token"), "resource", mcpServer), mcpServer, "JWT", "EdDSA")
		}).WithSettings("GATEHOUSE_RATE_LIMITS=off"),
}
