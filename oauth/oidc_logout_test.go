package oauth_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

var logout = slices.Concat(rpInitiatedLogout, backchannelLogout)

func TestLogout(t *testing.T) { servertest.Run(t, logout) }

const bye = "https://app.example/bye"

// logoutPath returns the path of a sign-out request with these parameters, without those that are empty.
func logoutPath(pairs ...string) string {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	return "/oauth2/logout?" + v.Encode()
}

// signedIn reports whether a user is signed in to the browser.
func signedIn(b *servertest.Browser) bool { return b.Open("/account").Status == http.StatusOK }

var rpInitiatedLogout = []servertest.Requirement{
	servertest.Req("L1", "OIDC RP-Initiated Logout §2, §3", "with the ID token of the same session the user is signed out immediately and redirected back with the state, byte for byte", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.RelyingParty()
		for _, state := range []string{"x", "", "a b+c%20d;,/?:@&=$-_.!~*'()#[]{}|^`<>\"\\ü€", strings.Repeat("s", 1000)} {
			b := s.Browser()
			hint := s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("id_token")
			p := b.Open(logoutPath("id_token_hint", hint, "post_logout_redirect_uri", bye, "state", state))
			to := p.Location()
			if p.Status != http.StatusSeeOther || to.Host != "app.example" || to.Path != "/bye" || to.Query().Get("state") != state || to.Query().Has("state") != (state != "") || len(to.Query()) > 1 {
				t.Errorf("sign-out with state %q: %d to %s, want 303 to %s with the state", state, p.Status, p.Header.Get("Location"), bye)
			}
			if signedIn(b) {
				t.Errorf("sign-out with state %q: the user is still signed in", state)
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
			t.Errorf("sign-out with an expired hint: %d at %s, want 200 at /signed-out and no user signed in", p.Status, p.URL)
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
			"modified":       logoutPath("id_token_hint", withChangedSignature(hint), "post_logout_redirect_uri", bye), "alg none": logoutPath("id_token_hint", forge(t, hint, map[string]any{"alg": "none"}, nil), "post_logout_redirect_uri", bye),
			"garbage": logoutPath("id_token_hint", "x"),
		} {
			b := s.Browser()
			b.SignIn(b.Open("/login"), "alice")
			p := b.Open(path)
			if p.Status != 200 || p.Header.Get("Location") != "" || !strings.Contains(p.Text(), "Sign out?") || !signedIn(b) {
				t.Errorf("%s: %d %s, want the page that prompts", name, p.Status, p.Text())
				continue
			}
			invalid := name == "modified" || name == "alg none" || name == "garbage"
			if warned := strings.Contains(p.Text(), "id_token_hint is not an ID token"); warned != invalid {
				t.Errorf("%s: the page warns of an invalid request: %t, want %t", name, warned, invalid)
			}
			form := p.Fields()
			form.Set("decision", "stay")
			if q := b.Follow(b.Submit("/oauth2/logout/confirm", form)); !strings.Contains(q.URL, "/account") || !signedIn(b) {
				t.Errorf("%s: decision=stay leads to %s, want /account and the user signed in", name, q.URL)
			}
			form.Set("decision", "sign-out")
			if q := b.SubmitFrom("https://evil.example", "/oauth2/logout/confirm", form); q.Status != http.StatusForbidden || !signedIn(b) {
				t.Errorf("%s: the form sent from another site: %d, want 403 and the user signed in", name, q.Status)
			}
			forged := url.Values{"decision": {"sign-out"}, "request": form["request"], "session": form["session"], "form_token": {"x"}}
			if q := b.Submit("/oauth2/logout/confirm", forged); q.Status != http.StatusForbidden || !signedIn(b) {
				t.Errorf("%s: a forged form: %d, want 403 and the user signed in", name, q.Status)
			}
			q := b.Follow(b.Submit("/oauth2/logout/confirm", form))
			if signedIn(b) {
				t.Errorf("%s: the user is signed in after decision=sign-out", name)
			}
			// Without a valid hint or client_id there is no redirect.
			if wants := name == "client_id" || name == "another's hint"; wants != (q.Location().Host == "app.example") {
				t.Errorf("%s: redirected to %q, want a redirect to the client: %t", name, q.Header.Get("Location"), wants)
			}
			// When no user is signed in, only a hint authenticates the request of a client.
			p = b.Follow(b.Open(path))
			if hinted := strings.Contains(name, "hint"); hinted != (p.Location().Host == "app.example") || !hinted && !strings.Contains(p.URL, "/signed-out") {
				t.Errorf("%s, when no user is signed in: %d at %s", name, p.Status, p.URL)
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
		wantPrompt := func(name string, b *servertest.Browser, hint string) {
			t.Helper()
			for _, path := range []string{logoutPath("id_token_hint", hint), logoutPath("id_token_hint", hint, "post_logout_redirect_uri", bye)} {
				p := b.Open(path)
				if p.Status != 200 || !strings.Contains(p.Text(), "Sign out?") || !signedIn(b) {
					t.Errorf("hint of %s: %d to %q, want the page that prompts", name, p.Status, p.Header.Get("Location"))
				}
				posted := b.SubmitFrom("https://app.example", "/oauth2/logout", url.Values{"id_token_hint": {hint}})
				if p := b.Follow(posted); !strings.Contains(p.Text(), "Sign out?") || !signedIn(b) {
					t.Errorf("hint of %s, by POST: %d to %q, want the page that prompts", name, p.Status, p.Header.Get("Location"))
				}
			}
		}
		fresh := s.Browser()
		fresh.SignIn(fresh.Open("/login"), "alice")
		wantPrompt("an ended session", fresh, old)
		wantPrompt("another browser", fresh, elsewhere)
		ended.SignIn(ended.Open("/login"), "alice")
		wantPrompt("the same browser, a new session", ended, old)
		fresh.SignIn(fresh.Open("/login"), "bob")
		if p := fresh.Open(logoutPath("id_token_hint", old)); len(p.Fields()["session"]) != 1 {
			t.Errorf("checked sessions = %v, want only that of the user of the hint", p.Fields()["session"])
		}
		consent, err := s.Store.Consent(t.Context(), alice.ID, c.ClientID)
		storagetest.Must(t, err)
		storagetest.Must(t, s.OAuth.WithdrawConsent(t.Context(), alice.ID, consent.ID))
		wantPrompt("a client without consent", withdrawn, gone)
		// After another consent in the same session the client can sign the user out.
		again := s.Redeem(c, withdrawn.Code(c, "alice", "scope", "openid")).Text("id_token")
		storagetest.Must(t, s.Store.DisableClient(t.Context(), c.ClientID))
		withdrawn.Open(logoutPath("id_token_hint", again)).WantErrorPage(t, http.StatusBadRequest)
		if !signedIn(withdrawn) {
			t.Error("the hint of a disabled client signed alice out")
		}
		storagetest.Must(t, s.Store.EnableClient(t.Context(), c.ClientID))
		withdrawn.Open(logoutPath("id_token_hint", again))
		if signedIn(withdrawn) {
			t.Error("the hint of a client with a new consent did not sign alice out")
		}
		withdrawn.SignIn(withdrawn.Open("/login"), "alice")
		storagetest.Must(t, s.Store.DeleteClient(t.Context(), c.ClientID))
		withdrawn.Open(logoutPath("id_token_hint", again)).WantErrorPage(t, http.StatusBadRequest)
		if !signedIn(withdrawn) {
			t.Error("the hint of a deleted client signed alice out")
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
			"unknown client": logoutPath("post_logout_redirect_uri", bye, "client_id", "unregistered"), "another client_id": logoutPath("id_token_hint", hint, "client_id", s.RelyingParty().ClientID),
		} {
			b.Open(path).WantErrorPage(t, http.StatusBadRequest)
			if !signedIn(b) {
				t.Fatalf("%s: the user was signed out", name)
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
			t.Fatalf("POST: %d to %q, want 303 without the ID token in the URL", p.Status, p.Header.Get("Location"))
		}
		location := p.Header.Get("Location")
		if q := s.Browser().Follow(s.Browser().Open(location)); q.Location().Host != "app.example" {
			t.Errorf("in a browser without user: %d to %q, want a redirect to the client", q.Status, q.Header.Get("Location"))
		}
		if to := b.Follow(p).Location(); to.String() != bye+"?state=st+ate" || signedIn(b) {
			t.Errorf("redirected to %s, want %s?state=st+ate and the user signed out", to, bye)
		}
		b.Open(location[:len(location)-4]+"AAAA").WantErrorPage(t, http.StatusBadRequest)
		s.Clock.Advance(11 * time.Minute)
		b.Open(location).WantErrorPage(t, http.StatusBadRequest)
		b.SubmitFrom("https://app.example", "/oauth2/logout", url.Values{"client_id": {"x"}}).WantErrorPage(t, http.StatusBadRequest)
	}),
	servertest.Req("L6", "OIDC Core §11, [design](design.md), CVE-2022-3916, P95", "ending a session ends the grants bound to it and no others: offline_access and other sessions continue", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		s.User("bob")
		c := s.RelyingParty()
		b, elsewhere := s.Browser(), s.Browser()
		bound := s.Redeem(c, b.Code(c, "alice", "scope", "openid"))
		offline := s.Redeem(c, b.Code(c, "alice", "scope", "openid offline_access"))
		other := s.Redeem(c, elsewhere.Code(c, "alice", "scope", "openid"))
		b.SignIn(b.Open("/login"), "bob")
		page := b.Authorize(c, "scope", "openid")
		form := page.Fields()
		form.Set("session", page.Buttons("session")[0])
		bobs := s.Redeem(c, b.Follow(b.Decide(b.Follow(b.Submit("/select", form)), "approve")).Location())
		b.Follow(b.Open(logoutPath("id_token_hint", bound.Text("id_token"))))
		if s.Active(c, bound.Text("access_token")) || s.Userinfo(bound.Text("access_token")).Status != 401 {
			t.Error("the access token of the ended session is still active")
		}
		s.Refresh(c, bound.Text("refresh_token")).Want(t, 400, "invalid_grant")
		for name, r := range map[string]servertest.Response{"offline": offline, "another browser": other, "another user of this browser": bobs} {
			if !s.Active(c, r.Text("access_token")) {
				t.Errorf("%s: the access token is inactive, want active", name)
			}
			s.Refresh(c, r.Text("refresh_token")).OK(t)
		}
		if p := b.Open("/account"); !strings.Contains(p.Text(), "bob@example.com") {
			t.Errorf("the account page after alice's sign-out: %s, want bob signed in", p.Text())
		}
	}),
}
