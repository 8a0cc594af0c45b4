package oauth_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/jwt"
	"gatehouse/storage/storagetest"
)

// otherEncodings returns strings that a lenient decoder reads as the same token.
func otherEncodings(t *testing.T, token string) []string {
	t.Helper()
	last := token[len(token)-1]
	next := token[:len(token)-1] + string(last+1) // canonical endings are A, Q, g and w: the next has an unused bit set
	signature := func(s string) string { return s[strings.LastIndexByte(s, '.')+1:] }
	a, errA := base64.RawURLEncoding.DecodeString(signature(token))
	b, errB := base64.RawURLEncoding.DecodeString(signature(next))
	if errA != nil || errB != nil || string(a) != string(b) {
		t.Fatalf("%s is not another encoding of the signature of %s", next, token)
	}
	return []string{next, token[:30] + "\n" + token[30:], token + "\r\n", " " + token}
}

func TestOtherEncodingsOfTokensAreRefused(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_RATE_LIMITS": "off"}})
		s.User("alice")
		key := clientKey(t, jwt.ES256, "1")
		c := s.RelyingParty(`"jwks":` + servertest.JWKS(t, key))
		b := s.Browser()
		tokens := s.Redeem(c, b.Code(c, "alice", "scope", "openid"))
		token, idToken := tokens.Text("access_token"), tokens.Text("id_token")
		if !s.Active(c, token) {
			t.Fatal("the issued token is not active")
		}
		for i, other := range otherEncodings(t, token) {
			if s.Active(c, other) {
				t.Errorf("encoding %d of the token is active", i)
			}
			s.Post("/oauth2/revoke", c, url.Values{"token": {other}}).OK(t)
			form := s.Request(http.MethodPost, "/oauth2/userinfo", url.Values{"access_token": {other}})
			s.Do(form).Want(t, 401, "invalid_token")
		}
		if !s.Active(c, token) {
			t.Error("another encoding of the token revoked it")
		}
		service := keyClient(t, s, "", key)
		for _, other := range otherEncodings(t, key.Sign(t, assertionClaims(s, service), nil)) {
			tokenByAssertion(s, other).Want(t, 401, "invalid_client")
		}
		for _, other := range otherEncodings(t, key.Sign(t, objectClaims(s, c), nil)) {
			openObjectOf(s.Browser(), c, other).WantRedirectError(t, s, "invalid_request_object")
		}
		if len(idToken[strings.LastIndexByte(idToken, '.')+1:])%4 == 0 {
			t.Fatal("the signature has no unused bits")
		}
		for i, other := range otherEncodings(t, idToken) {
			p := b.Authorize(c, "scope", "openid", "prompt", "none", "id_token_hint", other)
			p.WantRedirectError(t, s, "invalid_request")
			l, err := s.OAuth.Logout.Begin(t.Context(), url.Values{"id_token_hint": {other}})
			storagetest.Must(t, err)
			if l.HasValidHint() {
				t.Errorf("encoding %d of an ID token is a valid id_token_hint at sign-out", i)
			}
		}
	})
}

func TestCodeChallengeHasOneEncoding(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		c := s.Public()
		challenge := servertest.AuthorizeForm(c).Get("code_challenge")
		other := challenge[:42] + string(challenge[42]+1)
		s.Browser().Authorize(c, "code_challenge", other).WantRedirectError(t, s, "invalid_request")
		if p := s.Browser().Authorize(c, "code_challenge", challenge); p.Status != 200 {
			t.Errorf("the canonical challenge: %d %s, want 200", p.Status, p.Text())
		}
	})
}
