package web_test

import (
	"net/url"

	"gatehouse/cmd/gatehouse/server/servertest"
)

// factorRequests prepares the requests that finish a sign-in with a second factor.
func factorRequests(s, failing *servertest.Server) []routed {
	b, authenticator := s.Browser(), s.TOTP(s.User("bob"))
	form := b.BeginSignIn(b.Open("/login"), "bob").Fields()
	form.Set("code", authenticator.Code())
	account := s.Browser()
	account.SignIn(account.Open("/login"), "alice")
	security := url.Values{"form_token": {account.Open("/account/security").Fields().Get("form_token")}}
	b, account = atServer(b, failing), atServer(account, failing)
	open := func() servertest.Response { return b.Open("/login/factor?sign_in=" + form.Get("sign_in")).Response }
	related := func() servertest.Response { return failing.Get("/.well-known/webauthn") }
	submit := func() servertest.Response { return b.Submit("/login/factor", form).Response }
	show := func() servertest.Response { return account.Open("/account/security").Response }
	return []routed{
		{"GET /login/factor", "GET /login/factor", false, false, false, open},
		{"POST /login/factor", "POST /login/factor", false, true, false, submit},
		{"GET /account/security", "GET /account/security", false, false, false, show},
		{"GET /account/security/{action}", "GET totp-remove", false, false, false, func() servertest.Response {
			return account.Open("/account/security/totp-remove").Response
		}},
		{"POST /account/security/{action}", "POST recovery-codes", false, true, false, func() servertest.Response {
			return account.Submit("/account/security/recovery-codes", security).Response
		}},
		{"GET /.well-known/webauthn", "GET /.well-known/webauthn", true, false, false, related},
	}
}
