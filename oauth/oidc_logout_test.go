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

// postLogoutURI is registered by servertest.RelyingParty.
const postLogoutURI = "https://app.example/bye"

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

// isSignedIn reports whether a user is signed in to the browser.
func isSignedIn(b *servertest.Browser) bool { return b.Open("/account").Status == http.StatusOK }

// isPrompt reports whether the page prompts the user to sign out.
func isPrompt(p servertest.Page) bool {
	return p.Status == http.StatusOK && p.Header.Get("Location") == "" && strings.Contains(p.Text(), "Sign out?")
}

// redirectsToClient reports whether the page redirects to the client.
func redirectsToClient(p servertest.Page) bool { return p.Location().Host == "app.example" }

var rpInitiatedLogout = []servertest.Requirement{
	servertest.Req("L1", "OIDC RP-Initiated Logout §2, §3",
		"an ID token of the same session signs the user out immediately and redirects with the state, byte for byte",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.RelyingParty()
			for _, state := range []string{
				"x", "", "a b+c%20d;,/?:@&=$-_.!~*'()#[]{}|^`<>\"\\ü€", strings.Repeat("s", 1000),
			} {
				b := s.Browser()
				hint := s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("id_token")
				p := b.Open(logoutPath("id_token_hint", hint, "post_logout_redirect_uri", postLogoutURI, "state", state))
				to := p.Location()
				want := url.Values{}
				if state != "" {
					want.Set("state", state)
				}
				if p.Status != http.StatusSeeOther || to.Host+to.Path != "app.example/bye" ||
					to.Query().Encode() != want.Encode() {
					t.Errorf("sign-out with state %q: %d to %s, want 303 to %s with the query %s",
						state, p.Status, to, postLogoutURI, want.Encode())
				}
				if isSignedIn(b) {
					t.Errorf("sign-out with state %q: the user is still signed in", state)
				}
				b.Authorize(c, "scope", "openid", "prompt", "none").WantRedirectError(t, s, "login_required")
			}
		}),
	servertest.Req("L2", "OIDC RP-Initiated Logout §2, P94",
		"an expired ID token is a valid hint, and without post_logout_redirect_uri a page confirms the sign-out",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.RelyingParty()
			b := s.Browser()
			hint := s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("id_token")
			s.Clock.Advance(100 * time.Minute)
			b.Open("/account")
			p := b.Follow(b.Open(logoutPath("id_token_hint", hint, "state", "x")))
			if p.Status != 200 || !strings.Contains(p.URL, "/signed-out") || isSignedIn(b) {
				t.Errorf("sign-out with an expired hint: %d at %s, want 200 at /signed-out and no user signed in",
					p.Status, p.URL)
			}
		}),
	servertest.Req("L3", "OIDC RP-Initiated Logout §2",
		"without a hint, or with a hint of another user, a page prompts first, without a redirect",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			s.User("bob")
			c := s.RelyingParty()
			bobs := s.Browser()
			hint := s.Redeem(c, bobs.Code(c, "bob", "scope", "openid")).Text("id_token")
			unsigned := forge(t, hint, map[string]any{"alg": "none"}, nil)
			toURI := func(pairs ...string) string {
				return logoutPath(append(pairs, "post_logout_redirect_uri", postLogoutURI)...)
			}
			for _, request := range []unprovenLogout{
				{name: "no parameters", path: "/oauth2/logout"},
				{name: "only state", path: logoutPath("state", "x")},
				{name: "client_id", path: toURI("client_id", c.ClientID, "state", "x"), redirects: true},
				{name: "hint of another user", path: toURI("id_token_hint", hint), redirects: true, hinted: true},
				{name: "modified", path: toURI("id_token_hint", withChangedSignature(hint)), warns: true},
				{name: "alg none", path: toURI("id_token_hint", unsigned), warns: true},
				{name: "no JWT", path: logoutPath("id_token_hint", "x"), warns: true},
			} {
				request.check(t, s)
			}
		}),
	servertest.Req("L3b", "OIDC RP-Initiated Logout §2, §6",
		"a hint of an ended session, another browser or a client without consent signs out only after confirmation, "+
			"and a hint of a disabled or deleted client never signs out",
		func(t *testing.T, s *servertest.Server) {
			alice := s.User("alice")
			s.User("bob")
			c := s.RelyingParty()
			ended := s.Browser()
			endedHint := s.Redeem(c, ended.Code(c, "alice", "scope", "openid")).Text("id_token")
			ended.Follow(ended.Open(logoutPath("id_token_hint", endedHint)))
			if isSignedIn(ended) {
				t.Fatal("the session did not end")
			}
			otherHint := s.Redeem(c, s.Browser().Code(c, "alice", "scope", "openid")).Text("id_token")
			b := s.Browser()
			withdrawnHint := s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("id_token")

			fresh := s.Browser()
			fresh.SignIn(fresh.Open("/login"), "alice")
			wantLogoutPrompt(t, "an ended session", fresh, endedHint)
			wantLogoutPrompt(t, "another browser", fresh, otherHint)
			ended.SignIn(ended.Open("/login"), "alice")
			wantLogoutPrompt(t, "an ended session, in its browser", ended, endedHint)
			fresh.SignIn(fresh.Open("/login"), "bob")
			checked := fresh.Open(logoutPath("id_token_hint", endedHint)).Fields()["session"]
			if len(checked) != 1 {
				t.Errorf("checked sessions = %v, want only that of the user of the hint", checked)
			}

			consent, err := s.Store.Consent(t.Context(), alice.ID, c.ClientID)
			storagetest.Must(t, err)
			storagetest.Must(t, s.OAuth.WithdrawConsent(t.Context(), alice.ID, consent.ID))
			wantLogoutPrompt(t, "a client without consent", b, withdrawnHint)
			checkHintsOfUnavailableClient(t, s, c, b)
		}),
	servertest.Req("L4", "OIDC RP-Initiated Logout §3, P93",
		"a post_logout_redirect_uri that differs in any way, or has no client, is an error page without sign-out",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.RelyingParty()
			b := s.Browser()
			hint := s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("id_token")
			for name, parameters := range map[string][]string{
				"query added":       {"id_token_hint", hint, "post_logout_redirect_uri", postLogoutURI + "?foo=bar"},
				"slash added":       {"id_token_hint", hint, "post_logout_redirect_uri", postLogoutURI + "/"},
				"different case":    {"id_token_hint", hint, "post_logout_redirect_uri", "https://app.example/Bye"},
				"unregistered":      {"id_token_hint", hint, "post_logout_redirect_uri", "https://evil.example/"},
				"the callback":      {"id_token_hint", hint, "post_logout_redirect_uri", servertest.Callback},
				"no client":         {"post_logout_redirect_uri", postLogoutURI, "state", "x"},
				"unknown client":    {"post_logout_redirect_uri", postLogoutURI, "client_id", "unregistered"},
				"another client_id": {"id_token_hint", hint, "client_id", s.RelyingParty().ClientID},
			} {
				b.Open(logoutPath(parameters...)).WantErrorPage(t, http.StatusBadRequest)
				if !isSignedIn(b) {
					t.Fatalf("%s: the user was signed out", name)
				}
			}
			b.Open("/oauth2/logout?state=a&state=b").WantErrorPage(t, http.StatusBadRequest)
		}),
	servertest.Req("L5", "OIDC RP-Initiated Logout §2",
		"POST works from another site: the request continues sealed, without its ID token in a URL",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.RelyingParty()
			b := s.Browser()
			hint := s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("id_token")
			p := b.SubmitFrom("https://app.example", "/oauth2/logout", url.Values{
				"id_token_hint": {hint}, "post_logout_redirect_uri": {postLogoutURI}, "state": {"st ate"},
			})
			location := p.Header.Get("Location")
			if p.Status != http.StatusSeeOther || strings.Contains(location, strings.Split(hint, ".")[1]) {
				t.Fatalf("POST: %d to %q, want 303 without the ID token in the URL", p.Status, location)
			}
			if q := s.Browser().Follow(s.Browser().Open(location)); !redirectsToClient(q) {
				t.Errorf("in a browser without user: %d to %q, want a redirect to the client",
					q.Status, q.Header.Get("Location"))
			}
			if to := b.Follow(p).Location(); to.String() != postLogoutURI+"?state=st+ate" || isSignedIn(b) {
				t.Errorf("redirected to %s, want %s?state=st+ate and the user signed out", to, postLogoutURI)
			}
			b.Open(location[:len(location)-4]+"AAAA").WantErrorPage(t, http.StatusBadRequest)
			s.Clock.Advance(11 * time.Minute)
			b.Open(location).WantErrorPage(t, http.StatusBadRequest)
			invalid := url.Values{"client_id": {"x"}}
			b.SubmitFrom("https://app.example", "/oauth2/logout", invalid).WantErrorPage(t, http.StatusBadRequest)
		}),
	servertest.Req("L6", "OIDC Core §11, [design](design.md), CVE-2022-3916, P95",
		"ending a session ends the grants bound to it and no others: offline_access and other sessions continue",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			s.User("bob")
			c := s.RelyingParty()
			b, other := s.Browser(), s.Browser()
			bound := s.Redeem(c, b.Code(c, "alice", "scope", "openid"))
			offline := s.Redeem(c, b.Code(c, "alice", "scope", "openid offline_access"))
			elsewhere := s.Redeem(c, other.Code(c, "alice", "scope", "openid"))
			b.SignIn(b.Open("/login"), "bob")
			page := b.Authorize(c, "scope", "openid")
			form := page.Fields()
			form.Set("session", page.Buttons("session")[0])
			consent := b.Follow(b.Submit("/select", form))
			bobs := s.Redeem(c, b.Follow(b.Decide(consent, "approve")).Location())
			b.Follow(b.Open(logoutPath("id_token_hint", bound.Text("id_token"))))
			if s.Active(c, bound.Text("access_token")) || s.Userinfo(bound.Text("access_token")).Status != 401 {
				t.Error("the access token of the ended session is still active")
			}
			s.Refresh(c, bound.Text("refresh_token")).Want(t, 400, "invalid_grant")
			for name, r := range map[string]servertest.Response{
				"offline": offline, "another browser": elsewhere, "another user of this browser": bobs,
			} {
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

// An unprovenLogout is a sign-out request that does not prove that a client of the signed-in user sends it.
type unprovenLogout struct {
	name, path string
	warns      bool // the page warns of an invalid hint
	redirects  bool // it redirects to the client after the user confirmed
	hinted     bool // it redirects to the client also when no user is signed in: only a valid hint does
}

// check sends the request from a browser with a user, and checks every response to the page that prompts.
func (request unprovenLogout) check(t *testing.T, s *servertest.Server) {
	t.Helper()
	name := request.name
	b := s.Browser()
	b.SignIn(b.Open("/login"), "alice")
	p := b.Open(request.path)
	if !isPrompt(p) || !isSignedIn(b) {
		t.Errorf("%s: %d %s, want the page that prompts", name, p.Status, p.Text())
		return
	}
	if warned := strings.Contains(p.Text(), "id_token_hint is not an ID token"); warned != request.warns {
		t.Errorf("%s: the page warns of an invalid request: %t, want %t", name, warned, request.warns)
	}
	form := p.Fields()
	form.Set("decision", "stay")
	if q := b.Follow(b.Submit("/oauth2/logout/confirm", form)); !strings.Contains(q.URL, "/account") || !isSignedIn(b) {
		t.Errorf("%s: decision=stay redirects to %s, want /account and the user signed in", name, q.URL)
	}
	form.Set("decision", "sign-out")
	q := b.SubmitFrom("https://evil.example", "/oauth2/logout/confirm", form)
	if q.Status != http.StatusForbidden || !isSignedIn(b) {
		t.Errorf("%s: the form sent from another site: %d, want 403 and the user signed in", name, q.Status)
	}
	forged := url.Values{
		"decision": {"sign-out"}, "request": form["request"], "session": form["session"], "form_token": {"x"},
	}
	if q := b.Submit("/oauth2/logout/confirm", forged); q.Status != http.StatusForbidden || !isSignedIn(b) {
		t.Errorf("%s: a forged form: %d, want 403 and the user signed in", name, q.Status)
	}
	q = b.Follow(b.Submit("/oauth2/logout/confirm", form))
	if isSignedIn(b) {
		t.Errorf("%s: the user is signed in after decision=sign-out", name)
	}
	if redirectsToClient(q) != request.redirects {
		t.Errorf("%s: redirected to %q, want a redirect to the client: %t",
			name, q.Header.Get("Location"), request.redirects)
	}
	p = b.Follow(b.Open(request.path))
	if redirectsToClient(p) != request.hinted || !request.hinted && !strings.Contains(p.URL, "/signed-out") {
		t.Errorf("%s, when no user is signed in: %d at %s to %q, want a redirect to the client: %t, else /signed-out",
			name, p.Status, p.URL, p.Header.Get("Location"), request.hinted)
	}
}

// wantLogoutPrompt fails the test unless sign-out requests with the hint prompt the user of the browser.
func wantLogoutPrompt(t *testing.T, name string, b *servertest.Browser, hint string) {
	t.Helper()
	for _, uri := range []string{"", postLogoutURI} {
		p := b.Open(logoutPath("id_token_hint", hint, "post_logout_redirect_uri", uri))
		if !isPrompt(p) || !isSignedIn(b) {
			t.Errorf("hint of %s: %d to %q, want the page that prompts", name, p.Status, p.Header.Get("Location"))
		}
	}
	posted := b.SubmitFrom("https://app.example", "/oauth2/logout", url.Values{"id_token_hint": {hint}})
	if p := b.Follow(posted); !strings.Contains(p.Text(), "Sign out?") || !isSignedIn(b) {
		t.Errorf("hint of %s, by POST: %d to %q, want the page that prompts", name, p.Status, p.Header.Get("Location"))
	}
}

// checkHintsOfUnavailableClient lets alice, who is signed in to the browser, consent again, and checks the hint of this
// consent: it signs alice out, except while the client is disabled and after it was deleted.
func checkHintsOfUnavailableClient(
	t *testing.T, s *servertest.Server, c clientInformation, b *servertest.Browser,
) {
	t.Helper()
	path := logoutPath("id_token_hint", s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("id_token"))
	storagetest.Must(t, s.Store.DisableClient(t.Context(), c.ClientID))
	b.Open(path).WantErrorPage(t, http.StatusBadRequest)
	if !isSignedIn(b) {
		t.Error("the hint of a disabled client signed alice out")
	}
	storagetest.Must(t, s.Store.EnableClient(t.Context(), c.ClientID))
	b.Open(path)
	if isSignedIn(b) {
		t.Error("the hint of a client with a new consent did not sign alice out")
	}
	b.SignIn(b.Open("/login"), "alice")
	storagetest.Must(t, s.Store.DeleteClient(t.Context(), c.ClientID))
	b.Open(path).WantErrorPage(t, http.StatusBadRequest)
	if !isSignedIn(b) {
		t.Error("the hint of a deleted client signed alice out")
	}
}
