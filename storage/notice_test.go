package storage_test

import (
	"fmt"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// leased returns the emails that are due, in the order in which they are sent.
func (f *fixture) leased(t *testing.T, limit int) []storage.OpenedMail {
	t.Helper()
	due, err := f.LeaseDeliveries(t.Context(), true, limit, 24*time.Hour)
	storagetest.Must(t, err)
	var mails []storage.OpenedMail
	for _, d := range due {
		m, err := f.OpenMail(t.Context(), d)
		storagetest.Must(t, err)
		mails = append(mails, m)
		storagetest.Must(t, f.FinishDelivery(t.Context(), d, nil))
	}
	return mails
}

// TestManyNoticesOfUserAreMerged tests PE24: notices of a kind that a user causes in a loop wait and are merged, and
// none is dropped. One with a link, and those of other kinds and users, are sent immediately.
func TestManyNoticesOfUserAreMerged(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := mailFixture(t, url)
		bob := f.newUser("bob")
		storagetest.Must(t, f.CreateUser(t.Context(), bob, "hash", nil))
		queue := func(kind, user string, values map[string]string) {
			t.Helper()
			storagetest.Must(t, f.QueueMail(t.Context(), storage.Mail{
				Kind: kind, UserID: user, To: user + "@example.com", Values: values,
			}))
		}
		signIns := func(n int) {
			t.Helper()
			for i := range n {
				queue(storage.MailNewDevice, f.user.ID, map[string]string{storage.MailValueBrowser: fmt.Sprint("browser ", i)})
			}
		}
		want := func(when string, n int, merged int64) {
			t.Helper()
			mails, others := f.leased(t, 100), int64(0)
			for _, m := range mails {
				others += m.Merged
			}
			if len(mails) != n || others != merged {
				t.Errorf("%s: %d emails that stand for %d others, want %d and %d", when, len(mails), others, n, merged)
			}
		}
		signIns(10)
		want("ten sign-ins", 10, 0)
		signIns(7)
		change := map[string]string{storage.MailValueChange: audit.PasskeyRenamed}
		for range 12 {
			queue(storage.MailFactorsChanged, f.user.ID, change)
		}
		queue(storage.MailNewDevice, bob.ID, nil)
		queue(storage.MailNewDevice, f.user.ID, map[string]string{storage.MailLink: "/account/undo?token=x"})
		want("more sign-ins, ten changes, another user, a link", 12, 0)
		f.clock.Advance(time.Hour)
		want("an hour later", 2, 6+1)
		f.clock.Advance(time.Minute)
		signIns(11)
		want("in the next hour", 10, 0)
		storagetest.Must(t, f.ResumeMail(t.Context(), "other@example.com"))
		f.clock.Advance(59 * time.Minute)
		signIns(1) // in the same period: merged with the one that waits
		want("before its delay", 0, 0)
		f.clock.Advance(time.Minute)
		want("after its delay", 1, 1)
	})
}

// TestLinksAreSentBeforeNotices tests that a backlog of notices does not delay the links and codes that users wait for,
// and that emails which no process sends expire.
func TestLinksAreSentBeforeNotices(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := mailFixture(t, url)
		notice := storage.Mail{Kind: storage.MailPasswordChanged, UserID: f.user.ID, To: "a@example.com"}
		for range 3 {
			storagetest.Must(t, f.QueueMail(t.Context(), notice))
			f.clock.Advance(time.Second)
		}
		storagetest.Must(t, f.QueueMail(t.Context(), f.reset()))
		if mails := f.leased(t, 1); len(mails) != 1 || mails[0].Kind != storage.MailResetPassword {
			t.Errorf("the first email is %+v, want the link", mails)
		}
		f.clock.Advance(5 * time.Minute)
		storagetest.Must(t, f.QueueMail(t.Context(), f.reset()))
		if mails := f.leased(t, 1); len(mails) != 1 || mails[0].Kind != storage.MailPasswordChanged {
			t.Errorf("the first email after five minutes is %+v, want the oldest notice", mails)
		}
		addDelivery(t, f, url, "logout", 0, f.clock.Now())
		for range 9 * 24 { // deletion advances by an hour per call
			f.clock.Advance(time.Hour)
			_, err := f.DeleteExpired(t.Context(), storagetest.UnusedClientTTL)
			storagetest.Must(t, err)
		}
		if n := storagetest.Count(t, f.Store, url, "SELECT count(*) FROM deliveries"); n != 1 {
			t.Errorf("%d deliveries are stored after nine days, want only the logout", n)
		}
	})
}
