package oauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/jwt"
	"gatehouse/storage/storagetest"
)

func TestRegistration(t *testing.T) { servertest.Run(t, registration) }

const (
	openRegistration  = "GATEHOUSE_REGISTRATION=open"
	gatedRegistration = "GATEHOUSE_REGISTRATION=token"
	loopbackHosts     = "GATEHOUSE_FETCH_ALLOW_HOSTS=127.0.0.1"
)

// registrationRequest sends JSON to the registration endpoint or below it.
func registrationRequest(s *servertest.Server, method, address, token, body string) servertest.Response {
	s.T.Helper()
	req, err := http.NewRequestWithContext(s.T.Context(), method, address, strings.NewReader(body))
	storagetest.Must(s.T, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return s.Do(req)
}

func selfRegister(s *servertest.Server, body string) servertest.Response {
	s.T.Helper()
	return registrationRequest(s, http.MethodPost, s.URL+"/oauth2/register", "", body)
}

const minimalMetadata = `{"redirect_uris":["` + servertest.Callback + `"]}`

// clientOf returns the client in a response of the registration endpoint.
func clientOf(r servertest.Response) clientInformation {
	c := clientInformation{ClientID: r.Text("client_id"), ClientSecret: r.Text("client_secret")}
	c.TokenEndpointAuthMethod = r.Text("token_endpoint_auth_method")
	c.RedirectURIs = []string{servertest.Callback}
	return c
}

var registration = []servertest.Requirement{
	servertest.Req("R1", "RFC 7591 §3, OIDC Registration §3",
		"registration is off unless the operator enables it, and only then advertised",
		func(t *testing.T, s *servertest.Server) {
			if r := selfRegister(s, minimalMetadata); r.Status != 404 || s.Get("/.well-known/openid-configuration").JSON["registration_endpoint"] != nil {
				t.Errorf("%d %s", r.Status, r.Body)
			}
			open := servertest.Start(t, storagetest.URL(t, s.Store.Engine()), servertest.Options{Env: map[string]string{"GATEHOUSE_REGISTRATION": "open"}})
			at := open.Get("/.well-known/openid-configuration").Text("registration_endpoint")
			if at != open.Issuer+"/oauth2/register" {
				t.Errorf("advertised at %q", at)
			}
			if r := open.Get("/oauth2/register"); r.Status != 405 || r.Header.Get("Allow") != "POST" {
				t.Errorf("GET: %d", r.Status)
			}
		}),
	servertest.Req("R2", "RFC 7591 §3.2.1, RFC 7592 §3",
		"a registered client gets its defaults, a secret and a registration access token, and can use them",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],"client_name":"New app","contacts":["dev@app.example"],"grant_types":["authorization_code","refresh_token"],
				"response_types":["code"],"tos_uri":"https://elsewhere.example/tos","unknown_member":{"x":1},"logo_uri":"","policy_uri":"","post_logout_redirect_uris":[],
				"gatehouse_skip_consent":true,"gatehouse_require_pkce":false,"gatehouse_access_token_ttl":"24h","gatehouse_nonsense":1,
				"Gatehouse_skip_consent":true,"GATEHOUSE_ACCESS_TOKEN_TTL":"24h","gatehouſe_skip_consent":true,"gatehousE_audience":["https://internal.example/"],
				"Gatehouse_owner":"Your Bank","Gatehouse_id_token_claims":true,"REDIRECT_URIS":["https://evil.example/cb"]}`)
			if r.Status != 201 || r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Content-Type") != "application/json" {
				t.Fatalf("%d %s", r.Status, r.Body)
			}
			for name, want := range map[string]any{
				"token_endpoint_auth_method": "client_secret_basic", "application_type": "web", "id_token_signed_response_alg": "RS256", "subject_type": "public",
				"client_name": "New app", "client_secret_expires_at": 0.0, "scope": "openid profile email address phone offline_access",
				"registration_client_uri": s.Issuer + "/oauth2/register/" + r.Text("client_id"),
			} {
				if r.JSON[name] != want {
					t.Errorf("%s is %v, want %v", name, r.JSON[name], want)
				}
			}
			for _, absent := range []string{"unknown_member", "logo_uri", "policy_uri", "post_logout_redirect_uris", "jwks", "gatehouse_require_pkce", "gatehouse_skip_consent", "gatehouse_access_token_ttl", "gatehouse_token_endpoint_audience", "gatehouse_allowed_networks"} {
				if _, ok := r.JSON[absent]; ok {
					t.Errorf("%s is in the response", absent)
				}
			}
			if !strings.HasPrefix(r.Text("client_secret"), "gate_cs_live_") || !strings.HasPrefix(r.Text("registration_access_token"), "gate_ra_live_") {
				t.Error(r.Body)
			}
			c := clientOf(r)
			record, err := s.Store.Client(t.Context(), c.ClientID)
			storagetest.Must(t, err)
			if record.SkipConsent || record.AccessTokenTTL != nil || len(record.Audience) > 0 || record.Owner != "" || record.IDTokenClaims || len(record.RedirectURIs) != 1 || record.RedirectURIs[0] != servertest.Callback {
				t.Errorf("the client set a member of the operator: %+v", record)
			}
			b := s.Browser()
			b.Authorize(c, "scope", "openid", "code_challenge", "", "code_challenge_method", "").WantRedirectError(t, s, "invalid_request")
			page := b.SignIn(b.Authorize(c, "scope", "openid email"), "alice")
			if !strings.Contains(page.URL, "/consent") || !strings.Contains(page.Text(), "This app is not verified") || !strings.Contains(page.Text(), "app.example") {
				t.Errorf("no warning, or no consent at all: %s %s", page.URL, page.Text())
			}
			s.IDToken(c, s.Redeem(c, b.Decide(page, "approve").Location()))
			dump := storagetest.Dump(t, s.Store, s.DB)
			if strings.Contains(dump, r.Text("registration_access_token")) || strings.Contains(dump, r.Text("client_secret")) || strings.Contains(s.Log.String(), "gate_ra_live_") {
				t.Error("a token or secret is stored or logged in clear")
			}
		}).WithSettings(openRegistration),
	servertest.Req("R3", "RFC 7591 §3.2.2, OIDC Registration §2, CVE-2026-67333, CVE-2026-59354, P90",
		"each invalid value is refused with its error code and a description of the fix",
		func(t *testing.T, s *servertest.Server) {
			uris := func(more string) string { return `{"redirect_uris":["` + servertest.Callback + `"],` + more + `}` }
			private := `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}`
			for body, code := range map[string]string{
				`{}`: "invalid_client_metadata", `[]`: "invalid_client_metadata", `x`: "invalid_client_metadata", `null`: "invalid_client_metadata",
				`{"redirect_uris":["javascript:alert(1)"]}`: "invalid_redirect_uri", `{"redirect_uris":["https://*.app.example/cb"]}`: "invalid_redirect_uri",
				`{"redirect_uris":["https://app.example/cb#foobar"]}`: "invalid_redirect_uri", `{"redirect_uris":["https://u:p@app.example/cb"]}`: "invalid_redirect_uri",
				`{"redirect_uris":["http://app.example/cb"]}`: "invalid_redirect_uri", `{"redirect_uris":["data:text/html,x"]}`: "invalid_redirect_uri",
				`{"redirect_uris":"` + servertest.Callback + `x y"}`:                  "invalid_redirect_uri",
				uris(`"grant_types":["client_credentials"]`):                          "invalid_client_metadata",
				uris(`"grant_types":["implicit"]`):                                    "invalid_client_metadata",
				uris(`"response_types":["id_token"]`):                                 "invalid_client_metadata",
				uris(`"token_endpoint_auth_method":"client_secret_jwt"`):              "invalid_client_metadata",
				uris(`"token_endpoint_auth_method":"private_key_jwt"`):                "invalid_client_metadata",
				uris(`"jwks":{"keys":[` + private + `]}`):                             "invalid_client_metadata",
				uris(`"jwks":{"keys":[{"kty":"oct","k":"AAAA"}]}`):                    "invalid_client_metadata",
				uris(`"jwks":{"keys":[]}`):                                            "invalid_client_metadata",
				uris(`"jwks":{"keys":[{"kty":"x"}]},"jwks_uri":"https://x.example/"`): "invalid_client_metadata",
				uris(`"jwks_uri":"http://app.example/jwks"`):                          "invalid_client_metadata",
				uris(`"jwks_uri":"https://10.0.0.1/jwks"`):                            "invalid_client_metadata",
				uris(`"logo_uri":"javascript:alert(1)"`):                              "invalid_client_metadata",
				uris(`"policy_uri":"javascript:alert(1)"`):                            "invalid_client_metadata",
				uris(`"initiate_login_uri":"http://app.example/start"`):               "invalid_client_metadata",
				uris(`"initiate_login_uri":"http://localhost:9/start"`):               "invalid_client_metadata",
				uris(`"sector_identifier_uri":"http://app.example/s.json"`):           "invalid_client_metadata",
				uris(`"request_uris":["http://app.example/r"]`):                       "invalid_client_metadata",
				uris(`"backchannel_logout_uri":"https://169.254.169.254/"`):           "invalid_client_metadata",
				uris(`"post_logout_redirect_uris":["https://app.example/*"]`):         "invalid_client_metadata",
				uris(`"id_token_signed_response_alg":"none"`):                         "invalid_client_metadata",
				uris(`"userinfo_signed_response_alg":"HS256"`):                        "invalid_client_metadata",
				uris(`"request_object_signing_alg":"none"`):                           "invalid_client_metadata",
				uris(`"id_token_encrypted_response_alg":"RSA-OAEP"`):                  "invalid_client_metadata",
				uris(`"subject_type":"secret"`):                                       "invalid_client_metadata",
				uris(`"application_type":"desktop"`):                                  "invalid_client_metadata",
				uris(`"default_max_age":-1`):                                          "invalid_client_metadata",
				uris(`"require_auth_time":"yes"`):                                     "invalid_client_metadata",
				uris(`"contacts":["a\u0000b"]`):                                       "invalid_client_metadata",
				uris(`"default_acr_values":["a b"]`):                                  "invalid_client_metadata",
				uris(`"client_name":"a\u0000b"`):                                      "invalid_client_metadata",
				uris(`"default_max_age":1e999`):                                       "invalid_client_metadata",
				uris(`"client_name":7`):                                               "invalid_client_metadata",
				uris(`"client_name":"` + strings.Repeat("x", 101) + `"`):              "invalid_client_metadata",
			} {
				r := selfRegister(s, body)
				if r.Status != 400 || r.Text("error") != code {
					t.Errorf("%s: %d %s", body, r.Status, r.Body)
				}
				for _, leak := range []string{"Go ", "json:", "oauth.", "struct", ".go"} {
					if strings.Contains(r.Body, leak) {
						t.Errorf("%s: the response has internal details: %s", body, r.Body)
					}
				}
			}
			form := s.Post("/oauth2/register", clientInformation{}, url.Values{"redirect_uris": {servertest.Callback}})
			form.Want(t, 400, "invalid_client_metadata")
			selfRegister(s, `{"client_name":"`+strings.Repeat("x", 70<<10)+`"}`).Want(t, 400, "invalid_client_metadata")
		}).WithSettings(openRegistration),
	servertest.Req("R4", "RFC 7591 §3",
		"where registration needs an initial access token, each use registers one client",
		func(t *testing.T, s *servertest.Server) {
			at := s.URL + "/oauth2/register"
			refused := func(name, token string) {
				t.Helper()
				r := registrationRequest(s, http.MethodPost, at, token, minimalMetadata)
				if r.Status != 401 || r.Text("error") != "invalid_token" || !strings.HasPrefix(r.Header.Get("WWW-Authenticate"), "Bearer ") {
					t.Errorf("%s: %d %s", name, r.Status, r.Body)
				}
			}
			refused("no token", "")
			refused("garbage", "x")
			token, row, err := s.OAuth.Clients.CreateInitialAccessToken(t.Context(), "team", 3, time.Hour)
			storagetest.Must(t, err)
			r := registrationRequest(s, http.MethodPost, at, token, minimalMetadata)
			if r.Status != 201 {
				t.Fatalf("%d %s", r.Status, r.Body)
			}
			refused("a registration access token", r.Text("registration_access_token"))
			registrationRequest(s, http.MethodPost, at, token, `{}`).Want(t, 400, "invalid_client_metadata") // consumes no use
			other := s.StartAnother()
			statuses := make([]int, 20)
			storagetest.Concurrently(20, func(i int) {
				n := s
				if i%2 == 0 {
					n = other
				}
				statuses[i] = registrationRequest(n, http.MethodPost, n.URL+"/oauth2/register", token, minimalMetadata).Status
			})
			registered := 0
			for _, status := range statuses {
				if status == 201 {
					registered++
				} else if status != 401 {
					t.Errorf("status %d", status)
				}
			}
			if registered != 2 {
				t.Errorf("%d registrations, want 2, the uses left", registered)
			}
			late, _, err := s.OAuth.Clients.CreateInitialAccessToken(t.Context(), "", 1, time.Hour)
			storagetest.Must(t, err)
			gone, row2, err := s.OAuth.Clients.CreateInitialAccessToken(t.Context(), "", 1, time.Hour)
			storagetest.Must(t, err)
			storagetest.Must(t, s.Store.DeleteRegistrationToken(t.Context(), row2.ID))
			refused("deleted", gone)
			s.Clock.Advance(time.Hour)
			refused("expired", late)
			if strings.Contains(storagetest.Dump(t, s.Store, s.DB), token) || row.UsesLeft != 3 {
				t.Error("the token is stored in clear")
			}
		}).WithSettings(gatedRegistration),
	servertest.Req("R5", "RFC 7592 §2",
		"a client reads, changes and deletes its own registration, only with its registration access token",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],"client_name":"One","initiate_login_uri":"https://app.example/start","grant_types":["authorization_code","refresh_token"]}`)
			other := selfRegister(s, minimalMetadata)
			byOperator := s.App()
			at, token := s.URL+"/oauth2/register/"+r.Text("client_id"), r.Text("registration_access_token")
			for name, x := range map[string][2]string{
				"no token": {at, ""}, "another client's": {at, other.Text("registration_access_token")}, "garbage": {at, "gate_ra_live_x"}, "a secret": {at, r.Text("client_secret")},
				"unknown client": {s.URL + "/oauth2/register/unknown", token}, "an operator's client": {s.URL + "/oauth2/register/" + byOperator.ClientID, token},
			} {
				for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
					if got := registrationRequest(s, method, x[0], x[1], minimalMetadata); got.Status != 401 || got.JSON["client_id"] != nil {
						t.Errorf("%s %s: %d %s", name, method, got.Status, got.Body)
					}
				}
			}
			read := registrationRequest(s, http.MethodGet, at, token, "").OK(t)
			if read.Text("initiate_login_uri") != "https://app.example/start" || read.Text("client_name") != "One" || read.Text("registration_access_token") != token || read.JSON["client_secret"] != nil {
				t.Error(read.Body)
			}
			c := clientOf(r)
			tokens := s.Tokens(c, "alice", "scope", "openid email offline_access")
			put := func(body string) servertest.Response { return registrationRequest(s, http.MethodPut, at, token, body) }
			metadataWith := func(more string) string {
				return `{"client_id":"` + c.ClientID + `","redirect_uris":["` + servertest.Callback + `"],"grant_types":["authorization_code","refresh_token"]` + more + `}`
			}
			for name, body := range map[string]string{
				"no client_id": minimalMetadata, "another client_id": `{"client_id":"x","redirect_uris":["` + servertest.Callback + `"]}`, "a chosen secret": metadataWith(`,"client_secret":"mine"`),
				"with its token": metadataWith(`,"registration_access_token":"` + token + `"`), "with times": metadataWith(`,"client_id_issued_at":1`), "to public": metadataWith(`,"token_endpoint_auth_method":"none"`),
			} {
				if got := put(body); got.Status != 400 || got.Text("error") != "invalid_client_metadata" {
					t.Errorf("%s: %d %s", name, got.Status, got.Body)
				}
			}
			put(`{"client_id":"`+c.ClientID+`","redirect_uris":["javascript:x"]}`).Want(t, 400, "invalid_redirect_uri")
			changed := put(metadataWith(`,"client_name":"Two","client_secret":"` + c.ClientSecret + `"`)).OK(t)
			if changed.Text("client_name") != "Two" || changed.JSON["initiate_login_uri"] != nil {
				t.Errorf("a member that the request left out is still set: %s", changed.Body)
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
				t.Errorf("scope is %q", got.Text("scope"))
			}
			if got := registrationRequest(s, http.MethodPatch, at, token, "{}"); got.Status != 405 {
				t.Errorf("PATCH: %d", got.Status)
			}
			tokens = s.Tokens(c, "alice", "scope", "openid")
			if got := registrationRequest(s, http.MethodDelete, at, token, ""); got.Status != 204 || got.Body != "" {
				t.Errorf("DELETE: %d %s", got.Status, got.Body)
			}
			if got := registrationRequest(s, http.MethodGet, at, token, ""); got.Status != 401 {
				t.Errorf("after DELETE: %d", got.Status)
			}
			s.Refresh(c, tokens.Text("refresh_token")).Want(t, 401, "invalid_client")
		}).WithSettings(openRegistration),
	servertest.Req("R5b", "RFC 7592 §2.2, RFC 9700 §4.1",
		"when a dynamically registered client changes its name or host, users who consented are prompted again",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],"client_name":"Notes"}`)
			c := clientOf(r)
			b := s.Browser()
			b.Code(c, "alice", "scope", "openid")
			put := func(uri, name string) {
				t.Helper()
				s.Clock.Advance(time.Second)
				registrationRequest(s, http.MethodPut, r.Text("registration_client_uri"), r.Text("registration_access_token"),
					`{"client_id":"`+c.ClientID+`","redirect_uris":["`+uri+`"],"client_name":"`+name+`"}`).OK(t)
			}
			put("https://app.example/elsewhere", "Notes")
			if b.Authorize(c, "scope", "openid", "prompt", "none", "redirect_uri", "https://app.example/elsewhere").Location().Query().Get("code") == "" {
				t.Error("prompted again for another path of the same host")
			}
			for _, change := range [][2]string{{"https://other.example/cb", "Notes"}, {"https://other.example/cb", "Your bank"}} {
				put(change[0], change[1])
				if got := b.Authorize(c, "scope", "openid", "prompt", "none", "redirect_uri", change[0]).Location().Query().Get("error"); got != "consent_required" {
					t.Errorf("%v: %q", change, got)
				}
				s.Clock.Advance(time.Second)
				b.Code(c, "alice", "scope", "openid", "redirect_uri", change[0])
				if b.Authorize(c, "scope", "openid", "prompt", "none", "redirect_uri", change[0]).Location().Query().Get("code") == "" {
					t.Errorf("%v: prompted again after approval", change)
				}
			}
		}).WithSettings(openRegistration),
	servertest.Req("R6", "RFC 7591 §2, RFC 9700 §4.1",
		"a dynamically registered client gets only scopes that the operator lists, and follows the PKCE setting",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			s.Service("admin notes")
			r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],"scope":"openid notes admin nothing"}`)
			if r.Text("scope") != "openid notes" {
				t.Errorf("scope is %q", r.Text("scope"))
			}
			c := clientOf(r)
			s.Browser().Authorize(c, "scope", "openid admin").WantRedirectError(t, s, "invalid_scope")
			to := s.Browser().Code(c, "alice", "scope", "openid", "code_challenge", "", "code_challenge_method", "")
			s.IDToken(c, s.Token(c, servertest.CodeForm(to, c, "code_verifier", "")).OK(t))
			public := clientOf(selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],"token_endpoint_auth_method":"none"}`))
			s.Browser().Authorize(public, "scope", "openid", "code_challenge", "", "code_challenge_method", "").WantRedirectError(t, s, "invalid_request")
		}).WithSettings(openRegistration, "GATEHOUSE_REGISTRATION_REQUIRE_PKCE=false", "GATEHOUSE_REGISTRATION_SCOPES=openid,notes,offline_access"),
	servertest.Req("R7", "RFC 7591 §5", "registrations are limited per network", func(t *testing.T, s *servertest.Server) {
		for range 3 {
			if r := selfRegister(s, minimalMetadata); r.Status != 201 {
				t.Fatalf("%d %s", r.Status, r.Body)
			}
		}
		long := `{"redirect_uris":["` + servertest.Callback + `"],"client_name":"` + strings.Repeat("x", 9000) + `"}`
		if r := selfRegister(s, long); r.Status == 429 {
			t.Errorf("a long registration, which counts as three: %d, want no 429", r.Status)
		}
		if r := selfRegister(s, minimalMetadata); r.Status != 429 || r.Header.Get("Retry-After") == "" {
			t.Errorf("a registration over the limit: %d, want 429 with Retry-After", r.Status)
		}
	}).WithSettings(openRegistration, "GATEHOUSE_RATE_LIMITS=registration=6/1m"),
	servertest.Req("R8", "CVE-2026-101062, CVE-2026-56739, P91",
		"a dynamically registered client gets no code silently, and cannot make this server fetch private URLs",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			b := s.Browser()
			b.SignIn(b.Open("/login"), "alice")
			c := clientOf(selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],"gatehouse_skip_consent":true}`))
			b.Authorize(c, "scope", "openid", "prompt", "none").WantRedirectError(t, s, "consent_required")
			host := servertest.NewHost(t)
			key := clientKey(t, jwt.ES256, "1")
			host.Serve("/jwks", "application/json", servertest.JWKS(t, key))
			for _, address := range []string{host.URL + "/jwks", strings.Replace(host.URL, "127.0.0.1", "localhost", 1) + "/jwks", strings.Replace(host.URL, "http:", "https:", 1) + "/jwks"} {
				r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"`+address+`"}`)
				if r.Status != http.StatusCreated {
					r.Want(t, 400, "invalid_client_metadata")
					continue
				}
				// A host name is only checked when it is resolved: for an assertion, this server would fetch the JWKS.
				tokenByAssertion(s, key.Sign(t, assertionClaims(s, clientOf(r)), nil)).Want(t, 401, "invalid_client")
			}
			if host.Requests("/jwks") != 0 {
				t.Error("a private URL was fetched")
			}
		}).WithSettings(openRegistration),
	servertest.Req("R9", "CVE-2019-8400, CVE-2026-33525",
		"client metadata is escaped on every page",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			const evil = `<img src=x onerror=alert(1)>`
			r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],"client_name":"`+evil+`","client_uri":"https://app.example/\"><script>","policy_uri":"https://app.example/\"><script>","tos_uri":"https://app.example/'onclick='x","initiate_login_uri":"https://app.example/\"><script>"}`)
			if r.Status != 201 {
				t.Fatalf("%d %s", r.Status, r.Body)
			}
			c := clientOf(r)
			b := s.Browser()
			login := b.Authorize(c, "scope", "openid", "login_hint", evil)
			consent := b.SignIn(login, "alice")
			b.Decide(consent, "approve")
			for _, p := range []servertest.Page{login, consent, b.Open("/account"), b.Open("/oauth2/logout?client_id=" + c.ClientID)} {
				if p.Status != 200 || strings.Contains(p.Body, "<img src=x") || strings.Contains(p.Body, "<script>") || strings.Contains(p.Body, "'onclick") || !strings.Contains(p.Body, "onerror=alert(1)") {
					t.Errorf("%s: %d %s", p.URL, p.Status, p.Body)
				}
			}
		}).WithSettings(openRegistration),
}
