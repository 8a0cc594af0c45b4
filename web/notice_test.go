package web_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/identity"
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

// requestReset requests a link to reset a password, under the name of another host.
func requestReset(t *testing.T, s *servertest.Server, username string) {
	t.Helper()
	b := s.Browser()
	form := b.Open("/forgot").Fields()
	form.Set("username", username)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/forgot", strings.NewReader(form.Encode()))
	storagetest.Must(t, err)
	r.Host = "evil.example"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for _, name := range []string{"X-Forwarded-Host", "X-Host", "X-Original-Host"} {
		r.Header.Set(name, "evil.example")
	}
	r.Header.Set("Forwarded", "host=evil.example;proto=https")
	r.Header.Set("X-Original-URL", "https://evil.example/forgot")
	for _, c := range b.Cookies() {
		r.AddCookie(c)
	}
	response, err := s.HTTP.Do(r)
	storagetest.Must(t, err)
	storagetest.Must(t, response.Body.Close())
	if response.StatusCode != http.StatusOK {
		t.Errorf("POST /forgot under another host name: %s, want 200", response.Status)
	}
}

// inviteInGerman invites a user in German, who creates the account greta in a browser without a language.
func inviteInGerman(t *testing.T, s *servertest.Server, server *mailtest.Server) {
	t.Helper()
	_, _, err := s.Users.Invite(t.Context(), identity.NewInvitation{
		Email: "greta@example.com", Lifetime: time.Hour, Mail: true, Language: "de",
	})
	storagetest.Must(t, err)
	s.SendMails()
	m, b := server.Wait("greta@example.com"), s.Browser()
	_, link, _ := strings.Cut(m.Text, s.Issuer)
	link, _, _ = strings.Cut(link, "\r\n")
	form := b.Open(link).Fields()
	form.Set("username", "greta")
	form.Set("password", servertest.Password)
	if p := b.Submit("/invite", form); p.Status != http.StatusOK || m.Subject != "Ihre Einladung zu Gatehouse" {
		t.Fatalf("the account of the invitation %q: %d %s, want one", m.Subject, p.Status, p.Text())
	}
}

// TestNoticeArrives sends a notice through a mail server, in the language of the user, and tests PE21 over HTTP: a link
// that is requested under the name of another host leads to the issuer. Of two links only the newest one is sent.
func TestNoticeArrives(t *testing.T) {
	t.Parallel()
	server := mailtest.Start(t)
	env := servertest.MailSettings(server)
	env["GATEHOUSE_SIGN_UP"] = "invite"
	s := servertest.Start(t, storagetest.URL(t, storage.SQLite), servertest.Options{Env: env})
	s.User("alice")
	inviteInGerman(t, s, server)
	for range 2 {
		for _, name := range []string{"alice", "greta"} {
			b := s.Browser()
			b.SignIn(b.Open("/login"), name)
		}
	}
	s.SendMails()
	if m := server.Wait("greta@example.com"); m.Subject != "Neue Anmeldung bei Ihrem Konto" ||
		!strings.Contains(m.Text, s.Issuer+"/forgot\r\n") {
		t.Errorf("the email is %q:\n%s\nwant the notice in German, with a link to reset the password", m.Subject, m.Text)
	}
	m := server.Wait("alice@example.com")
	if m.Subject != "New sign-in to your account" || !strings.Contains(m.Text, s.Issuer+"/account/activity\r\n") {
		t.Errorf("the email is %q:\n%s\nwant the notice with a link to the account", m.Subject, m.Text)
	}
	requestReset(t, s, "alice")
	requestReset(t, s, "alice")
	s.SendMails()
	if n := len(server.Mails("alice@example.com")); n != 2 {
		t.Errorf("%d emails arrived, want the notice and the newest link", n)
	}
	m = server.Wait("alice@example.com")
	if m.Subject != "Reset your password" || !strings.Contains(m.Text, "\r\n"+s.Issuer+"/reset?token=") ||
		strings.Contains(m.Text+m.HTML, "evil.example") {
		t.Errorf("the email is %q:\n%s\nwant a link of the issuer", m.Subject, m.Text)
	}
	if logs := s.Logs(); strings.Contains(logs, "alice@example.com") {
		t.Errorf("the log has the address of the user:\n%s", logs)
	}
}
