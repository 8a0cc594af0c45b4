package oauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

func testRegisteredClient(t *testing.T, s *servertest.Server) {
	s.User("alice")
	r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],"client_name":"New app",
		"contacts":["dev@app.example"],"grant_types":["authorization_code","refresh_token"],
		"response_types":["code"],"tos_uri":"https://elsewhere.example/tos","unknown_member":{"x":1},
		"logo_uri":"","policy_uri":"","post_logout_redirect_uris":[],
		"gatehouse_skip_consent":true,"gatehouse_require_pkce":false,"gatehouse_access_token_ttl":"24h",
		"gatehouse_nonsense":1,
		"Gatehouse_skip_consent":true,"GATEHOUSE_ACCESS_TOKEN_TTL":"24h","gatehouſe_skip_consent":true,
		"gatehousE_audience":["https://internal.example/"],
		"Gatehouse_owner":"Your Bank","Gatehouse_id_token_claims":true,"REDIRECT_URIS":["https://evil.example/cb"]}`)
	if r.Status != 201 {
		t.Fatalf("registration: %d %s, want 201", r.Status, r.Body)
	}
	if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("the headers are %v, want Cache-Control no-store and Content-Type application/json", r.Header)
	}
	for name, want := range map[string]any{
		"token_endpoint_auth_method": "client_secret_basic", "application_type": "web",
		"id_token_signed_response_alg": "RS256", "subject_type": "public",
		"client_name": "New app", "client_secret_expires_at": 0.0,
		"scope":                   "openid profile email address phone offline_access",
		"registration_client_uri": s.Issuer + "/oauth2/register/" + r.Text("client_id"),
	} {
		if r.JSON[name] != want {
			t.Errorf("%s is %v, want %v", name, r.JSON[name], want)
		}
	}
	for _, absent := range []string{
		"unknown_member", "logo_uri", "policy_uri", "post_logout_redirect_uris", "jwks", "gatehouse_require_pkce",
		"gatehouse_skip_consent", "gatehouse_access_token_ttl", "gatehouse_token_endpoint_audience",
		"gatehouse_allowed_networks",
	} {
		if _, ok := r.JSON[absent]; ok {
			t.Errorf("%s is in the response", absent)
		}
	}
	secret, token := r.Text("client_secret"), r.Text("registration_access_token")
	if !strings.HasPrefix(secret, "gate_cs_live_") || !strings.HasPrefix(token, "gate_ra_live_") {
		t.Errorf("the secret is %q and the token %q, want the prefixes gate_cs_live_ and gate_ra_live_", secret, token)
	}
	wantNoOperatorMembers(t, s, r.Text("client_id"))
	useRegisteredClient(t, s, clientOf(r))
	dump := storagetest.Dump(t, s.Store, s.DB)
	if strings.Contains(dump, token) || strings.Contains(dump, secret) ||
		strings.Contains(s.Log.String(), "gate_ra_live_") {
		t.Error("a token or secret is stored or logged in clear")
	}
}

// wantNoOperatorMembers fails if the registration set a member that only the operator may set.
func wantNoOperatorMembers(t *testing.T, s *servertest.Server, id string) {
	t.Helper()
	record, err := s.Store.Client(t.Context(), id)
	storagetest.Must(t, err)
	if record.SkipConsent || record.AccessTokenTTL != nil || len(record.Audience) > 0 || record.Owner != "" ||
		record.IDTokenClaims {
		t.Errorf("the client set a member of the operator: %+v", record)
	}
	if len(record.RedirectURIs) != 1 || record.RedirectURIs[0] != servertest.Callback {
		t.Errorf("the redirect URIs are %v, want %s", record.RedirectURIs, servertest.Callback)
	}
}

// useRegisteredClient fails unless PKCE is required and the consent page warns of the client before it gets tokens.
func useRegisteredClient(t *testing.T, s *servertest.Server, c clientInformation) {
	t.Helper()
	b := s.Browser()
	withoutPKCE := b.Authorize(c, "scope", "openid", "code_challenge", "", "code_challenge_method", "")
	withoutPKCE.WantRedirectError(t, s, "invalid_request")
	page := b.SignIn(b.Authorize(c, "scope", "openid email"), "alice")
	warns := strings.Contains(page.Text(), "This app is not verified") && strings.Contains(page.Text(), "app.example")
	if !strings.Contains(page.URL, "/consent") || !warns {
		t.Errorf("%s shows %s, want a consent page with a warning and the host", page.URL, page.Text())
	}
	s.IDToken(c, s.Redeem(c, b.Decide(page, "approve").Location()))
}

func testInvalidMetadata(t *testing.T, s *servertest.Server) {
	for _, body := range []string{`{}`, `[]`, `x`, `null`} {
		wantInvalidRegistration(t, s, body, "invalid_client_metadata")
	}
	for _, uris := range []string{
		`["javascript:alert(1)"]`, `["https://*.app.example/cb"]`, `["https://app.example/cb#foobar"]`,
		`["https://u:p@app.example/cb"]`, `["http://app.example/cb"]`, `["data:text/html,x"]`,
		`"` + servertest.Callback + `x y"`,
	} {
		wantInvalidRegistration(t, s, `{"redirect_uris":`+uris+`}`, "invalid_redirect_uri")
	}
	for _, members := range invalidMembers {
		body := `{"redirect_uris":["` + servertest.Callback + `"],` + members + `}`
		wantInvalidRegistration(t, s, body, "invalid_client_metadata")
	}
	form := s.Post("/oauth2/register", clientInformation{}, url.Values{"redirect_uris": {servertest.Callback}})
	form.Want(t, 400, "invalid_client_metadata")
	selfRegister(s, `{"client_name":"`+strings.Repeat("x", 70<<10)+`"}`).Want(t, 400, "invalid_client_metadata")
}

// invalidMembers are members of client metadata, each with an invalid value.
var invalidMembers = []string{
	`"grant_types":["client_credentials"]`,
	`"grant_types":["implicit"]`,
	`"response_types":["id_token"]`,
	`"token_endpoint_auth_method":"client_secret_jwt"`,
	`"token_endpoint_auth_method":"private_key_jwt"`,
	`"jwks":{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
		"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}]}`,
	`"jwks":{"keys":[{"kty":"oct","k":"AAAA"}]}`,
	`"jwks":{"keys":[]}`,
	`"jwks":{"keys":[{"kty":"x"}]},"jwks_uri":"https://x.example/"`,
	`"jwks_uri":"http://app.example/jwks"`,
	`"jwks_uri":"https://10.0.0.1/jwks"`,
	`"logo_uri":"javascript:alert(1)"`,
	`"policy_uri":"javascript:alert(1)"`,
	`"initiate_login_uri":"http://app.example/start"`,
	`"initiate_login_uri":"http://localhost:9/start"`,
	`"sector_identifier_uri":"http://app.example/s.json"`,
	`"request_uris":["http://app.example/r"]`,
	`"backchannel_logout_uri":"https://169.254.169.254/"`,
	`"post_logout_redirect_uris":["https://app.example/*"]`,
	`"id_token_signed_response_alg":"none"`,
	`"userinfo_signed_response_alg":"HS256"`,
	`"request_object_signing_alg":"none"`,
	`"id_token_encrypted_response_alg":"RSA-OAEP"`,
	`"subject_type":"secret"`,
	`"application_type":"desktop"`,
	`"default_max_age":-1`,
	`"require_auth_time":"yes"`,
	`"contacts":["a\u0000b"]`,
	`"default_acr_values":["a b"]`,
	`"client_name":"a\u0000b"`,
	`"default_max_age":1e999`,
	`"client_name":7`,
	`"client_name":"` + strings.Repeat("x", 101) + `"`,
}

// wantInvalidRegistration fails unless a registration with the body is refused with the code, without internal details.
func wantInvalidRegistration(t *testing.T, s *servertest.Server, body, code string) {
	t.Helper()
	r := selfRegister(s, body)
	if r.Status != 400 || r.Text("error") != code {
		t.Errorf("%s: %d %s, want 400 %s", body, r.Status, r.Body, code)
	}
	for _, internal := range []string{"Go ", "json:", "oauth.", "struct", ".go"} {
		if strings.Contains(r.Body, internal) {
			t.Errorf("%s: the response has the internal %q: %s", body, internal, r.Body)
		}
	}
}

func testOwnRegistration(t *testing.T, s *servertest.Server) {
	s.User("alice")
	r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],"client_name":"One",
		"initiate_login_uri":"https://app.example/start","grant_types":["authorization_code","refresh_token"]}`)
	other := selfRegister(s, minimalMetadata)
	byOperator := s.App()
	uri, token := s.URL+"/oauth2/register/"+r.Text("client_id"), r.Text("registration_access_token")
	for name, x := range map[string][2]string{
		"no token":             {uri, ""},
		"another client's":     {uri, other.Text("registration_access_token")},
		"garbage":              {uri, "gate_ra_live_x"},
		"a secret":             {uri, r.Text("client_secret")},
		"unknown client":       {s.URL + "/oauth2/register/unknown", token},
		"an operator's client": {s.URL + "/oauth2/register/" + byOperator.ClientID, token},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
			got := registrationRequest(s, method, x[0], x[1], minimalMetadata)
			if got.Status != 401 || got.JSON["client_id"] != nil {
				t.Errorf("%s with %s: %d %s, want 401 without metadata", method, name, got.Status, got.Body)
			}
		}
	}
	read := registrationRequest(s, http.MethodGet, uri, token, "").OK(t)
	for name, want := range map[string]any{
		"initiate_login_uri": "https://app.example/start", "client_name": "One",
		"registration_access_token": token, "client_secret": nil,
	} {
		if got := read.JSON[name]; got != want {
			t.Errorf("GET: %s = %v, want %v", name, got, want)
		}
	}
	c := clientOf(r)
	changeOwnMetadata(t, s, r)
	if got := registrationRequest(s, http.MethodPatch, uri, token, "{}"); got.Status != 405 {
		t.Errorf("PATCH: status = %d, want 405", got.Status)
	}
	tokens := s.Tokens(c, "alice", "scope", "openid")
	if got := registrationRequest(s, http.MethodDelete, uri, token, ""); got.Status != 204 || got.Body != "" {
		t.Errorf("DELETE: %d %q, want 204 without a body", got.Status, got.Body)
	}
	if got := registrationRequest(s, http.MethodGet, uri, token, ""); got.Status != 401 {
		t.Errorf("GET after DELETE: status = %d, want 401", got.Status)
	}
	s.Refresh(c, tokens.Text("refresh_token")).Want(t, 401, "invalid_client")
}

// changeOwnMetadata fails unless a client can change its metadata, except members that the server assigned, and a
// removed scope ends its grants.
func changeOwnMetadata(t *testing.T, s *servertest.Server, r servertest.Response) {
	t.Helper()
	c, token := clientOf(r), r.Text("registration_access_token")
	tokens := s.Tokens(c, "alice", "scope", "openid email offline_access")
	put := func(body string) servertest.Response { return putMetadata(s, r, body) }
	metadataWith := func(more string) string {
		return `{"client_id":"` + c.ClientID + `","redirect_uris":["` + servertest.Callback + `"],
			"grant_types":["authorization_code","refresh_token"]` + more + `}`
	}
	for name, body := range map[string]string{
		"no client_id":      minimalMetadata,
		"another client_id": `{"client_id":"x","redirect_uris":["` + servertest.Callback + `"]}`,
		"a chosen secret":   metadataWith(`,"client_secret":"mine"`),
		"with its token":    metadataWith(`,"registration_access_token":"` + token + `"`),
		"with times":        metadataWith(`,"client_id_issued_at":1`),
		"to public":         metadataWith(`,"token_endpoint_auth_method":"none"`),
	} {
		if got := put(body); got.Status != 400 || got.Text("error") != "invalid_client_metadata" {
			t.Errorf("%s: %d %s, want 400 invalid_client_metadata", name, got.Status, got.Body)
		}
	}
	put(`{"client_id":"`+c.ClientID+`","redirect_uris":["javascript:x"]}`).Want(t, 400, "invalid_redirect_uri")
	changed := put(metadataWith(`,"client_name":"Two","client_secret":"` + c.ClientSecret + `"`)).OK(t)
	if changed.Text("client_name") != "Two" || changed.JSON["initiate_login_uri"] != nil {
		t.Errorf("the metadata is %s, want the new name, and no initiate_login_uri as in the request", changed.Body)
	}
	if !s.Active(c, tokens.Text("access_token")) {
		t.Error("a change of the name revoked tokens")
	}
	put(metadataWith(`,"scope":"openid"`)).OK(t)
	if s.Active(c, tokens.Text("access_token")) {
		t.Error("tokens with a removed scope are still active")
	}
	// A scope that the client or the operator removed is not restored by a request without scope.
	if got := put(metadataWith("")).OK(t); got.Text("scope") != "openid" {
		t.Errorf("scope = %q, want openid", got.Text("scope"))
	}
}
