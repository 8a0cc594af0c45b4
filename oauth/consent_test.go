package oauth_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

func TestConsent(t *testing.T) { servertest.Run(t, consents) }

const (
	notesAPI = "https://notes.example/api"
	filesAPI = "https://files.example"
)

// addAPI registers a resource with these scopes.
func addAPI(t *testing.T, s *servertest.Server, identifier, name string, scopes ...string) {
	t.Helper()
	storagetest.Must(t, s.Store.CreateResource(t.Context(), storage.Resource{
		Identifier: identifier, Name: name, Scopes: scopes, Introspectors: storage.Strings{}, CreatedAt: s.Clock.Now(),
	}))
}

// setScopes changes the scopes of a resource.
func setScopes(t *testing.T, s *servertest.Server, identifier string, scopes ...string) {
	t.Helper()
	storagetest.Must(t, s.Store.UpdateResource(t.Context(), identifier, func(r *storage.Resource) error {
		r.Scopes = scopes
		return nil
	}))
}

// hasCode reports whether the page is a redirect to the client with a code.
func hasCode(p servertest.Page) bool { return p.Location().Query().Get("code") != "" }

var consents = []servertest.Requirement{
	servertest.Req("N1", "RFC 8707 §2, §3, [decision 23](decisions/0023-consent-per-resource.md)",
		"a scope that was allowed at one API needs consent again at another, and the page names the API",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.RelyingParty()
			addAPI(t, s, notesAPI, "Notes API", "read", "write")
			addAPI(t, s, filesAPI, "", "read")
			b := s.Browser()
			page := b.SignIn(b.Authorize(c, "scope", "openid read", "resource", notesAPI), "alice")
			text := page.Text()
			if !strings.Contains(text, "At Notes API notes.example read") || strings.Contains(text, "files.example") {
				t.Errorf("the consent page does not name the Notes API alone: %s", text)
			}
			silent := func(scope string, changes ...string) servertest.Page {
				return b.Authorize(c, append([]string{"prompt", "none", "scope", scope}, changes...)...)
			}
			if !hasCode(b.Decide(page, "approve")) || !hasCode(silent("openid read", "resource", notesAPI)) {
				t.Fatal("the allowed scope needs consent again")
			}
			silent("openid read", "resource", filesAPI).WantRedirectError(t, s, "consent_required")
			silent("openid read").WantRedirectError(t, s, "consent_required") // the token would be for both APIs
			page = b.Authorize(c, "scope", "openid read")
			const both = "At files.example , Notes API notes.example read new"
			if text := page.Text(); !strings.Contains(page.URL, "/consent") || !strings.Contains(text, both) {
				t.Fatalf("without resource: got %s %s, want the consent page with %q", page.URL, text, both)
			}
			approved := b.Decide(page, "approve")
			if !hasCode(approved) || !hasCode(silent("read", "resource", filesAPI)) || !hasCode(silent("openid read")) {
				t.Error("the scope that was allowed at both APIs needs consent again")
			}
			silent("write", "resource", notesAPI).WantRedirectError(t, s, "consent_required")
			text = b.Open("/account").Text()
			if !strings.Contains(text, "read (Notes API)") || !strings.Contains(text, "read (files.example)") {
				t.Errorf("the account page does not show the scope at both APIs: %s", text)
			}
			// The operator changes an API while a consent page is open: the form is refused if the page is about that API.
			page = b.Authorize(c, "scope", "write", "resource", notesAPI)
			setScopes(t, s, filesAPI, "read", "write")
			if p := b.Decide(page, "approve"); !hasCode(p) {
				t.Errorf("approval after a change of another API: got %d, want a code", p.Status)
			}
			page = b.Authorize(c, "scope", "write")
			setScopes(t, s, notesAPI, "read")
			if p := b.Decide(page, "approve"); p.Status != http.StatusForbidden {
				t.Errorf("approval after one of two APIs lost the scope: got %d %s, want 403", p.Status, p.Header.Get("Location"))
			}
		}),
	servertest.Req("N2", "RFC 8707 §2, [decision 23](decisions/0023-consent-per-resource.md)",
		"consent is per API, whether the scopes belong to it, to none or to another, and is required again when the "+
			"operator assigns a scope to another API",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.RelyingParty(`"gatehouse_resources":["` + notesAPI + `","` + filesAPI + `"]`)
			addAPI(t, s, notesAPI, "Notes API")
			addAPI(t, s, filesAPI, "Files API")
			b := s.Browser()
			silent := func(changes ...string) servertest.Page { return b.Authorize(c, append(changes, "prompt", "none")...) }
			b.Code(c, "alice", "scope", "openid read")
			// The scope belongs to no API: at each requested API it is a permission of its own.
			silent("scope", "openid read", "resource", notesAPI).WantRedirectError(t, s, "consent_required")
			b.Code(c, "alice", "scope", "openid read", "resource", notesAPI)
			if !hasCode(silent("scope", "openid read", "resource", notesAPI)) {
				t.Error("a scope that was allowed at this API needs consent again")
			}
			silent("scope", "openid read", "resource", filesAPI).WantRedirectError(t, s, "consent_required")
			// Without a scope of the API, access to the API itself is requested.
			silent("scope", "openid", "resource", filesAPI).WantRedirectError(t, s, "consent_required")
			page := b.Authorize(c, "scope", "openid", "resource", filesAPI)
			const itself = "At Files API files.example Send requests on your behalf"
			if text := page.Text(); !strings.Contains(text, itself) {
				t.Errorf("the consent page for an API without a scope = %s, want %q in it", text, itself)
			}
			if !hasCode(b.Decide(page, "approve")) || !hasCode(silent("scope", "openid", "resource", filesAPI)) {
				t.Error("access to the API itself needs consent again")
			}
			silent("scope", "openid read", "resource", filesAPI).WantRedirectError(t, s, "consent_required")
			// The operator assigns the scope to an API, then to another: without resource the token is for that API.
			if !hasCode(silent("scope", "openid read")) {
				t.Error("a scope of no API needs consent again")
			}
			setScopes(t, s, notesAPI, "read")
			if !hasCode(silent("scope", "openid read")) {
				t.Error("a scope needs consent again at an API where the user allowed it before the API had it")
			}
			setScopes(t, s, notesAPI)
			setScopes(t, s, filesAPI, "read")
			silent("scope", "openid read").WantRedirectError(t, s, "consent_required")
			setScopes(t, s, notesAPI, "read")
			silent("scope", "openid read").WantRedirectError(t, s, "consent_required")
			// A scope of another API than the requested one is stored as allowed at the requested API only.
			b.Code(c, "alice", "scope", "openid write", "resource", notesAPI)
			setScopes(t, s, filesAPI, "read", "write")
			silent("scope", "openid write", "resource", filesAPI).WantRedirectError(t, s, "consent_required")
		}),
	servertest.Req("N4", "RFC 6749 §3.3, [decision 23](decisions/0023-consent-per-resource.md)",
		"a refused optional scope stays refused without a page, is not selected on the next page, and can be allowed there",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.RelyingParty(`"gatehouse_optional_scopes":["read","write"]`)
			addAPI(t, s, notesAPI, "Notes API", "read", "write")
			addAPI(t, s, filesAPI, "Files API", "read")
			b := s.Browser()
			authorize := func(scope string, changes ...string) servertest.Page {
				return b.Authorize(c, append([]string{"scope", scope, "resource", notesAPI}, changes...)...)
			}
			wantGranted := func(when string, p servertest.Page, want string) {
				t.Helper()
				if got := s.Redeem(c, p.Location()).Text("scope"); got != want {
					t.Errorf("%s: granted %q, want %q", when, got, want)
				}
			}
			approve := func(p servertest.Page, scopes ...string) servertest.Page {
				form := p.Fields()
				form["scope"] = scopes
				form.Set("decision", "approve")
				return b.Submit("/consent", form)
			}
			page := b.SignIn(authorize("openid read write"), "alice")
			if got := page.Fields()["scope"]; len(got) != 2 {
				t.Fatalf("first page: selected = %v, want both scopes", got)
			}
			wantGranted("after a refusal of write", approve(page, "read"), "openid read")
			wantGranted("without a page", authorize("openid read write", "prompt", "none"), "openid read")
			page = authorize("openid read write", "prompt", "consent")
			if got := page.Fields()["scope"]; len(got) != 1 || got[0] != "read" {
				t.Errorf("with prompt=consent: selected = %v, want read", got)
			}
			// A new scope needs consent; the refused one is not selected on its page, and not marked as new.
			page = authorize("openid email write")
			selected, marks := page.Fields()["scope"], strings.Count(page.Text(), "new")
			if !strings.Contains(page.URL, "/consent") || len(selected) != 0 || marks != 1 {
				t.Errorf("with a new scope: got %s, selected %v, want a consent page with nothing selected and one new scope: %s",
					page.URL, selected, page.Text())
			}
			// With the refused scope alone there is nothing to grant, so the user is prompted.
			if page = authorize("write"); !strings.Contains(page.URL, "/consent") {
				t.Errorf("with write alone: got %s %s, want the consent page", page.URL, page.Header.Get("Location"))
			}
			page = authorize("openid read write", "prompt", "consent")
			wantGranted("after write was allowed", approve(page, "read", "write"), "openid read write")
			wantGranted("then without a page", authorize("openid read write", "prompt", "none"), "openid read write")
			// Refusing a scope withdraws what was allowed, without effect on another API.
			page = authorize("openid read", "prompt", "consent")
			wantGranted("after a refusal of read", approve(page), "openid")
			silent := b.Authorize(c, "scope", "openid read", "resource", filesAPI, "prompt", "none")
			silent.WantRedirectError(t, s, "consent_required")
			page = b.Authorize(c, "scope", "openid read", "resource", filesAPI)
			if got := page.Fields()["scope"]; len(got) != 1 {
				t.Errorf("at another API: selected = %v, want read", got)
			}
			// A scope that the operator makes required is requested again.
			_, _, err := s.OAuth.Clients.Update(t.Context(), c.ClientID, []byte(`{"gatehouse_optional_scopes":["write"]}`))
			storagetest.Must(t, err)
			authorize("openid read", "prompt", "none").WantRedirectError(t, s, "consent_required")
		}),
	servertest.Req("N5", "RFC 7591 §2, [decision 23](decisions/0023-consent-per-resource.md)",
		"the operator sets whether optional scopes are initially selected; for a self-registered client the default is no",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			wantSelected := func(when, id string, want int) {
				t.Helper()
				c := clientInformation{ClientID: id}
				c.RedirectURIs = []string{servertest.Callback}
				b := s.Browser()
				page := b.SignIn(b.Authorize(c, "scope", "openid email", "claims", `{"userinfo":{"name":null}}`), "alice")
				if !strings.Contains(page.Body, `value="email"`) || !strings.Contains(page.Body, `value="claim:name"`) {
					t.Fatalf("%s: got %d %s, want boxes for email and name", when, page.Status, page.Text())
				}
				if got := page.Fields()["scope"]; len(got) != want {
					t.Errorf("%s: selected = %v, want %d boxes", when, got, want)
				}
			}
			set := func(id, metadata string) {
				t.Helper()
				_, _, err := s.OAuth.Clients.Update(t.Context(), id, []byte(metadata))
				storagetest.Must(t, err)
			}
			const optional = `"gatehouse_optional_scopes":["email","profile"]`
			wantSelected("by default", s.RelyingParty(optional).ClientID, 2)
			unselected := s.RelyingParty(optional, `"gatehouse_optional_scopes_selected":false`)
			wantSelected("set to false", unselected.ClientID, 0)
			registered := selfRegister(s, `{"redirect_uris":["`+servertest.Callback+`"],"scope":"openid email profile",`+
				optional+`,"gatehouse_optional_scopes_selected":true}`)
			id := registered.Text("client_id")
			if registered.Status != http.StatusCreated || strings.Contains(registered.Body, "gatehouse_") {
				t.Fatalf("registration: got %d %s, want 201 without members of operators", registered.Status, registered.Body)
			}
			set(id, "{"+optional+"}")
			wantSelected("self-registered", id, 0)
			set(id, `{"gatehouse_optional_scopes_selected":true}`)
			wantSelected("self-registered and set to true", id, 2)
		}).WithSettings("GATEHOUSE_REGISTRATION=open"),
	servertest.Req("N6", "RFC 8707 §2, [decision 23](decisions/0023-consent-per-resource.md)",
		"a scope of no API is allowed only at the APIs that the token is for, also when no resource is named",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"openid read notes files"}`)
			addAPI(t, s, notesAPI, "Notes API", "notes")
			addAPI(t, s, filesAPI, "Files API", "files")
			b := s.Browser()
			silent := func(scope string) servertest.Page { return b.Authorize(c, "scope", scope, "prompt", "none") }
			b.Code(c, "alice", "scope", "openid read")
			if !hasCode(silent("openid read")) {
				t.Fatal("the allowed scope needs consent again")
			}
			// With a scope of an API in the request, the token is for that API.
			b.Code(c, "alice", "scope", "openid notes")
			b.Code(c, "alice", "scope", "openid files")
			silent("openid read files").WantRedirectError(t, s, "consent_required")
			silent("openid read notes").WantRedirectError(t, s, "consent_required")
			page := b.Authorize(c, "scope", "openid read notes")
			if !strings.Contains(page.Text(), "At Notes API notes.example read") {
				t.Errorf("the consent page does not name the Notes API: %s", page.Text())
			}
			if !hasCode(b.Decide(page, "approve")) || !hasCode(silent("openid read notes")) {
				t.Error("the scopes that were allowed at this API need consent again")
			}
			silent("openid read files").WantRedirectError(t, s, "consent_required")
			silent("openid read files notes").WantRedirectError(t, s, "consent_required")
		}),
	servertest.Req("N7", "RFC 8707 §2, [decision 23](decisions/0023-consent-per-resource.md)",
		"APIs without a name are distinguished by their identifiers, also at the same host",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"read files"}`)
			addAPI(t, s, notesAPI, "", "read")
			addAPI(t, s, "https://notes.example/admin?all", "", "read")
			addAPI(t, s, filesAPI, "", "files")
			b := s.Browser()
			page := b.SignIn(b.Authorize(c, "scope", "read", "resource", notesAPI), "alice")
			if text := page.Text(); !strings.Contains(text, "At notes.example/api read") {
				t.Errorf("the consent page does not contain the path of the API: %s", text)
			}
			b.Decide(page, "approve")
			text := b.Authorize(c, "scope", "read files").Text()
			for _, want := range []string{
				"At notes.example/admin?all , notes.example/api read", "At files.example files",
			} {
				if !strings.Contains(text, want) {
					t.Errorf("the consent page for three APIs = %s, want %q in it", text, want)
				}
			}
			if text := b.Open("/account").Text(); !strings.Contains(text, "read (notes.example/api)") {
				t.Errorf("the account page does not contain the path of the API: %s", text)
			}
		}),
	servertest.Req("N9", "[design](design.md)",
		"all boxes of the longest consent page can be selected",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			scopes := make([]string, 100) // as many as a request can have
			for i := range scopes {
				scopes[i] = fmt.Sprint("scope.", i)
			}
			all := strings.Join(scopes, " ")
			c := s.Client(`{"client_name":"Notes","grant_types":["authorization_code"],
				"redirect_uris":["` + servertest.Callback + `"],
				"scope":"` + all + `","gatehouse_optional_scopes":["` + strings.Join(scopes, `","`) + `"]}`)
			b := s.Browser()
			page := b.Decide(b.SignIn(b.Authorize(c, "scope", all), "alice"), "approve")
			if got := s.Redeem(c, page.Location()).Text("scope"); len(strings.Fields(got)) != len(scopes) {
				t.Errorf("granted %q, want %d scopes", got, len(scopes))
			}
		}),
}
