package oauth_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

func TestOpenIDRequests(t *testing.T) { servertest.Run(t, openidRequests) }

var openidRequests = slices.Concat(userSelection, requestParameters, userPages)

// wantCode fails the test unless the page redirects to the client with a code.
func wantCode(t *testing.T, name string, p servertest.Page) {
	t.Helper()
	if !hasCode(p) {
		t.Errorf("%s: %d at %s to %q, want a redirect with a code", name, p.Status, p.URL, p.Header.Get("Location"))
	}
}

var userSelection = []servertest.Requirement{
	servertest.Req("C10", "OIDC Core §3.1.2.1, §3.1.2.2",
		"a request with an id_token_hint, also expired, of the same client continues for the user of the hint; another user "+
			"must sign in",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			s.User("bob")
			c, other := s.RelyingParty(), s.RelyingParty()
			b, bobs := s.Browser(), s.Browser()
			tokens := s.Redeem(c, b.Code(c, "alice", "scope", "openid"))
			hint := tokens.Text("id_token")
			bobsHint := s.Redeem(c, bobs.Code(c, "bob", "scope", "openid")).Text("id_token")
			silent := func(b *servertest.Browser, hint string) servertest.Page {
				return b.Authorize(c, "scope", "openid", "prompt", "none", "id_token_hint", hint)
			}
			wantCode(t, "the same user", silent(b, hint))
			silent(b, bobsHint).WantRedirectError(t, s, "login_required")
			silent(s.Browser(), hint).WantRedirectError(t, s, "login_required")
			for name, invalid := range map[string]string{
				"no JWT":                "x",
				"another signature":     withChangedSignature(hint),
				"one of another client": s.Redeem(other, b.Code(other, "alice", "scope", "openid")).Text("id_token"),
				"an access token":       tokens.Text("access_token"),
			} {
				if got := silent(b, invalid).Location().Query().Get("error"); got != "invalid_request" {
					t.Errorf("hint that is %s: error = %q, want invalid_request", name, got)
				}
			}
			s.Clock.Advance(90 * time.Minute) // the token has expired, the session has not
			b.Open("/account")
			wantCode(t, "an expired hint", silent(b, hint))
			// A user who signs in instead of the user of the hint is not the subject.
			page := b.Authorize(c, "scope", "openid", "id_token_hint", bobsHint)
			if !strings.Contains(page.URL, "/login") {
				t.Fatalf("a hint of bob while alice is signed in redirects to %s, want /login", page.URL)
			}
			b.SignIn(page, "alice").WantRedirectError(t, s, "login_required")
			page = b.Authorize(c, "scope", "openid", "id_token_hint", bobsHint)
			wantCode(t, "bob signs in after a hint of bob", b.SignIn(page, "bob"))
			if strings.Contains(storagetest.Dump(t, s.Store, s.DB), hint) {
				t.Error("the database has the hint")
			}
		}),
	servertest.Req("C11", "OIDC Core §3.1.2.1, §3.1.2.6",
		"of several users in one browser the user or a hint selects one, and prompt=none returns account_selection_required",
		func(t *testing.T, s *servertest.Server) {
			alice, bob := s.User("alice"), s.User("bob")
			c := s.RelyingParty()
			b := s.Browser()
			hint := s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("id_token")
			b.SignIn(b.Open("/login"), "bob")
			silent := func(c clientInformation, changes ...string) servertest.Page {
				return b.Authorize(c, append([]string{"scope", "openid", "prompt", "none"}, changes...)...)
			}
			silent(c).WantRedirectError(t, s, "account_selection_required")
			wantCode(t, "id_token_hint", silent(c, "id_token_hint", hint))
			wantCode(t, "login_hint", silent(c, "login_hint", "Alice@Example.com"))
			// A login_hint discloses to a client without consent nothing about the signed-in users.
			other := s.RelyingParty()
			for _, name := range []string{"alice", "bob", "carol"} {
				silent(other, "login_hint", name).WantRedirectError(t, s, "account_selection_required")
			}
			for i, want := range []storage.User{bob, alice} { // the last selected user comes first
				page := b.Authorize(c, "scope", "openid")
				form := page.Fields()
				form.Set("session", page.Buttons("session")[min(i, 1)])
				page = b.Follow(b.Submit("/select", form))
				if strings.Contains(page.URL, "/consent") {
					page = b.Follow(b.Decide(page, "approve"))
				}
				if got := s.IDToken(c, s.Redeem(c, page.Location()))["sub"]; got != want.ID {
					t.Errorf("selection %d: sub = %v, want %s of %s", i, got, want.ID, want.Username)
				}
			}
			checkAccountSelectionForm(t, b, b.Authorize(c, "scope", "openid"))
			single := s.Browser()
			single.SignIn(single.Open("/login"), "alice")
			if p := single.Authorize(c, "scope", "openid", "prompt", "select_account"); !strings.Contains(p.URL, "/select") {
				t.Errorf("prompt=select_account with one user redirects to %s, want /select", p.URL)
			}
		}),
	servertest.Req("C11b", "OIDC Core §3.1.2.1, §3.1.2.6",
		"prompt=none for a client without consent discloses how many users are signed in, but neither their identity nor "+
			"their sign-in time",
		func(t *testing.T, s *servertest.Server) {
			ids := map[string]string{"nobody": "unknown"}
			for _, name := range []string{"alice", "bob", "carol"} {
				ids[name] = s.User(name).ID
			}
			c, other := s.RelyingParty(), s.RelyingParty()
			phone := s.Client(`{"client_name":"Phone","token_endpoint_auth_method":"none",
				"redirect_uris":["http://127.0.0.1/cb"],"gatehouse_skip_consent":true,"scope":"openid"}`)
			var browsers []userBrowser
			for _, users := range [][]string{nil, {"alice"}, {"bob"}, {"alice", "bob"}, {"bob", "carol"}} {
				b := s.Browser()
				for _, name := range users {
					b.SignIn(b.Open("/login"), name)
				}
				browsers = append(browsers, userBrowser{b, users})
			}
			// The other client has an ID token of alice, who withdrew the consent.
			to := s.Browser().Code(other, "alice", "scope", "openid")
			hint := s.Redeem(other, to).Text("id_token")
			consent, err := s.Store.Consent(t.Context(), ids["alice"], other.ClientID)
			storagetest.Must(t, err)
			storagetest.Must(t, s.OAuth.WithdrawConsent(t.Context(), ids["alice"], consent.ID))
			s.Clock.Advance(time.Minute)

			byCount := [3]string{"login_required", "consent_required", "account_selection_required"}
			always := [3]string{"login_required", "login_required", "login_required"}
			sub := func(name string) string { return `{"id_token":{"sub":{"value":"` + ids[name] + `"}}}` }
			for _, client := range []clientInformation{other, phone} {
				for _, request := range []silentRequest{
					{"state", "the state", byCount}, {"login_hint", "alice", byCount},
					{"login_hint", "bob@example.com", byCount}, {"login_hint", "nobody", byCount},
					{"claims", sub("alice"), always}, {"claims", sub("bob"), always}, {"claims", sub("nobody"), always},
				} {
					request.check(t, client, browsers)
				}
			}
			silentRequest{"id_token_hint", hint, always}.check(t, other, browsers)
			checkClientWithConsent(t, s, c, browsers[3].Browser, browsers[2].Browser, sub("alice"))
		}),
}

// checkAccountSelectionForm checks the page that selects a user, and that it accepts no forged form.
func checkAccountSelectionForm(t *testing.T, b *servertest.Browser, page servertest.Page) {
	t.Helper()
	for _, text := range []string{"alice@example.com", "bob@example.com"} {
		if !strings.Contains(page.URL, "/select") || !strings.Contains(page.Text(), text) {
			t.Fatalf("several users: the page at %s is %s, want /select with %s", page.URL, page.Text(), text)
		}
	}
	form := page.Fields()
	form.Set("session", "x")
	p := b.Submit("/select", form)
	if location := p.Header.Get("Location"); p.Status != http.StatusSeeOther || !strings.Contains(location, "/select") {
		t.Errorf("an unknown session: %d to %q, want 303 to /select", p.Status, location)
	}
	form.Set("form_token", "x")
	if p := b.Submit("/select", form); p.Status != http.StatusForbidden {
		t.Errorf("a forged form: status = %d, want 403", p.Status)
	}
	if p := b.SubmitFrom("https://evil.example", "/select", page.Fields()); p.Status != http.StatusForbidden {
		t.Errorf("a form of another site: status = %d, want 403", p.Status)
	}
}

// A userBrowser is a browser with its signed-in users.
type userBrowser struct {
	*servertest.Browser

	users []string
}

// A silentRequest is an authorization request with prompt=none, and its error by the number of signed-in users.
type silentRequest struct {
	parameter, value string
	want             [3]string
}

// check sends the request from every browser, with several values of max_age: all sign-ins are a minute old. The
// responses for the same number of users must not differ.
func (r silentRequest) check(t *testing.T, c clientInformation, browsers []userBrowser) {
	t.Helper()
	var locations [3]string
	for _, b := range browsers {
		count := len(b.users)
		for _, age := range []string{"", "0", "30", "3600"} {
			p := b.Authorize(c, "scope", "openid", "prompt", "none", "max_age", age, r.parameter, r.value)
			location := p.Header.Get("Location")
			if got := p.Location().Query().Get("error"); got != r.want[count] {
				t.Errorf("%s with %s=%s, signed in %q, max_age %q: error = %q, want %q",
					c.ClientName, r.parameter, r.value, b.users, age, got, r.want[count])
			}
			if locations[count] == "" {
				locations[count] = location
			}
			if location != locations[count] {
				t.Errorf("%s with %s=%s, signed in %q, max_age %q: redirected to %s, want %s as for other users",
					c.ClientName, r.parameter, r.value, b.users, age, location, locations[count])
			}
		}
	}
}

// checkClientWithConsent lets alice allow the client, and checks that a response then discloses that alice is signed
// in, but not that alice must sign in again or consent. sub is a claims parameter that requests alice.
func checkClientWithConsent(
	t *testing.T, s *servertest.Server, c clientInformation, b, bobs *servertest.Browser, sub string,
) {
	t.Helper()
	page := b.Authorize(c, "scope", "openid", "login_hint", "alice")
	s.Redeem(c, b.Decide(page, "approve").Location())
	silent := []string{"scope", "openid", "prompt", "none", "claims", sub}
	wantCode(t, "a client that alice allowed", b.Authorize(c, silent...))
	b.Authorize(c, append(silent, "max_age", "30")...).WantRedirectError(t, s, "login_required")
	b.Authorize(c, append(silent, "scope", "openid email")...).WantRedirectError(t, s, "login_required")
	bobs.Authorize(c, silent...).WantRedirectError(t, s, "login_required")
}

var requestParameters = []servertest.Requirement{
	servertest.Req("C12", "OIDC Core §3.1.2.1",
		"max_age 0 and default_max_age require a new sign-in; login_hint fills in the name; an unknown parameter is ignored",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.RelyingParty()
			strict := s.RelyingParty(`"default_max_age":60,"require_auth_time":true,"default_acr_values":["1"]`)
			b := s.Browser()
			b.Code(c, "alice", "scope", "openid")
			b.Code(strict, "alice", "scope", "openid")
			s.Clock.Advance(2 * time.Minute)
			for name, p := range map[string]servertest.Page{
				"max_age=0":       b.Authorize(c, "scope", "openid", "max_age", "0"),
				"default_max_age": b.Authorize(strict, "scope", "openid"),
			} {
				if !strings.Contains(p.URL, "/login") || !strings.Contains(p.Body, `value="alice"`) {
					t.Errorf("%s redirects to %s: %s, want /login with the name alice filled in", name, p.URL, p.Text())
				}
			}
			wantCode(t, "max_age, which overrides default_max_age", b.Authorize(strict, "scope", "openid", "max_age", "3600"))
			p := s.Browser().Authorize(c, "scope", "openid", "login_hint", "buffy@app.example")
			if !strings.Contains(p.Body, `value="buffy@app.example"`) {
				t.Errorf("login_hint: the page is %s, want the name filled in", p.Text())
			}
			for _, change := range [][]string{
				{"display", "popup"}, {"ui_locales", "se xx"}, {"claims_locales", "se"}, {"acr_values", "1 2"},
				{"extra", "foobar"},
			} {
				to := b.Code(c, "alice", append([]string{"scope", "openid"}, change...)...)
				wantClaims(t, change[0], s.IDToken(c, s.Redeem(c, to)), map[string]any{"acr": "1"})
			}
			p = b.Authorize(c, "scope", "openid", "registration", "{}")
			p.WantRedirectError(t, s, "registration_not_supported")
			p = b.Authorize(c, "scope", "openid", "nonce", strings.Repeat("n", 1001))
			p.WantRedirectError(t, s, "invalid_request")
		}),
	servertest.Req("C13", "OAuth 2.0 Form Post Response Mode §2",
		"response_mode=form_post responds with a form that submits automatically, on success and on error, also without "+
			"JavaScript",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.RelyingParty()
			b := s.Browser()
			const state = `<script>"'&=?#`
			page := b.Authorize(c, "scope", "openid", "response_mode", "form_post", "state", state)
			checkFormPost(t, s, c, b.Decide(b.SignIn(page, "alice"), "approve"), state)
			for want, change := range map[string][]string{
				"invalid_scope": {"scope", "openid nothing"}, "login_required": {"prompt", "none"},
			} {
				changes := append([]string{"scope", "openid", "response_mode", "form_post"}, change...)
				p := s.Browser().Authorize(c, changes...)
				f := p.Fields()
				if p.Status != 200 || f.Get("error") != want || f.Get("state") != "the state" || f.Get("iss") != s.Issuer {
					t.Errorf("%d with the fields %v, want 200 with the error %s, the state and iss", p.Status, f, want)
				}
			}
			for _, mode := range []string{"fragment", "jwt", "FORM_POST"} {
				b.Authorize(c, "response_mode", mode).WantRedirectError(t, s, "invalid_request")
			}
			app := s.Client(`{"token_endpoint_auth_method":"none","redirect_uris":["com.example.app:/cb"],"scope":"openid"}`)
			p := b.Authorize(app, "scope", "openid", "response_mode", "form_post")
			const want = "com.example.app:/cb?error=invalid_request"
			if location := p.Header.Get("Location"); p.Status != 303 || !strings.Contains(location, want) {
				t.Errorf("form_post to a private-use scheme: %d to %q, want 303 to %s", p.Status, location, want)
			}
		}),
	servertest.Req("C14", "OIDC Core §3.1.2.1",
		"a confidential client that is exempt from PKCE works without it",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.RelyingParty(`"gatehouse_require_pkce":false`)
			to := s.Browser().Code(c, "alice", "scope", "openid", "code_challenge", "", "code_challenge_method", "")
			s.IDToken(c, s.Token(c, servertest.CodeForm(to, c, "code_verifier", "")).OK(t))
			challenged := s.Browser().Code(c, "alice", "scope", "openid")
			s.Token(c, servertest.CodeForm(challenged, c, "code_verifier", "")).Want(t, 400, "invalid_grant")
		}),
	servertest.Req("C15", "OIDC Core §5.4",
		"gatehouse_id_token_claims adds the claims of the scopes to the ID token",
		func(t *testing.T, s *servertest.Server) {
			s.UserWithClaims("alice")
			c := s.RelyingParty(`"gatehouse_id_token_claims":true`)
			got := s.IDToken(c, s.Tokens(c, "alice", "scope", "openid email"))
			wantClaims(t, "ID token", got, map[string]any{"email": "alice@example.com", "name": nil, "iss": s.Issuer})
		}),
}

// checkFormPost checks the page that posts a code to the client, and redeems the code.
func checkFormPost(
	t *testing.T, s *servertest.Server, c clientInformation, page servertest.Page, state string,
) {
	t.Helper()
	fields := page.Fields()
	if page.Status != 200 || page.Header.Get("Location") != "" {
		t.Fatalf("form_post: %d to %q, want 200 without a redirect", page.Status, page.Header.Get("Location"))
	}
	if fields.Get("state") != state || fields.Get("iss") != s.Issuer {
		t.Fatalf("form_post: the fields are %v, want the state %q and the issuer %s", fields, state, s.Issuer)
	}
	for _, part := range []string{`action="` + servertest.Callback + `"`, "<noscript>"} {
		if !strings.Contains(page.Body, part) {
			t.Errorf("form_post: %s, want %s in it", page.Body, part)
		}
	}
	if strings.Contains(page.Body, "<script>") {
		t.Errorf("form_post: %s, want no inline script", page.Body)
	}
	policy, caching := page.Header.Get("Content-Security-Policy"), page.Header.Get("Cache-Control")
	if !strings.Contains(policy, "script-src 'self'") || caching != "no-store" {
		t.Errorf("form_post: Content-Security-Policy %q and Cache-Control %q, want script-src 'self' and no-store",
			policy, caching)
	}
	script := regexp.MustCompile(`/static/page\.[0-9a-f]{12}\.js`).FindString(page.Body)
	r := s.Get(script)
	if contentType := r.Header.Get("Content-Type"); r.Status != 200 || !strings.HasPrefix(contentType, "text/javascript") {
		t.Errorf("the script %s: %d with Content-Type %q, want 200 and text/javascript", script, r.Status, contentType)
	}
	s.Redeem(c, &url.URL{RawQuery: url.Values{"code": fields["code"]}.Encode()})
}
