package oauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/jwt"
)

func TestRequestObjects(t *testing.T) { servertest.Run(t, requestObjects) }

// objectClaims returns a valid authorization request as claims with the changes; nil removes a claim.
func objectClaims(s *servertest.Server, c clientInformation, changes ...any) map[string]any {
	claims := map[string]any{"iss": c.ClientID, "aud": s.Issuer}
	for name, v := range servertest.AuthorizeForm(c, "scope", "openid") {
		claims[name] = v[0]
	}
	return withClaims(claims, changes)
}

// openObjectOf opens the authorization endpoint with a request object of the client, and outside it the parameters that
// an error response needs.
func openObjectOf(b *servertest.Browser, c clientInformation, object string) servertest.Page {
	return openWithObject(b, "client_id", c.ClientID, "request", object, "redirect_uri", servertest.Callback,
		"state", "the state", "response_type", "code")
}

// openWithObject opens the authorization endpoint with parameters outside the object.
func openWithObject(b *servertest.Browser, outside ...string) servertest.Page {
	v := url.Values{}
	for i := 0; i+1 < len(outside); i += 2 {
		v.Set(outside[i], outside[i+1])
	}
	return b.Follow(b.Open("/oauth2/authorize?" + v.Encode()))
}

var requestObjects = []servertest.Requirement{
	servertest.Req("J1", "RFC 9101 §5.1, §6.3",
		"a signed request object is the complete request: parameters outside it are ignored",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			for _, alg := range jwt.Algorithms {
				key := clientKey(t, alg, "1")
				c := s.RelyingParty(`"jwks":` + servertest.JWKS(t, key))
				b := s.Browser()
				object := key.Sign(t, objectClaims(s, c, "nonce", "inside", "state", "the state", "max_age", 3600, "claims", map[string]any{"id_token": map[string]any{"auth_time": nil}}), nil)
				page := openWithObject(b, "client_id", c.ClientID, "request", object, "scope", "openid admin", "state", "outside", "redirect_uri", "https://evil.example/", "prompt", "none", "nonce", "outside")
				to := b.Decide(b.SignIn(page, "alice"), "approve").Location()
				if to.Host != "app.example" || to.Query().Get("state") != "the state" {
					t.Fatalf("%s: went to %s", alg, to)
				}
				if got := s.IDToken(c, s.Redeem(c, to)); got["nonce"] != "inside" {
					t.Errorf("%s: nonce %v", alg, got["nonce"])
				}
			}
		}),
	servertest.Req("J2", "RFC 9101 §6.1, §6.2, §10.8; CVE-2026-9793",
		"an object that is unsigned, signed with another key or for another client is invalid_request_object",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			key, foreign := clientKey(t, jwt.RS256, "1"), clientKey(t, jwt.RS256, "1")
			c, other := s.RelyingParty(`"jwks":`+servertest.JWKS(t, key)), s.RelyingParty(`"jwks":`+servertest.JWKS(t, key))
			pinned := s.RelyingParty(`"jwks":`+servertest.JWKS(t, key), `"request_object_signing_alg":"ES256"`)
			keyless := s.RelyingParty()
			now := s.Clock.Now().Unix()
			b := s.Browser()
			good := key.Sign(t, objectClaims(s, c), nil)
			idToken := s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("id_token")
			for name, x := range map[string]struct {
				c      clientInformation
				object string
			}{
				"alg none": {c, forge(t, good, map[string]any{"alg": "none"}, nil)}, "a foreign key": {c, foreign.Sign(t, objectClaims(s, c), nil)}, "flipped": {c, withChangedSignature(good)}, "garbage": {c, "x"},
				"another client's": {other, good}, "no client_id": {c, key.Sign(t, objectClaims(s, c, "client_id", nil), nil)}, "another iss": {c, key.Sign(t, objectClaims(s, c, "iss", "x"), nil)},
				"another aud": {c, key.Sign(t, objectClaims(s, c, "aud", "https://evil.example"), nil)}, "sub is the client": {c, key.Sign(t, objectClaims(s, c, "sub", c.ClientID), nil)},
				"a client assertion": {c, key.Sign(t, assertionClaims(s, c), nil)}, "our ID token": {c, idToken}, "expired": {c, key.Sign(t, objectClaims(s, c, "exp", now-31), nil)}, "not yet": {c, key.Sign(t, objectClaims(s, c, "nbf", now+120), nil)},
				"nested": {c, key.Sign(t, objectClaims(s, c, "request", good), nil)}, "request_uri inside": {c, key.Sign(t, objectClaims(s, c, "request_uri", "https://app.example/r"), nil)},
				"another alg than registered": {pinned, key.Sign(t, objectClaims(s, pinned), nil)}, "no keys": {keyless, key.Sign(t, objectClaims(s, keyless), nil)},
				"client_id twice": {c, key.Sign(t, objectClaims(s, other, "iss", c.ClientID, "CLIENT_ID", c.ClientID), nil)},
				"another typ":     {c, key.Sign(t, objectClaims(s, c), map[jose.HeaderKey]any{"typ": "at+jwt"})},
			} {
				openWithObject(b, "client_id", x.c.ClientID, "request", x.object, "redirect_uri", servertest.Callback, "state", "the state", "response_type", "code").WantRedirectError(t, s, "invalid_request_object")
				if t.Failed() {
					t.Fatalf("it was: %s", name)
				}
			}
			// The error can be returned only to a registered redirect URI.
			openWithObject(b, "client_id", c.ClientID, "request", "x", "redirect_uri", "https://evil.example/").WantErrorPage(t, http.StatusBadRequest)
			openWithObject(b, "request", good).WantErrorPage(t, http.StatusBadRequest)
			openWithObject(b, "client_id", c.ClientID, "request", key.Sign(t, objectClaims(s, c, "redirect_uri", "https://evil.example/"), nil)).WantErrorPage(t, http.StatusBadRequest)
			openWithObject(b, "client_id", c.ClientID, "request", key.Sign(t, objectClaims(s, c, "response_type", nil), nil), "response_type", "code").WantRedirectError(t, s, "invalid_request")
			openWithObject(b, "client_id", c.ClientID, "request", good, "request_uri", "https://app.example/r", "redirect_uri", servertest.Callback, "state", "the state").WantRedirectError(t, s, "invalid_request")
			for _, typ := range []string{"oauth-authz-req+jwt", "JWT", "application/oauth-authz-req+jwt"} {
				if p := openWithObject(b, "client_id", c.ClientID, "request", key.Sign(t, objectClaims(s, c, "exp", now+60), map[jose.HeaderKey]any{"typ": typ})); p.Location().Query().Get("code") == "" {
					t.Errorf("%s: %s", typ, p.Header.Get("Location"))
				}
			}
		}),
	servertest.Req("J3", "OIDC Core §6.2, CVE-2020-10770",
		"request_uri is fetched only from URLs that the client registered, without fragment, and must be signed",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			host := servertest.NewHost(t)
			key := servertest.ClientKey{Private: clientKey(t, jwt.RS256, "").Private, Alg: jwt.RS256}
			c := s.RelyingParty(`"jwks":`+servertest.JWKS(t, key), `"request_object_signing_alg":"RS256"`,
				`"request_uris":["`+host.URL+`/object#GkurKxf5T0Y-mnPFCHqWOMiZi4VS138cQO_V7PZHAdM","`+host.URL+`/none","`+host.URL+`/moved","`+host.URL+`/large"]`)
			host.Serve("/object", "application/jwt", key.Sign(t, objectClaims(s, c), nil)+"\n")
			host.Serve("/none", "application/jwt", forge(t, key.Sign(t, objectClaims(s, c), nil), map[string]any{"alg": "none"}, nil))
			host.Serve("/unregistered", "application/jwt", key.Sign(t, objectClaims(s, c), nil))
			host.Serve("/large", "application/jwt", strings.Repeat("x", 100<<10))
			host.Redirect("/moved", "http://169.254.169.254/latest/meta-data")
			b := s.Browser()
			to := b.Decide(b.SignIn(openWithObject(b, "client_id", c.ClientID, "response_type", "code", "scope", "openid", "request_uri", host.URL+"/object#GkurKxf5T0Y-mnPFCHqWOMiZi4VS138cQO_V7PZHAdM"), "alice"), "approve").Location()
			s.IDToken(c, s.Redeem(c, to))
			open := func(uri string) servertest.Page {
				return openWithObject(b, "client_id", c.ClientID, "redirect_uri", servertest.Callback, "state", "the state", "response_type", "code", "request_uri", uri)
			}
			for _, uri := range []string{host.URL + "/unregistered", host.URL + "/object/", "https://evil.example/r", "file:///etc/passwd", "urn:ietf:params:oauth:request_uri:x", host.URL + "/moved", host.URL + "/large"} {
				open(uri).WantRedirectError(t, s, "invalid_request_uri")
			}
			open(host.URL+"/none").WantRedirectError(t, s, "invalid_request_object")
			for i := range 20 {
				open(host.URL + "/object#" + strings.Repeat("x", i))
			}
			if n := host.Requests("/object"); n != 1 {
				t.Errorf("fragments made it open %d times", n)
			}
			if host.Requests("/unregistered") != 0 {
				t.Error("an unregistered URL was fetched")
			}
		}).WithSettings(loopbackHosts),
	servertest.Req("J4", "RFC 9101 §4",
		"an object is checked when the request arrives, and may expire while the user signs in",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			key := clientKey(t, jwt.ES256, "1")
			c := s.RelyingParty(`"jwks":` + servertest.JWKS(t, key))
			b := s.Browser()
			page := openWithObject(b, "client_id", c.ClientID, "request", key.Sign(t, objectClaims(s, c, "exp", s.Clock.Now().Unix()+10), nil))
			s.Clock.Advance(5 * time.Minute)
			s.Redeem(c, b.Decide(b.SignIn(page, "alice"), "approve").Location())
		}),
	servertest.Req("J5", "RFC 9101 §4",
		"a request object parameter of an invalid type is refused, and an unknown one is ignored",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			key := clientKey(t, jwt.ES256, "1")
			c := s.RelyingParty(`"jwks":` + servertest.JWKS(t, key))
			b := s.Browser()
			b.Code(c, "alice", "scope", "openid")
			send := func(name string, v any) servertest.Page {
				return openWithObject(b, "client_id", c.ClientID, "redirect_uri", servertest.Callback, "state", "the state", "request", key.Sign(t, objectClaims(s, c, name, v), nil))
			}
			for _, name := range []string{
				"response_type", "response_mode", "redirect_uri", "scope", "state", "nonce", "prompt", "display", "login_hint", "id_token_hint", "acr_values", "ui_locales", "claims_locales",
				"code_challenge", "code_challenge_method",
			} {
				for _, wrong := range []any{7, true, []string{"openid"}, map[string]any{"a": 1}} {
					send(name, wrong).WantRedirectError(t, s, "invalid_request_object")
					if t.Failed() {
						t.Fatalf("%s: %v", name, wrong)
					}
				}
			}
			for _, wrong := range []any{true, []int{1}, 1.5, "soon"} {
				send("max_age", wrong).WantRedirectError(t, s, "invalid_request")
			}
			for _, wrong := range []any{7, []any{7}, []any{nil}, map[string]any{}} {
				send("resource", wrong).WantRedirectError(t, s, "invalid_target")
			}
			for name, right := range map[string]any{"max_age": 3600, "extension": []any{1}, "resource": []string{}, "display": nil} {
				if p := send(name, right); p.Location().Query().Get("code") == "" {
					t.Errorf("%s %v: %s", name, right, p.Header.Get("Location"))
				}
			}
		}),
}
