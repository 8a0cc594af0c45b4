package account_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/audit"
	"gatehouse/storage/reqevent"
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
		wantEveryEvent(t, s, b, alice.ID)
		wantQuestions(t, s, b, alice.ID)
	})
}

// wantQuestions fails the test unless the user is prompted about changes that an attacker in a session can make, and
// not about those of an operator.
func wantQuestions(t *testing.T, s *servertest.Server, b *servertest.Browser, userID string) {
	t.Helper()
	for _, event := range []string{
		audit.UserPasswordChanged, audit.UserPasswordReset, audit.UserEmailChanged, audit.UserExported,
		audit.UserDeletionScheduled, audit.BrowserRemembered, audit.PasskeyRenamed,
	} {
		for actor, want := range map[string]bool{"user:" + userID: true, "cli:root": false} {
			s.Clock.Advance(time.Second)
			ctx := reqevent.NewContext(t.Context(), &reqevent.Event{Actor: actor})
			storagetest.Must(t, s.Store.Audit.Record(ctx, audit.Event{Type: event, UserID: userID}))
			newest, err := s.Store.Audit.Rows(t.Context(), audit.Filter{Event: event, Limit: 1})
			storagetest.Must(t, err)
			if got := strings.Contains(b.Open("/account/activity").Body, newest[0].ID); got != want {
				t.Errorf("%s by %s: the page prompts for a statement = %v, want %v", event, actor, got, want)
			}
		}
	}
}

// wantEveryEvent fails the test unless the pages of activity have every event of one millisecond once, and the first
// page for a parameter that is no cursor.
func wantEveryEvent(t *testing.T, s *servertest.Server, b *servertest.Browser, userID string) {
	t.Helper()
	s.Clock.Advance(time.Minute)
	for range 60 {
		storagetest.Must(t, s.Store.Audit.Record(t.Context(), audit.Event{Type: audit.UserExported, UserID: userID}))
	}
	found, path := 0, "/account/activity"
	for range 10 {
		p := b.Open(path)
		found += strings.Count(p.Text(), "Your data was downloaded")
		i := slices.IndexFunc(p.Links(), func(link string) bool { return strings.Contains(link, "before=") })
		if i < 0 {
			break
		}
		path = p.Links()[i]
	}
	if found != 60 {
		t.Errorf("the pages of activity have %d events of one millisecond, want 60", found)
	}
	first := b.Open("/account/activity").Text()
	for _, invalid := range []string{"x", "-1", "1-x", "1-' OR 1=1", "99999999999999999999-" + uuid.NewString()} {
		if p := b.Open("/account/activity?before=" + url.QueryEscape(invalid)); p.Text() != first {
			t.Errorf("before=%s: %d %s, want the first page", invalid, p.Status, p.Text())
		}
	}
}
