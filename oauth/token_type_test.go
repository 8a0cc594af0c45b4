package oauth_test

import (
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/jwt"
	"gatehouse/storage/storagetest"
)

func TestAssertionsOfAnotherTypeAreRefused(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_RATE_LIMITS": "off"}})
		key := clientKey(t, jwt.ES256, "1")
		c := keyClient(t, s, "", key)
		send := func(typ any) servertest.Response {
			return tokenByAssertion(s, key.Sign(t, assertionClaims(s, c), map[jose.HeaderKey]any{"typ": typ}))
		}
		for _, typ := range []string{
			"JWT", "jwt", "application/jwt", "client-authentication+jwt", "application/client-authentication+jwt",
			"Client-Authentication+JWT",
		} {
			send(typ).OK(t)
		}
		tokenByAssertion(s, key.Sign(t, assertionClaims(s, c), nil)).OK(t)
		for _, typ := range []any{
			"at+jwt", "oauth-authz-req+jwt", "logout+jwt", "dpop+jwt", "secevent+jwt", "JOSE", "", " ", "application/",
			"application/application/jwt", "text/jwt", "JWT ", 7, true, []string{"JWT"}, map[string]string{"typ": "JWT"},
		} {
			send(typ).Want(t, 401, "invalid_client")
			if t.Failed() {
				t.Fatalf("the response to an assertion with typ %#v is not invalid_client", typ)
			}
		}
		const want = "typ must be client-authentication+jwt, JWT or absent"
		if got := send("at+jwt").Text("error_description"); !strings.Contains(got, want) {
			t.Errorf("error_description = %q, want it to contain %q", got, want)
		}
	})
}

func TestTokensOfAnotherTypeAreRefusedEverywhere(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_RATE_LIMITS": "off"}})
		s.User("alice")
		key := clientKey(t, jwt.ES256, "1")
		c := s.RelyingParty(`"jwks":`+servertest.JWKS(t, key), `"userinfo_signed_response_alg":"ES256"`)
		b := s.Browser()
		tokens := s.Redeem(c, b.Code(c, "alice", "scope", "openid"))
		req := s.Request("GET", "/oauth2/userinfo", nil)
		req.Header.Set("Authorization", "Bearer "+tokens.Text("access_token"))
		userinfo := s.Do(req).OK(t).Body
		for name, hint := range map[string]string{
			"an access token": tokens.Text("access_token"), "signed userinfo": userinfo,
		} {
			p := b.Authorize(c, "scope", "openid", "prompt", "none", "id_token_hint", hint)
			p.WantRedirectError(t, s, "invalid_request")
			if t.Failed() {
				t.Fatalf("the response to %s as id_token_hint is not the error invalid_request", name)
			}
		}
		for name, token := range map[string]string{"an ID token": tokens.Text("id_token"), "signed userinfo": userinfo} {
			if s.Active(c, token) {
				t.Errorf("%s is active as an access token", name)
			}
		}
		for _, typ := range []any{"client-authentication+jwt", "at+jwt", "logout+jwt", "", 7} {
			object := key.Sign(t, objectClaims(s, c), map[jose.HeaderKey]any{"typ": typ})
			openObjectOf(s.Browser(), c, object).WantRedirectError(t, s, "invalid_request_object")
			if t.Failed() {
				t.Fatalf("the response to a request object with typ %#v is not the error invalid_request_object", typ)
			}
		}
	})
}

func TestClientCanRequireSignedRequestObjects(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{
			"GATEHOUSE_REGISTRATION": "open", "GATEHOUSE_REGISTRATION_SCOPES": "openid",
		}})
		metadata := s.Get("/.well-known/openid-configuration").JSON
		if got := metadata["require_signed_request_object"]; got != false {
			t.Errorf("require_signed_request_object in the server metadata = %v, want false", got)
		}
		s.User("alice")
		key := clientKey(t, jwt.ES256, "1")
		c := s.RelyingParty(`"jwks":`+servertest.JWKS(t, key), `"require_signed_request_object":true`,
			`"request_object_signing_alg":"ES256"`)
		if !c.RequireSignedRequestObject {
			t.Error("the registration response does not have the member")
		}
		b := s.Browser()
		b.Authorize(c, "scope", "openid").WantRedirectError(t, s, "invalid_request")
		form := servertest.AuthorizeForm(c, "scope", "openid")
		b.SubmitFrom("https://app.example", "/oauth2/authorize", form).WantRedirectError(t, s, "invalid_request")
		unsigned := forge(t, key.Sign(t, objectClaims(s, c), nil), map[string]any{"alg": "none"}, nil)
		openObjectOf(b, c, unsigned).WantRedirectError(t, s, "invalid_request_object")
		// A signed object is still valid after every page, each of which reads the stored request.
		page := openWithObject(b, "client_id", c.ClientID, "request", key.Sign(t, objectClaims(s, c), nil))
		s.Clock.Advance(time.Second)
		s.Redeem(c, b.Decide(b.SignIn(page, "alice"), "approve").Location())

		off := s.RelyingParty(`"jwks":`+servertest.JWKS(t, key), `"request_object_signing_alg":"ES256"`)
		s.Redeem(off, s.Browser().Code(off, "alice", "scope", "openid")) // an algorithm alone requires nothing

		r := selfRegister(s, `{"redirect_uris":["https://app.example/callback"],"require_signed_request_object":true}`)
		r.Want(t, 400, "invalid_client_metadata")
		r = selfRegister(s, `{"redirect_uris":["https://app.example/callback"],"require_signed_request_object":true,
			"jwks":`+servertest.JWKS(t, key)+`}`)
		if r.Status != 201 || r.JSON["require_signed_request_object"] != true {
			t.Errorf("a registration with keys: %d %s, want 201 with the member", r.Status, r.Body)
		}
	})
}
