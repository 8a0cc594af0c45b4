package oauth_test

import (
	"fmt"
	"net/url"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// apiOf registers a resource with the scopes, and returns the client that may introspect for it.
func apiOf(t *testing.T, s *servertest.Server, identifier string, scopes ...string) clientInformation {
	t.Helper()
	c := s.Service("introspect")
	storagetest.Must(t, s.Store.CreateResource(t.Context(), storage.Resource{
		Identifier: identifier, Name: identifier, Scopes: scopes, Introspectors: storage.Strings{c.ClientID}, CreatedAt: s.Clock.Now(),
	}))
	return c
}

func TestIntrospectionShowsAPIOnlyItsScopes(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		s.User("alice")
		mail, files := apiOf(t, s, "https://mail.example", "mail.read", "shared"), apiOf(t, s, "https://files.example", "files.read", "shared")
		both := s.Service("introspect")
		for _, identifier := range []string{"https://mail.example", "https://files.example"} {
			resources, err := s.Store.Resources(t.Context())
			storagetest.Must(t, err)
			err = s.Store.UpdateResource(t.Context(), identifier, func(r *storage.Resource) error {
				r.Introspectors = append(storage.Strings{both.ClientID}, resources[identifier].Introspectors...)
				return nil
			})
			storagetest.Must(t, err)
		}
		c := s.Client(`{"client_name":"App","grant_types":["authorization_code","refresh_token"],"redirect_uris":["` + servertest.Callback + `"],
			"scope":"openid profile email offline_access mail.read files.read shared loose"}`)
		token := s.Redeem(c, s.Browser().Code(c, "alice", "scope", "openid profile mail.read files.read shared loose")).Text("access_token")
		for name, x := range map[string]struct {
			caller            clientInformation
			aud, scope, users string
		}{
			"mail":       {mail, "[https://mail.example]", "mail.read shared loose", "alice"},
			"files":      {files, "[https://files.example]", "files.read shared loose", "alice"},
			"both":       {both, "[https://files.example https://mail.example]", "mail.read files.read shared loose", "alice"},
			"the client": {c, "[https://files.example https://mail.example " + s.Issuer + "]", "openid profile mail.read files.read shared loose", "alice"},
		} {
			r := s.Introspect(x.caller, token)
			if r.JSON["active"] != true || fmt.Sprint(r.JSON["aud"]) != x.aud || r.Text("scope") != x.scope || r.Text("username") != x.users || r.Text("sub") == "" || r.Text("client_id") != c.ClientID {
				t.Errorf("%s: %s", name, r.Body)
			}
		}
	})
}

func TestIntrospectionShowsUsernameOnlyWithScopeProfile(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		s.User("alice")
		caller := apiOf(t, s, "https://mail.example", "mail.read")
		c := s.Client(`{"client_name":"App","grant_types":["authorization_code","refresh_token"],"redirect_uris":["` + servertest.Callback + `"],
			"scope":"openid profile email offline_access mail.read"}`)
		b := s.Browser()
		with := s.Redeem(c, b.Code(c, "alice", "scope", "openid profile offline_access mail.read"))
		without := s.Redeem(c, s.Browser().Code(c, "alice", "scope", "openid email offline_access mail.read"))
		narrowed := s.Token(c, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {with.Text("refresh_token")}, "scope": {"mail.read"}}).OK(t)
		for name, x := range map[string]struct {
			caller clientInformation
			token  string
			want   any
		}{
			"the API, with profile": {caller, with.Text("access_token"), "alice"}, "the client, with profile": {c, with.Text("access_token"), "alice"},
			"the API, without": {caller, without.Text("access_token"), nil}, "the client, without": {c, without.Text("access_token"), nil},
			"the API, narrowed": {caller, narrowed.Text("access_token"), nil}, "the client, narrowed": {c, narrowed.Text("access_token"), nil},
			"a refresh token with profile": {c, narrowed.Text("refresh_token"), "alice"}, "a refresh token without": {c, without.Text("refresh_token"), nil},
		} {
			if r := s.Introspect(x.caller, x.token); r.JSON["active"] != true || r.JSON["username"] != x.want {
				t.Errorf("%s: %s", name, r.Body)
			}
		}
	})
}
