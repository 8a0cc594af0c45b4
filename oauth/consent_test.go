package oauth_test

import (
	"fmt"
	"io"
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

// addAPI registers a resource.
func addAPI(t *testing.T, s *servertest.Server, identifier, name string, scopes ...string) {
	t.Helper()
	r := storage.Resource{Identifier: identifier, Name: name, Scopes: scopes, Introspectors: storage.Strings{}, CreatedAt: s.Clock.Now()}
	storagetest.Must(t, s.Store.CreateResource(t.Context(), r))
}

// setScopes changes the scopes of a resource.
func setScopes(t *testing.T, s *servertest.Server, identifier string, scopes ...string) {
	t.Helper()
	storagetest.Must(t, s.Store.UpdateResource(t.Context(), identifier, func(r *storage.Resource) error {
		r.Scopes = scopes
		return nil
	}))
}

// hasCode reports whether the page is a redirect to the app with a code.
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
			if text := page.Text(); !strings.Contains(text, "At Notes API notes.example read") || strings.Contains(text, "files.example") {
				t.Errorf("the page does not name the API: %s", text)
			}
			if !hasCode(b.Decide(page, "approve")) || !hasCode(b.Authorize(c, "scope", "openid read", "resource", notesAPI, "prompt", "none")) {
				t.Fatal("the allowed scope needs consent again")
			}
			b.Authorize(c, "scope", "openid read", "resource", filesAPI, "prompt", "none").WantRedirectError(t, s, "consent_required")
			b.Authorize(c, "scope", "openid read", "prompt", "none").WantRedirectError(t, s, "consent_required") // is for both
			page = b.Authorize(c, "scope", "openid read")
			if text := page.Text(); !strings.Contains(page.URL, "/consent") || !strings.Contains(text, "At files.example , Notes API notes.example read new") {
				t.Fatalf("%s %s", page.URL, text)
			}
			if !hasCode(b.Decide(page, "approve")) || !hasCode(b.Authorize(c, "scope", "read", "resource", filesAPI, "prompt", "none")) || !hasCode(b.Authorize(c, "scope", "openid read", "prompt", "none")) {
				t.Error("the scope that was allowed at both APIs needs consent again")
			}
			b.Authorize(c, "scope", "write", "resource", notesAPI, "prompt", "none").WantRedirectError(t, s, "consent_required")
			if text := b.Open("/account").Text(); !strings.Contains(text, "read (Notes API)") || !strings.Contains(text, "read (files.example)") {
				t.Errorf("the account page: %s", text)
			}
			// A form from before the operator changed the API is refused.
			page = b.Authorize(c, "scope", "write", "resource", notesAPI)
			setScopes(t, s, filesAPI, "read", "write")
			if p := b.Decide(page, "approve"); !hasCode(p) {
				t.Errorf("after a change of another API: %d", p.Status)
			}
			page = b.Authorize(c, "scope", "write")
			setScopes(t, s, notesAPI, "read")
			if p := b.Decide(page, "approve"); p.Status != http.StatusForbidden {
				t.Errorf("a page about two APIs, one of which lost the scope: %d %s", p.Status, p.Header.Get("Location"))
			}
		}),
	servertest.Req("N2", "RFC 8707 §2, [decision 23](decisions/0023-consent-per-resource.md)",
		"consent is per API, whether the scopes belong to it, to none or to another, and is required again when a "+
			"scope moves",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.RelyingParty(`"gatehouse_resources":["` + notesAPI + `","` + filesAPI + `"]`)
			addAPI(t, s, notesAPI, "Notes API")
			addAPI(t, s, filesAPI, "Files API")
			b := s.Browser()
			silent := func(changes ...string) servertest.Page { return b.Authorize(c, append(changes, "prompt", "none")...) }
			b.Code(c, "alice", "scope", "openid read")
			// The scope belongs to no API: each that is named is another right.
			silent("scope", "openid read", "resource", notesAPI).WantRedirectError(t, s, "consent_required")
			b.Code(c, "alice", "scope", "openid read", "resource", notesAPI)
			if !hasCode(silent("scope", "openid read", "resource", notesAPI)) {
				t.Error("consent is required again")
			}
			silent("scope", "openid read", "resource", filesAPI).WantRedirectError(t, s, "consent_required")
			// Without a scope of the API, access to the API itself is requested.
			silent("scope", "openid", "resource", filesAPI).WantRedirectError(t, s, "consent_required")
			page := b.Authorize(c, "scope", "openid", "resource", filesAPI)
			if !strings.Contains(page.Text(), "At Files API files.example Send requests on your behalf") {
				t.Errorf("%s", page.Text())
			}
			if !hasCode(b.Decide(page, "approve")) || !hasCode(silent("scope", "openid", "resource", filesAPI)) {
				t.Error("consent for the API itself is required again")
			}
			silent("scope", "openid read", "resource", filesAPI).WantRedirectError(t, s, "consent_required")
			// Now the operator gives the scope to an API, then to another: without resource it is for that one.
			if !hasCode(silent("scope", "openid read")) {
				t.Error("scope of no API: consent is required again")
			}
			setScopes(t, s, notesAPI, "read")
			if !hasCode(silent("scope", "openid read")) {
				t.Error("alice allowed it at this API, but consent is required again")
			}
			setScopes(t, s, notesAPI)
			setScopes(t, s, filesAPI, "read")
			silent("scope", "openid read").WantRedirectError(t, s, "consent_required")
			setScopes(t, s, notesAPI, "read")
			silent("scope", "openid read").WantRedirectError(t, s, "consent_required")
			// A scope of another API than the one named goes nowhere and is remembered as that.
			b.Code(c, "alice", "scope", "openid write", "resource", notesAPI)
			setScopes(t, s, filesAPI, "read", "write")
			silent("scope", "openid write", "resource", filesAPI).WantRedirectError(t, s, "consent_required")
		}),
	servertest.Req("N4", "RFC 6749 §3.3, [decision 23](decisions/0023-consent-per-resource.md)",
		"a refused optional scope stays refused without a page, is unticked on the next page, and can be allowed there",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.RelyingParty(`"gatehouse_optional_scopes":["read","write"]`)
			addAPI(t, s, notesAPI, "Notes API", "read", "write")
			addAPI(t, s, filesAPI, "Files API", "read")
			b := s.Browser()
			notes := func(scope string, changes ...string) servertest.Page {
				return b.Authorize(c, append([]string{"scope", scope, "resource", notesAPI}, changes...)...)
			}
			granted := func(p servertest.Page) string { return s.Redeem(c, p.Location()).Text("scope") }
			page := b.SignIn(notes("openid read write"), "alice")
			if got := page.Fields()["scope"]; len(got) != 2 {
				t.Fatalf("ticked are %v", got)
			}
			form := page.Fields()
			form["scope"] = []string{"read"}
			form.Set("decision", "approve")
			if got := granted(b.Submit("/consent", form)); got != "openid read" {
				t.Fatalf("granted is %q", got)
			}
			if got := granted(notes("openid read write", "prompt", "none")); got != "openid read" {
				t.Errorf("the second time, without a page, granted is %q", got)
			}
			page = notes("openid read write", "prompt", "consent")
			if got := page.Fields()["scope"]; len(got) != 1 || got[0] != "read" {
				t.Errorf("with prompt=consent ticked are %v", got)
			}
			// Something new brings the page back; what was refused is unticked there too, and not new.
			page = notes("openid email write")
			if got := page.Fields()["scope"]; !strings.Contains(page.URL, "/consent") || len(got) != 0 || strings.Count(page.Text(), "new") != 1 {
				t.Errorf("with another scope: %s, ticked %v: %s", page.URL, got, page.Text())
			}
			// Alone it would leave nothing to grant, so the user is prompted.
			if page = notes("write"); !strings.Contains(page.URL, "/consent") {
				t.Errorf("alone: %s %s", page.URL, page.Header.Get("Location"))
			}
			// Allowed after all.
			form = notes("openid read write", "prompt", "consent").Fields()
			form["scope"] = []string{"read", "write"}
			form.Set("decision", "approve")
			if got := granted(b.Submit("/consent", form)); got != "openid read write" {
				t.Errorf("allowed after all, granted is %q", got)
			}
			if got := granted(notes("openid read write", "prompt", "none")); got != "openid read write" {
				t.Errorf("and then without a page, granted is %q", got)
			}
			// Refusing it again withdraws what was allowed; it does not affect another API.
			form = notes("openid read", "prompt", "consent").Fields()
			form.Del("scope")
			form.Set("decision", "approve")
			if got := granted(b.Submit("/consent", form)); got != "openid" {
				t.Errorf("taken back, granted is %q", got)
			}
			b.Authorize(c, "scope", "openid read", "resource", filesAPI, "prompt", "none").WantRedirectError(t, s, "consent_required")
			page = b.Authorize(c, "scope", "openid read", "resource", filesAPI)
			if got := page.Fields()["scope"]; len(got) != 1 {
				t.Errorf("at another API ticked are %v", got)
			}
			// A scope that the operator makes required is requested again.
			_, _, err := s.OAuth.Clients.Update(t.Context(), c.ClientID, []byte(`{"gatehouse_optional_scopes":["write"]}`))
			storagetest.Must(t, err)
			notes("openid read", "prompt", "none").WantRedirectError(t, s, "consent_required")
		}),
	servertest.Req("N5", "RFC 7591 §2, [decision 23](decisions/0023-consent-per-resource.md)",
		"the operator sets whether optional scopes are initially ticked; for a self-registered client they are not",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			ticked := func(id string) []string {
				t.Helper()
				c := clientInformation{ClientID: id}
				c.RedirectURIs = []string{servertest.Callback}
				b := s.Browser()
				page := b.SignIn(b.Authorize(c, "scope", "openid email", "claims", `{"userinfo":{"name":null}}`), "alice")
				if !strings.Contains(page.Body, `value="email"`) || !strings.Contains(page.Body, `value="claim:name"`) {
					t.Fatalf("%d %s", page.Status, page.Text())
				}
				return page.Fields()["scope"]
			}
			set := func(id, metadata string) {
				t.Helper()
				_, _, err := s.OAuth.Clients.Update(t.Context(), id, []byte(metadata))
				storagetest.Must(t, err)
			}
			const optional = `"gatehouse_optional_scopes":["email","profile"]`
			if got := ticked(s.RelyingParty(optional).ClientID); len(got) != 2 {
				t.Errorf("by default ticked are %v", got)
			}
			if got := ticked(s.RelyingParty(optional, `"gatehouse_optional_scopes_selected":false`).ClientID); len(got) != 0 {
				t.Errorf("set to false, ticked are %v", got)
			}
			req := s.Request(http.MethodPost, "/oauth2/register", nil)
			req.Header.Set("Content-Type", "application/json")
			req.Body = io.NopCloser(strings.NewReader(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"openid email profile",` + optional + `,"gatehouse_optional_scopes_selected":true}`))
			registered := s.Do(req)
			id := registered.Text("client_id")
			if registered.Status != http.StatusCreated || strings.Contains(registered.Body, "gatehouse_") {
				t.Fatalf("%d %s", registered.Status, registered.Body)
			}
			set(id, "{"+optional+"}")
			if got := ticked(id); len(got) != 0 {
				t.Errorf("self-registered, ticked are %v", got)
			}
			set(id, `{"gatehouse_optional_scopes_selected":true}`)
			if got := ticked(id); len(got) != 2 {
				t.Errorf("self-registered and set to true, ticked are %v", got)
			}
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
			// Together with the scope of an API the token is for that API.
			b.Code(c, "alice", "scope", "openid notes")
			b.Code(c, "alice", "scope", "openid files")
			silent("openid read files").WantRedirectError(t, s, "consent_required")
			silent("openid read notes").WantRedirectError(t, s, "consent_required")
			page := b.Authorize(c, "scope", "openid read notes")
			if !strings.Contains(page.Text(), "At Notes API notes.example read") {
				t.Errorf("the page does not name the API: %s", page.Text())
			}
			if !hasCode(b.Decide(page, "approve")) || !hasCode(silent("openid read notes")) {
				t.Error("consent is required again")
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
				t.Errorf("the page does not distinguish the API: %s", text)
			}
			b.Decide(page, "approve")
			if text := b.Authorize(c, "scope", "read files").Text(); !strings.Contains(text, "At notes.example/admin?all , notes.example/api read") || !strings.Contains(text, "At files.example files") {
				t.Errorf("the page does not distinguish the APIs: %s", text)
			}
			if text := b.Open("/account").Text(); !strings.Contains(text, "read (notes.example/api)") {
				t.Errorf("the account page: %s", text)
			}
		}),
	servertest.Req("N9", "[design](design.md)",
		"all boxes of the longest consent page can be ticked",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			scopes := make([]string, 100) // as many as a request can have
			for i := range scopes {
				scopes[i] = fmt.Sprint("scope.", i)
			}
			all := strings.Join(scopes, " ")
			c := s.Client(`{"client_name":"Notes","grant_types":["authorization_code"],"redirect_uris":["` + servertest.Callback + `"],
			"scope":"` + all + `","gatehouse_optional_scopes":["` + strings.Join(scopes, `","`) + `"]}`)
			b := s.Browser()
			page := b.Decide(b.SignIn(b.Authorize(c, "scope", all), "alice"), "approve")
			if got := s.Redeem(c, page.Location()).Text("scope"); len(strings.Fields(got)) != len(scopes) {
				t.Errorf("granted are %q, want %d scopes", got, len(scopes))
			}
		}),
}
