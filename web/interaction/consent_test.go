package interaction_test

import (
	"net/http"
	"net/url"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

// TestConsentFormIsReadStrictly checks that only the field for optional scopes may be repeated.
func TestConsentFormIsReadStrictly(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, storagetest.URL(t, "sqlite"), servertest.Options{})
	s.User("alice")
	app, b := s.App(), s.Browser()
	consent := b.Follow(b.SignIn(b.Follow(b.Authorize(app)), "alice")).Fields()
	consent.Set("decision", "approve")
	for name, change := range map[string]func(url.Values){
		"decision":   func(form url.Values) { form.Add("decision", "deny") },
		"form_token": func(form url.Values) { form.Add("form_token", "x") },
		"request":    func(form url.Values) { form.Add("request", "x") },
	} {
		form := url.Values{}
		for field, values := range consent {
			form[field] = append([]string{}, values...)
		}
		change(form)
		b.Submit("/consent", form).WantErrorPage(t, http.StatusBadRequest)
		if t.Failed() {
			t.Fatalf("the response to a form that repeats %s is not an error page with status 400", name)
		}
	}
	consent.Add("scope", "read")
	consent.Add("scope", "write")
	if p := b.Submit("/consent", consent); p.Status != http.StatusSeeOther {
		t.Errorf("with a repeated scope: status %d, want 303: %s", p.Status, p.Text())
	}
}
