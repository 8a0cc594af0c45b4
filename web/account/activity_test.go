package account_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// TestStatementAboutEventIsOnAllPages covers the statements of decision 65: what a user stated about an event is shown
// with it when so many events followed that it is on another page, and the user is not prompted again.
func TestStatementAboutEventIsOnAllPages(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		alice, b := s.User("alice"), s.Browser()
		b.SignIn(b.Open("/login"), "alice")
		rows, err := s.Store.Audit.Rows(t.Context(), audit.Filter{Event: audit.UserSignedIn})
		storagetest.Must(t, err)
		path := "/account/activity/" + rows[0].ID
		p := b.Open("/account/activity")
		if !strings.Contains(p.Body, path) {
			t.Fatalf("the page of activity: %s, want a form for the sign-in", p.Body)
		}
		state := func(decision string) {
			form := p.Fields()
			form.Set("decision", decision)
			b.Submit(path, form)
		}
		events := func() {
			for range 30 {
				s.Clock.Advance(time.Second)
				storagetest.Must(t, s.Store.Audit.Record(t.Context(), audit.Event{Type: audit.UserUpdated, UserID: alice.ID}))
			}
			s.Clock.Advance(time.Second)
		}
		before := func() servertest.Page {
			t.Helper()
			for _, link := range b.Open("/account/activity").Links() {
				if strings.Contains(link, "before=") {
					return b.Open(link)
				}
			}
			t.Fatal("the page of activity has no link to the next one")
			return servertest.Page{}
		}
		for _, x := range []struct{ decision, want string }{{"mine", "This was me"}, {"not-mine", "This was not me"}} {
			state(x.decision)
			events()
			events = func() {} // the event stays on the second page
			if p := before(); !strings.Contains(p.Text(), x.want) || strings.Contains(p.Body, path) {
				t.Errorf("the page with the event after the statement %s: %s, want it without a form", x.decision, p.Text())
			}
		}
		// A session that repeats a statement, or makes one about another kind of event, ends and stores nothing.
		state("mine")
		state("not-mine")
		other, err := s.Store.Audit.Rows(t.Context(), audit.Filter{Event: audit.UserUpdated, Limit: 1})
		storagetest.Must(t, err)
		path = "/account/activity/" + other[0].ID
		state("not-mine")
		for _, event := range []string{audit.ActivityConfirmed, audit.ActivityReported} {
			if n, err := s.Store.Audit.CountRows(t.Context(), audit.Filter{Event: event}); n != 1 || err != nil {
				t.Errorf("%d audit rows of %s, %v, want 1", n, event, err)
			}
		}
	})
}
