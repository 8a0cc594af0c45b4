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

// replaceRegistration sends the PUT of RFC 7592 §2.2 with the members and client_id.
func replaceRegistration(s *servertest.Server, registered servertest.Response, members string) servertest.Response {
	s.T.Helper()
	return putMetadata(s, registered, `{"client_id":"`+registered.Text("client_id")+`",`+members+`}`)
}

// putMetadata sends the PUT of RFC 7592 §2.2 with the body.
func putMetadata(s *servertest.Server, registered servertest.Response, body string) servertest.Response {
	s.T.Helper()
	uri, token := registered.Text("registration_client_uri"), registered.Text("registration_access_token")
	return registrationRequest(s, http.MethodPut, uri, token, body)
}

var management = []servertest.Requirement{
	servertest.Req("M1", "OIDC Core §8, §12.2",
		"no client can get the subject of a user in another sector: a registered client keeps its subject type "+
			"and sector, and when the operator changes them its grants end",
		func(t *testing.T, s *servertest.Server) {
			u := s.User("alice")
			const victim = "https://victim.example/cb"
			const pairwise = `"subject_type":"pairwise","grant_types":["authorization_code","refresh_token"],
				"scope":"openid offline_access"`
			r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],`+pairwise+`}`)
			c := clientOf(r)
			tokens := s.Tokens(c, "alice", "scope", "openid offline_access")
			sub := s.Userinfo(tokens.Text("access_token")).Text("sub")
			replaceRegistration(s, r, `"redirect_uris":["`+victim+`"],`+pairwise).Want(t, 400, "invalid_client_metadata")
			public := `"redirect_uris":["` + servertest.Callback + `"],"subject_type":"public"`
			replaceRegistration(s, r, public).Want(t, 400, "invalid_client_metadata")
			if got := s.Userinfo(tokens.Text("access_token")).OK(t).Text("sub"); got != sub || got == u.ID {
				t.Errorf("subject = %s, want %s as before", got, sub)
			}
			replaceRegistration(s, r, `"redirect_uris":["`+servertest.Callback+`/other"],`+pairwise).OK(t)
			tokens = s.Refresh(c, tokens.Text("refresh_token")).OK(t)
			if got := verifiedClaims(t, s, tokens.Text("id_token"))["sub"]; got != sub {
				t.Errorf("subject after a change of path = %v, want %s", got, sub)
			}
			updateClient(t, s, c.ClientID, `{"redirect_uris":["`+victim+`"]}`)
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
			replaceRegistration(s, r, `"redirect_uris":["`+servertest.Callback+`","`+evil+`"],"client_name":"Your bank"`).OK(t)
			s.Clock.Advance(time.Second)
			response := b.Decide(page, "approve")
			if response.Status != 403 || !strings.Contains(response.Text(), "The app did not get access") {
				t.Errorf("approval of a page with the old name: %d %s, want 403 without access",
					response.Status, response.Text())
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
			otherName := `"redirect_uris":["` + servertest.Callback + `","` + evil + `"],"client_name":"Your other bank"`
			replaceRegistration(s, r, otherName).OK(t)
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
			updateClient(t, s, c.ClientID, `{"gatehouse_skip_consent":true}`)
			storagetest.Must(t, s.Store.DeleteScope(t.Context(), "notes"))
			b := s.Browser()
			b.SignIn(b.Open("/login"), "alice")
			silent := func(uri string) url.Values {
				return b.Authorize(c, "scope", "openid", "prompt", "none", "redirect_uri", uri).Location().Query()
			}
			replaced := replaceRegistration(s, r, `"redirect_uris":["`+servertest.Callback+`"],"client_name":"Notes",
				"contacts":["dev@app.example"]`).OK(t)
			if silent(servertest.Callback).Get("code") == "" {
				t.Error("a change that users do not see removed gatehouse_skip_consent")
			}
			scopes, err := s.Store.Scopes(t.Context())
			storagetest.Must(t, err)
			if _, again := scopes["notes"]; again || replaced.Text("scope") != "openid" {
				t.Errorf("scope = %q, deleted scope exists = %v, want openid and false", replaced.Text("scope"), again)
			}
			replaceRegistration(s, r, `"redirect_uris":["https://evil.example/cb"],"client_name":"Notes"`).OK(t)
			if got := silent("https://evil.example/cb").Get("error"); got != "consent_required" {
				t.Errorf("consent skipped for another host: %q, want consent_required", got)
			}
		}).WithSettings(openRegistration, "GATEHOUSE_REGISTRATION_SCOPES=openid,notes"),
	servertest.Req("M3b", "RFC 7592 §2.2",
		"a client may change other members after the operator set or deleted something, and this ends no grants",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			s.Service("notes")
			members := `"redirect_uris":["` + servertest.Callback + `"],"client_name":"Notes",
				"grant_types":["authorization_code","refresh_token"]`
			r := selfRegister(s, `{`+members+`}`)
			c := clientOf(r)
			tokens := s.Tokens(c, "alice", "scope", "openid email offline_access")
			updateClient(t, s, c.ClientID, `{"gatehouse_optional_scopes":["email","notes"],
				"gatehouse_default_scopes":["openid","notes"]}`)
			storagetest.Must(t, s.Store.DeleteScope(t.Context(), "notes"))
			for range 2 {
				replaceRegistration(s, r, members).OK(t)
				replaceRegistration(s, r, members+`,"sector_identifier_uri":""`).OK(t)
			}
			tokens = s.Refresh(c, tokens.Text("refresh_token")).OK(t)
			replaceRegistration(s, r, members+`,"scope":"openid offline_access"`).OK(t)
			updateClient(t, s, c.ClientID, `{"gatehouse_owner":"Us"}`)
			record, err := s.Store.Client(t.Context(), c.ClientID)
			storagetest.Must(t, err)
			if len(record.OptionalScopes) != 0 || record.DefaultScopes == nil || len(*record.DefaultScopes) != 1 {
				t.Errorf("optional scopes %v, default scopes %v, want none and one without the deleted scope",
					record.OptionalScopes, record.DefaultScopes)
			}
			s.Refresh(c, tokens.Text("refresh_token")).Want(t, 400, "invalid_grant") // the client removed a scope of the grant
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
			replaceRegistration(s, r, members+`,"sector_identifier_uri":"`+host.URL+`/sector"`).OK(t)
			replaceRegistration(s, r, members).OK(t)
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
				`[]`, `x`, `"a"`, `null`, `{`, `{"client_id":7}`,
				metadataWith(`"redirect_uris":[7]`), metadataWith(`"contacts":7`), metadataWith(`"default_max_age":"soon"`),
				metadataWith(`"software_id":{}`), metadataWith(`"request_uris":[` + many + `]`),
				metadataWith(`"contacts":[` + many + `]`), metadataWith(`"jwks":` + keys),
				metadataWith("\"client_name\":\"\xff\""), metadataWith(`"client_name":"a\u0000b"`),
				metadataWith(`"client_uri":"https://аpple.com/"`), metadataWith(`"client_uri":"https://%D0%B0pple.com/"`),
				metadataWith(`"tos_uri":"https://a%E2%80%AEb.example/"`),
				metadataWith("\"policy_uri\":\"https://a.example/\u202e\""),
				metadataWith(`"scope":"claim:email","redirect_uris":"javascript:x"`),
			} {
				responses := []servertest.Response{putMetadata(s, r, body), selfRegister(s, body)}
				if body == `{"client_id":7}` {
					responses = responses[:1] // a registration ignores the member
				}
				for _, got := range responses {
					if got.Status != 400 || got.Text("error_description") == "" {
						t.Errorf("%q: %d %s, want 400 with a description", body, got.Status, got.Body)
					}
					for _, internal := range []string{"json:", "struct", "Go ", "invalid character"} {
						if description := got.Text("error_description"); strings.Contains(description, internal) {
							t.Errorf("%q: the description %q has the internal %q", body, description, internal)
						}
					}
				}
			}
			reserved := `{"redirect_uris":["` + servertest.Callback + `"],"scope":"openid claim:email"}`
			if _, err := register(t, s, reserved); err == nil {
				t.Error("a scope with the name of a claim permission was registered")
			}
		}).WithSettings(openRegistration, "GATEHOUSE_RATE_LIMITS=registration=1000/1m"),
	servertest.Req("M5", "RFC 7591 §5",
		"pages show the host of a dynamically registered client's redirect URI, not the home page that it claims",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			r := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],"client_name":"Sign-in",
				"client_uri":"https://google.com/"}`)
			b := s.Browser()
			login := b.Authorize(clientOf(r), "scope", "openid")
			for _, page := range []servertest.Page{login, b.SignIn(login, "alice")} {
				if text := page.Text(); strings.Contains(text, "google.com") || !strings.Contains(text, "app.example") {
					t.Errorf("%s shows %s, want app.example without google.com", page.URL, text)
				}
			}
		}).WithSettings(openRegistration),
	servertest.Req("M6", "RFC 7515 §7.1, OIDC Core §5.5",
		"a string that no database can store is an error of the client, not of the server",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			key := clientKey(t, "ES256", "1")
			c := s.RelyingParty(`"jwks":` + servertest.JWKS(t, key))
			const withNUL = `{"id_token":{"sub":{"value":"a\u0000b"}}}`
			s.Browser().Authorize(c, "scope", "openid", "claims", withNUL).WantRedirectError(t, s, "invalid_request")
			claims := map[string]any{"client_id": c.ClientID}
			form := servertest.AuthorizeForm(c, "scope", "openid email")
			for name := range form {
				claims[name] = form.Get(name)
			}
			claims["claims"] = json.RawMessage("{\"id_token\":{\"email\":{\"values\":[\"\xff\"]}}}")
			b := s.Browser()
			p := openWithObject(b, "client_id", c.ClientID, "request", key.Sign(t, claims, nil),
				"response_type", "code", "scope", "openid")
			p.WantErrorPage(t, 400)
		}),
	servertest.Req("M7", "OIDC Registration §5, OIDC Core §10.1",
		"a sector document is fetched each time, and a cached JWKS is used only for the client it was fetched for",
		func(t *testing.T, s *servertest.Server) {
			host := servertest.NewHost(t)
			body := `{"redirect_uris":["` + servertest.Callback + `"],"subject_type":"pairwise",
				"sector_identifier_uri":"` + host.URL + `/sector"}`
			host.Serve("/sector", "application/json", `["`+servertest.Callback+`"]`)
			r := selfRegister(s, body)
			if r.Status != 201 {
				t.Fatalf("registration: %d %s, want 201", r.Status, r.Body)
			}
			host.Serve("/sector", "application/json", `["https://app.example/op"]`)
			selfRegister(s, body).Want(t, 400, "invalid_client_metadata")
			replaceRegistration(s, r, body[1:len(body)-1]).Want(t, 400, "invalid_client_metadata")

			authenticate := func(key servertest.ClientKey) {
				t.Helper()
				host.Serve("/jwks", "application/json", servertest.JWKS(t, key))
				c := registerKeyClient(s, `"jwks_uri":"`+host.URL+`/jwks"`)
				tokenByAssertion(s, key.Sign(t, assertionClaims(s, c), nil)).OK(t)
			}
			authenticate(clientKey(t, "ES256", "1"))
			authenticate(clientKey(t, "ES256", "2"))
		}).WithSettings(openRegistration, loopbackHosts),
}
