package mail_test

import (
	"context"
	"errors"
	"net"
	netmail "net/mail"
	"net/textproto"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/message"
	"gatehouse/notify/mail"
	"gatehouse/notify/mail/mailtest"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
	"gatehouse/templates"
)

func testMessage(to string) mail.Message {
	return mail.Message{
		ID: "1@id.example", From: &netmail.Address{Name: "Example", Address: "no-reply@id.example"}, To: to,
		Date: time.Date(2026, 11, 30, 6, 43, 0, 0, time.UTC), Language: "en", Subject: "A subject", Text: "Some text\n.\n",
		HTML: "<p>Some text</p>\n",
	}
}

// remote returns the server of a URL as if its name were that of the certificate instead of a loopback address.
func remote(t *testing.T, s *mailtest.Server, smtpURL string) *mail.Server {
	t.Helper()
	server, err := mail.NewServer(smtpURL, "id.example")
	storagetest.Must(t, err)
	server.RootCAs = s.CA
	server.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.Address)
	}
	return server
}

var user = url.UserPassword(mailtest.Username, mailtest.Password).String() + "@"

// wantStep fails the test unless sending fails at the step.
func wantStep(t *testing.T, name string, server *mail.Server, to, step string) *mail.Error {
	t.Helper()
	_, err := server.Send(t.Context(), testMessage(to))
	var failed *mail.Error
	if !errors.As(err, &failed) || failed.Step != step || failed.Remedy() == "" {
		t.Errorf("%s: Send = %v, want a failure of the step %s", name, err, step)
		return &mail.Error{Err: errors.New("none")}
	}
	return failed
}

// TestMailsAreSentWithTLSAndPassword tests PE25: TLS is required unless the server is loopback.
func TestMailsAreSentWithTLSAndPassword(t *testing.T) {
	t.Parallel()
	startTLS := mailtest.Start(t, append(mailtest.RequireUser(t), "--smtp-require-starttls")...)
	implicit := mailtest.Start(t, append(mailtest.RequireUser(t), "--smtp-require-tls")...)
	plain := mailtest.Start(t, mailtest.RequireUser(t)...)
	name := mailtest.CertificateName
	for scheme, s := range map[string]*mailtest.Server{"smtp": startTLS, "smtps": implicit} {
		server := remote(t, s, scheme+"://"+user+name)
		report, err := server.Send(t.Context(), testMessage("a@example.com"))
		if err != nil || report.TLS != "TLS 1.3" || report.Authentication != "PLAIN" || report.Response == "" {
			t.Errorf("%s: Send = %+v, %v, want TLS 1.3, PLAIN and a response", scheme, report, err)
		}
		if got := s.Wait("a@example.com"); got.Subject != "A subject" || got.Text != "Some text\r\n.\r\n" {
			t.Errorf("%s: the email is %+v, want its subject and text", scheme, got)
		}
		wrong := remote(t, s, scheme+"://gatehouse:wrong@"+name)
		_ = wantStep(t, scheme+" with a wrong password", wrong, "b@example.com", mail.StepAuthenticate)
		server.RootCAs = nil
		_ = wantStep(t, scheme+" with an unknown authority", server, "b@example.com", mail.StepTLS)
		other := remote(t, s, scheme+"://"+user+"other.example")
		_ = wantStep(t, scheme+" with the certificate of another name", other, "b@example.com", mail.StepTLS)
		if mails := s.Mails("b@example.com"); len(mails) != 0 {
			t.Errorf("%s: %d emails arrived despite the failures, want none", scheme, len(mails))
		}
	}
	// The password must not be sent to a server without TLS.
	_ = wantStep(t, "no TLS", remote(t, plain, "smtp://"+user+name), "b@example.com", mail.StepTLS)
	loopback, err := mail.NewServer("smtp://"+user+plain.Address, "localhost")
	storagetest.Must(t, err)
	report, err := loopback.Send(t.Context(), testMessage("a@example.com"))
	if err != nil || report.TLS != "" || report.Authentication != "PLAIN" {
		t.Errorf("loopback: Send = %+v, %v, want no TLS and PLAIN", report, err)
	}
}

// TestHeaderCannotBeInjected sends a message whose values have line breaks and addresses.
func TestHeaderCannotBeInjected(t *testing.T) {
	t.Parallel()
	m := testMessage("a@example.com")
	m.Subject = "Hello\r\nBcc: evil@example.com\r\n\r\nbody"
	m.From.Name = "Eve\r\nX-Evil: 1\" <evil@example.com>"
	content, err := m.Bytes()
	storagetest.Must(t, err)
	parsed, err := netmail.ReadMessage(strings.NewReader(string(content)))
	storagetest.Must(t, err)
	from, err := parsed.Header.AddressList("From")
	if err != nil || len(from) != 1 || from[0].Address != "no-reply@id.example" {
		t.Errorf("From = %v, %v, want only the sender", from, err)
	}
	for _, name := range []string{"Bcc", "X-Evil", "Cc"} {
		if got := parsed.Header.Get(name); got != "" {
			t.Errorf("the header has the field %s: %s", name, got)
		}
	}
	for name, want := range map[string]string{
		"Message-Id": "<1@id.example>", "Auto-Submitted": "auto-generated", "Content-Language": "en",
		"Date": "Mon, 30 Nov 2026 06:43:00 +0000", "To": "<a@example.com>", "Mime-Version": "1.0",
	} {
		if got := parsed.Header.Get(name); got != want {
			t.Errorf("the header has %s: %q, want %q", name, got, want)
		}
	}
	if got := parsed.Header.Get("Content-Type"); !strings.HasPrefix(got, "multipart/alternative;") {
		t.Errorf("Content-Type = %q, want multipart/alternative", got)
	}
	for _, to := range []string{
		"", "a", "a@example.com, b@example.com", "Alice <a@example.com>", "a@example.com\r\nBcc: b@example.com", "<a@b.c>",
	} {
		m.To = to
		if _, err := m.Bytes(); err == nil {
			t.Errorf("Bytes of an email to %q = nil, want an error", to)
		}
	}
}

func TestPermanentRejectionOfAddressIsRecognized(t *testing.T) {
	t.Parallel()
	s := mailtest.Start(t, "--smtp-allowed-recipients", `@example\.com$`)
	server, err := mail.NewServer("smtp://"+s.Address, "localhost")
	storagetest.Must(t, err)
	failed := wantStep(t, "rejected", server, "a@other.example", mail.StepRecipient)
	if !failed.RejectsRecipient() || !server.Up() {
		t.Errorf("RejectsRecipient of %v = %v, Up = %v, want true", failed, failed.RejectsRecipient(), server.Up())
	}
	s.Stop()
	failed = wantStep(t, "stopped", server, "a@example.com", mail.StepConnect)
	if failed.RejectsRecipient() || server.Up() {
		t.Errorf("RejectsRecipient of %v = %v, Up = %v, want false", failed, failed.RejectsRecipient(), server.Up())
	}
	if err := server.Check(t.Context()); !errors.As(err, &failed) || failed.Step != mail.StepConnect {
		t.Errorf("Check of the stopped server = %v, want an error of %s", err, mail.StepConnect)
	}
	s.Restart()
	storagetest.Must(t, server.Check(t.Context()))
	if _, err := server.Send(t.Context(), testMessage("a@example.com")); err != nil || !server.Up() {
		t.Errorf("Send after the restart = %v, Up = %v, want no error and true", err, server.Up())
	}
}

// TestOnlyBadAddressesArePaused covers PE24: a full mailbox, a refused sender and a blocked server are no bad address.
func TestOnlyBadAddressesArePaused(t *testing.T) {
	t.Parallel()
	for msg, want := range map[string]bool{
		"5.1.0 unavailable": true, "5.1.1 no such user": true, "5.1.10 null MX": true, "5.2.1 mailbox disabled": true,
		"no such user":       true,
		"5.2.2 mailbox full": false, "5.1.8 bad sender": false, "5.7.1 blocked": false,
	} {
		e := &mail.Error{Step: mail.StepRecipient, Err: &textproto.Error{Code: 550, Msg: msg}}
		if e.RejectsRecipient() != want {
			t.Errorf("RejectsRecipient of %q = %t, want %t", msg, !want, want)
		}
	}
}

// newRenderer returns a renderer with the templates of a directory.
func newRenderer(t *testing.T, directory string, now func() time.Time) (*mail.Renderer, error) {
	t.Helper()
	files, err := templates.Overlay(directory)
	storagetest.Must(t, err)
	catalogue, err := message.Load(files)
	storagetest.Must(t, err)
	issuer, err := url.Parse("https://id.example/base")
	storagetest.Must(t, err)
	return mail.NewRenderer(mail.Options{
		Files: files, Catalogue: catalogue, Issuer: issuer, Now: now, Brand: "Acme", SupportURL: "https://help.example/",
		From: &netmail.Address{Name: "Acme", Address: "no-reply@id.example"},
	})
}

func renderer(t *testing.T) *mail.Renderer {
	t.Helper()
	r, err := newRenderer(t, "", time.Now)
	storagetest.Must(t, err)
	return r
}

func opened(kind, language string, values map[string]string) storage.OpenedMail {
	return storage.OpenedMail{Mail: storage.Mail{Kind: kind, To: "a@example.com", Language: language, Values: values}}
}

// TestLinksOfMailsAreBelowIssuer tests PE21.
func TestLinksOfMailsAreBelowIssuer(t *testing.T) {
	t.Parallel()
	r := renderer(t)
	values := map[string]string{storage.MailLink: "/reset?token=a&b=c"}
	m, err := r.Render(opened(storage.MailResetPassword, "", values), "id")
	storagetest.Must(t, err)
	const link = "https://id.example/base/reset?token=a"
	if !strings.Contains(m.Text, link+"&b=c\n") || !strings.Contains(m.HTML, `href="`+link+`&amp;b=c"`) {
		t.Errorf("the email has not the link %s&b=c:\n%s\n%s", link, m.Text, m.HTML)
	}
	for _, path := range []string{"//evil.example/reset", "https://evil.example/", "evil", "/\r\nx", "@evil.example"} {
		values := map[string]string{storage.MailLink: path}
		if m, err := r.Render(opened(storage.MailResetPassword, "", values), "id"); err == nil {
			t.Errorf("Render of the link %q = %s, want an error", path, m.Text)
		}
	}
}

// TestMailsAreInLanguageOfUser tests PE25.
func TestMailsAreInLanguageOfUser(t *testing.T) {
	t.Parallel()
	r := renderer(t)
	m := opened(storage.MailNewDevice, "", map[string]string{
		storage.MailValueBrowser: "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", storage.MailValueAddress: "<b>",
	})
	m.QueuedAt = time.Date(2026, 11, 30, 6, 43, 0, 0, time.UTC)
	m.User = storage.User{
		Username: "alice", Profile: storage.Profile{Locale: "de-CH", Zoneinfo: "Europe/Zurich"},
	}
	got, err := r.Render(m, "id")
	storagetest.Must(t, err)
	for _, want := range []string{
		"30. November 2026, 07:43 CET", "Firefox", "IP-Adresse: <b>", "Konto: alice", "Acme (id.example)",
	} {
		if !strings.Contains(got.Text, want) {
			t.Errorf("the text has not %q:\n%s", want, got.Text)
		}
	}
	if got.Language != "de" || !strings.Contains(got.HTML, `lang="de" dir="ltr"`) ||
		!strings.Contains(got.HTML, "IP-Adresse: &lt;b&gt;") || strings.Contains(got.HTML, "<img") {
		t.Errorf("the HTML is not German, not escaped or has an image:\n%s", got.HTML)
	}
	m.Language, m.Kind, m.Values[storage.MailLink] = "en", storage.MailVerifyEmail, "/verify"
	if got, err = r.Render(m, "id"); err != nil || strings.Contains(got.Text+got.HTML, "alice") {
		t.Errorf("the email to an unverified address has the username, which its owner did not choose:\n%s", got.Text)
	}
	if got.Language != "en" {
		t.Errorf("an email that was requested on a page in English is in %s", got.Language)
	}
	m.Kind = storage.MailNewDevice
	if got, err = r.Render(m, "id"); err != nil || got.Language != "de" {
		t.Errorf("a notice that an attacker caused on a page in English is in %s, %v, want de", got.Language, err)
	}
	m.User.Profile.Locale = ""
	if got, err = r.Render(m, "id"); err != nil || got.Subject != "New sign-in to your account" {
		t.Errorf("Render in English = %q, %v, want the English subject", got.Subject, err)
	}
}

func TestCodeAndExpiryAreShown(t *testing.T) {
	t.Parallel()
	m := opened(storage.MailSignInCode, "en", map[string]string{storage.MailCode: "042042", storage.MailLink: "/ignored"})
	m.ExpiresAt = time.Date(2026, 11, 30, 6, 53, 0, 0, time.UTC)
	got, err := renderer(t).Render(m, "id")
	storagetest.Must(t, err)
	if !strings.Contains(got.Text, "    042042\n") ||
		!strings.Contains(got.Text, "Valid until 30 November 2026, 06:53 UTC.") ||
		strings.Contains(got.Text+got.HTML, "/ignored") || strings.Contains(got.Subject, "042042") {
		t.Errorf("the email is %q:\n%s\nwant the code and when it expires, and no link", got.Subject, got.Text)
	}
}

// TestNoticesHelpUsersWhoCannotSignIn tests PE19: after an attacker changed the password, the link of a notice needs no
// sign-in, or the notice has one to reset the password. Other emails have none.
func TestNoticesHelpUsersWhoCannotSignIn(t *testing.T) {
	t.Parallel()
	undo := map[string]string{storage.MailLink: "/verify?token=x"}
	for kind, values := range map[string]map[string]string{
		storage.MailPasswordChanged: nil, storage.MailNewDevice: nil, storage.MailClientConnected: nil,
		storage.MailFactorsChanged:    {storage.MailValueChange: audit.UserTOTPRemoved},
		storage.MailDeletionScheduled: {storage.MailLink: "/login?to=account"},
		storage.MailEmailChanged:      undo, storage.MailFactorAdded: undo,
		storage.MailResetPassword: undo, storage.MailVerifyEmail: undo, storage.MailSignInCode: nil,
	} {
		got, err := renderer(t).Render(opened(kind, "en", values), "id")
		storagetest.Must(t, err)
		const link = "https://id.example/base/forgot"
		want := values == nil && kind != storage.MailSignInCode ||
			kind == storage.MailFactorsChanged || kind == storage.MailDeletionScheduled
		if strings.Contains(got.Text, link+"\n") != want || strings.Contains(got.HTML, `href="`+link+`"`) != want {
			t.Errorf("the email %s links to the reset: %v, want %v:\n%s", kind, !want, want, got.Text)
		}
	}
	m := opened(storage.MailDeletionScheduled, "de", map[string]string{storage.MailValueDate: "2026-12-07T11:30:00Z"})
	got, err := renderer(t).Render(m, "id")
	want := "werden am 7. Dezember 2026, 11:30 UTC gelöscht."
	if err != nil || !strings.Contains(got.Text, want) {
		t.Errorf("the email about the deletion has not %q, %v:\n%s", want, err, got.Text)
	}
}
