package interaction_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// TestChangedTermsMustBeAccepted covers PE30: after the version of the terms changed, neither an app nor the account
// pages work before the user accepts it, also with prompt=none, in another tab or with the form of an earlier version.
// Users who do not accept it get their data and delete their account.
func TestChangedTermsMustBeAccepted(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		old := servertest.Start(t, db, servertest.Options{})
		old.User("alice")
		c, b := old.App(), old.Browser()
		b.Code(c, "alice") // there are no terms yet
		at := func(version string) *servertest.Server {
			return old.StartAnotherWith("GATEHOUSE_TERMS_URL=https://example.com/terms",
				"GATEHOUSE_TERMS_VERSION="+version)
		}
		s, changed := at("1"), at("2")
		b.Server = s
		wantTerms := func(what string, p servertest.Page) {
			t.Helper()
			if p = b.Follow(p); p.Status != http.StatusOK || !strings.Contains(p.Text(), "Please accept our terms of use") {
				t.Errorf("%s: %d %s, want the page of the terms", what, p.Status, p.Text())
			}
		}
		for _, path := range []string{"/account", "/account/profile", "/account/password", "/account/security"} {
			wantTerms(path, b.Open(path))
		}
		b.Authorize(c, "prompt", "none").WantRedirectError(t, s, "interaction_required")
		terms := b.Follow(b.Authorize(c))
		wantTerms("a request of an app", terms)
		tab := b.Follow(b.Authorize(c))
		id := terms.Fields().Get("request")
		wantTerms("the consent page of the request", b.Open("/consent?request="+id))
		if p := submit(s.Browser(), terms, "/terms", "decision", "accept"); p.Status != http.StatusForbidden {
			t.Errorf("the form in another browser: %d, want 403", p.Status)
		}
		if p := submit(b, terms, "/terms", "decision", "accept", "version", "2"); p.Status != http.StatusForbidden {
			t.Errorf("the form with another version: %d, want 403", p.Status)
		}
		submit(b, tab, "/terms", "decision", "cancel").WantRedirectError(t, s, "access_denied")
		statuses := make([]int, 2)
		storagetest.Concurrently(2, func(i int) {
			statuses[i] = submit(b, terms, "/terms", "decision", "accept").Status
		})
		if statuses[0] != http.StatusSeeOther || statuses[1] != http.StatusSeeOther {
			t.Errorf("two tabs accept: %v, want 303 twice", statuses)
		}
		rows, err := s.Store.Audit.CountRows(t.Context(), audit.Filter{Event: audit.UserTermsAccepted})
		if err != nil || rows != 1 {
			t.Errorf("%d audit rows, %v, want 1", rows, err)
		}
		if p := b.Open("/oauth2/authorize/" + id); p.Response.Location().Query().Get("code") == "" {
			t.Errorf("the request after the terms were accepted: %d %s, want a code", p.Status, p.Text())
		}
		b.Server = changed
		wantTerms("the account pages after a change", b.Open("/account"))
		wantOwnData(t, b)
		if p := submit(b, b.Open("/terms"), "/terms", "decision", "cancel"); p.Status != http.StatusSeeOther ||
			!strings.HasSuffix(p.Header.Get("Location"), "/signed-out") {
			t.Errorf("cancel on the account pages: %d %s, want signed out", p.Status, p.Header.Get("Location"))
		}
		wantDeletion(t, b)
	})
}

// wantOwnData checks that a user who has not accepted the terms reaches the export and the deletion.
func wantOwnData(t *testing.T, b *servertest.Browser) {
	t.Helper()
	links := b.Open("/terms").Links()
	for _, path := range []string{"/account/export", "/account/delete"} {
		if p := b.Open(path); !slices.Contains(links, path) || p.Fields().Get("form_token") == "" {
			t.Errorf("%s before the terms are accepted: %d %s, want the form, and a link to it", path, p.Status, p.Text())
		}
	}
	if p := submit(b, b.Open("/account/export"), "/account/export"); p.JSON["user"] == nil {
		t.Errorf("the export before the terms are accepted: %d %s, want the data", p.Status, p.Body)
	}
}

// wantDeletion checks that a user who has not accepted the terms, and is signed out, deletes the account.
func wantDeletion(t *testing.T, b *servertest.Browser) {
	t.Helper()
	if p := b.Open("/account"); !strings.Contains(p.Header.Get("Location"), "/login") {
		t.Errorf("the account pages: %d %s, want the sign-in page", p.Status, p.Header.Get("Location"))
	}
	p := submit(b, b.SignIn(b.Open("/login?then=delete"), "alice"), "/account/delete")
	if !strings.Contains(p.Text(), "Your account will be deleted") {
		t.Errorf("the deletion before the terms are accepted: %d %s, want it scheduled", p.Status, p.Text())
	}
}
