package oauth_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

func TestOpenIDRequests(t *testing.T) { servertest.Run(t, openidRequests) }

var openidRequests = []servertest.Requirement{
	servertest.Req("C10", "OIDC Core §3.1.2.1, §3.1.2.2", "id_token_hint: the same user continues, another must sign in, expired or not, and only with a token of the same client", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		s.User("bob")
		c, other := s.RelyingParty(), s.RelyingParty()
		b, bobs := s.Browser(), s.Browser()
		hint := s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("id_token")
		bob := s.Redeem(c, bobs.Code(c, "bob", "scope", "openid")).Text("id_token")
		silent := func(b *servertest.Browser, hint string) servertest.Page {
			return b.Authorize(c, "scope", "openid", "prompt", "none", "id_token_hint", hint)
		}
		if silent(b, hint).Location().Query().Get("code") == "" {
			t.Error("the same user does not continue")
		}
		silent(b, bob).WantRedirectError(t, s, "login_required")
		silent(s.Browser(), hint).WantRedirectError(t, s, "login_required")
		for name, wrong := range map[string]string{"garbage": "x", "flipped": withChangedSignature(hint), "of another client": s.Redeem(other, b.Code(other, "alice", "scope", "openid")).Text("id_token"), "an access token": s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("access_token")} {
			if got := silent(b, wrong).Location().Query().Get("error"); got != "invalid_request" {
				t.Errorf("%s: %q", name, got)
			}
		}
		s.Clock.Advance(90 * time.Minute) // the token has expired, the session has not
		b.Open("/account")
		if p := silent(b, hint); p.Location().Query().Get("code") == "" {
			t.Errorf("an expired hint: %s", p.Header.Get("Location"))
		}
		// A user who signs in instead of the named one is not the subject.
		page := b.Authorize(c, "scope", "openid", "id_token_hint", bob)
		if !strings.Contains(page.URL, "/login") {
			t.Fatalf("alice is the subject instead of bob at %s", page.URL)
		}
		b.SignIn(page, "alice").WantRedirectError(t, s, "login_required")
		page = b.Authorize(c, "scope", "openid", "id_token_hint", bob)
		if p := b.SignIn(page, "bob"); p.Location().Query().Get("code") == "" {
			t.Errorf("bob himself: %d %s", p.Status, p.Header.Get("Location"))
		}
		if strings.Contains(storagetest.Dump(t, s.Store, s.DB), hint) {
			t.Error("the database keeps the hint")
		}
	}),
	servertest.Req("C11", "OIDC Core §3.1.2.1, §3.1.2.6", "of several users in one browser the user or a hint selects one, and prompt=none returns account_selection_required", func(t *testing.T, s *servertest.Server) {
		alice, bob := s.User("alice"), s.User("bob")
		c := s.RelyingParty()
		b := s.Browser()
		hint := s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("id_token")
		b.SignIn(b.Open("/login"), "bob")
		b.Authorize(c, "scope", "openid", "prompt", "none").WantRedirectError(t, s, "account_selection_required")
		if p := b.Authorize(c, "scope", "openid", "prompt", "none", "id_token_hint", hint); p.Location().Query().Get("code") == "" {
			t.Errorf("by id_token_hint: %s", p.Header.Get("Location"))
		}
		if p := b.Authorize(c, "scope", "openid", "prompt", "none", "login_hint", "Alice@Example.com"); p.Location().Query().Get("code") == "" {
			t.Errorf("by login_hint: %s", p.Header.Get("Location"))
		}
		// A guessed name discloses to a client without consent nothing about the signed-in users.
		other := s.RelyingParty()
		for _, name := range []string{"alice", "bob", "carol"} {
			b.Authorize(other, "scope", "openid", "prompt", "none", "login_hint", name).WantRedirectError(t, s, "account_selection_required")
		}
		page := b.Authorize(c, "scope", "openid")
		if !strings.Contains(page.URL, "/select") || !strings.Contains(page.Text(), "alice@example.com") || !strings.Contains(page.Text(), "bob@example.com") {
			t.Fatalf("%s %s", page.URL, page.Text())
		}
		choose := func(page servertest.Page, session string) servertest.Page {
			form := page.Fields()
			form.Set("session", session)
			return b.Follow(b.Submit("/select", form))
		}
		for i, want := range []storage.User{bob, alice} { // the one who was last chosen comes first
			page := b.Authorize(c, "scope", "openid")
			page = choose(page, page.Buttons("session")[min(i, 1)])
			if strings.Contains(page.URL, "/consent") {
				page = b.Follow(b.Decide(page, "approve"))
			}
			if got := s.IDToken(c, s.Redeem(c, page.Location()))["sub"]; got != want.ID {
				t.Errorf("choice %d is %v, want %s", i, got, want.Username)
			}
		}
		// A forged form, one of another session, one of another site.
		form := page.Fields()
		form.Set("session", "x")
		if p := b.Submit("/select", form); p.Status != http.StatusSeeOther || !strings.Contains(p.Header.Get("Location"), "/select") {
			t.Errorf("a session that is not there: %d", p.Status)
		}
		form.Set("form_token", "x")
		if p := b.Submit("/select", form); p.Status != http.StatusForbidden {
			t.Errorf("a forged form: %d", p.Status)
		}
		if p := b.SubmitFrom("https://evil.example", "/select", page.Fields()); p.Status != http.StatusForbidden {
			t.Errorf("from another site: %d", p.Status)
		}
		single := s.Browser()
		single.SignIn(single.Open("/login"), "alice")
		if p := single.Authorize(c, "scope", "openid", "prompt", "select_account"); !strings.Contains(p.URL, "/select") {
			t.Errorf("select_account with one user: %s", p.URL)
		}
	}),
	servertest.Req("C11b", "OIDC Core §3.1.2.1, §3.1.2.6", "prompt=none for a client without consent discloses how many users are signed in, but neither their identity nor their sign-in time", func(t *testing.T, s *servertest.Server) {
		ids := map[string]string{"nobody": "none-of-ours"}
		for _, name := range []string{"alice", "bob", "carol"} {
			ids[name] = s.User(name).ID
		}
		c, other := s.RelyingParty(), s.RelyingParty()
		phone := s.Client(`{"client_name":"Phone","token_endpoint_auth_method":"none","redirect_uris":["http://127.0.0.1/cb"],"gatehouse_skip_consent":true,"scope":"openid"}`)
		type named struct{ name, parameter string }
		browsers := map[string]*servertest.Browser{}
		open := func(users ...string) *servertest.Browser {
			b := s.Browser()
			for _, name := range users {
				b.SignIn(b.Open("/login"), name)
			}
			browsers[strings.Join(users, " and ")] = b
			return b
		}
		open()
		open("alice")
		open("bob")
		open("alice", "bob")
		open("bob", "carol")
		// alice once allowed the untrusted client, which still has an ID token of hers, and withdrew the consent.
		once := s.Browser()
		hint := s.Redeem(other, once.Code(other, "alice", "scope", "openid")).Text("id_token")
		consent, err := s.Store.Consent(t.Context(), ids["alice"], other.ClientID)
		storagetest.Must(t, err)
		storagetest.Must(t, s.OAuth.WithdrawConsent(t.Context(), ids["alice"], consent.ID))
		s.Clock.Advance(time.Minute)
		// The response by the number of users signed in: 0, 1, 2.
		byCount := []string{"login_required", "consent_required", "account_selection_required"}
		always := []string{"login_required", "login_required", "login_required"}
		for _, client := range []clientInformation{other, phone} {
			for what, want := range map[named][]string{
				{"", ""}: byCount, {"alice", "login_hint"}: byCount, {"bob@example.com", "login_hint"}: byCount, {"nobody", "login_hint"}: byCount,
				{"alice", "claims"}: always, {"bob", "claims"}: always, {"nobody", "claims"}: always, {"alice", "id_token_hint"}: always,
			} {
				if what.parameter == "id_token_hint" && client.ClientID != other.ClientID {
					continue // it has none
				}
				value := map[string]string{"login_hint": what.name, "claims": `{"id_token":{"sub":{"value":"` + ids[what.name] + `"}}}`, "id_token_hint": hint}[what.parameter]
				seen := map[int]string{}
				for who, b := range browsers {
					count := 0
					if who != "" {
						count = 1 + strings.Count(who, " and ")
					}
					for _, age := range []string{"", "0", "30", "3600"} { // the sign-ins are a minute old
						p := b.Authorize(client, "scope", "openid", "prompt", "none", "max_age", age, what.parameter, value)
						to := p.Header.Get("Location")
						if got := p.Location().Query().Get("error"); got != want[count] {
							t.Errorf("%s %s %q, signed in %q, max_age %q: got %q, want %q", client.ClientName, what.parameter, what.name, who, age, got, want[count])
						}
						if before, ok := seen[count]; ok && before != to {
							t.Errorf("%s %s %q, signed in %q, max_age %q: %s differs from %s", client.ClientName, what.parameter, what.name, who, age, to, before)
						}
						seen[count] = to
					}
				}
			}
		}
		// An app that alice allows learns it, and not that she must sign in again.
		b := browsers["alice and bob"]
		page := b.Authorize(c, "scope", "openid", "login_hint", "alice")
		s.Redeem(c, b.Decide(page, "approve").Location())
		sub := `{"id_token":{"sub":{"value":"` + ids["alice"] + `"}}}`
		if p := b.Authorize(c, "scope", "openid", "prompt", "none", "claims", sub); p.Location().Query().Get("code") == "" {
			t.Errorf("an app that alice allows: %s", p.Header.Get("Location"))
		}
		b.Authorize(c, "scope", "openid", "prompt", "none", "claims", sub, "max_age", "30").WantRedirectError(t, s, "login_required")
		b.Authorize(c, "scope", "openid email", "prompt", "none", "claims", sub).WantRedirectError(t, s, "login_required")
		browsers["bob"].Authorize(c, "scope", "openid", "prompt", "none", "claims", sub).WantRedirectError(t, s, "login_required")
	}),
	servertest.Req("C12", "OIDC Core §3.1.2.1", "max_age 0 and default_max_age require a new sign-in; login_hint prefills the name; an unknown name is ignored", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.RelyingParty()
		strict := s.RelyingParty(`"default_max_age":60,"require_auth_time":true,"default_acr_values":["1"]`)
		b := s.Browser()
		b.Code(c, "alice", "scope", "openid")
		b.Code(strict, "alice", "scope", "openid")
		s.Clock.Advance(2 * time.Minute)
		for name, p := range map[string]servertest.Page{"max_age=0": b.Authorize(c, "scope", "openid", "max_age", "0"), "default_max_age": b.Authorize(strict, "scope", "openid")} {
			if !strings.Contains(p.URL, "/login") || !strings.Contains(p.Body, `value="alice"`) {
				t.Errorf("%s: %s", name, p.URL)
			}
		}
		if p := b.Authorize(strict, "scope", "openid", "max_age", "3600"); p.Location().Query().Get("code") == "" {
			t.Error("max_age does not override default_max_age")
		}
		if p := s.Browser().Authorize(c, "scope", "openid", "login_hint", "buffy@app.example"); !strings.Contains(p.Body, `value="buffy@app.example"`) {
			t.Error("the name is not filled in")
		}
		for _, change := range [][]string{{"display", "popup"}, {"ui_locales", "se xx"}, {"claims_locales", "se"}, {"acr_values", "1 2"}, {"extra", "foobar"}} {
			if got := s.IDToken(c, s.Redeem(c, b.Code(c, "alice", append([]string{"scope", "openid"}, change...)...))); got["acr"] != "1" {
				t.Errorf("%v: %v", change, got)
			}
		}
		b.Authorize(c, "scope", "openid", "registration", "{}").WantRedirectError(t, s, "registration_not_supported")
		b.Authorize(c, "scope", "openid", "nonce", strings.Repeat("n", 1001)).WantRedirectError(t, s, "invalid_request")
	}),
	servertest.Req("C13", "OAuth 2.0 Form Post Response Mode §2", "response_mode=form_post responds with a form that submits automatically, on success and on error, also without JavaScript", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.RelyingParty()
		b := s.Browser()
		state := `<script>"'&=?#`
		page := b.SignIn(b.Authorize(c, "scope", "openid", "response_mode", "form_post", "state", state), "alice")
		page = b.Decide(page, "approve")
		fields := page.Fields()
		if page.Status != 200 || page.Header.Get("Location") != "" || fields.Get("state") != state || fields.Get("iss") != s.Issuer || !strings.Contains(page.Body, `action="`+servertest.Callback+`"`) {
			t.Fatalf("%d %s", page.Status, page.Body)
		}
		if strings.Contains(page.Body, "<script>") || !strings.Contains(page.Header.Get("Content-Security-Policy"), "script-src 'self'") || !strings.Contains(page.Body, "<noscript>") || page.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v %s", page.Header, page.Body)
		}
		script := regexp.MustCompile(`/static/form_post\.[0-9a-f]{12}\.js`).FindString(page.Body)
		if r := s.Get(script); r.Status != 200 || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/javascript") {
			t.Errorf("the script %s: %d", script, r.Status)
		}
		s.Redeem(c, &url.URL{RawQuery: url.Values{"code": fields["code"]}.Encode()})
		for change, want := range map[string]string{"scope": "invalid_scope", "prompt": "login_required"} {
			value := map[string]string{"scope": "openid nothing", "prompt": "none"}[change]
			p := s.Browser().Authorize(c, "scope", "openid", "response_mode", "form_post", change, value)
			if f := p.Fields(); p.Status != 200 || f.Get("error") != want || f.Get("state") != "the state" || f.Get("iss") != s.Issuer {
				t.Errorf("%s: %d %s", want, p.Status, p.Body)
			}
		}
		for _, mode := range []string{"fragment", "jwt", "FORM_POST"} {
			b.Authorize(c, "response_mode", mode).WantRedirectError(t, s, "invalid_request")
		}
		app := s.Client(`{"token_endpoint_auth_method":"none","redirect_uris":["com.example.app:/cb"],"scope":"openid"}`)
		if p := b.Authorize(app, "scope", "openid", "response_mode", "form_post"); p.Status != 303 || !strings.Contains(p.Header.Get("Location"), "com.example.app:/cb?error=invalid_request") {
			t.Errorf("a form to an app's own scheme: %d %s", p.Status, p.Header.Get("Location"))
		}
	}),
	servertest.Req("C14", "OIDC Core §3.1.2.1", "a confidential client that is exempt from PKCE works without it", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.RelyingParty(`"gatehouse_require_pkce":false`)
		to := s.Browser().Code(c, "alice", "scope", "openid", "code_challenge", "", "code_challenge_method", "")
		s.IDToken(c, s.Token(c, servertest.CodeForm(to, c, "code_verifier", "")).OK(t))
		s.Token(c, servertest.CodeForm(s.Browser().Code(c, "alice", "scope", "openid"), c, "code_verifier", "")).Want(t, 400, "invalid_grant")
	}),
	servertest.Req("C15", "OIDC Core §5.4", "gatehouse_id_token_claims adds the claims of the scopes to the ID token", func(t *testing.T, s *servertest.Server) {
		s.UserWithClaims("alice")
		c := s.RelyingParty(`"gatehouse_id_token_claims":true`)
		got := s.IDToken(c, s.Tokens(c, "alice", "scope", "openid email"))
		if got["email"] != "alice@example.com" || got["name"] != nil || got["iss"] != s.Issuer {
			t.Errorf("%v", got)
		}
	}),
	servertest.Req("C16", "OIDC Core §5.1", "users change their own profile, within the formats of the claims", func(t *testing.T, s *servertest.Server) {
		s.UserWithClaims("alice")
		c := s.RelyingParty()
		b := s.Browser()
		r := s.Redeem(c, b.Code(c, "alice", "scope", servertest.AllScopes))
		page := b.Open("/account/profile")
		if page.Status != 200 || !strings.Contains(page.Body, `value="Europe/Paris"`) {
			t.Fatalf("%d %s", page.Status, page.Text())
		}
		form := page.Fields()
		form.Set("name", "Alice <b>New</b>")
		form.Set("phone_number", "+44 20 7946 0000")
		form.Set("zoneinfo", "Europe/London")
		if p := b.Submit("/account/profile", form); p.Status != http.StatusSeeOther {
			t.Fatalf("%d %s", p.Status, p.Text())
		}
		got := s.Userinfo(r.Text("access_token")).OK(t).JSON
		if got["name"] != "Alice <b>New</b>" || got["zoneinfo"] != "Europe/London" || got["birthdate"] != nil || got["phone_number_verified"] != false {
			t.Errorf("%v", got)
		}
		if strings.Contains(b.Open("/account").Body, "<b>New") {
			t.Error("a name is not escaped")
		}
		for field, wrong := range map[string]string{
			"birthdate": "1990-02-30", "zoneinfo": "Mars/Olympus", "locale": "not a language", "picture": "javascript:alert(1)", "website": "ftp://x",
			"phone_number": "12", "name": strings.Repeat("x", 201), "given_name": "a\x01b",
		} {
			bad := url.Values{"form_token": form["form_token"], field: {wrong}}
			if p := b.Submit("/account/profile", bad); p.Status != http.StatusBadRequest || !strings.Contains(p.Text(), "Nothing was saved") {
				t.Errorf("%s %q: %d", field, wrong, p.Status)
			}
		}
		if p := b.Submit("/account/profile", url.Values{"name": {"x"}}); p.Status != http.StatusForbidden {
			t.Errorf("without a form token: %d", p.Status)
		}
		if p := s.Browser().Open("/account/profile"); p.Status != http.StatusSeeOther {
			t.Errorf("for an unknown client: %d", p.Status)
		}
	}),
	servertest.Req("C17", "OIDC Registration §2", "logo, policy and terms are shown at sign-in and consent; the logo is fetched by the server and must be an image", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		host := servertest.NewHost(t)
		host.Serve("/logo.png", "text/html", "\x89PNG\r\n\x1a\n and more")
		host.Serve("/logo.svg", "image/svg+xml", `<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`)
		host.Serve("/page", "image/png", "<html><script>alert(1)</script></html>")
		host.Serve("/large", "image/png", "\x89PNG\r\n\x1a\n"+strings.Repeat("x", 300<<10))
		c := s.RelyingParty(`"logo_uri":"`+host.URL+`/logo.png"`, `"policy_uri":"https://app.example/policy"`, `"tos_uri":"https://app.example/tos"`)
		b := s.Browser()
		login := b.Authorize(c, "scope", "openid")
		for _, p := range []servertest.Page{login, b.SignIn(login, "alice")} {
			if !strings.Contains(p.Body, `src="/logo/`+c.ClientID+`"`) || !strings.Contains(p.Body, "https://app.example/policy") || !strings.Contains(p.Body, "https://app.example/tos") || strings.Contains(p.Body, host.URL) {
				t.Errorf("%s: %s", p.URL, p.Body)
			}
		}
		r := s.Get("/logo/" + c.ClientID)
		if r.Status != 200 || r.Header.Get("Content-Type") != "image/png" || !strings.Contains(r.Header.Get("Content-Security-Policy"), "sandbox") || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%d %v", r.Status, r.Header)
		}
		s.Get("/logo/" + c.ClientID)
		if n := host.Requests("/logo.png"); n != 1 {
			t.Errorf("it was fetched %d times", n)
		}
		for _, path := range []string{"/logo.svg", "/page", "/large", "/nothing"} {
			other := s.RelyingParty(`"logo_uri":"` + host.URL + path + `"`)
			if r := s.Get("/logo/" + other.ClientID); r.Status != 404 || strings.Contains(r.Body, "script") {
				t.Errorf("%s: %d %s", path, r.Status, r.Body)
			}
		}
		if r := s.Get("/logo/unknown"); r.Status != 404 {
			t.Errorf("of an unknown client: %d", r.Status)
		}
	}).WithSettings("GATEHOUSE_FETCH_ALLOW_HOSTS=127.0.0.1"),
}
