package oauth_test

import (
	"net/url"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
)

var pairwiseSubjects = []servertest.Requirement{
	servertest.Req("C9", "OIDC Core §8.1, P96",
		"pairwise subjects: one per sector, the same everywhere in it, and not linkable between sectors",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			newClient := func(host string) clientInformation {
				return s.Client(`{"client_name":"` + host + `","grant_types":["authorization_code","refresh_token"],
					"redirect_uris":["https://` + host + `/callback"],"subject_type":"pairwise","scope":"openid email read"}`)
			}
			c, same, other := newClient("app.example"), newClient("app.example"), newClient("other.example")
			b := s.Browser()
			signIn := func(c clientInformation) (servertest.Response, map[string]any) {
				r := s.Redeem(c, b.Code(c, "alice", "scope", "openid read"))
				return r, s.IDToken(c, r)
			}
			tokens, claimsOfC := signIn(c)
			_, ofSame := signIn(same)
			_, ofOther := signIn(other)
			sub := claimsOfC["sub"]
			if sub == u.ID || sub != ofSame["sub"] || sub == ofOther["sub"] {
				t.Errorf("subjects = %v, %v in the same sector and %v in another, want the first two equal and not %s",
					sub, ofSame["sub"], ofOther["sub"], u.ID)
			}
			if claimsOfC["sid"] == ofOther["sid"] || claimsOfC["sid"] == ofSame["sid"] {
				t.Errorf("sid = %v, %v and %v, want one per client", claimsOfC["sid"], ofSame["sid"], ofOther["sid"])
			}
			checkSubject(t, s, c, tokens, sub)
			hinted := b.Authorize(c, "scope", "openid read", "prompt", "none", "id_token_hint", tokens.Text("id_token"))
			if !hasCode(hinted) {
				t.Errorf("the client's ID token as a hint redirects to %s, want a code", hinted.Header.Get("Location"))
			}
			s.Post("/oauth2/revoke", c, url.Values{"token": {tokens.Text("access_token")}}).OK(t)
			if s.Active(c, tokens.Text("access_token")) {
				t.Error("the access token is active after it was revoked")
			}
			for _, uris := range []string{
				`"https://a.example/cb","https://b.example/cb"`, `"https://a.example/cb","com.example.app:/cb"`,
			} {
				if _, err := register(t, s, `{"redirect_uris":[`+uris+`],"subject_type":"pairwise"}`); err == nil {
					t.Errorf("redirect URIs %s of two sectors were registered without a sector document", uris)
				}
			}
			// The host of a private-use scheme, or a loopback address, proves nothing: each such client is a sector.
			seen := map[any]bool{sub: true}
			for _, uri := range []string{
				"com.evil.app://app.example/callback", "http://127.0.0.1/cb", "http://127.0.0.1/cb",
			} {
				native := s.Client(`{"redirect_uris":["` + uri + `"],"subject_type":"pairwise","scope":"openid"}`)
				r := s.Redeem(native, s.Browser().Code(native, "alice", "scope", "openid"))
				nativeSub := s.IDToken(native, r)["sub"]
				if seen[nativeSub] {
					t.Errorf("the client with %s has the subject %v of another client", uri, nativeSub)
				}
				seen[nativeSub] = true
			}
		}),
	servertest.Req("C9b", "OIDC Core §8.1, OIDC Registration §5",
		"a sector document joins hosts; it must list every redirect URI",
		func(t *testing.T, s *servertest.Server) {
			host := servertest.NewHost(t)
			host.Serve("/sector.json", "application/json", `["https://a.example/cb","https://b.example/cb"]`)
			host.Serve("/object.json", "application/json", `{"a":1}`)
			metadata := func(path, more string) string {
				return `{"redirect_uris":["https://a.example/cb","https://b.example/cb"` + more + `],
					"subject_type":"pairwise","sector_identifier_uri":"` + host.URL + path + `"}`
			}
			if _, err := register(t, s, metadata("/sector.json", "")); err != nil {
				t.Errorf("registration with a sector document: error %v, want none", err)
			}
			for name, m := range map[string]string{
				"a redirect URI that is not listed": metadata("/sector.json", `,"https://c.example/cb"`),
				"an object instead of an array":     metadata("/object.json", ""),
				"no document":                       metadata("/nothing", ""),
			} {
				if code, err := register(t, s, m); err == nil || code != "invalid_client_metadata" {
					t.Errorf("registration with %s: code %q, error %v, want invalid_client_metadata", name, code, err)
				}
			}
		}).WithSettings("GATEHOUSE_FETCH_ALLOW_HOSTS=127.0.0.1"),
}

// checkSubject checks that the access token, userinfo and introspection have the subject, and no username.
func checkSubject(
	t *testing.T, s *servertest.Server, c clientInformation, tokens servertest.Response, sub any,
) {
	t.Helper()
	wantClaims(t, "access token", claims(t, tokens.Text("access_token")), map[string]any{"sub": sub})
	wantClaims(t, "userinfo", s.Userinfo(tokens.Text("access_token")).OK(t).JSON, map[string]any{"sub": sub})
	for _, kind := range []string{"access_token", "refresh_token"} {
		wantClaims(t, "introspection of the "+kind, s.Introspect(c, tokens.Text(kind)).JSON,
			map[string]any{"sub": sub, "username": nil, "active": true})
	}
}
