package oauth_test

import (
	"crypto"
	"crypto/x509"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/jwt"
	"gatehouse/storage/storagetest"
)

func TestAssertions(t *testing.T) { servertest.Run(t, assertions) }

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// clientKey returns a key of a client that no other test has until this one ends.
func clientKey(t *testing.T, alg, id string) servertest.ClientKey {
	t.Helper()
	private, ok := spareKeys(alg).Get().(crypto.Signer)
	if !ok {
		var err error
		private, err = jwt.Generate(alg)
		storagetest.Must(t, err)
	}
	t.Cleanup(func() { spareKeys(alg).Put(private) })
	return servertest.ClientKey{Private: private, ID: id, Alg: alg}
}

// sparesOf has the keys of tests that have ended, by algorithm: to generate an RSA key takes longer than most tests.
var sparesOf sync.Map

func spareKeys(alg string) *sync.Pool {
	pool, _ := sparesOf.LoadOrStore(alg, &sync.Pool{})
	return pool.(*sync.Pool)
}

// keyClient registers a client credentials client that authenticates with its keys.
func keyClient(t *testing.T, s *servertest.Server, more string, keys ...servertest.ClientKey) clientInformation {
	t.Helper()
	return registerKeyClient(s, `"jwks":`+servertest.JWKS(t, keys...)+more)
}

// registerKeyClient registers a client credentials client that authenticates with keys, which the members specify.
func registerKeyClient(s *servertest.Server, members string) clientInformation {
	s.T.Helper()
	return s.Client(`{"client_name":"Keyed","grant_types":["client_credentials"],"scope":"jobs",
		"token_endpoint_auth_method":"private_key_jwt",` + members + `}`)
}

// assertionClaims returns valid claims of an assertion with the changes; nil removes a claim.
func assertionClaims(s *servertest.Server, c clientInformation, changes ...any) map[string]any {
	now := s.Clock.Now().Unix()
	claims := map[string]any{
		"iss": c.ClientID, "sub": c.ClientID, "aud": s.Issuer, "jti": uuid.NewString(),
		"exp": now + 60, "iat": now, "nbf": now,
	}
	return withClaims(claims, changes)
}

// tokenByAssertion requests a client credentials token with an assertion.
func tokenByAssertion(s *servertest.Server, assertion string, more ...string) servertest.Response {
	s.T.Helper()
	form := assertionForm(assertion, "grant_type", "client_credentials")
	return s.Do(s.Request(http.MethodPost, "/oauth2/token", withParameters(form, more...)))
}

// assertionForm returns a form that authenticates with the assertion, with more parameters.
func assertionForm(assertion string, more ...string) url.Values {
	form := url.Values{"client_assertion_type": {assertionType}, "client_assertion": {assertion}}
	return withParameters(form, more...)
}

var assertions = []servertest.Requirement{
	servertest.Req("K1", "RFC 7523 §2.2, OIDC Core §9",
		"private_key_jwt works with RS256, PS256, ES256 and EdDSA, with and without client_id and key id, "+
			"wherever clients authenticate",
		func(t *testing.T, s *servertest.Server) {
			for _, alg := range jwt.Algorithms {
				key := clientKey(t, alg, "1")
				c := keyClient(t, s, "", key)
				if c.ClientSecret != "" {
					t.Error("a client with private_key_jwt got a secret")
				}
				r := tokenByAssertion(s, key.Sign(t, assertionClaims(s, c), nil)).OK(t)
				if r.Text("scope") != "jobs" {
					t.Errorf("scope = %q, want jobs", r.Text("scope"))
				}
				tokenByAssertion(s, key.Sign(t, assertionClaims(s, c), nil), "client_id", c.ClientID).OK(t)
				withoutID := servertest.ClientKey{Private: key.Private, Alg: alg}
				tokenByAssertion(s, withoutID.Sign(t, assertionClaims(s, c, "nbf", nil, "iat", nil), nil)).OK(t)
				send := func(path string) servertest.Response {
					form := assertionForm(key.Sign(t, assertionClaims(s, c), nil), "token", r.Text("access_token"))
					return s.Do(s.Request(http.MethodPost, path, form))
				}
				if got := send("/oauth2/introspect"); got.JSON["active"] != true {
					t.Errorf("introspection: %s, want an active token", got.Body)
				}
				if got := send("/oauth2/revoke"); got.Status != 200 {
					t.Errorf("revocation: %d %s, want 200", got.Status, got.Body)
				}
				if got := send("/oauth2/introspect"); got.JSON["active"] != false {
					t.Errorf("introspection after revocation: %s, want an inactive token", got.Body)
				}
			}
		}),
	servertest.Req("K2", "RFC 7523 §3, P89",
		"every claim is checked: iss, sub, aud (only the issuer), jti, exp within five minutes, nbf, iat",
		func(t *testing.T, s *servertest.Server) {
			key := clientKey(t, jwt.ES256, "1")
			c, other := keyClient(t, s, "", key), keyClient(t, s, "", key)
			now := s.Clock.Now().Unix()
			for name, change := range map[string][]any{
				"no iss": {"iss", nil}, "another iss": {"iss", other.ClientID},
				"no sub": {"sub", nil}, "another sub": {"sub", other.ClientID},
				"no aud": {"aud", nil}, "another aud": {"aud", "https://evil.example"},
				"token endpoint": {"aud", s.Issuer + "/oauth2/token"}, "slash": {"aud", s.Issuer + "/"},
				"array": {"aud", []string{s.Issuer}}, "two": {"aud", []string{s.Issuer, "https://evil.example"}},
				"no jti": {"jti", nil}, "empty jti": {"jti", ""}, "long jti": {"jti", strings.Repeat("x", 501)},
				"jti number": {"jti", 7}, "no exp": {"exp", nil}, "expired": {"exp", now - 31},
				"an hour": {"exp", now + 3600}, "ten years": {"exp", now + 315360000},
				"never expires": {"exp", 1e300}, "exp as a string": {"exp", "soon"},
				"not yet": {"nbf", now + 120}, "never valid": {"nbf", 1e300}, "in the future": {"iat", now + 120},
			} {
				r := tokenByAssertion(s, key.Sign(t, assertionClaims(s, c, change...), nil), "client_id", c.ClientID)
				code := r.Text("error")
				if r.Status != 401 && r.Status != 400 || code != "invalid_client" && code != "invalid_request" {
					t.Errorf("%s: %d %s, want invalid_client or invalid_request", name, r.Status, r.Body)
				}
				if r.JSON["access_token"] != nil {
					t.Errorf("%s: a token was issued", name)
				}
			}
			tokenByAssertion(s, key.Sign(t, assertionClaims(s, c), nil)).OK(t)
		}).WithSettings("GATEHOUSE_RATE_LIMITS=client_failure=1000/1m,address_failure=1000/1m"),
	servertest.Req("K3", "RFC 7523 §3, CVE-2020-15222, CVE-2020-5300",
		"an assertion is single use, across processes and restarts, and one that fails is not consumed",
		func(t *testing.T, s *servertest.Server) {
			key := clientKey(t, jwt.ES256, "1")
			c, second := keyClient(t, s, "", key), keyClient(t, s, "", key)
			once := key.Sign(t, assertionClaims(s, c, "jti", "the one"), nil)
			tokenByAssertion(s, withChangedSignature(once)).Want(t, 401, "invalid_client")
			other := s.StartAnother()
			statuses := make([]int, 50)
			storagetest.Concurrently(50, func(i int) {
				n := s
				if i%2 == 0 {
					n = other
				}
				statuses[i] = tokenByAssertion(n, once).Status
			})
			accepted := 0
			for _, status := range statuses {
				if status == 200 {
					accepted++
				} else if status != 401 && status != 429 {
					t.Errorf("status = %d, want 200, 401 or 429", status)
				}
			}
			if accepted != 1 {
				t.Errorf("%d of 50 uses of an assertion were accepted, want 1", accepted)
			}
			if r := tokenByAssertion(s.StartAnother(), once); r.Status == 200 {
				t.Error("a new process accepts the used assertion")
			}
			sameID := key.Sign(t, assertionClaims(s, second, "jti", "the one"), nil) // of another client
			tokenByAssertion(s, sameID).OK(t)
			s.Clock.Advance(25 * time.Hour)
			storagetest.ResetCleanupTime(t, s.Store, s.DB)
			_, err := s.Store.DeleteExpired(t.Context(), storagetest.UnusedClientTTL)
			storagetest.Must(t, err)
			if strings.Contains(storagetest.Dump(t, s.Store, s.DB), "used_once:") {
				t.Error("used assertions are not deleted after they expire")
			}
		}).WithSettings("GATEHOUSE_RATE_LIMITS=client_failure=1000/1m,address_failure=1000/1m"),
	servertest.Req("K4", "RFC 8725 §3.1, CVE-2026-11800",
		"an assertion is valid only with the registered algorithm and a registered key of the client: "+
			"no none, no HMAC, no other key, no key in the header",
		func(t *testing.T, s *servertest.Server) {
			key, unregistered, rsa := clientKey(t, jwt.ES256, "1"), clientKey(t, jwt.ES256, "1"), clientKey(t, jwt.RS256, "2")
			c := keyClient(t, s, "", key, rsa)
			pinned := keyClient(t, s, `,"token_endpoint_auth_signing_alg":"ES256"`, key, rsa)
			valid := key.Sign(t, assertionClaims(s, c), nil)
			der, err := x509.MarshalPKIXPublicKey(rsa.Private.Public())
			storagetest.Must(t, err)
			hmac, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: der},
				(&jose.SignerOptions{}).WithHeader("kid", "2"))
			storagetest.Must(t, err)
			jws, err := hmac.Sign([]byte(`{"iss":"` + c.ClientID + `","sub":"` + c.ClientID + `"}`))
			storagetest.Must(t, err)
			confused, err := jws.CompactSerialize()
			storagetest.Must(t, err)
			header := map[jose.HeaderKey]any{"jwk": jose.JSONWebKey{Key: unregistered.Private.Public()}}
			unknown := servertest.ClientKey{Private: key.Private, ID: "9", Alg: jwt.ES256}
			for name, token := range map[string]string{
				"an unregistered key":    unregistered.Sign(t, assertionClaims(s, c), nil),
				"unknown key id":         unknown.Sign(t, assertionClaims(s, c), nil),
				"alg none":               forge(t, valid, map[string]any{"alg": "none"}, nil),
				"HMAC of the public key": confused,
				"key in the header":      unregistered.Sign(t, assertionClaims(s, c), header),
				"changed signature":      withChangedSignature(valid),
				"two parts":              valid[:strings.LastIndex(valid, ".")],
				"another registered alg": rsa.Sign(t, assertionClaims(s, pinned), nil),
				"dots":                   strings.Repeat(".", 20000),
				"garbage":                "x",
			} {
				if r := tokenByAssertion(s, token); r.Status != 401 || r.Text("error") != "invalid_client" {
					t.Errorf("%s: %d %s, want 401 invalid_client", name, r.Status, r.Body)
				}
			}
			tokenByAssertion(s, valid).OK(t)
			tokenByAssertion(s, key.Sign(t, assertionClaims(s, pinned), nil)).OK(t)
		}),
	servertest.Req("K5", "RFC 6749 §2.3, RFC 7521 §4.2",
		"a client authenticates with one method per request, the registered one",
		func(t *testing.T, s *servertest.Server) {
			key := clientKey(t, jwt.ES256, "1")
			c := keyClient(t, s, "", key)
			secret := s.Client(`{"grant_types":["client_credentials"],"scope":"jobs",
				"jwks":` + servertest.JWKS(t, key) + `}`)
			assertion := func() string { return key.Sign(t, assertionClaims(s, c), nil) }
			tokenByAssertion(s, key.Sign(t, assertionClaims(s, secret), nil)).Want(t, 401, "invalid_client")
			tokenByAssertion(s, assertion(), "client_secret", "x").Want(t, 400, "invalid_request")
			tokenByAssertion(s, assertion(), "client_id", secret.ClientID).Want(t, 400, "invalid_request")
			s.Token(secret, assertionForm(assertion(), "grant_type", "client_credentials")).Want(t, 400, "invalid_request")
			const saml = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"
			for _, form := range []url.Values{
				{"client_assertion": {assertion()}}, {"client_assertion_type": {assertionType}},
				{"client_assertion": {assertion()}, "client_assertion_type": {saml}},
			} {
				form.Set("grant_type", "client_credentials")
				s.Do(s.Request(http.MethodPost, "/oauth2/token", form)).Want(t, 401, "invalid_client")
			}
			inQuery := s.Request(http.MethodPost, "/oauth2/token?client_assertion=x", clientCredentialsForm)
			s.Do(inQuery).Want(t, 400, "invalid_request")
		}),
	servertest.Req("K6", "OIDC Core §10.1.1, CVE-2026-1180",
		"keys at jwks_uri are fetched once, and again for a new key id, "+
			"so that clients rotate their keys without the operator",
		func(t *testing.T, s *servertest.Server) {
			host := servertest.NewHost(t)
			first, second := clientKey(t, jwt.RS256, "first"), clientKey(t, jwt.RS256, "second")
			host.Serve("/jwks", "application/json", servertest.JWKS(t, first))
			c := registerKeyClient(s, `"jwks_uri":"`+host.URL+`/jwks"`)
			for range 3 {
				tokenByAssertion(s, first.Sign(t, assertionClaims(s, c), nil)).OK(t)
			}
			if n := host.Requests("/jwks"); n != 1 {
				t.Errorf("jwks_uri was fetched %d times, want 1", n)
			}
			host.Serve("/jwks", "application/json", servertest.JWKS(t, second))
			s.Clock.Advance(time.Minute)
			tokenByAssertion(s, second.Sign(t, assertionClaims(s, c), nil)).OK(t)
			tokenByAssertion(s, first.Sign(t, assertionClaims(s, c), nil)).Want(t, 401, "invalid_client")
			for range 5 { // unknown key IDs do not cause repeated fetches
				unknown := servertest.ClientKey{Private: first.Private, ID: "guess", Alg: jwt.RS256}
				tokenByAssertion(s, unknown.Sign(t, assertionClaims(s, c), nil)).Want(t, 401, "invalid_client")
			}
			if n := host.Requests("/jwks"); n > 3 {
				t.Errorf("jwks_uri was fetched %d times, want at most 3", n)
			}
			host.Serve("/jwks", "application/json", `{"keys":"x"}`)
			s.Clock.Advance(25 * time.Hour)
			tokenByAssertion(s, second.Sign(t, assertionClaims(s, c), nil)).Want(t, 401, "invalid_client")
		}).WithSettings(loopbackHosts),
	servertest.Req("K7", "OIDC Core §9",
		"a dynamically registered client, or one that the operator allows to, may use the token endpoint as aud",
		func(t *testing.T, s *servertest.Server) {
			key := clientKey(t, jwt.RS256, "")
			r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],
				"token_endpoint_auth_method":"private_key_jwt","jwks":`+servertest.JWKS(t, key)+`}`)
			if r.Status != 201 || r.JSON["client_secret"] != nil || r.JSON["client_secret_expires_at"] != nil {
				t.Fatalf("registration: %d %s, want 201 without a secret", r.Status, r.Body)
			}
			byOperator := keyClient(t, s, `,"gatehouse_token_endpoint_audience":true`, key)
			send := func(c clientInformation, aud any) servertest.Response {
				return tokenByAssertion(s, key.Sign(t, assertionClaims(s, c, "aud", aud), nil))
			}
			endpoint := s.Issuer + "/oauth2/token"
			for _, aud := range []any{s.Issuer, endpoint, []string{s.Issuer}, []string{s.Issuer, endpoint}} {
				send(byOperator, aud).OK(t)
				// The client is authenticated, but does not have the grant type.
				send(clientOf(r), aud).Want(t, 400, "unauthorized_client")
			}
			for _, aud := range []any{
				[]string{s.Issuer, "https://evil.example"}, []string{}, "https://evil.example/oauth2/token",
				s.Issuer + "/oauth2/introspect",
			} {
				send(byOperator, aud).Want(t, 401, "invalid_client")
			}
		}).WithSettings(openRegistration),
}
