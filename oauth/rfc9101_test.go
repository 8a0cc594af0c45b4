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
				object := key.Sign(t, objectClaims(s, c, "nonce", "inside", "state", "the state", "max_age", 3600,
					"claims", map[string]any{"id_token": map[string]any{"auth_time": nil}}), nil)
				page := openWithObject(b, "client_id", c.ClientID, "request", object, "scope", "openid admin",
					"state", "outside", "redirect_uri", "https://evil.example/", "prompt", "none", "nonce", "outside")
				to := b.Decide(b.SignIn(page, "alice"), "approve").Location()
				if to.Host != "app.example" || to.Query().Get("state") != "the state" {
					t.Fatalf("%s: redirect to %s, want the redirect URI and state of the object", alg, to)
				}
				if got := s.IDToken(c, s.Redeem(c, to)); got["nonce"] != "inside" {
					t.Errorf("%s: nonce = %v, want inside", alg, got["nonce"])
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
			sign := func(changes ...any) string { return key.Sign(t, objectClaims(s, c, changes...), nil) }
			valid := sign()
			idToken := s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("id_token")
			for name, x := range map[string]struct {
				c      clientInformation
				object string
			}{
				"alg none":                    {c, forge(t, valid, map[string]any{"alg": "none"}, nil)},
				"a foreign key":               {c, foreign.Sign(t, objectClaims(s, c), nil)},
				"a changed signature":         {c, withChangedSignature(valid)},
				"garbage":                     {c, "x"},
				"another client's":            {other, valid},
				"no client_id":                {c, sign("client_id", nil)},
				"another iss":                 {c, sign("iss", "x")},
				"another aud":                 {c, sign("aud", "https://evil.example")},
				"the client as sub":           {c, sign("sub", c.ClientID)},
				"a client assertion":          {c, key.Sign(t, assertionClaims(s, c), nil)},
				"an ID token":                 {c, idToken},
				"expired":                     {c, sign("exp", now-31)},
				"not yet valid":               {c, sign("nbf", now+120)},
				"an object inside":            {c, sign("request", valid)},
				"request_uri inside":          {c, sign("request_uri", "https://app.example/r")},
				"another alg than registered": {pinned, key.Sign(t, objectClaims(s, pinned), nil)},
				"no keys":                     {keyless, key.Sign(t, objectClaims(s, keyless), nil)},
				"client_id twice": {
					c, key.Sign(t, objectClaims(s, other, "iss", c.ClientID, "CLIENT_ID", c.ClientID), nil),
				},
				"another typ": {c, key.Sign(t, objectClaims(s, c), map[jose.HeaderKey]any{"typ": "at+jwt"})},
			} {
				openObjectOf(b, x.c, x.object).WantRedirectError(t, s, "invalid_request_object")
				if t.Failed() {
					t.Fatalf("the response to the object %q is not the error invalid_request_object", name)
				}
			}
			open := func(outside ...string) servertest.Page {
				return openWithObject(b, append([]string{"client_id", c.ClientID}, outside...)...)
			}
			// The error can be returned only to a registered redirect URI.
			const evil = "https://evil.example/"
			open("request", "x", "redirect_uri", evil).WantErrorPage(t, http.StatusBadRequest)
			openWithObject(b, "request", valid).WantErrorPage(t, http.StatusBadRequest)
			open("request", sign("redirect_uri", evil)).WantErrorPage(t, http.StatusBadRequest)
			withoutType := open("request", sign("response_type", nil), "response_type", "code")
			withoutType.WantRedirectError(t, s, "invalid_request")
			withBoth := open("request", valid, "request_uri", "https://app.example/r",
				"redirect_uri", servertest.Callback, "state", "the state")
			withBoth.WantRedirectError(t, s, "invalid_request")
			for _, typ := range []string{"oauth-authz-req+jwt", "JWT", "application/oauth-authz-req+jwt"} {
				header := map[jose.HeaderKey]any{"typ": typ}
				p := open("request", key.Sign(t, objectClaims(s, c, "exp", now+60), header))
				if p.Location().Query().Get("code") == "" {
					t.Errorf("an object with typ %s: redirect to %s, want a code", typ, p.Header.Get("Location"))
				}
			}
		}),
	servertest.Req("J3", "OIDC Core §6.2, CVE-2020-10770",
		"request_uri is fetched only from URLs that the client registered, without fragment, and must be signed",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			const object = "/object#GkurKxf5T0Y-mnPFCHqWOMiZi4VS138cQO_V7PZHAdM"
			host := servertest.NewHost(t)
			key := servertest.ClientKey{Private: clientKey(t, jwt.RS256, "").Private, Alg: jwt.RS256}
			c := s.RelyingParty(`"jwks":`+servertest.JWKS(t, key), `"request_object_signing_alg":"RS256"`,
				`"request_uris":["`+host.URL+object+`","`+host.URL+`/none","`+host.URL+`/moved","`+host.URL+`/large"]`)
			valid := key.Sign(t, objectClaims(s, c), nil)
			host.Serve("/object", "application/jwt", valid+"\n")
			host.Serve("/none", "application/jwt", forge(t, valid, map[string]any{"alg": "none"}, nil))
			host.Serve("/unregistered", "application/jwt", valid)
			host.Serve("/large", "application/jwt", strings.Repeat("x", 100<<10))
			host.Redirect("/moved", "http://169.254.169.254/latest/meta-data")
			b := s.Browser()
			page := openWithObject(b, "client_id", c.ClientID, "response_type", "code", "scope", "openid",
				"request_uri", host.URL+object)
			s.IDToken(c, s.Redeem(c, b.Decide(b.SignIn(page, "alice"), "approve").Location()))
			open := func(uri string) servertest.Page {
				return openWithObject(b, "client_id", c.ClientID, "redirect_uri", servertest.Callback,
					"state", "the state", "response_type", "code", "request_uri", uri)
			}
			for _, uri := range []string{
				host.URL + "/unregistered", host.URL + "/object/", "https://evil.example/r", "file:///etc/passwd",
				"urn:ietf:params:oauth:request_uri:x", host.URL + "/moved", host.URL + "/large",
			} {
				open(uri).WantRedirectError(t, s, "invalid_request_uri")
			}
			open(host.URL+"/none").WantRedirectError(t, s, "invalid_request_object")
			for i := range 20 {
				open(host.URL + "/object#" + strings.Repeat("x", i))
			}
			if n := host.Requests("/object"); n != 1 {
				t.Errorf("%d fetches of URIs that differ in their fragment, want 1", n)
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
			object := key.Sign(t, objectClaims(s, c, "exp", s.Clock.Now().Unix()+10), nil)
			page := openWithObject(b, "client_id", c.ClientID, "request", object)
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
				return openWithObject(b, "client_id", c.ClientID, "redirect_uri", servertest.Callback,
					"state", "the state", "request", key.Sign(t, objectClaims(s, c, name, v), nil))
			}
			for _, name := range []string{
				"response_type", "response_mode", "redirect_uri", "scope", "state", "nonce", "prompt", "display",
				"login_hint", "id_token_hint", "acr_values", "ui_locales", "claims_locales", "code_challenge",
				"code_challenge_method",
			} {
				for _, invalid := range []any{7, true, []string{"openid"}, map[string]any{"a": 1}} {
					send(name, invalid).WantRedirectError(t, s, "invalid_request_object")
					if t.Failed() {
						t.Fatalf("the response to %s with the value %v is not the error invalid_request_object", name, invalid)
					}
				}
			}
			for _, invalid := range []any{true, []int{1}, 1.5, "soon"} {
				send("max_age", invalid).WantRedirectError(t, s, "invalid_request")
			}
			for _, invalid := range []any{7, []any{7}, []any{nil}, map[string]any{}} {
				send("resource", invalid).WantRedirectError(t, s, "invalid_target")
			}
			for name, valid := range map[string]any{
				"max_age": 3600, "extension": []any{1}, "resource": []string{}, "display": nil,
			} {
				if p := send(name, valid); p.Location().Query().Get("code") == "" {
					t.Errorf("%s with the value %v: redirect to %s, want a code", name, valid, p.Header.Get("Location"))
				}
			}
		}),
}
