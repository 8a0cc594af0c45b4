package oauth_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

var backchannelLogout = []servertest.Requirement{
	servertest.Req("L7", "OIDC Back-Channel Logout §2.4, §2.5",
		"each client used in a session gets a signed logout token with its sub and sid, and no other client gets one",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			host := servertest.NewHost(t)
			clientFor := func(path, alg string) clientInformation {
				return s.RelyingParty(`"backchannel_logout_uri":"`+host.URL+path+`"`,
					`"backchannel_logout_session_required":true`, `"id_token_signed_response_alg":"`+alg+`"`)
			}
			c1, c2, withoutURI := clientFor("/one", "RS256"), clientFor("/two", "EdDSA"), s.RelyingParty()
			b, elsewhere := s.Browser(), s.Browser()
			first := s.IDToken(c1, s.Redeem(c1, b.Code(c1, "alice", "scope", "openid offline_access")))
			s.Redeem(c1, b.Code(c1, "alice", "scope", "openid"))
			second := s.IDToken(c2, s.Redeem(c2, b.Code(c2, "alice", "scope", "openid")))
			s.Redeem(withoutURI, b.Code(withoutURI, "alice", "scope", "openid"))
			s.Redeem(c2, elsewhere.Code(c2, "alice", "scope", "openid"))
			s.Deliver()
			if len(host.Posted()) != 0 {
				t.Fatal("a logout token was sent before a session ended")
			}
			s.Clock.Advance(48 * time.Hour) // the grants without a refresh have expired, but are still stored
			storagetest.ResetCleanupTime(t, s.Store, s.DB)
			_, err := s.Store.DeleteExpired(t.Context(), storagetest.UnusedClientTTL)
			storagetest.Must(t, err)
			b.SignIn(b.Open("/login"), "alice")
			b.Submit("/account/sign-out", url.Values{"form_token": b.Open("/account").Fields()["form_token"][:1]})
			s.Deliver()
			posted := host.Posted()
			if len(posted) != 2 {
				t.Fatalf("%d logout tokens were sent: %v, want 2", len(posted), posted)
			}
			for _, form := range posted {
				token := form.Get("logout_token")
				c, id := c1, first
				if decodePart(t, token, 1)["aud"] == c2.ClientID {
					c, id = c2, second
				}
				got, err := s.Verifier(c).VerifyLogout(t.Context(), token)
				storagetest.Must(t, err)
				payload := decodePart(t, token, 1)
				events, _ := payload["events"].(map[string]any)
				if got.Subject != id["sub"] || got.SessionID != id["sid"] || got.TokenID == "" {
					t.Errorf("logout token %v, want sub %v, sid %v and a jti", payload, id["sub"], id["sid"])
				}
				if len(form) != 1 || payload["nonce"] != nil || len(events) != 1 {
					t.Errorf("form %v with the logout token %v, want one parameter, one event, no nonce", form, payload)
				}
				if typ := decodePart(t, token, 0)["typ"]; typ != "logout+jwt" {
					t.Errorf("typ of the logout token = %v, want logout+jwt", typ)
				}
				if s.Userinfo(token).Status != 401 {
					t.Error("userinfo accepts a logout token as an access token")
				}
				b.Authorize(c, "scope", "openid", "id_token_hint", token).WantRedirectError(t, s, "invalid_request")
			}
			s.Deliver()
			if len(host.Posted()) != 2 {
				t.Error("a logout token was sent again after success")
			}
		}).WithSettings("GATEHOUSE_FETCH_ALLOW_HOSTS=127.0.0.1",
		"GATEHOUSE_SESSION_MAX_TTL=2000h", "GATEHOUSE_SESSION_IDLE_TTL=2000h"),
	servertest.Req("L8", "OIDC Back-Channel Logout §2.8",
		"a delivery is retried with exponential backoff, by any running process, until it succeeds or a day is over",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			host := servertest.NewHost(t)
			c := s.RelyingParty(`"backchannel_logout_uri":"` + host.URL + `/logout"`)
			signOut := func() {
				b := s.Browser()
				hint := s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("id_token")
				b.Open(logoutPath("id_token_hint", hint))
			}
			signOut()
			host.Respond(500, 302, 400)
			other := s.StartAnother() // the first process may stop at any time
			for i, wait := range []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second} {
				if wait > 0 {
					s.Clock.Advance(wait - time.Millisecond)
					other.Deliver()
					if n := len(host.Posted()); n != i {
						t.Fatalf("%d attempts %v after the last one, want %d", n, wait-time.Millisecond, i)
					}
					s.Clock.Advance(time.Millisecond)
				}
				storagetest.Concurrently(4, func(n int) { // concurrent calls: one sends
					if n%2 == 0 {
						s.Deliver()
					} else {
						other.Deliver()
					}
				})
				if n := len(host.Posted()); n != i+1 {
					t.Fatalf("%d attempts after the wait of %v, want %d", n, wait, i+1)
				}
			}
			first, last := host.Posted()[0].Get("logout_token"), host.Posted()[3].Get("logout_token")
			if decodePart(t, first, 1)["jti"] == decodePart(t, last, 1)["jti"] {
				t.Error("a retry sent the same logout token, want a new jti")
			}
			s.Clock.Advance(24 * time.Hour)
			s.Deliver()
			if n := len(host.Posted()); n != 4 {
				t.Errorf("%d attempts a day after success, want 4", n)
			}
			signOut()
			for range 40 {
				host.Respond(500, 500)
				s.Clock.Advance(time.Hour)
				s.Deliver()
			}
			n := len(host.Posted())
			s.Clock.Advance(time.Hour)
			s.Deliver()
			if len(host.Posted()) != n {
				t.Errorf("%d attempts after more than a day, want %d as before", len(host.Posted()), n)
			}
			for event, want := range map[string]int{audit.LogoutDelivered: 1, audit.LogoutUndelivered: 1} {
				events, err := s.Store.Audit.Rows(t.Context(), audit.Filter{Event: event, UserID: u.ID})
				storagetest.Must(t, err)
				if len(events) != want {
					t.Errorf("%d events %s, want %d", len(events), event, want)
				}
			}
		}).WithSettings("GATEHOUSE_FETCH_ALLOW_HOSTS=127.0.0.1"),
	servertest.Req("L9", "OIDC Back-Channel Logout §2.3",
		"every action that ends a session notifies its clients: signing out on the account page, changing the password, "+
			"disabling or deleting the user",
		func(t *testing.T, s *servertest.Server) {
			host := servertest.NewHost(t)
			c := s.RelyingParty(`"backchannel_logout_uri":"` + host.URL + `/logout"`)
			for i, end := range []func(u storage.User, b *servertest.Browser) error{
				func(u storage.User, b *servertest.Browser) error {
					sessions, err := s.Store.Sessions(t.Context(), u, time.Hour)
					storagetest.Must(t, err)
					return s.Store.EndSession(t.Context(), u.ID, sessions[0].ID)
				},
				func(u storage.User, _ *servertest.Browser) error {
					return s.Users.SetPassword(t.Context(), u, "another password")
				},
				func(u storage.User, _ *servertest.Browser) error {
					return s.Store.DisableUser(t.Context(), u.ID)
				},
				func(u storage.User, _ *servertest.Browser) error {
					return s.Store.RevokeUserTokens(t.Context(), u.ID)
				},
				func(u storage.User, _ *servertest.Browser) error {
					return s.Store.DeleteUser(t.Context(), u.ID, 0)
				},
				func(u storage.User, _ *servertest.Browser) error { // PE32, at the start of the grace period
					_, err := s.Users.ScheduleDeletion(t.Context(), u, time.Hour, "en")
					return err
				},
			} {
				u := s.User("user" + string(rune('a'+i)))
				b := s.Browser()
				sub := s.IDToken(c, s.Redeem(c, b.Code(c, u.Username, "scope", "openid")))["sub"]
				storagetest.Must(t, end(u, b))
				s.Deliver()
				posted := host.Posted()
				if len(posted) != i+1 || decodePart(t, posted[i].Get("logout_token"), 1)["sub"] != sub {
					t.Fatalf("case %d: %d logout tokens were sent, want %d, the last with sub %v", i, len(posted), i+1, sub)
				}
			}
		}).WithSettings("GATEHOUSE_FETCH_ALLOW_HOSTS=127.0.0.1"),
	servertest.Req("L10", "OIDC Core §4",
		"the account page opens a client by its initiate_login_uri, with iss, and with login_hint only if the client "+
			"may have the username",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.RelyingParty(`"initiate_login_uri":"https://app.example/start?x=1"`)
			pairwise := s.RelyingParty(`"initiate_login_uri":"https://app.example/pair"`, `"subject_type":"pairwise"`)
			b := s.Browser()
			noUsername := s.RelyingParty(`"initiate_login_uri":"https://app.example/no-username"`)
			b.Code(c, "alice", "scope", "openid email")
			b.Code(pairwise, "alice", "scope", "openid email")
			b.Code(noUsername, "alice", "scope", "openid")
			page := b.Open("/account").Body
			iss := url.QueryEscape(s.Issuer)
			for _, link := range []string{
				`href="https://app.example/start?x=1&amp;iss=` + iss + `&amp;login_hint=alice"`,
				`href="https://app.example/pair?iss=` + iss + `"`,
				`href="https://app.example/no-username?iss=` + iss + `"`,
			} {
				if !strings.Contains(page, link) {
					t.Errorf("the account page does not contain %s:\n%s", link, page)
				}
			}
		}),
	servertest.Req("L11", "OIDC Core §11, [design](design.md)",
		"an expired cookie cannot end its session, and the audit log has who signed in and who signed whom out",
		func(t *testing.T, s *servertest.Server) {
			alice := s.User("alice")
			c := s.RelyingParty(`"grant_types":["authorization_code","refresh_token"]`)
			b := s.Browser()
			tokens := s.Redeem(c, b.Code(c, "alice", "scope", "openid")).OK(t)
			stolen := b.Cookie("session")
			s.Clock.Advance(3 * time.Hour) // the idle timeout has passed
			attacker := s.Browser()
			attacker.SetCookie("session", stolen)
			names := []string{"m1", "m2", "m3", "m4", "m5", "m6"}
			ids := map[string]string{}
			for _, name := range names {
				ids[name] = s.User(name).ID
				attacker.SignIn(attacker.Open("/login"), name)
			}
			s.Refresh(c, tokens.Text("refresh_token")).OK(t)
			ended, err := s.Store.Audit.Rows(t.Context(), audit.Filter{Event: audit.SessionEnded})
			storagetest.Must(t, err)
			if len(ended) != 1 || ended[0].UserID != ids["m1"] || ended[0].Actor != "user:"+ids["m6"] {
				t.Errorf("ended sessions = %+v, want that of m1, by m6", ended)
			}
			ids["alice"] = alice.ID
			for name, id := range ids {
				in, err := s.Store.Audit.Rows(t.Context(), audit.Filter{Event: audit.UserSignedIn, UserID: id})
				storagetest.Must(t, err)
				if len(in) != 1 || in[0].Actor != "user:"+id {
					t.Errorf("sign-in events of %s = %+v, want one by the user", name, in)
				}
			}
			form := attacker.Open("/login").Fields()
			form.Set("username", "alice")
			form.Set("password", "wrong")
			attacker.Submit("/login", form)
			failed, err := s.Store.Audit.Rows(t.Context(), audit.Filter{Event: audit.UserSignInFailed})
			storagetest.Must(t, err)
			if len(failed) != 1 || failed[0].Actor != "anonymous" {
				t.Errorf("failed sign-ins = %+v, want one by anonymous", failed)
			}
		}),
}
