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

// registrationRequest sends JSON to the registration endpoint or the configuration endpoint of a client.
func registrationRequest(s *servertest.Server, method, uri, token, body string) servertest.Response {
	s.T.Helper()
	req, err := http.NewRequestWithContext(s.T.Context(), method, uri, strings.NewReader(body))
	storagetest.Must(s.T, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return s.Do(req)
}

// selfRegister registers a client with the metadata, without an initial access token.
func selfRegister(s *servertest.Server, body string) servertest.Response {
	s.T.Helper()
	return registrationRequest(s, http.MethodPost, s.URL+"/oauth2/register", "", body)
}

// minimalMetadata is a registration with only the required member.
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
			if r := selfRegister(s, minimalMetadata); r.Status != 404 {
				t.Errorf("registration: %d %s, want 404", r.Status, r.Body)
			}
			if got := s.Get("/.well-known/openid-configuration").JSON["registration_endpoint"]; got != nil {
				t.Errorf("registration_endpoint = %v, want none", got)
			}
			open := servertest.Start(t, storagetest.URL(t, s.Store.Engine()), servertest.Options{
				Env: map[string]string{"GATEHOUSE_REGISTRATION": "open"},
			})
			endpoint := open.Get("/.well-known/openid-configuration").Text("registration_endpoint")
			if want := open.Issuer + "/oauth2/register"; endpoint != want {
				t.Errorf("registration_endpoint = %q, want %q", endpoint, want)
			}
			if r := open.Get("/oauth2/register"); r.Status != 405 || r.Header.Get("Allow") != "POST" {
				t.Errorf("GET: status = %d, Allow = %q, want 405 and POST", r.Status, r.Header.Get("Allow"))
			}
		}),
	servertest.Req("R2", "RFC 7591 §3.2.1, RFC 7592 §3",
		"a registered client gets its defaults, a secret and a registration access token, and can use them",
		testRegisteredClient).WithSettings(openRegistration),
	servertest.Req("R3", "RFC 7591 §3.2.2, OIDC Registration §2, CVE-2026-67333, CVE-2026-59354, P90",
		"each invalid value is refused with its error code and a description of the fix",
		testInvalidMetadata).WithSettings(openRegistration),
	servertest.Req("R4", "RFC 7591 §3",
		"where registration needs an initial access token, each use registers one client",
		func(t *testing.T, s *servertest.Server) {
			at := s.URL + "/oauth2/register"
			wantRefused := func(name, token string) {
				t.Helper()
				r := registrationRequest(s, http.MethodPost, at, token, minimalMetadata)
				if r.Status != 401 || r.Text("error") != "invalid_token" {
					t.Errorf("%s: %d %s, want 401 invalid_token", name, r.Status, r.Body)
				}
				if challenge := r.Header.Get("WWW-Authenticate"); !strings.HasPrefix(challenge, "Bearer ") {
					t.Errorf("%s: WWW-Authenticate = %q, want a Bearer challenge", name, challenge)
				}
			}
			wantRefused("no token", "")
			wantRefused("garbage", "x")
			token, row, err := s.OAuth.Clients.CreateInitialAccessToken(t.Context(), "team", 3, time.Hour)
			storagetest.Must(t, err)
			r := registrationRequest(s, http.MethodPost, at, token, minimalMetadata)
			if r.Status != 201 {
				t.Fatalf("registration: %d %s, want 201", r.Status, r.Body)
			}
			wantRefused("a registration access token", r.Text("registration_access_token"))
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
					t.Errorf("status = %d, want 201 or 401", status)
				}
			}
			if registered != 2 {
				t.Errorf("%d registrations succeeded, want 2, the remaining uses", registered)
			}
			expired, _, err := s.OAuth.Clients.CreateInitialAccessToken(t.Context(), "", 1, time.Hour)
			storagetest.Must(t, err)
			deleted, deletedRow, err := s.OAuth.Clients.CreateInitialAccessToken(t.Context(), "", 1, time.Hour)
			storagetest.Must(t, err)
			storagetest.Must(t, s.Store.DeleteRegistrationToken(t.Context(), deletedRow.ID))
			wantRefused("deleted", deleted)
			s.Clock.Advance(time.Hour)
			wantRefused("expired", expired)
			if strings.Contains(storagetest.Dump(t, s.Store, s.DB), token) {
				t.Error("the token is stored in clear")
			}
			if row.UsesLeft != 3 {
				t.Errorf("uses of the new token = %d, want 3", row.UsesLeft)
			}
		}).WithSettings(gatedRegistration),
	servertest.Req("R5", "RFC 7592 §2",
		"a client reads, changes and deletes its own registration, only with its registration access token",
		testOwnRegistration).WithSettings(openRegistration),
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
			silent := func(uri string) url.Values {
				return b.Authorize(c, "scope", "openid", "prompt", "none", "redirect_uri", uri).Location().Query()
			}
			if silent("https://app.example/elsewhere").Get("code") == "" {
				t.Error("a change to another path of the same host prompts the user again")
			}
			const uri = "https://other.example/cb"
			for _, name := range []string{"Notes", "Your bank"} {
				put(uri, name)
				if got := silent(uri).Get("error"); got != "consent_required" {
					t.Errorf("after the change to %s and %q: error = %q, want consent_required", uri, name, got)
				}
				s.Clock.Advance(time.Second)
				b.Code(c, "alice", "scope", "openid", "redirect_uri", uri)
				if silent(uri).Get("code") == "" {
					t.Errorf("after the approval of %s and %q the user is prompted again", uri, name)
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
				t.Errorf("scope = %q, want openid notes", r.Text("scope"))
			}
			c := clientOf(r)
			s.Browser().Authorize(c, "scope", "admin").WantRedirectError(t, s, "invalid_scope")
			to := s.Browser().Code(c, "alice", "scope", "openid", "code_challenge", "", "code_challenge_method", "")
			s.IDToken(c, s.Token(c, servertest.CodeForm(to, c, "code_verifier", "")).OK(t))
			public := clientOf(selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],
				"token_endpoint_auth_method":"none"}`))
			p := s.Browser().Authorize(public, "scope", "openid", "code_challenge", "", "code_challenge_method", "")
			p.WantRedirectError(t, s, "invalid_request")
		}).WithSettings(openRegistration, "GATEHOUSE_REGISTRATION_REQUIRE_PKCE=false",
		"GATEHOUSE_REGISTRATION_SCOPES=openid,notes,offline_access"),
	servertest.Req("R7", "RFC 7591 §5", "registrations are limited per network", func(t *testing.T, s *servertest.Server) {
		for range 3 {
			if r := selfRegister(s, minimalMetadata); r.Status != 201 {
				t.Fatalf("registration: %d %s, want 201", r.Status, r.Body)
			}
		}
		long := `{"redirect_uris":["` + servertest.Callback + `"],"client_name":"` + strings.Repeat("x", 9000) + `"}`
		if r := selfRegister(s, long); r.Status == 429 {
			t.Errorf("a long registration, which counts as three: status = %d, want no 429", r.Status)
		}
		if r := selfRegister(s, minimalMetadata); r.Status != 429 || r.Header.Get("Retry-After") == "" {
			t.Errorf("a registration over the limit: status = %d, want 429 with Retry-After", r.Status)
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
			for _, uri := range []string{
				host.URL + "/jwks", strings.Replace(host.URL, "127.0.0.1", "localhost", 1) + "/jwks",
				strings.Replace(host.URL, "http:", "https:", 1) + "/jwks",
			} {
				r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],
					"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"`+uri+`"}`)
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
			r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],"client_name":"`+evil+`",
				"client_uri":"https://app.example/\"><script>","policy_uri":"https://app.example/\"><script>",
				"tos_uri":"https://app.example/'onclick='x","initiate_login_uri":"https://app.example/\"><script>"}`)
			if r.Status != 201 {
				t.Fatalf("registration: %d %s, want 201", r.Status, r.Body)
			}
			c := clientOf(r)
			b := s.Browser()
			login := b.Authorize(c, "scope", "openid", "login_hint", evil)
			consent := b.SignIn(login, "alice")
			b.Decide(consent, "approve")
			for _, p := range []servertest.Page{
				login, consent, b.Open("/account"), b.Open("/oauth2/logout?client_id=" + c.ClientID),
			} {
				if p.Status != 200 || !strings.Contains(p.Body, "onerror=alert(1)") {
					t.Errorf("%s: %d %s, want 200 with the name of the client", p.URL, p.Status, p.Body)
				}
				for _, markup := range []string{"<img src=x", "<script>", "'onclick"} {
					if strings.Contains(p.Body, markup) {
						t.Errorf("%s has %s, which is not escaped: %s", p.URL, markup, p.Body)
					}
				}
			}
		}).WithSettings(openRegistration),
}
