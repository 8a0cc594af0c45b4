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

// withIDs returns the key n times, each with another ID.
func withIDs(key servertest.ClientKey, n int) []servertest.ClientKey {
	out := make([]servertest.ClientKey, n)
	for i := range out {
		out[i] = key
		out[i].ID = fmt.Sprint(i)
	}
	return out
}

// keyRegistration returns a request that registers a client with the keys of the JWKS.
func keyRegistration(jwks string) string {
	return `{"redirect_uris":["` + servertest.Callback + `"],"token_endpoint_auth_method":"private_key_jwt",
		"jwks":` + jwks + `}`
}

// wantInvalidClient fails the test unless the response is invalid_client with the description in it.
func wantInvalidClient(t *testing.T, r servertest.Response, description string) {
	t.Helper()
	r.Want(t, 401, "invalid_client")
	if got := r.Text("error_description"); !strings.Contains(got, description) {
		t.Errorf("error_description = %q, want %q in it", got, description)
	}
}

func TestLargeJWKSAreRefusedFromEverySource(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{
			"GATEHOUSE_REGISTRATION": "open", "GATEHOUSE_FETCH_ALLOW_HOSTS": "127.0.0.1",
		}})
		key := clientKey(t, jwt.ES256, "0")
		largest := servertest.JWKS(t, withIDs(key, jwt.MaxKeys)...)
		tooLarge := servertest.JWKS(t, withIDs(key, jwt.MaxKeys+1)...)
		r := selfRegister(s, keyRegistration(tooLarge))
		r.Want(t, 400, "invalid_client_metadata")
		if got, want := r.Text("error_description"), "jwks has more than 16 keys."; got != want {
			t.Errorf("error_description = %q, want %q", got, want)
		}
		if r := selfRegister(s, keyRegistration(largest)); r.Status != 201 {
			t.Errorf("registration with 16 keys: %d %s, want 201", r.Status, r.Body)
		}

		// A client that the operator registered.
		c := keyClient(t, s, "", key)
		tokenByAssertion(s, key.Sign(t, assertionClaims(s, c), nil)).OK(t)
		_, _, err := s.OAuth.Clients.Update(t.Context(), c.ClientID, []byte(`{"jwks":`+tooLarge+`}`))
		if err == nil || !strings.Contains(err.Error(), "more than 16 keys") {
			t.Errorf("the operator sets 17 keys: error %v, want one about more than 16 keys", err)
		}
		// A record that was stored without this check.
		change := func(c *storage.Client) (storage.ClientUpdate, error) {
			c.JWKS = tooLarge
			return storage.ClientUpdate{}, nil
		}
		storagetest.Must(t, s.Store.UpdateClient(t.Context(), c.ClientID, change))
		const description = "the JWKS of the client has more than 16 keys"
		wantInvalidClient(t, tokenByAssertion(s, key.Sign(t, assertionClaims(s, c), nil)), description)

		host := servertest.NewHost(t)
		host.Serve("/jwks", "application/json", tooLarge)
		byURI := s.Client(`{"grant_types":["client_credentials"],"scope":"jobs",
			"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"` + host.URL + `/jwks"}`)
		wantInvalidClient(t, tokenByAssertion(s, key.Sign(t, assertionClaims(s, byURI), nil)), description)
	})
}

func TestAssertionWithoutKeyIDIsVerifiedWithFewKeys(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		key := clientKey(t, jwt.ES256, "0")
		c := keyClient(t, s, "", withIDs(key, jwt.MaxCandidates+1)...)
		withoutID := servertest.ClientKey{Private: key.Private, Alg: jwt.ES256}
		wantInvalidClient(t, tokenByAssertion(s, withoutID.Sign(t, assertionClaims(s, c), nil)),
			"more than 4 keys of the JWKS are candidates; send the kid")
		tokenByAssertion(s, key.Sign(t, assertionClaims(s, c), nil)).OK(t)
	})
}

// assertionRequest returns a request to the token, introspection or revocation endpoint with the assertion.
func assertionRequest(assertion string) url.Values {
	return url.Values{
		"grant_type": {"client_credentials"}, "token": {"x"},
		"client_assertion_type": {assertionType}, "client_assertion": {assertion},
	}
}

func TestFailureLimitPrecedesAssertionVerification(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{
			"GATEHOUSE_REGISTRATION": "open", "GATEHOUSE_RATE_LIMITS": "client_failure=3/1m,address_failure=10/1m",
		}})
		key := clientKey(t, jwt.ES256, "1")
		c, another := keyClient(t, s, "", key), keyClient(t, s, "", key)
		dynamic := clientOf(selfRegister(s, keyRegistration(servertest.JWKS(t, key))))
		send := func(path, assertion string) servertest.Response {
			return s.Do(s.Request("POST", path, assertionRequest(assertion)))
		}
		newAssertion := func(c clientInformation) string { return key.Sign(t, assertionClaims(s, c), nil) }
		for range 3 {
			send("/oauth2/token", withChangedSignature(newAssertion(c))).Want(t, 401, "invalid_client")
		}
		valid := newAssertion(c)
		for _, path := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"} {
			r := send(path, valid)
			r.Want(t, 429, "rate_limited")
			if r.Header.Get("Retry-After") == "" {
				t.Errorf("%s: the response has no Retry-After", path)
			}
		}
		// It was not verified, so it was not consumed, and the attempt did not extend the time until retry.
		s.Clock.Advance(21 * time.Second)
		send("/oauth2/token", valid).OK(t)
		for range 3 {
			send("/oauth2/token", newAssertion(c)).OK(t)
		}
		// Failures of other clients in the network limit only dynamically registered clients.
		for i := range 12 {
			s.Token(servertest.UnregisteredClient(fmt.Sprint("gcunknown", i)), clientCredentialsForm)
		}
		send("/oauth2/token", newAssertion(another)).OK(t)
		send("/oauth2/token", newAssertion(dynamic)).Want(t, 429, "rate_limited")
	})
}

func TestFailureLimitPrecedesRequestObjectVerification(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{
			"GATEHOUSE_RATE_LIMITS": "request_object_failure=3/1m",
		}})
		key := clientKey(t, jwt.ES256, "1")
		c := s.RelyingParty(`"jwks":`+servertest.JWKS(t, key), `"token_endpoint_auth_method":"private_key_jwt"`)
		other := s.RelyingParty(`"jwks":` + servertest.JWKS(t, key))
		open := func(c clientInformation, object string) servertest.Page {
			return openWithObject(s.Browser(), "client_id", c.ClientID, "request", object,
				"redirect_uri", servertest.Callback, "state", "the state", "response_type", "code")
		}
		newObject := func(c clientInformation) string { return key.Sign(t, objectClaims(s, c), nil) }
		for range 3 {
			open(c, withChangedSignature(newObject(c))).WantRedirectError(t, s, "invalid_request_object")
		}
		open(c, newObject(c)).WantErrorPage(t, 429)
		if p := open(other, newObject(other)); p.Status != 200 {
			t.Errorf("another client: status = %d, want 200", p.Status)
		}
		// Invalid request objects do not limit the client's authentication.
		form := assertionRequest(key.Sign(t, assertionClaims(s, c), nil))
		s.Do(s.Request("POST", "/oauth2/introspect", form)).OK(t)
		s.Clock.Advance(21 * time.Second)
		if p := open(c, newObject(c)); p.Status != 200 {
			t.Errorf("after the limit: %d %s, want 200", p.Status, p.Text())
		}
	})
}
