package oauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

func TestLogout(t *testing.T) { servertest.Run(t, logout) }

const bye = "https://app.example/bye"

// logoutPath is a logout request; an empty value leaves a parameter out.
func logoutPath(pairs ...string) string {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	return "/oauth2/logout?" + v.Encode()
}

// signedIn reports whether the browser still is.
func signedIn(b *servertest.Browser) bool { return b.Open("/account").Status == http.StatusOK }

var logout = []servertest.Requirement{
	servertest.Req("L1", "OIDC RP-Initiated Logout §2, §3", "with the ID token of the same session the user is signed out immediately and redirected back with the state, byte for byte", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.RelyingParty()
		for _, state := range []string{"x", "", "a b+c%20d;,/?:@&=$-_.!~*'()#[]{}|^`<>\"\\ü€", strings.Repeat("s", 1000)} {
			b := s.Browser()
			hint := s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("id_token")
			p := b.Open(logoutPath("id_token_hint", hint, "post_logout_redirect_uri", bye, "state", state))
			to := p.Location()
			if p.Status != http.StatusSeeOther || to.Host != "app.example" || to.Path != "/bye" || to.Query().Get("state") != state || to.Query().Has("state") != (state != "") || len(to.Query()) > 1 {
				t.Errorf("%q: %d %s", state, p.Status, p.Header.Get("Location"))
			}
			if signedIn(b) {
				t.Error("still signed in")
			}
			b.Authorize(c, "scope", "openid", "prompt", "none").WantRedirectError(t, s, "login_required")
		}
	}),
	servertest.Req("L2", "OIDC RP-Initiated Logout §2, P94", "an expired ID token is a valid hint, and without post_logout_redirect_uri a page confirms the sign-out", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.RelyingParty()
		b := s.Browser()
		hint := s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("id_token")
		s.Clock.Advance(100 * time.Minute)
		b.Open("/account")
		p := b.Follow(b.Open(logoutPath("id_token_hint", hint, "state", "x")))
		if p.Status != 200 || !strings.Contains(p.URL, "/signed-out") || signedIn(b) {
			t.Errorf("%d %s", p.Status, p.URL)
		}
	}),
	servertest.Req("L3", "OIDC RP-Initiated Logout §2", "without a hint, or with a hint of another user, a page prompts first, without a redirect", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		s.User("bob")
		c := s.RelyingParty()
		bobs := s.Browser()
		hint := s.Redeem(c, bobs.Code(c, "bob", "scope", "openid")).Text("id_token")
		for name, path := range map[string]string{
			"no parameters": "/oauth2/logout", "only state": logoutPath("state", "x"), "client_id": logoutPath("client_id", c.ClientID, "post_logout_redirect_uri", bye, "state", "x"),
			"another's hint": logoutPath("id_token_hint", hint, "post_logout_redirect_uri", bye),
			"modified":       logoutPath("id_token_hint", flipped(hint), "post_logout_redirect_uri", bye), "alg none": logoutPath("id_token_hint", forge(t, hint, map[string]any{"alg": "none"}, nil), "post_logout_redirect_uri", bye),
			"garbage": logoutPath("id_token_hint", "x"),
		} {
			b := s.Browser()
			b.SignIn(b.Open("/login"), "alice")
			p := b.Open(path)
			if p.Status != 200 || p.Header.Get("Location") != "" || !strings.Contains(p.Text(), "Sign out?") || !signedIn(b) {
				t.Errorf("%s: %d %s", name, p.Status, p.Text())
				continue
			}
			invalid := name == "modified" || name == "alg none" || name == "garbage"
			if told := strings.Contains(p.Text(), "id_token_hint is not an ID token"); told != invalid {
				t.Errorf("%s: that the request is not valid is told: %v", name, told)
			}
			form := p.Fields()
			form.Set("decision", "stay")
			if q := b.Follow(b.Submit("/oauth2/logout/confirm", form)); !strings.Contains(q.URL, "/account") || !signedIn(b) {
				t.Errorf("%s: staying leads to %s", name, q.URL)
			}
			form.Set("decision", "sign-out")
			if q := b.SubmitFrom("https://evil.example", "/oauth2/logout/confirm", form); q.Status != http.StatusForbidden || !signedIn(b) {
				t.Errorf("%s: from another site: %d", name, q.Status)
			}
			forged := url.Values{"decision": {"sign-out"}, "request": form["request"], "session": form["session"], "form_token": {"x"}}
			if q := b.Submit("/oauth2/logout/confirm", forged); q.Status != http.StatusForbidden || !signedIn(b) {
				t.Errorf("%s: forged: %d", name, q.Status)
			}
			q := b.Follow(b.Submit("/oauth2/logout/confirm", form))
			if signedIn(b) {
				t.Errorf("%s: still signed in", name)
			}
			// A hint that proves nothing leads nowhere.
			if wants := name == "client_id" || name == "another's hint"; wants != (q.Location().Host == "app.example") {
				t.Errorf("%s: went to %s", name, q.Header.Get("Location"))
			}
			// Where nobody is signed in any more, only a hint proves that an app asks.
			p = b.Follow(b.Open(path))
			if hinted := strings.Contains(name, "hint"); hinted != (p.Location().Host == "app.example") || !hinted && !strings.Contains(p.URL, "/signed-out") {
				t.Errorf("%s: signed out already: %d %s", name, p.Status, p.URL)
			}
		}
	}),
	servertest.Req("L3b", "OIDC RP-Initiated Logout §2, §6", "an ID token hint of an ended session, another browser or a client without consent signs out only after confirmation; a hint of a disabled or deleted client never does", func(t *testing.T, s *servertest.Server) {
		alice := s.User("alice")
		s.User("bob")
		c := s.RelyingParty()
		ended := s.Browser()
		old := s.Redeem(c, ended.Code(c, "alice", "scope", "openid")).Text("id_token")
		ended.Follow(ended.Open(logoutPath("id_token_hint", old)))
		if signedIn(ended) {
			t.Fatal("the session did not end")
		}
		elsewhere := s.Redeem(c, s.Browser().Code(c, "alice", "scope", "openid")).Text("id_token")
		withdrawn := s.Browser()
		gone := s.Redeem(c, withdrawn.Code(c, "alice", "scope", "openid")).Text("id_token")
		asks := func(name string, b *servertest.Browser, hint string) {
			t.Helper()
			for _, path := range []string{logoutPath("id_token_hint", hint), logoutPath("id_token_hint", hint, "post_logout_redirect_uri", bye)} {
				p := b.Open(path)
				if p.Status != 200 || !strings.Contains(p.Text(), "Sign out?") || !signedIn(b) {
					t.Errorf("%s: %d %s", name, p.Status, p.Header.Get("Location"))
				}
				posted := b.SubmitFrom("https://app.example", "/oauth2/logout", url.Values{"id_token_hint": {hint}})
				if p := b.Follow(posted); !strings.Contains(p.Text(), "Sign out?") || !signedIn(b) {
					t.Errorf("%s, by POST: %d %s", name, p.Status, p.Header.Get("Location"))
				}
			}
		}
		fresh := s.Browser()
		fresh.SignIn(fresh.Open("/login"), "alice")
		asks("an ended session", fresh, old)
		asks("another browser", fresh, elsewhere)
		ended.SignIn(ended.Open("/login"), "alice")
		asks("the same browser, a new session", ended, old)
		fresh.SignIn(fresh.Open("/login"), "bob")
		if p := fresh.Open(logoutPath("id_token_hint", old)); len(p.Fields()["session"]) != 1 {
			t.Errorf("not only the one whom the hint names is ticked: %v", p.Fields()["session"])
		}
		consent, err := s.Store.Consent(t.Context(), alice.ID, c.ClientID)
		storagetest.Must(t, err)
		storagetest.Must(t, s.OAuth.WithdrawConsent(t.Context(), alice.ID, consent.ID))
		asks("an app that was withdrawn", withdrawn, gone)
		// After another consent in the same session it can.
		again := s.Redeem(c, withdrawn.Code(c, "alice", "scope", "openid")).Text("id_token")
		storagetest.Must(t, s.Store.DisableClient(t.Context(), c.ClientID))
		withdrawn.Open(logoutPath("id_token_hint", again)).WantErrorPage(t, http.StatusBadRequest)
		if !signedIn(withdrawn) {
			t.Error("a disabled client signed alice out")
		}
		storagetest.Must(t, s.Store.EnableClient(t.Context(), c.ClientID))
		withdrawn.Open(logoutPath("id_token_hint", again))
		if signedIn(withdrawn) {
			t.Error("an app that is allowed again cannot sign out")
		}
		withdrawn.SignIn(withdrawn.Open("/login"), "alice")
		storagetest.Must(t, s.Store.DeleteClient(t.Context(), c.ClientID))
		withdrawn.Open(logoutPath("id_token_hint", again)).WantErrorPage(t, http.StatusBadRequest)
		if !signedIn(withdrawn) {
			t.Error("a deleted client signed alice out")
		}
	}),
	servertest.Req("L4", "OIDC RP-Initiated Logout §3, P93", "a post_logout_redirect_uri that differs in any way, or has no client, is an error page, and the user stays signed in", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.RelyingParty()
		b := s.Browser()
		hint := s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("id_token")
		for name, path := range map[string]string{
			"query added": logoutPath("id_token_hint", hint, "post_logout_redirect_uri", bye+"?foo=bar"), "slash": logoutPath("id_token_hint", hint, "post_logout_redirect_uri", bye+"/"),
			"case": logoutPath("id_token_hint", hint, "post_logout_redirect_uri", "https://app.example/Bye"), "unregistered": logoutPath("id_token_hint", hint, "post_logout_redirect_uri", "https://evil.example/"),
			"the callback": logoutPath("id_token_hint", hint, "post_logout_redirect_uri", servertest.Callback), "no client": logoutPath("post_logout_redirect_uri", bye, "state", "x"),
			"unknown client": logoutPath("post_logout_redirect_uri", bye, "client_id", "nobody"), "another client_id": logoutPath("id_token_hint", hint, "client_id", s.RelyingParty().ClientID),
		} {
			b.Open(path).WantErrorPage(t, http.StatusBadRequest)
			if !signedIn(b) {
				t.Fatalf("%s: signed out", name)
			}
		}
		b.Open("/oauth2/logout?state=a&state=b").WantErrorPage(t, http.StatusBadRequest)
	}),
	servertest.Req("L5", "OIDC RP-Initiated Logout §2", "POST works from another site: the request continues sealed, without its ID token in a URL", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.RelyingParty()
		b := s.Browser()
		hint := s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("id_token")
		p := b.SubmitFrom("https://app.example", "/oauth2/logout", url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {bye}, "state": {"st ate"}})
		if p.Status != http.StatusSeeOther || strings.Contains(p.Header.Get("Location"), strings.Split(hint, ".")[1]) {
			t.Fatalf("%d %s", p.Status, p.Header.Get("Location"))
		}
		kept := p.Header.Get("Location")
		if q := s.Browser().Follow(s.Browser().Open(kept)); q.Location().Host != "app.example" {
			t.Errorf("where nobody is signed in: %d %s", q.Status, q.Header.Get("Location"))
		}
		if to := b.Follow(p).Location(); to.String() != bye+"?state=st+ate" || signedIn(b) {
			t.Errorf("went to %s", to)
		}
		b.Open(kept[:len(kept)-4]+"AAAA").WantErrorPage(t, http.StatusBadRequest)
		s.Clock.Advance(11 * time.Minute)
		b.Open(kept).WantErrorPage(t, http.StatusBadRequest)
		b.SubmitFrom("https://app.example", "/oauth2/logout", url.Values{"client_id": {"x"}}).WantErrorPage(t, http.StatusBadRequest)
	}),
	servertest.Req("L6", "OIDC Core §11, [design](design.md), CVE-2022-3916, P95", "ending a session ends the grants bound to it and no others: offline_access and other sessions continue", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		s.User("bob")
		c := s.RelyingParty()
		b, elsewhere := s.Browser(), s.Browser()
		bound := s.Redeem(c, b.Code(c, "alice", "scope", "openid"))
		offline := s.Redeem(c, b.Code(c, "alice", "scope", "openid offline_access"))
		far := s.Redeem(c, elsewhere.Code(c, "alice", "scope", "openid"))
		b.SignIn(b.Open("/login"), "bob")
		page := b.Authorize(c, "scope", "openid")
		form := page.Fields()
		form.Set("session", page.Buttons("session")[0])
		bobs := s.Redeem(c, b.Follow(b.Decide(b.Follow(b.Submit("/select", form)), "approve")).Location())
		b.Follow(b.Open(logoutPath("id_token_hint", bound.Text("id_token"))))
		if s.Active(c, bound.Text("access_token")) || s.Userinfo(bound.Text("access_token")).Status != 401 {
			t.Error("the session's tokens live on")
		}
		s.Refresh(c, bound.Text("refresh_token")).Want(t, 400, "invalid_grant")
		for name, r := range map[string]servertest.Response{"offline": offline, "another browser": far, "another person in this browser": bobs} {
			if !s.Active(c, r.Text("access_token")) {
				t.Errorf("%s is dead", name)
			}
			s.Refresh(c, r.Text("refresh_token")).OK(t)
		}
		if p := b.Open("/account"); !strings.Contains(p.Text(), "bob@example.com") {
			t.Errorf("bob is signed out too: %s", p.Text())
		}
	}),
	servertest.Req("L7", "OIDC Back-Channel Logout §2.4, §2.5", "the clients used in a session get a signed logout token with sub and sid, each its own, and no other client does", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		host := servertest.NewHost(t)
		party := func(path, alg string) clientInformation {
			return s.RelyingParty(`"backchannel_logout_uri":"`+host.URL+path+`"`, `"backchannel_logout_session_required":true`, `"id_token_signed_response_alg":"`+alg+`"`)
		}
		one, two, silent := party("/one", "RS256"), party("/two", "EdDSA"), s.RelyingParty()
		b, elsewhere := s.Browser(), s.Browser()
		first := s.IDToken(one, s.Redeem(one, b.Code(one, "alice", "scope", "openid offline_access")))
		s.Redeem(one, b.Code(one, "alice", "scope", "openid"))
		second := s.IDToken(two, s.Redeem(two, b.Code(two, "alice", "scope", "openid")))
		s.Redeem(silent, b.Code(silent, "alice", "scope", "openid"))
		s.Redeem(two, elsewhere.Code(two, "alice", "scope", "openid"))
		s.Deliver()
		if len(host.Posted()) != 0 {
			t.Fatal("told before anything ended")
		}
		s.Clock.Advance(48 * time.Hour) // the grants without a refresh are over, and still known
		storagetest.TrustClock(t, s.Store, s.DB)
		_, err := s.Store.DeleteExpired(t.Context())
		storagetest.Must(t, err)
		b.SignIn(b.Open("/login"), "alice")
		b.Submit("/account/sign-out", url.Values{"form_token": b.Open("/account").Fields()["form_token"][:1]})
		s.Deliver()
		posted := host.Posted()
		if len(posted) != 2 {
			t.Fatalf("%d posts: %v", len(posted), posted)
		}
		for _, form := range posted {
			token := form.Get("logout_token")
			c, id := one, first
			if decodePart(t, token, 1)["aud"] == two.ClientID {
				c, id = two, second
			}
			got, err := s.Verifier(c).VerifyLogout(t.Context(), token)
			storagetest.Must(t, err)
			payload := decodePart(t, token, 1)
			events, _ := payload["events"].(map[string]any)
			if len(form) != 1 || got.Subject != id["sub"] || got.SessionID != id["sid"] || got.TokenID == "" || payload["nonce"] != nil || len(events) != 1 || decodePart(t, token, 0)["typ"] != "logout+jwt" {
				t.Errorf("%v %v", form, payload)
			}
			if s.Userinfo(token).Status != 401 {
				t.Error("a logout token is an access token")
			}
			b.Authorize(c, "scope", "openid", "id_token_hint", token).WantRedirectError(t, s, "invalid_request")
		}
		s.Deliver()
		if len(host.Posted()) != 2 {
			t.Error("told again")
		}
	}).With("GATEHOUSE_FETCH_ALLOW_HOSTS=127.0.0.1", "GATEHOUSE_SESSION_MAX_TTL=2000h", "GATEHOUSE_SESSION_IDLE_TTL=2000h"),
	servertest.Req("L8", "OIDC Back-Channel Logout §2.8", "a delivery is retried with exponential backoff, by any running process, until it succeeds or a day is over", func(t *testing.T, s *servertest.Server) {
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
		other := s.Another() // the first process may die at any time
		for i, wait := range []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second} {
			if wait > 0 {
				s.Clock.Advance(wait - time.Millisecond)
				other.Deliver()
				if n := len(host.Posted()); n != i {
					t.Fatalf("attempt %d came early", n)
				}
				s.Clock.Advance(time.Millisecond)
			}
			storagetest.Do(4, func(n int) { // many at once: one sends
				if n%2 == 0 {
					s.Deliver()
				} else {
					other.Deliver()
				}
			})
			if n := len(host.Posted()); n != i+1 {
				t.Fatalf("after attempt %d there were %d", i+1, n)
			}
		}
		first, last := host.Posted()[0].Get("logout_token"), host.Posted()[3].Get("logout_token")
		if decodePart(t, first, 1)["jti"] == decodePart(t, last, 1)["jti"] {
			t.Error("an old token is sent again")
		}
		s.Clock.Advance(24 * time.Hour)
		s.Deliver()
		if n := len(host.Posted()); n != 4 {
			t.Errorf("told again after it arrived: %d", n)
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
			t.Error("it never gives up")
		}
		for event, want := range map[string]int{audit.LogoutDelivered: 1, audit.LogoutUndelivered: 1} {
			events, err := s.Store.Audit.Rows(t.Context(), audit.Filter{Event: event, UserID: u.ID})
			storagetest.Must(t, err)
			if len(events) != want {
				t.Errorf("%s: %d events", event, len(events))
			}
		}
	}).With("GATEHOUSE_FETCH_ALLOW_HOSTS=127.0.0.1"),
	servertest.Req("L9", "OIDC Back-Channel Logout §2.3", "everything that ends a session notifies the clients: the account page, a password change, a disabled or deleted user", func(t *testing.T, s *servertest.Server) {
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
				return s.Store.DeleteUser(t.Context(), u.ID)
			},
		} {
			u := s.User("user" + string(rune('a'+i)))
			b := s.Browser()
			sub := s.IDToken(c, s.Redeem(c, b.Code(c, u.Username, "scope", "openid")))["sub"]
			storagetest.Must(t, end(u, b))
			s.Deliver()
			posted := host.Posted()
			if len(posted) != i+1 || decodePart(t, posted[i].Get("logout_token"), 1)["sub"] != sub {
				t.Fatalf("case %d: %d posts", i, len(posted))
			}
		}
	}).With("GATEHOUSE_FETCH_ALLOW_HOSTS=127.0.0.1"),
	servertest.Req("L10", "OIDC Core §4", "the connected-apps page opens a client by its initiate_login_uri, with iss, and with login_hint only if the client may have the username", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.RelyingParty(`"initiate_login_uri":"https://app.example/start?x=1"`)
		pairwise := s.RelyingParty(`"initiate_login_uri":"https://app.example/pair"`, `"subject_type":"pairwise"`)
		b := s.Browser()
		shy := s.RelyingParty(`"initiate_login_uri":"https://app.example/shy"`)
		b.Code(c, "alice", "scope", "openid email")
		b.Code(pairwise, "alice", "scope", "openid email")
		b.Code(shy, "alice", "scope", "openid")
		page := b.Open("/account").Body
		iss := url.QueryEscape(s.Issuer)
		if !strings.Contains(page, `href="https://app.example/start?x=1&amp;iss=`+iss+`&amp;login_hint=alice"`) || !strings.Contains(page, `href="https://app.example/pair?iss=`+iss+`"`) || !strings.Contains(page, `href="https://app.example/shy?iss=`+iss+`"`) {
			t.Error(page)
		}
	}),
	servertest.Req("L11", "OIDC Core §11, [design](design.md)", "an expired cookie cannot end its session, and the audit log has who signed in and who signed whom out", func(t *testing.T, s *servertest.Server) {
		alice := s.User("alice")
		c := s.RelyingParty(`"grant_types":["authorization_code","refresh_token"]`)
		b := s.Browser()
		tokens := s.Redeem(c, b.Code(c, "alice", "scope", "openid")).OK(t)
		stolen := b.Cookie("session")
		s.Clock.Advance(3 * time.Hour) // idle: it signs nobody in
		thief := s.Browser()
		thief.SetCookie("session", stolen)
		names := []string{"m1", "m2", "m3", "m4", "m5", "m6"}
		ids := map[string]string{}
		for _, name := range names {
			ids[name] = s.User(name).ID
			thief.SignIn(thief.Open("/login"), name)
		}
		s.Refresh(c, tokens.Text("refresh_token")).OK(t)
		ended, err := s.Store.Audit.Rows(t.Context(), audit.Filter{Event: audit.SessionEnded})
		storagetest.Must(t, err)
		if len(ended) != 1 || ended[0].UserID != ids["m1"] || ended[0].Actor != "user:"+ids["m6"] {
			t.Errorf("ended were %+v", ended)
		}
		ids["alice"] = alice.ID
		for name, id := range ids {
			in, err := s.Store.Audit.Rows(t.Context(), audit.Filter{Event: audit.UserSignedIn, UserID: id})
			storagetest.Must(t, err)
			if len(in) != 1 || in[0].Actor != "user:"+id {
				t.Errorf("%s signed in: %+v", name, in)
			}
		}
		form := thief.Open("/login").Fields()
		form.Set("username", "alice")
		form.Set("password", "wrong")
		thief.Submit("/login", form)
		failed, err := s.Store.Audit.Rows(t.Context(), audit.Filter{Event: audit.UserSignInFailed})
		storagetest.Must(t, err)
		if len(failed) != 1 || failed[0].Actor != "anonymous" {
			t.Errorf("failed: %+v", failed)
		}
	}),
}
