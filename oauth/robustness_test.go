package oauth_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// TestRobustness tests the fixes of errors that reviews of this server found.
func TestRobustness(t *testing.T) { servertest.Run(t, robustness) }

var robustness = []servertest.Requirement{
	servertest.Req("G1", "audit",
		"header bytes that are not UTF-8 neither stop the audit log nor undo a revocation",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c, m := s.App(), s.Service("jobs")
			sendInvalidBytes := func(client client.Information, form url.Values) servertest.Response {
				req := s.AsClient("/oauth2/token", client, form)
				req.Header.Set("User-Agent", "x\xff\xfe "+strings.Repeat("ü", 200))
				return s.Do(req)
			}
			for range 3 {
				sendInvalidBytes(m, clientCredentialsForm).OK(t)
			}
			old := s.Tokens(c, "alice").Text("refresh_token")
			fresh := s.Refresh(c, old).OK(t)
			s.Clock.Advance(time.Minute)
			reuse := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {old}}
			sendInvalidBytes(c, reuse).Want(t, 400, "invalid_grant")
			s.Refresh(c, fresh.Text("refresh_token")).Want(t, 400, "invalid_grant")
			storagetest.Must(t, s.Store.Close(t.Context()))
			reopened := storagetest.Open(t, s.DB, s.Clock)
			events, err := reopened.Audit.Rows(t.Context(), audit.Filter{Event: audit.TokenIssued})
			storagetest.Must(t, err)
			if len(events) != 3 {
				t.Errorf("%d rows of token.issued, want 3", len(events))
			}
		}),
	servertest.Req("G4", "hostile input",
		"an identifier with invalid UTF-8, NUL or too many characters is unknown, and causes no internal error",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			b := s.Browser()
			b.SignIn(b.Open("/login"), "alice")
			for _, id := range []string{"%ff", "%00", "a%ff", strings.Repeat("x", 200), "%F0%9F%98%80"} {
				raw, err := url.QueryUnescape(id)
				storagetest.Must(t, err)
				s.Token(servertest.UnregisteredClient(raw), clientCredentialsForm).Want(t, 401, "invalid_client")
				for _, p := range []servertest.Page{
					b.Open("/oauth2/authorize/" + id), b.Open("/login?request=" + id), b.Open("/consent?request=" + id),
					b.Open("/oauth2/authorize?client_id=" + id), b.Open("/account/apps/" + id),
					b.Submit("/consent", url.Values{"request": {raw}, "decision": {"approve"}}),
					b.Submit("/login", url.Values{"request": {raw}, "username": {raw}, "password": {"x"}}),
					b.Submit("/account/apps/"+id+"/withdraw", url.Values{"form_token": {"x"}}),
					b.Submit("/account/sessions/"+id+"/end", url.Values{"form_token": {"x"}}),
				} {
					if p.Status >= 500 || p.Status < 400 {
						t.Errorf("%s: status = %d, want 4xx", p.URL, p.Status)
					}
				}
			}
		}),
	servertest.Req("G6", "hostile input",
		"third parties cannot fill the database with authorization requests",
		func(t *testing.T, s *servertest.Server) {
			c := s.App()
			b := s.Browser()
			large := servertest.AuthorizeForm(c, "state", strings.Repeat("s", 20_000))
			p := b.SubmitFrom("https://app.example", "/oauth2/authorize", large)
			if p.Status != http.StatusRequestEntityTooLarge {
				t.Errorf("20 kB of state: status = %d, want 413", p.Status)
			}
			last := 0
			for range 310 {
				last = b.Open("/oauth2/authorize?" + servertest.AuthorizeForm(c).Encode()).Status
			}
			if last != http.StatusTooManyRequests {
				t.Errorf("after 310 requests: status = %d, want 429", last)
			}
			s.Clock.Advance(time.Minute)
			if p := b.Authorize(c); p.Status != http.StatusOK {
				t.Errorf("a minute later: status = %d, want 200", p.Status)
			}
		}),
	servertest.Req("G7", "consent",
		"a consent that is withdrawn while a code is issued is requested again, not re-created",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			c := s.App()
			b := s.Browser()
			b.Code(c, "alice")
			before, err := s.Store.Consent(t.Context(), u.ID, c.ClientID)
			storagetest.Must(t, err)
			req := s.Request(http.MethodGet, "/account", nil)
			for _, cookie := range b.Cookies() {
				req.AddCookie(cookie)
			}
			user, err := s.Users.CurrentUser(req)
			storagetest.Must(t, err)
			if user == nil {
				t.Fatal("the browser has no session of a user")
			}
			a, err := s.OAuth.Begin(t.Context(), servertest.AuthorizeForm(c))
			storagetest.Must(t, err)
			storagetest.Must(t, s.OAuth.WithdrawConsent(t.Context(), u.ID, before.ID))
			_, err = s.OAuth.Approve(t.Context(), a, user, oauth.ConsentDecision{Consent: &before})
			if !errors.Is(err, oauth.ErrConsentStale) {
				t.Errorf("error of Approve = %v, want ErrConsentStale", err)
			}
			if _, err := s.Store.Consent(t.Context(), u.ID, c.ClientID); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("error of the lookup of the withdrawn consent = %v, want ErrNotFound", err)
			}
		}),
	servertest.Req("G8", "consent",
		"what the operator approved is not stored as the user's consent",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.Client(`{"grant_types":["authorization_code"],"redirect_uris":["https://app.example/callback"],
				"scope":"read write","gatehouse_skip_consent":true}`)
			b := s.Browser()
			b.SignIn(b.Open("/login"), "alice")
			if to := b.Authorize(c).Location(); to.Query().Get("code") == "" {
				t.Fatalf("with gatehouse_skip_consent: redirect to %s, want a code", to)
			}
			updateClient(t, s, c.ClientID, `{"gatehouse_skip_consent":false}`)
			for _, scope := range []string{"read write", " "} {
				if p := b.Authorize(c, "scope", scope); !strings.Contains(p.URL, "/consent") {
					t.Errorf("scope %q: redirect to %s, want the consent page", scope, p.Header.Get("Location"))
				}
			}
		}),
	servertest.Req("G9", "RFC 8707 §2",
		"no new token has a deleted scope or resource, and no client is locked out because of one",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			registerDefaultAPI(t, s)
			c := s.App()
			b := s.Browser()
			code := b.Code(c, "alice", "resource", "https://api.example")
			token := s.Token(c, servertest.CodeForm(code, c)).OK(t).Text("refresh_token")
			storagetest.Must(t, s.Store.DeleteScope(t.Context(), "write"))
			r := s.Refresh(c, token).OK(t)
			if r.Text("scope") != "read" {
				t.Errorf("after a scope was deleted: scope = %q, want read", r.Text("scope"))
			}
			storagetest.Must(t, s.Store.DeleteResource(t.Context(), "https://api.example"))
			r = s.Refresh(c, r.Text("refresh_token")).OK(t)
			if got := claims(t, r.Text("access_token")); got["aud"] != s.Issuer || got["scope"] != nil {
				t.Errorf("after the resource was deleted: claims %v, want the issuer as aud and no scope", got)
			}
			s.Refresh(c, r.Text("refresh_token"), "resource", "https://api.example").Want(t, 400, "invalid_target")
			s.Refresh(c, r.Text("refresh_token"), "scope", "write").Want(t, 400, "invalid_scope")
			s.Clock.Advance(time.Minute)
			s.Refresh(c, r.Text("refresh_token")).OK(t)
		}),
	servertest.Req("G12", "[design](design.md)",
		"signing out also revokes the grants that are bound to an expired session of the browser",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			b := s.Browser()
			tokens := s.Token(c, servertest.CodeForm(b.Code(c, "alice", "scope", "read"), c)).OK(t)
			s.Clock.Advance(3 * time.Hour)
			b.SignIn(b.Open("/login"), "alice")
			signOut(t, b)
			s.Refresh(c, tokens.Text("refresh_token")).Want(t, 400, "invalid_grant")
		}),
	servertest.Req("G13", "audit",
		"several users in one browser sign out separately, and each sign-out is recorded",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			s.User("bob")
			b := s.Browser()
			b.SignIn(b.Open("/login"), "alice")
			b.SignIn(b.Open("/login"), "bob")
			page := b.Open("/account")
			if !strings.Contains(page.Text(), "bob@example.com") {
				t.Errorf("the page does not show the user who signed in last: %s", page.Text())
			}
			signOut(t, b)
			if page := b.Open("/account"); !strings.Contains(page.Text(), "alice@example.com") {
				t.Errorf("after bob signed out, the page does not show alice: %d %s", page.Status, page.Text())
			}
			events, err := s.Store.Audit.Rows(t.Context(), audit.Filter{Event: audit.SessionEnded})
			storagetest.Must(t, err)
			if len(events) != 1 || events[0].UserID == u.ID {
				t.Errorf("the rows of session.ended are %v, want only that of bob", events)
			}
		}),
	servertest.Req("G13b", "[design](design.md)",
		"a user's activity in a browser does not extend the session of another user, "+
			"and a user who returns after another signed in still signs out their own session",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			s.User("bob")
			c := s.App()
			b := s.Browser()
			tokens := s.Token(c, servertest.CodeForm(b.Code(c, "alice", "scope", "read"), c)).OK(t)
			b.SignIn(b.Open("/login"), "bob")
			for range 3 {
				s.Clock.Advance(90 * time.Minute)
				if !strings.Contains(b.Open("/account").Text(), "bob@example.com") {
					t.Fatal("the page does not show bob, who signed in last")
				}
			}
			if p := b.Open("/select"); strings.Contains(p.Text(), "alice@example.com") {
				t.Error("the page to select a user offers alice, whose session expired")
			}
			b.SignIn(b.Open("/login"), "alice")
			signOut(t, b)
			s.Refresh(c, tokens.Text("refresh_token")).Want(t, 400, "invalid_grant")
		}),
	servertest.Req("G14", "enumeration",
		"brute force on the password of a disabled user is limited as on any other",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			storagetest.Must(t, s.Store.DisableUser(t.Context(), u.ID))
			b := s.Browser()
			form := b.Open("/login").Fields()
			form.Set("username", "alice")
			form.Set("password", servertest.Password)
			last := 0
			for range 8 {
				last = b.Submit("/login", form).Status
			}
			if last != http.StatusTooManyRequests {
				t.Errorf("after 8 attempts with the correct password: status = %d, want 429", last)
			}
		}),
	servertest.Req("G15", "[design](design.md)",
		"no page of another origin may call introspection",
		func(t *testing.T, s *servertest.Server) {
			r := s.Post("/oauth2/introspect", s.Service("jobs"), url.Values{"token": {"x"}}).OK(t)
			if got := r.Header.Get("Access-Control-Allow-Origin"); got != "" {
				t.Errorf("Access-Control-Allow-Origin = %q, want none", got)
			}
		}),
	servertest.Req("G17", "[design](design.md)",
		"the process that removes a leaked key refuses its tokens immediately",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			for range 5 {
				token := s.ServiceToken(c)
				if !s.Active(c, token) {
					t.Fatal("a new token is not active")
				}
				storagetest.Must(t, s.OAuth.Keyring.Rotate(t.Context(), true))
				if s.Active(c, token) {
					t.Error("a token is active after its key was removed")
				}
			}
		}),
	servertest.Req("G16", "RFC 7591 §2",
		"a duration that is not a whole number of seconds within bounds is refused",
		func(t *testing.T, s *servertest.Server) {
			for _, v := range []string{"18446744075", "-1", "0", `"1500ms"`, `"1000h"`, "1.5", "true"} {
				metadata := `{"grant_types":["client_credentials"],"gatehouse_access_token_ttl":` + v + `}`
				m, err := client.ParseMetadata([]byte(metadata))
				if err == nil {
					_, _, err = s.OAuth.Clients.Create(t.Context(), m)
				}
				if err == nil {
					t.Errorf("a lifetime of %s is accepted", v)
				}
			}
		}),
}

// signOut signs the user out whom the account page shows.
func signOut(t *testing.T, b *servertest.Browser) {
	t.Helper()
	form := url.Values{"form_token": b.Open("/account").Fields()["form_token"][:1]}
	if p := b.Submit("/account/sign-out", form); p.Status != http.StatusSeeOther {
		t.Fatalf("sign-out: %d %s, want 303", p.Status, p.Text())
	}
}
