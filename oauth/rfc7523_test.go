package oauth_test

import (
	"crypto/x509"
	"net/http"
	"net/url"
	"strings"
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

// clientKey makes a key for a client.
func clientKey(t *testing.T, alg, id string) servertest.ClientKey {
	t.Helper()
	private, err := jwt.Generate(alg)
	storagetest.Must(t, err)
	return servertest.ClientKey{Private: private, ID: id, Alg: alg}
}

// keyedMachine registers a machine that authenticates by its key.
func keyedMachine(t *testing.T, s *servertest.Server, more string, keys ...servertest.ClientKey) clientInformation {
	t.Helper()
	return s.Client(`{"client_name":"Keyed","grant_types":["client_credentials"],"scope":"jobs","token_endpoint_auth_method":"private_key_jwt","jwks":` + servertest.KeySet(t, keys...) + more + `}`)
}

// asserted are good claims of an assertion with the changes; nil takes one away.
func asserted(s *servertest.Server, c clientInformation, changes ...any) map[string]any {
	now := s.Clock.Now().Unix()
	claims := map[string]any{"iss": c.ClientID, "sub": c.ClientID, "aud": s.Issuer, "jti": uuid.NewString(), "exp": now + 60, "iat": now, "nbf": now}
	return changed(claims, changes)
}

// present asks for a machine token with an assertion.
func present(s *servertest.Server, assertion string, more ...string) servertest.Response {
	s.T.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {assertionType}, "client_assertion": {assertion}}
	for i := 0; i+1 < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return s.Do(s.Request(http.MethodPost, "/oauth2/token", form))
}

var assertions = []servertest.Requirement{
	servertest.Req("K1", "RFC 7523 §2.2, OIDC Core §9", "private_key_jwt works with RS256, PS256, ES256 and EdDSA, with and without client_id and key id, everywhere clients authenticate", func(t *testing.T, s *servertest.Server) {
		for _, alg := range jwt.Algorithms {
			key := clientKey(t, alg, "1")
			c := keyedMachine(t, s, "", key)
			if c.ClientSecret != "" {
				t.Error("it got a secret")
			}
			r := present(s, key.Sign(t, asserted(s, c), nil)).OK(t)
			if r.Text("scope") != "jobs" {
				t.Error(r.Body)
			}
			present(s, key.Sign(t, asserted(s, c), nil), "client_id", c.ClientID).OK(t)
			nameless := servertest.ClientKey{Private: key.Private, Alg: alg}
			present(s, nameless.Sign(t, asserted(s, c, "nbf", nil, "iat", nil), nil)).OK(t)
			ask := func(path string) servertest.Response {
				return s.Do(s.Request(http.MethodPost, path, url.Values{"token": {r.Text("access_token")}, "client_assertion_type": {assertionType}, "client_assertion": {key.Sign(t, asserted(s, c), nil)}}))
			}
			if got := ask("/oauth2/introspect"); got.JSON["active"] != true {
				t.Errorf("introspection: %s", got.Body)
			}
			if got := ask("/oauth2/revoke"); got.Status != 200 {
				t.Errorf("revocation: %s", got.Body)
			}
			if got := ask("/oauth2/introspect"); got.JSON["active"] != false {
				t.Errorf("after revocation: %s", got.Body)
			}
		}
	}),
	servertest.Req("K2", "RFC 7523 §3, P89", "every claim is checked: iss, sub, aud (only the issuer), jti, exp within five minutes, nbf, iat", func(t *testing.T, s *servertest.Server) {
		key := clientKey(t, jwt.ES256, "1")
		c, other := keyedMachine(t, s, "", key), keyedMachine(t, s, "", key)
		now := s.Clock.Now().Unix()
		for name, change := range map[string][]any{
			"no iss": {"iss", nil}, "another iss": {"iss", other.ClientID}, "no sub": {"sub", nil}, "another sub": {"sub", other.ClientID}, "no aud": {"aud", nil},
			"another aud": {"aud", "https://evil.example"}, "token endpoint": {"aud", s.Issuer + "/oauth2/token"}, "slash": {"aud", s.Issuer + "/"}, "array": {"aud", []string{s.Issuer}},
			"issuer and another": {"aud", []string{s.Issuer, "https://evil.example"}}, "no jti": {"jti", nil}, "empty jti": {"jti", ""}, "long jti": {"jti", strings.Repeat("x", 501)},
			"no exp": {"exp", nil}, "expired": {"exp", now - 31}, "an hour": {"exp", now + 3600}, "ten years": {"exp", now + 315360000}, "exp text": {"exp", "soon"}, "not yet": {"nbf", now + 120}, "never": {"nbf", 1e300}, "for ever": {"exp", 1e300}, "from the future": {"iat", now + 120},
			"jti number": {"jti", 7},
		} {
			r := present(s, key.Sign(t, asserted(s, c, change...), nil), "client_id", c.ClientID)
			if r.Status != 401 && r.Status != 400 || r.Text("error") != "invalid_client" && r.Text("error") != "invalid_request" {
				t.Errorf("%s: %d %s", name, r.Status, r.Body)
			}
			if r.JSON["access_token"] != nil {
				t.Errorf("%s: a token", name)
			}
		}
		present(s, key.Sign(t, asserted(s, c), nil)).OK(t)
	}).With("GATEHOUSE_RATE_LIMITS=client_failure=1000/1m,address_failure=1000/1m"),
	servertest.Req("K3", "RFC 7523 §3, CVE-2020-15222, CVE-2020-5300", "an assertion is single use, across processes and restarts, and one that fails is not consumed", func(t *testing.T, s *servertest.Server) {
		key := clientKey(t, jwt.ES256, "1")
		c, second := keyedMachine(t, s, "", key), keyedMachine(t, s, "", key)
		once := key.Sign(t, asserted(s, c, "jti", "the one"), nil)
		present(s, flipped(once)).Want(t, 401, "invalid_client")
		other := s.Another()
		statuses := make([]int, 50)
		storagetest.Do(50, func(i int) {
			n := s
			if i%2 == 0 {
				n = other
			}
			statuses[i] = present(n, once).Status
		})
		won := 0
		for _, status := range statuses {
			if status == 200 {
				won++
			} else if status != 401 && status != 429 {
				t.Errorf("status %d", status)
			}
		}
		if won != 1 {
			t.Errorf("%d of 50 won", won)
		}
		if r := present(s.Another(), once); r.Status == 200 {
			t.Error("a new process takes it again")
		}
		present(s, key.Sign(t, asserted(s, second, "jti", "the one"), nil)).OK(t) // another client's jti is another
		s.Clock.Advance(25 * time.Hour)
		storagetest.TrustClock(t, s.Store, s.DB)
		_, err := s.Store.DeleteExpired(t.Context())
		storagetest.Must(t, err)
		if strings.Contains(storagetest.Dump(t, s.Store, s.DB), "used_assertions:") {
			t.Error("used assertions stay for ever")
		}
	}).With("GATEHOUSE_RATE_LIMITS=client_failure=1000/1m,address_failure=1000/1m"),
	servertest.Req("K4", "RFC 8725 §3.1, CVE-2026-11800", "only the registered algorithm and the client's own keys verify: no none, no HMAC, no other key, no key in the header", func(t *testing.T, s *servertest.Server) {
		key, stranger, rsa := clientKey(t, jwt.ES256, "1"), clientKey(t, jwt.ES256, "1"), clientKey(t, jwt.RS256, "2")
		c := keyedMachine(t, s, "", key, rsa)
		pinned := keyedMachine(t, s, `,"token_endpoint_auth_signing_alg":"ES256"`, key, rsa)
		good := key.Sign(t, asserted(s, c), nil)
		der, err := x509.MarshalPKIXPublicKey(rsa.Private.Public())
		storagetest.Must(t, err)
		hmac, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: der}, (&jose.SignerOptions{}).WithHeader("kid", "2"))
		storagetest.Must(t, err)
		jws, err := hmac.Sign([]byte(`{"iss":"` + c.ClientID + `","sub":"` + c.ClientID + `"}`))
		storagetest.Must(t, err)
		confused, err := jws.CompactSerialize()
		storagetest.Must(t, err)
		embedded := stranger.Sign(t, asserted(s, c), map[jose.HeaderKey]any{"jwk": jose.JSONWebKey{Key: stranger.Private.Public()}})
		for name, token := range map[string]string{
			"a stranger's key": stranger.Sign(t, asserted(s, c), nil), "unknown key id": servertest.ClientKey{Private: key.Private, ID: "9", Alg: jwt.ES256}.Sign(t, asserted(s, c), nil),
			"alg none": forge(t, good, map[string]any{"alg": "none"}, nil), "HMAC with the public key": confused, "key in the header": embedded, "flipped": flipped(good), "two parts": good[:strings.LastIndex(good, ".")],
			"another registered alg": rsa.Sign(t, asserted(s, pinned), nil), "dots": strings.Repeat(".", 20000), "garbage": "x",
		} {
			if r := present(s, token); r.Status != 401 || r.Text("error") != "invalid_client" {
				t.Errorf("%s: %d %s", name, r.Status, r.Body)
			}
		}
		present(s, good).OK(t)
		present(s, key.Sign(t, asserted(s, pinned), nil)).OK(t)
	}),
	servertest.Req("K5", "RFC 6749 §2.3, RFC 7521 §4.2", "one method per request, and only the registered one", func(t *testing.T, s *servertest.Server) {
		key := clientKey(t, jwt.ES256, "1")
		c, secret := keyedMachine(t, s, "", key), s.Client(`{"grant_types":["client_credentials"],"scope":"jobs","jwks":`+servertest.KeySet(t, key)+`}`)
		present(s, key.Sign(t, asserted(s, secret), nil)).Want(t, 401, "invalid_client")
		present(s, key.Sign(t, asserted(s, c), nil), "client_secret", "x").Want(t, 400, "invalid_request")
		present(s, key.Sign(t, asserted(s, c), nil), "client_id", secret.ClientID).Want(t, 400, "invalid_request")
		req := s.AsClient("/oauth2/token", secret, url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {assertionType}, "client_assertion": {key.Sign(t, asserted(s, c), nil)}})
		s.Do(req).Want(t, 400, "invalid_request")
		for _, form := range []url.Values{
			{"client_assertion": {key.Sign(t, asserted(s, c), nil)}}, {"client_assertion_type": {assertionType}},
			{"client_assertion": {key.Sign(t, asserted(s, c), nil)}, "client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}},
		} {
			form.Set("grant_type", "client_credentials")
			s.Do(s.Request(http.MethodPost, "/oauth2/token", form)).Want(t, 401, "invalid_client")
		}
		s.Do(s.Request(http.MethodPost, "/oauth2/token?client_assertion=x", url.Values{"grant_type": {"client_credentials"}})).Want(t, 400, "invalid_request")
	}),
	servertest.Req("K6", "OIDC Core §10.1.1, CVE-2026-1180", "keys at jwks_uri are fetched once, and again for a new key id, so that clients rotate their keys without the operator", func(t *testing.T, s *servertest.Server) {
		host := servertest.NewHost(t)
		first, second := clientKey(t, jwt.RS256, "first"), clientKey(t, jwt.RS256, "second")
		host.Serve("/jwks", "application/json", servertest.KeySet(t, first))
		c := s.Client(`{"grant_types":["client_credentials"],"scope":"jobs","token_endpoint_auth_method":"private_key_jwt","jwks_uri":"` + host.URL + `/jwks"}`)
		for range 3 {
			present(s, first.Sign(t, asserted(s, c), nil)).OK(t)
		}
		if n := host.Asked("/jwks"); n != 1 {
			t.Errorf("fetched %d times", n)
		}
		host.Serve("/jwks", "application/json", servertest.KeySet(t, second))
		s.Clock.Advance(time.Minute)
		present(s, second.Sign(t, asserted(s, c), nil)).OK(t)
		present(s, first.Sign(t, asserted(s, c), nil)).Want(t, 401, "invalid_client")
		for range 5 { // unknown key ids do not make it ask again and again
			present(s, servertest.ClientKey{Private: first.Private, ID: "guess", Alg: jwt.RS256}.Sign(t, asserted(s, c), nil)).Want(t, 401, "invalid_client")
		}
		if n := host.Asked("/jwks"); n > 3 {
			t.Errorf("fetched %d times", n)
		}
		host.Serve("/jwks", "application/json", `{"keys":"x"}`)
		s.Clock.Advance(25 * time.Hour)
		present(s, second.Sign(t, asserted(s, c), nil)).Want(t, 401, "invalid_client")
	}).With(loopbackHosts),
	servertest.Req("K7", "OIDC Core §9", "a dynamically registered client, or one that the operator allows to, may use the token endpoint as aud", func(t *testing.T, s *servertest.Server) {
		key := clientKey(t, jwt.RS256, "")
		r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],"token_endpoint_auth_method":"private_key_jwt","jwks":`+servertest.KeySet(t, key)+`}`)
		if r.Status != 201 || r.JSON["client_secret"] != nil || r.JSON["client_secret_expires_at"] != nil {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
		operators := keyedMachine(t, s, `,"gatehouse_token_endpoint_audience":true`, key)
		for _, aud := range []any{s.Issuer, s.Issuer + "/oauth2/token", []string{s.Issuer}, []string{s.Issuer, s.Issuer + "/oauth2/token"}} {
			present(s, key.Sign(t, asserted(s, operators, "aud", aud), nil)).OK(t)
			present(s, key.Sign(t, asserted(s, clientOf(r), "aud", aud), nil)).Want(t, 400, "unauthorized_client") // known, but no machine
		}
		for _, aud := range []any{[]string{s.Issuer, "https://evil.example"}, []string{}, "https://evil.example/oauth2/token", s.Issuer + "/oauth2/introspect"} {
			present(s, key.Sign(t, asserted(s, operators, "aud", aud), nil)).Want(t, 401, "invalid_client")
		}
	}).With(openRegistration),
}
