package oauth_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/audit"
)

func TestRevocation(t *testing.T) { servertest.Run(t, revocation) }

var revocation = []servertest.Requirement{
	servertest.Req("P74", "RFC 7009 §2.2",
		"an unknown or expired token is 200",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			expired := s.ServiceToken(c)
			s.Clock.Advance(time.Hour)
			for _, token := range []string{"unknown", expired, "gate_rt_live_" + strings.Repeat("A", 49), "a.b.c"} {
				if r := s.Post("/oauth2/revoke", c, url.Values{"token": {token}}).OK(t); r.Body != "" {
					t.Errorf("body = %q for the token %s, want none", r.Body, token)
				}
			}
		}),
	servertest.Req("P75", "RFC 7009 §2.1",
		"an incorrect hint does not prevent the revocation",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			tokens := s.Tokens(c, "alice")
			revoke := func(token, hint string) {
				s.Post("/oauth2/revoke", c, url.Values{"token": {token}, "token_type_hint": {hint}}).OK(t)
			}
			revoke(tokens.Text("access_token"), "refresh_token")
			if s.Active(c, tokens.Text("access_token")) {
				t.Error("the access token is active after it was revoked")
			}
			revoke(tokens.Text("refresh_token"), "access_token")
			s.Refresh(c, tokens.Text("refresh_token")).Want(t, 400, "invalid_grant")
		}),
	servertest.Req("P76", "RFC 7009 §2.1",
		"another client's token is not revoked",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c, other := s.App(), s.App()
			tokens := s.Tokens(c, "alice")
			s.Post("/oauth2/revoke", other, url.Values{"token": {tokens.Text("access_token")}}).OK(t)
			s.Post("/oauth2/revoke", other, url.Values{"token": {tokens.Text("refresh_token")}}).OK(t)
			if !s.Active(c, tokens.Text("access_token")) || !s.Active(c, tokens.Text("refresh_token")) {
				t.Error("another client revoked a token")
			}
		}),
	servertest.Req("P77", "RFC 7009 §2.1",
		"a missing token is invalid_request",
		func(t *testing.T, s *servertest.Server) {
			s.Post("/oauth2/revoke", s.Service("jobs"), url.Values{}).Want(t, 400, "invalid_request")
		}),
	servertest.Req("P79", "RFC 7009 §2.1",
		"revoking a refresh token revokes its access tokens; revoking an access token revokes only itself",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			tokens := s.Tokens(c, "alice")
			second := s.Refresh(c, tokens.Text("refresh_token")).OK(t)
			s.Post("/oauth2/revoke", c, url.Values{"token": {tokens.Text("access_token")}}).OK(t)
			if s.Active(c, tokens.Text("access_token")) {
				t.Error("the access token is active after it was revoked")
			}
			if !s.Active(c, second.Text("access_token")) || !s.Active(c, second.Text("refresh_token")) {
				t.Error("revoking one access token revoked another token of its grant")
			}
			s.Post("/oauth2/revoke", c, url.Values{"token": {second.Text("refresh_token")}}).OK(t)
			if s.Active(c, second.Text("access_token")) {
				t.Error("the access token is active after its refresh token was revoked")
			}
			wantEvent(t, s, audit.GrantRevoked)
			wantEvent(t, s, audit.TokenRevoked)
		}),
	servertest.Req("P80", "RFC 7009 §2.2.1",
		"failed authentication is 401",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			token := s.ServiceToken(c)
			unauthenticated := c
			unauthenticated.ClientSecret = s.Service("jobs").ClientSecret
			s.Post("/oauth2/revoke", unauthenticated, url.Values{"token": {token}}).Want(t, 401, "invalid_client")
			s.Post("/oauth2/revoke", unauthenticated, url.Values{}).Want(t, 401, "invalid_client")
			if !s.Active(c, token) {
				t.Error("a request without authentication revoked the token")
			}
		}),
	servertest.Req("P81", "RFC 7009 §5",
		"a public client revokes its tokens with only its client_id",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c, other := s.Public(), s.Public()
			token := s.Tokens(c, "alice").Text("refresh_token")
			s.Post("/oauth2/revoke", other, url.Values{"token": {token}}).OK(t)
			token = s.Refresh(c, token).OK(t).Text("refresh_token")
			s.Post("/oauth2/revoke", c, url.Values{"token": {token}}).OK(t)
			s.Refresh(c, token).Want(t, 400, "invalid_grant")
		}),
}
