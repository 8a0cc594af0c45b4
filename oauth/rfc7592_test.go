package oauth_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

func TestRegistrationManagement(t *testing.T) { servertest.Run(t, management) }

// replace sends the PUT of RFC 7592 §2.2 with the members and client_id.
func replace(s *servertest.Server, registered servertest.Response, members string) servertest.Response {
	s.T.Helper()
	return registrationRequest(s, http.MethodPut, registered.Text("registration_client_uri"), registered.Text("registration_access_token"),
		`{"client_id":"`+registered.Text("client_id")+`",`+members+`}`)
}

var management = []servertest.Requirement{
	servertest.Req("M1", "OIDC Core §8, §12.2",
		"no client can get the subject of a user in another sector: a registered client keeps its subject type "+
			"and sector, and when the operator changes them its grants end",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			const victim = "https://victim.example/cb"
			pairwise := `"subject_type":"pairwise","grant_types":["authorization_code","refresh_token"],"scope":"openid offline_access"`
			r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],`+pairwise+`}`)
			c := clientOf(r)
			tokens := s.Tokens(c, "alice", "scope", "openid offline_access")
			sub := s.Userinfo(tokens.Text("access_token")).Text("sub")
			replace(s, r, `"redirect_uris":["`+victim+`"],`+pairwise).Want(t, 400, "invalid_client_metadata")
			replace(s, r, `"redirect_uris":["`+servertest.Callback+`"],"subject_type":"public"`).Want(t, 400, "invalid_client_metadata")
			if got := s.Userinfo(tokens.Text("access_token")).OK(t).Text("sub"); got != sub || got == u.ID {
				t.Errorf("subject = %s, want %s as before", got, sub)
			}
			replace(s, r, `"redirect_uris":["`+servertest.Callback+`/other"],`+pairwise).OK(t)
			tokens = s.Refresh(c, tokens.Text("refresh_token")).OK(t)
			if got := verifiedClaims(t, s, tokens.Text("id_token"))["sub"]; got != sub {
				t.Errorf("subject after a change of path = %v, want %s", got, sub)
			}
			_, _, err := s.OAuth.Clients.Update(t.Context(), c.ClientID, []byte(`{"redirect_uris":["`+victim+`"]}`))
			storagetest.Must(t, err)
			s.Userinfo(tokens.Text("access_token")).Want(t, 401, "invalid_token")
			s.Refresh(c, tokens.Text("refresh_token")).Want(t, 400, "invalid_grant")
		}).WithSettings(openRegistration),
	servertest.Req("M2", "RFC 9700 §4.1",
		"consent applies only to the client as the page showed it",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],"client_name":"Notes"}`)
			c := clientOf(r)
			b := s.Browser()
			page := b.SignIn(b.Authorize(c, "scope", "openid email"), "alice")
			s.Clock.Advance(time.Second)
			const evil = "https://evil.example/cb"
			replace(s, r, `"redirect_uris":["`+servertest.Callback+`","`+evil+`"],"client_name":"Your bank"`).OK(t)
			s.Clock.Advance(time.Second)
			if response := b.Decide(page, "approve"); response.Status != 403 || !strings.Contains(response.Text(), "The app did not get access") {
				t.Errorf("approval of a page with the old name: status %d, want 403", response.Status)
			}
			silent := func(scope string) string {
				return b.Authorize(c, "scope", scope, "prompt", "none", "redirect_uri", evil).Location().Query().Get("error")
			}
			if got := silent("openid email"); got != "consent_required" {
				t.Errorf("with prompt=none: %q, want consent_required", got)
			}
			// A consent to fewer scopes under the new name does not restore what was allowed under the old one.
			b.Code(c, "alice", "scope", "openid email")
			s.Clock.Advance(time.Second)
			replace(s, r, `"redirect_uris":["`+servertest.Callback+`","`+evil+`"],"client_name":"Your other bank"`).OK(t)
			s.Clock.Advance(time.Second)
			b.Code(c, "alice", "scope", "openid")
			if got := silent("openid"); got != "" {
				t.Errorf("a scope allowed under this name: %q, want no error", got)
			}
			if got := silent("openid email"); got != "consent_required" {
				t.Errorf("a scope allowed under another name: %q, want consent_required", got)
			}
		}).WithSettings(openRegistration),
	servertest.Req("M3", "RFC 7592 §2.2",
		"the operator's approval ends when the client changes what users see, and a deleted scope is not restored",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			s.Service("notes")
			r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],"scope":"openid notes","client_name":"Notes"}`)
			c := clientOf(r)
			_, _, err := s.OAuth.Clients.Update(t.Context(), c.ClientID, []byte(`{"gatehouse_skip_consent":true}`))
			storagetest.Must(t, err)
			storagetest.Must(t, s.Store.DeleteScope(t.Context(), "notes"))
			b := s.Browser()
			b.SignIn(b.Open("/login"), "alice")
			silent := func(uri string) url.Values {
				return b.Authorize(c, "scope", "openid", "prompt", "none", "redirect_uri", uri).Location().Query()
			}
			replaced := replace(s, r, `"redirect_uris":["`+servertest.Callback+`"],"client_name":"Notes","contacts":["dev@app.example"]`).OK(t)
			if silent(servertest.Callback).Get("code") == "" {
				t.Error("a change that users do not see removed gatehouse_skip_consent")
			}
			scopes, err := s.Store.Scopes(t.Context())
			storagetest.Must(t, err)
			if _, again := scopes["notes"]; again || replaced.Text("scope") != "openid" {
				t.Errorf("a deleted scope was restored: %v %q", again, replaced.Text("scope"))
			}
			replace(s, r, `"redirect_uris":["https://evil.example/cb"],"client_name":"Notes"`).OK(t)
			if got := silent("https://evil.example/cb").Get("error"); got != "consent_required" {
				t.Errorf("consent skipped for another host: %q, want consent_required", got)
			}
		}).WithSettings(openRegistration, "GATEHOUSE_REGISTRATION_SCOPES=openid,notes"),
	servertest.Req("M3b", "RFC 7592 §2.2",
		"a client may change other members after the operator set or deleted something, and this ends no grants",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			s.Service("notes")
			members := `"redirect_uris":["` + servertest.Callback + `"],"grant_types":["authorization_code","refresh_token"],"client_name":"Notes"`
			r := selfRegister(s, `{`+members+`}`)
			c := clientOf(r)
			tokens := s.Tokens(c, "alice", "scope", "openid email offline_access")
			_, _, err := s.OAuth.Clients.Update(t.Context(), c.ClientID, []byte(`{"gatehouse_optional_scopes":["email","notes"],"gatehouse_default_scopes":["openid","notes"]}`))
			storagetest.Must(t, err)
			storagetest.Must(t, s.Store.DeleteScope(t.Context(), "notes"))
			for range 2 {
				replace(s, r, members).OK(t)
				replace(s, r, members+`,"sector_identifier_uri":""`).OK(t)
			}
			tokens = s.Refresh(c, tokens.Text("refresh_token")).OK(t)
			replace(s, r, members+`,"scope":"openid offline_access"`).OK(t)
			_, _, err = s.OAuth.Clients.Update(t.Context(), c.ClientID, []byte(`{"gatehouse_owner":"Us"}`))
			storagetest.Must(t, err)
			record, err := s.Store.Client(t.Context(), c.ClientID)
			storagetest.Must(t, err)
			if len(record.OptionalScopes) != 0 || record.DefaultScopes == nil || len(*record.DefaultScopes) != 1 {
				t.Errorf("optional %v, default %v", record.OptionalScopes, record.DefaultScopes)
			}
			s.Refresh(c, tokens.Text("refresh_token")).Want(t, 400, "invalid_grant") // it removed a scope of its grants
		}).WithSettings(openRegistration, "GATEHOUSE_REGISTRATION_SCOPES=openid,email,offline_access,notes"),
	servertest.Req("M3c", "OIDC Registration §5",
		"a sector document has no effect on public subjects: adding or removing it is an ordinary change",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			host := servertest.NewHost(t)
			host.Serve("/sector", "application/json", `["`+servertest.Callback+`"]`)
			members := `"redirect_uris":["` + servertest.Callback + `"],"grant_types":["authorization_code","refresh_token"]`
			r := selfRegister(s, `{`+members+`}`)
			c := clientOf(r)
			tokens := s.Tokens(c, "alice", "scope", "openid offline_access")
			replace(s, r, members+`,"sector_identifier_uri":"`+host.URL+`/sector"`).OK(t)
			replace(s, r, members).OK(t)
			s.Refresh(c, tokens.Text("refresh_token")).OK(t)
		}).WithSettings(openRegistration, loopbackHosts),
	servertest.Req("M4", "RFC 7591 §3.2.2",
		"metadata that is not a JSON object, not UTF-8 or too large is refused, at registration and at change, "+
			"without internal details",
		func(t *testing.T, s *servertest.Server) {
			r := selfRegister(s, minimalMetadata)
			many := strings.Repeat(`"https://app.example/x",`, 20) + `"https://app.example/y"`
			keys := strings.Replace(servertest.JWKS(t, clientKey(t, "ES256", "1")), `"kid":"1"`, "\"kid\":\"1\xff\"", 1)
			metadataWith := func(more string) string {
				return `{"client_id":"` + r.Text("client_id") + `","redirect_uris":["` + servertest.Callback + `"],` + more + `}`
			}
			for _, body := range []string{
				`[]`, `x`, `"a"`, `null`, `{`, `{"client_id":7}`, metadataWith(`"redirect_uris":[7]`), metadataWith(`"contacts":7`), metadataWith(`"default_max_age":"soon"`), metadataWith(`"software_id":{}`),
				metadataWith(`"request_uris":[` + many + `]`), metadataWith(`"contacts":[` + many + `]`), metadataWith(`"jwks":` + keys), metadataWith("\"client_name\":\"\xff\""), metadataWith(`"client_name":"a\u0000b"`),
				metadataWith(`"client_uri":"https://аpple.com/"`), metadataWith(`"client_uri":"https://%D0%B0pple.com/"`), metadataWith(`"tos_uri":"https://a%E2%80%AEb.example/"`), metadataWith("\"policy_uri\":\"https://a.example/\u202e\""),
				metadataWith(`"scope":"claim:email","redirect_uris":"javascript:x"`),
			} {
				responses := []servertest.Response{
					registrationRequest(s, http.MethodPut, r.Text("registration_client_uri"), r.Text("registration_access_token"), body),
					selfRegister(s, body),
				}
				if body == `{"client_id":7}` {
					responses = responses[:1] // a registration ignores the member
				}
				for _, got := range responses {
					if got.Status != 400 || got.Text("error_description") == "" {
						t.Errorf("%q: %d %s", body, got.Status, got.Body)
					}
					if text := got.Text("error_description"); strings.Contains(text, "json:") || strings.Contains(text, "struct") || strings.Contains(text, "Go ") || strings.Contains(text, "invalid character") {
						t.Errorf("%q: the description %q has internal details", body, text)
					}
				}
			}
			if _, err := register(t, s, `{"redirect_uris":["`+servertest.Callback+`"],"scope":"openid claim:email"}`); err == nil {
				t.Error("a scope with the name of a claim permission was registered")
			}
		}).WithSettings(openRegistration, "GATEHOUSE_RATE_LIMITS=registration=1000/1m"),
	servertest.Req("M5", "RFC 7591 §5",
		"pages show the host of a dynamically registered client's redirect URI, not the home page that it claims",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],"client_name":"Sign-in","client_uri":"https://google.com/"}`)
			b := s.Browser()
			login := b.Authorize(clientOf(r), "scope", "openid")
			for _, page := range []servertest.Page{login, b.SignIn(login, "alice")} {
				if text := page.Text(); strings.Contains(text, "google.com") || !strings.Contains(text, "app.example") {
					t.Errorf("%s shows %s", page.URL, text)
				}
			}
		}).WithSettings(openRegistration),
	servertest.Req("M6", "RFC 7515 §7.1, OIDC Core §5.5",
		"a string that no database can store is an error of the client, not of the server",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			key := clientKey(t, "ES256", "1")
			c := s.RelyingParty(`"jwks":` + servertest.JWKS(t, key))
			s.Browser().Authorize(c, "scope", "openid", "claims", `{"id_token":{"sub":{"value":"a\u0000b"}}}`).WantRedirectError(t, s, "invalid_request")
			claims := map[string]any{"client_id": c.ClientID}
			form := servertest.AuthorizeForm(c, "scope", "openid email")
			for name := range form {
				claims[name] = form.Get(name)
			}
			claims["claims"] = json.RawMessage("{\"id_token\":{\"email\":{\"values\":[\"\xff\"]}}}")
			b := s.Browser()
			b.Follow(b.Open("/oauth2/authorize?"+url.Values{"client_id": {c.ClientID}, "request": {key.Sign(t, claims, nil)}, "response_type": {"code"}, "scope": {"openid"}}.Encode())).WantErrorPage(t, 400)
		}),
	servertest.Req("M7", "OIDC Registration §5, OIDC Core §10.1",
		"a sector document is fetched each time, and a cached JWKS is used only for the client it was fetched for",
		func(t *testing.T, s *servertest.Server) {
			host := servertest.NewHost(t)
			body := `{"redirect_uris":["` + servertest.Callback + `"],"subject_type":"pairwise","sector_identifier_uri":"` + host.URL + `/sector"}`
			host.Serve("/sector", "application/json", `["`+servertest.Callback+`"]`)
			r := selfRegister(s, body)
			if r.Status != 201 {
				t.Fatal(r.Body)
			}
			host.Serve("/sector", "application/json", `["https://app.example/op"]`)
			selfRegister(s, body).Want(t, 400, "invalid_client_metadata")
			replace(s, r, body[1:len(body)-1]).Want(t, 400, "invalid_client_metadata")

			keyed := func(key servertest.ClientKey) {
				t.Helper()
				host.Serve("/jwks", "application/json", servertest.JWKS(t, key))
				c := s.Client(`{"client_name":"Keyed","grant_types":["client_credentials"],"scope":"jobs","token_endpoint_auth_method":"private_key_jwt","jwks_uri":"` + host.URL + `/jwks"}`)
				tokenByAssertion(s, key.Sign(t, assertionClaims(s, c), nil)).OK(t)
			}
			keyed(clientKey(t, "ES256", "1"))
			keyed(clientKey(t, "ES256", "2"))
		}).WithSettings(openRegistration, loopbackHosts),
}
