package oauth_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// issued is what a user's browser and an app had before the user or the app was disabled.
type issued struct {
	s       *servertest.Server
	app     client.Information
	browser *servertest.Browser
	tokens  servertest.Response
	code    servertest.Response // of a code that is not redeemed yet
	pending string              // path of an authorization request that waits for consent
}

func issueEverything(t *testing.T, s *servertest.Server, username string) issued {
	t.Helper()
	i := issued{s: s, app: s.App(), browser: s.Browser()}
	code := i.browser.Code(i.app, username, "scope", "read offline_access")
	i.tokens = s.Token(i.app, servertest.CodeForm(code, i.app)).OK(t)
	i.code = i.browser.Authorize(i.app, "scope", "read offline_access").Response
	if i.code.Location().Query().Get("code") == "" {
		t.Fatalf("got %d %s, want a code", i.code.Status, i.code.Header.Get("Location"))
	}
	page := i.browser.Authorize(i.app, "prompt", "consent")
	i.pending = "/oauth2/authorize/" + page.Fields().Get("request")
	return i
}

// wantInvalid fails the test when a token or code that was issued before is accepted.
func (i issued) wantInvalid(t *testing.T) {
	t.Helper()
	if i.s.Active(i.app, i.tokens.Text("access_token")) {
		t.Error("the earlier access token is active again")
	}
	i.s.Refresh(i.app, i.tokens.Text("refresh_token")).Want(t, http.StatusBadRequest, "invalid_grant")
	i.s.Token(i.app, servertest.CodeForm(i.code.Location(), i.app)).Want(t, http.StatusBadRequest, "invalid_grant")
}

func TestEnablingUserRestoresNoTokens(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_FETCH_ALLOW_HOSTS": "127.0.0.1"}})
		u := s.User("alice")
		host := servertest.NewHost(t)
		rp := s.RelyingParty(`"backchannel_logout_uri":"` + host.URL + `/logout"`)
		had := issueEverything(t, s, "alice")
		had.browser.Code(rp, "alice", "scope", "openid")
		before, err := s.Store.Sessions(t.Context(), u, time.Hour)
		storagetest.Must(t, err)
		s.Redeem(rp, had.browser.Authorize(rp, "scope", "openid").Location())

		storagetest.Must(t, s.Store.DisableUser(t.Context(), u.ID))
		storagetest.Must(t, s.Store.EnableUser(t.Context(), u.ID))

		had.wantInvalid(t)
		if p := had.browser.Open("/account"); p.Status == http.StatusOK {
			t.Error("the earlier session is active again")
		}
		if p := had.browser.Follow(had.browser.Open(had.pending)); !strings.Contains(p.URL, "/login") {
			t.Errorf("the pending request continued to %s, want the sign-in page", p.URL)
		}
		if n := storagetest.Count(t, s.Store, s.DB, "SELECT count(*) FROM browser_sessions WHERE ended_at IS NULL"); n != 0 {
			t.Errorf("%d sessions have no ended_at, want 0", n)
		}
		s.Deliver()
		if n := len(host.Posted()); n != 1 {
			t.Errorf("%d logout tokens were sent, want 1", n)
		}
		// The next sign-in begins a new session.
		had.browser.SignIn(had.browser.Open("/login"), "alice")
		u, err = s.Store.User(t.Context(), u.ID)
		storagetest.Must(t, err)
		after, err := s.Store.Sessions(t.Context(), u, time.Hour)
		storagetest.Must(t, err)
		if len(after) != 1 || after[0].ID == before[0].ID {
			t.Errorf("sessions after the sign-in: %+v, want a new one", after)
		}
		had.wantInvalid(t)
	})
}

func TestDisablingDisabledUserChangesNothing(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		u := s.User("alice")
		rp := s.RelyingParty(`"backchannel_logout_uri":"https://app.example/logout"`)
		s.Redeem(rp, s.Browser().Code(rp, "alice", "scope", "openid"))
		for range 2 {
			storagetest.Must(t, s.Store.DisableUser(t.Context(), u.ID))
		}
		for query, want := range map[string]int64{
			"SELECT count(*) FROM deliveries":                                 1,
			"SELECT count(*) FROM audit_events WHERE event = 'user.disabled'": 1,
			"SELECT epoch FROM users WHERE username = 'alice'":                2,
		} {
			if got := storagetest.Count(t, s.Store, s.DB, query); got != want {
				t.Errorf("%s: %d, want %d", query, got, want)
			}
		}
	})
}

func TestEnablingClientRestoresNoTokens(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		s.User("alice")
		had := issueEverything(t, s, "alice")
		service, introspector := s.Service("jobs"), s.Service("jobs")
		token := s.ServiceToken(service)
		for _, id := range []string{had.app.ClientID, service.ClientID} {
			storagetest.Must(t, s.Store.DisableClient(t.Context(), id))
			storagetest.Must(t, s.Store.EnableClient(t.Context(), id))
		}
		had.wantInvalid(t)
		for _, caller := range []client.Information{service, introspector} {
			if s.Introspect(caller, token).JSON["active"] == true {
				t.Error("the earlier token of the service is active again")
			}
		}
		p := had.browser.Follow(had.browser.Open(had.pending))
		if p.Status == http.StatusOK || strings.Contains(p.URL, "code=") {
			t.Errorf("the pending request continued: got %d %s, want an error without a code", p.Status, p.URL)
		}
		s.ServiceToken(service) // its secret is still valid
		if code := had.browser.Code(had.app, "alice"); code.Query().Get("code") == "" {
			t.Errorf("a new authorization request: redirected to %s, want a code", code)
		}
	})
}

// TestRecreatedScopeIsNotInOldGrants covers scopes and resources, whose names can be used again after a deletion.
func TestRecreatedScopeIsNotInOldGrants(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		s.User("alice")
		const api = "https://api.example/"
		resource := func() storage.Resource {
			return storage.Resource{Identifier: api, Name: "API", Scopes: storage.Strings{"read"}, CreatedAt: s.Clock.Now()}
		}
		app := s.App()
		storagetest.Must(t, s.Store.CreateResource(t.Context(), resource()))
		ofResource := s.Tokens(app, "alice", "scope", "read write offline_access", "resource", api)
		ofScope := s.Tokens(app, "alice", "scope", "read write offline_access")
		s.Clock.Advance(time.Minute)
		storagetest.Must(t, s.Store.DeleteScope(t.Context(), "write"))
		storagetest.Must(t, s.Store.DeleteResource(t.Context(), api))
		other := storage.Scope{Name: "write", Description: "Something else", CreatedAt: s.Clock.Now()}
		storagetest.Must(t, s.Store.CreateScope(t.Context(), other))
		storagetest.Must(t, s.Store.CreateResource(t.Context(), resource()))

		if scope := s.Refresh(app, ofScope.Text("refresh_token")).OK(t).Text("scope"); scope != "read offline_access" {
			t.Errorf("the scope after the refresh is %q, want it without write", scope)
		}
		token := s.Refresh(app, ofResource.Text("refresh_token")).OK(t).Text("access_token")
		if aud := claims(t, token)["aud"]; strings.Contains(fmt.Sprint(aud), api) {
			t.Errorf("aud after the refresh is %v, want it without the resource", aud)
		}
		fresh := s.Tokens(app, "alice", "scope", "read write", "resource", api).Text("access_token")
		if aud := claims(t, fresh)["aud"]; !strings.Contains(fmt.Sprint(aud), api) {
			t.Errorf("aud of a new grant is %v, want %s", aud, api)
		}
	})
}
