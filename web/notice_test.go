package web_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/notify/mail/mailtest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestUsersAreNotifiedOfNewBrowsersAndApps tests PE19: a sign-in in a browser that the user has not used before, and an
// app that the user allows for the first time. The first sign-in to a new account is no news.
func TestUsersAreNotifiedOfNewBrowsersAndApps(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: servertest.MailSettings(nil)})
		alice := s.User("alice")
		c := s.App()
		want := func(when string, kinds ...string) []storage.OpenedMail {
			t.Helper()
			var got []string
			mails := s.QueuedMails()
			for _, m := range mails {
				got = append(got, m.Kind)
				if m.UserID != alice.ID || m.To != alice.Email || m.Refusal != "" {
					t.Errorf("%s: the email %+v is not to alice", when, m)
				}
			}
			if strings.Join(got, " ") != strings.Join(kinds, " ") {
				t.Errorf("%s: the emails are %v, want %v", when, got, kinds)
			}
			return mails
		}
		first, second := s.Browser(), s.Browser()
		first.SignIn(first.Open("/login"), "alice")
		want("first sign-in to a new account")
		second.SignIn(second.Open("/login"), "alice")
		for _, m := range want("sign-in in another browser", storage.MailNewDevice) {
			if m.Values[storage.MailValueAddress] != "127.0.0.1" {
				t.Errorf("the notice has the values %v, want the address 127.0.0.1", m.Values)
			}
		}
		s.Clock.Advance(25 * time.Hour) // the sessions expire
		first.Code(c, "alice")
		for _, m := range want("known browser, new app", storage.MailClientConnected) {
			if m.Values[storage.MailValueClient] != "App" {
				t.Errorf("the notice has the values %v, want the name of the app", m.Values)
			}
		}
		first.Code(c, "alice", "prompt", "consent")
		want("the same app")
		s.User("bob")
		s.Clock.Advance(25 * time.Hour)
		third := s.Browser()
		third.SignIn(third.Open("/login"), "bob")
		if mails := s.QueuedMails(); len(mails) != 1 || mails[0].Kind != storage.MailNewDevice {
			t.Errorf("a late first sign-in queued %v, want a notice: the sessions that it had are no longer stored", mails)
		}
	})
}

// TestNoticeArrives sends one through a mail server.
func TestNoticeArrives(t *testing.T) {
	t.Parallel()
	server := mailtest.Start(t)
	s := servertest.Start(t, storagetest.URL(t, storage.SQLite), servertest.Options{Env: servertest.MailSettings(server)})
	s.User("alice")
	for range 2 {
		b := s.Browser()
		b.SignIn(b.Open("/login"), "alice")
	}
	s.SendMails()
	m := server.Wait("alice@example.com")
	if m.Subject != "New sign-in to your account" || !strings.Contains(m.Text, s.Issuer+"/account/activity\r\n") {
		t.Errorf("the email is %q:\n%s\nwant the notice with a link to the account", m.Subject, m.Text)
	}
	if logs := s.Logs(); strings.Contains(logs, "alice@example.com") {
		t.Errorf("the log has the address of the user:\n%s", logs)
	}
}
