package oauth_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/jwt"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// manyKeys returns one key under n IDs.
func manyKeys(key servertest.ClientKey, n int) []servertest.ClientKey {
	out := make([]servertest.ClientKey, n)
	for i := range out {
		out[i] = key
		out[i].ID = fmt.Sprint(i)
	}
	return out
}

func TestLargeJWKSAreRefusedFromEverySource(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_REGISTRATION": "open", "GATEHOUSE_FETCH_ALLOW_HOSTS": "127.0.0.1"}})
		key := clientKey(t, jwt.ES256, "0")
		largest, tooMany := servertest.JWKS(t, manyKeys(key, jwt.MaxKeys)...), servertest.JWKS(t, manyKeys(key, jwt.MaxKeys+1)...)
		r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],"token_endpoint_auth_method":"private_key_jwt","jwks":`+tooMany+`}`)
		r.Want(t, 400, "invalid_client_metadata")
		if r.Text("error_description") != "jwks has more than 16 keys." {
			t.Error(r.Body)
		}
		if r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],"token_endpoint_auth_method":"private_key_jwt","jwks":`+largest+`}`); r.Status != 201 {
			t.Errorf("%d %s", r.Status, r.Body)
		}

		// A client that the operator registered, and a record that was stored without this check.
		c := keyClient(t, s, "", key)
		tokenByAssertion(s, key.Sign(t, assertionClaims(s, c), nil)).OK(t)
		_, _, err := s.OAuth.Clients.Update(t.Context(), c.ClientID, []byte(`{"jwks":`+tooMany+`}`))
		if err == nil || !strings.Contains(err.Error(), "more than 16 keys") {
			t.Errorf("client of the operator: %v", err)
		}
		storagetest.Must(t, s.Store.UpdateClient(t.Context(), c.ClientID, func(c *storage.Client) (update storage.ClientUpdate, err error) {
			c.JWKS = tooMany
			return update, nil
		}))
		r = tokenByAssertion(s, key.Sign(t, assertionClaims(s, c), nil))
		r.Want(t, 401, "invalid_client")
		if !strings.Contains(r.Text("error_description"), "the JWKS of the client has more than 16 keys") {
			t.Error(r.Body)
		}

		host := servertest.NewHost(t)
		host.Serve("/jwks", "application/json", tooMany)
		byURI := s.Client(`{"grant_types":["client_credentials"],"scope":"jobs","token_endpoint_auth_method":"private_key_jwt","jwks_uri":"` + host.URL + `/jwks"}`)
		r = tokenByAssertion(s, key.Sign(t, assertionClaims(s, byURI), nil))
		r.Want(t, 401, "invalid_client")
		if !strings.Contains(r.Text("error_description"), "the JWKS of the client has more than 16 keys") {
			t.Error(r.Body)
		}

		// Without a kid only a few keys are tried.
		ambiguous := keyClient(t, s, "", manyKeys(key, jwt.MaxCandidates+1)...)
		r = tokenByAssertion(s, servertest.ClientKey{Private: key.Private, Alg: jwt.ES256}.Sign(t, assertionClaims(s, ambiguous), nil))
		r.Want(t, 401, "invalid_client")
		if !strings.Contains(r.Text("error_description"), "more than 4 keys of the JWKS are candidates; send the kid") {
			t.Error(r.Body)
		}
		tokenByAssertion(s, key.Sign(t, assertionClaims(s, ambiguous), nil)).OK(t)
	})
}

func TestFailureLimitPrecedesAssertionVerification(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_REGISTRATION": "open", "GATEHOUSE_RATE_LIMITS": "client_failure=3/1m,address_failure=10/1m"}})
		key := clientKey(t, jwt.ES256, "1")
		c, another := keyClient(t, s, "", key), keyClient(t, s, "", key)
		self := clientOf(selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],"token_endpoint_auth_method":"private_key_jwt","jwks":`+servertest.JWKS(t, key)+`}`))
		send := func(path string, c clientInformation, assertion string) servertest.Response {
			return s.Do(s.Request("POST", path, url.Values{"grant_type": {"client_credentials"}, "token": {"x"}, "client_assertion_type": {assertionType}, "client_assertion": {assertion}}))
		}
		for range 3 {
			send("/oauth2/token", c, withChangedSignature(key.Sign(t, assertionClaims(s, c), nil))).Want(t, 401, "invalid_client")
		}
		valid := key.Sign(t, assertionClaims(s, c), nil)
		for _, path := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"} {
			r := send(path, c, valid)
			r.Want(t, 429, "rate_limited")
			if r.Header.Get("Retry-After") == "" {
				t.Errorf("%s: no Retry-After", path)
			}
		}
		// It was not verified, so it was not consumed, and the attempt did not extend the time until retry.
		s.Clock.Advance(21 * time.Second)
		send("/oauth2/token", c, valid).OK(t)
		for range 3 {
			send("/oauth2/token", c, key.Sign(t, assertionClaims(s, c), nil)).OK(t)
		}
		// Failures of other clients in the network stop only dynamically registered clients.
		for i := range 12 {
			s.Token(servertest.UnregisteredClient(fmt.Sprint("gcunknown", i)), clientCredentialsForm)
		}
		send("/oauth2/token", another, key.Sign(t, assertionClaims(s, another), nil)).OK(t)
		send("/oauth2/token", self, key.Sign(t, assertionClaims(s, self), nil)).Want(t, 429, "rate_limited")
	})
}

func TestFailureLimitPrecedesRequestObjectVerification(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_RATE_LIMITS": "request_object_failure=3/1m"}})
		key := clientKey(t, jwt.ES256, "1")
		c := s.RelyingParty(`"jwks":`+servertest.JWKS(t, key), `"token_endpoint_auth_method":"private_key_jwt"`)
		other := s.RelyingParty(`"jwks":` + servertest.JWKS(t, key))
		open := func(c clientInformation, object string) servertest.Page {
			return openWithObject(s.Browser(), "client_id", c.ClientID, "request", object, "redirect_uri", servertest.Callback, "state", "the state", "response_type", "code")
		}
		for range 3 {
			open(c, withChangedSignature(key.Sign(t, objectClaims(s, c), nil))).WantRedirectError(t, s, "invalid_request_object")
		}
		open(c, key.Sign(t, objectClaims(s, c), nil)).WantErrorPage(t, 429)
		if p := open(other, key.Sign(t, objectClaims(s, other), nil)); p.Status != 200 {
			t.Errorf("another client: %d", p.Status)
		}
		// Invalid request objects do not limit the client's authentication.
		r := s.Do(s.Request("POST", "/oauth2/introspect", url.Values{"token": {"x"}, "client_assertion_type": {assertionType}, "client_assertion": {key.Sign(t, assertionClaims(s, c), nil)}}))
		r.OK(t)
		s.Clock.Advance(21 * time.Second)
		if p := open(c, key.Sign(t, objectClaims(s, c), nil)); p.Status != 200 {
			t.Errorf("later: %d %s", p.Status, p.Text())
		}
	})
}
