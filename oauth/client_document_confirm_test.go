package oauth_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage/storagetest"
)

// unverifiedSettings accept every document of a test, and require that two users confirm that they trust its client.
var unverifiedSettings = append(documentSettings[:len(documentSettings)-1:len(documentSettings)-1],
	"GATEHOUSE_CLIENT_DOCUMENT_UNVERIFIED_USERS=2")

// pageOf returns the page that the user sees after signing in for a request of the client in a new browser.
func pageOf(s *servertest.Server, c client.Information, username string, params ...string) (
	*servertest.Browser, servertest.Page,
) {
	s.T.Helper()
	b := s.Browser()
	return b, b.Follow(b.SignIn(b.Follow(b.Authorize(c, params...)), username))
}

// submitDecision submits the form of a page.
func submitDecision(b *servertest.Browser, path string, p servertest.Page, decision string) servertest.Page {
	form := p.Fields()
	form.Set("decision", decision)
	return b.Submit(path, form)
}

func isConfirmPage(p servertest.Page) bool {
	return strings.Contains(p.Text(), "This app has not been verified")
}

var documentConfirmation = []servertest.Requirement{
	servertest.Req("MC33", "[design](design.md)",
		"with GATEHOUSE_CLIENT_DOCUMENTS=open the first users of a client must confirm that they trust it before the "+
			"consent page; later users, and users who have allowed it, do not, until its description changes",
		func(t *testing.T, s *servertest.Server) {
			signInWithScopes(s)
			for _, name := range []string{"bob", "carol"} {
				s.User(name)
			}
			h := newDocumentHost(t)
			c := h.client()
			allow := func(username string, confirms bool) {
				t.Helper()
				b, p := pageOf(s, c, username, "scope", "read")
				if isConfirmPage(p) != confirms {
					t.Fatalf("%s: the page is %s, want the page that the app is not verified: %t", username, p.Text(), confirms)
				}
				if confirms {
					p = b.Follow(submitDecision(b, "/confirm", p, "continue"))
				}
				if strings.Contains(p.URL, "/consent") {
					p = submitDecision(b, "/consent", p, "approve")
				}
				if !hasCode(p) {
					t.Fatalf("%s: %d %s, want a code", username, p.Status, p.Text())
				}
			}
			allow("alice", true)
			allow("alice", false)
			allow("bob", true)
			allow("carol", false)
			h.set("client_name", "Your Bank")
			s.Clock.Advance(6 * time.Minute)
			allow("carol", true)
			allow("alice", true)
			allow("bob", false)
			s.Clock.Advance(time.Second)
			_, _, err := s.OAuth.Clients.Update(t.Context(), h.URL, []byte(`{"client_name":"Other Bank"}`))
			storagetest.Must(t, err)
			allow("bob", true)
			_, _, err = s.OAuth.Clients.Update(t.Context(), h.URL, []byte(`{"gatehouse_vouched":true}`))
			storagetest.Must(t, err)
			allow("carol", false)
		}).WithSettings(unverifiedSettings...),
	servertest.Req("MC33b", "[design](design.md)",
		"a confirmation is valid for one user and one request, and needs the form token of the page; if the user cancels, "+
			"the client gets access_denied; consent is refused before the confirmation",
		func(t *testing.T, s *servertest.Server) {
			signInWithScopes(s)
			s.User("bob")
			h := newDocumentHost(t)
			c := h.client()
			b, p := pageOf(s, c, "alice", "scope", "read")
			if to := submitDecision(b, "/consent", p, "approve").Header.Get("Location"); !strings.Contains(to, "/authorize/") {
				t.Errorf("consent without the confirmation leads to %q, want back to the request", to)
			}
			if consent := b.Open("/consent?request=" + p.Fields().Get("request")); consent.Status != 303 {
				t.Errorf("GET /consent without the confirmation: %d, want a redirect to the request", consent.Status)
			}
			forged := p.Fields()
			forged.Set("form_token", p.Fields().Get("form_token")[1:])
			forged.Set("decision", "continue")
			if r := b.Submit("/confirm", forged); r.Status != 403 {
				t.Errorf("another form token: %d, want 403", r.Status)
			}
			if r := submitDecision(b, "/confirm", p, "other"); r.Status != 400 {
				t.Errorf("another decision: %d, want 400", r.Status)
			}
			if another := b.Follow(b.Authorize(c, "scope", "read")); !isConfirmPage(another) {
				t.Errorf("a second request: %s, want a page of its own", another.Text())
			}
			consent := b.Follow(submitDecision(b, "/confirm", p, "continue"))
			if !strings.Contains(consent.URL, "/consent") {
				t.Fatalf("after the confirmation: %s, want the consent page", consent.URL)
			}
			h.set("client_name", "Your Bank")
			s.Clock.Advance(6 * time.Minute)
			if p := b.Follow(b.Open("/consent?request=" + p.Fields().Get("request"))); !isConfirmPage(p) {
				t.Errorf("after the description changed: %s, want the page again", p.Text())
			}
			bob := b.SignIn(b.Open("/login?another=1&request="+p.Fields().Get("request")), "bob")
			if bob = b.Follow(bob); !isConfirmPage(bob) {
				t.Errorf("another account: %s, want a page of its own", bob.Text())
			}
			submitDecision(b, "/confirm", bob, "cancel").WantRedirectError(t, s, "access_denied")
		}).WithSettings(unverifiedSettings...),
}
