package oauth_test

import (
	"fmt"
	"net/url"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// appWithScopes registers a client that may use refresh tokens, with these scopes.
func appWithScopes(s *servertest.Server, scopes string) clientInformation {
	return s.Client(`{"client_name":"App","grant_types":["authorization_code","refresh_token"],
		"redirect_uris":["` + servertest.Callback + `"],"scope":"` + scopes + `"}`)
}

func TestIntrospectionShowsAPIOnlyItsScopes(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		s.User("alice")
		mail := registerAPI(t, s, "https://mail.example", "mail.read", "shared")
		files := registerAPI(t, s, "https://files.example", "files.read", "shared")
		both := s.Service("introspect")
		for _, identifier := range []string{"https://mail.example", "https://files.example"} {
			err := s.Store.UpdateResource(t.Context(), identifier, func(r *storage.Resource) error {
				r.Introspectors = append(r.Introspectors, both.ClientID)
				return nil
			})
			storagetest.Must(t, err)
		}
		c := appWithScopes(s, "openid profile email offline_access mail.read files.read shared loose")
		to := s.Browser().Code(c, "alice", "scope", "openid profile mail.read files.read shared loose")
		token := s.Redeem(c, to).Text("access_token")
		for name, x := range map[string]struct {
			caller     clientInformation
			aud, scope string
		}{
			"mail":  {mail, "[https://mail.example]", "mail.read shared loose"},
			"files": {files, "[https://files.example]", "files.read shared loose"},
			"both":  {both, "[https://files.example https://mail.example]", "mail.read files.read shared loose"},
			"the client": {
				c, "[https://files.example https://mail.example " + s.Issuer + "]",
				"openid profile mail.read files.read shared loose",
			},
		} {
			r := s.Introspect(x.caller, token)
			if aud := fmt.Sprint(r.JSON["aud"]); aud != x.aud || r.Text("scope") != x.scope {
				t.Errorf("%s: aud = %s, scope = %q, want %s and %q", name, aud, r.Text("scope"), x.aud, x.scope)
			}
			if r.JSON["active"] != true || r.Text("username") != "alice" || r.Text("sub") == "" ||
				r.Text("client_id") != c.ClientID {
				t.Errorf("%s: %s, want it active, with the username alice, a subject and the client %s",
					name, r.Body, c.ClientID)
			}
		}
	})
}

func TestIntrospectionShowsUsernameOnlyWithScopeProfile(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		s.User("alice")
		caller := registerAPI(t, s, "https://mail.example", "mail.read")
		c := appWithScopes(s, "openid profile email offline_access mail.read")
		with := s.Redeem(c, s.Browser().Code(c, "alice", "scope", "openid profile offline_access mail.read"))
		without := s.Redeem(c, s.Browser().Code(c, "alice", "scope", "openid email offline_access mail.read"))
		narrowed := s.Token(c, url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {with.Text("refresh_token")}, "scope": {"mail.read"},
		}).OK(t)
		for name, x := range map[string]struct {
			caller clientInformation
			token  string
			want   any
		}{
			"the API, with profile":        {caller, with.Text("access_token"), "alice"},
			"the client, with profile":     {c, with.Text("access_token"), "alice"},
			"the API, without":             {caller, without.Text("access_token"), nil},
			"the client, without":          {c, without.Text("access_token"), nil},
			"the API, narrowed":            {caller, narrowed.Text("access_token"), nil},
			"the client, narrowed":         {c, narrowed.Text("access_token"), nil},
			"a refresh token with profile": {c, narrowed.Text("refresh_token"), "alice"},
			"a refresh token without":      {c, without.Text("refresh_token"), nil},
		} {
			if r := s.Introspect(x.caller, x.token); r.JSON["active"] != true || r.JSON["username"] != x.want {
				t.Errorf("%s: %s, want it active with the username %v", name, r.Body, x.want)
			}
		}
	})
}
