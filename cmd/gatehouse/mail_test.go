package main

import (
	"net/url"
	"strings"
	"testing"

	"gatehouse/notify/mail/mailtest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestMailTestReportsWhatHappened tests PE25: the command sends an email, or prints what to do.
func TestMailTestReportsWhatHappened(t *testing.T) {
	t.Parallel()
	server := mailtest.Start(t, append(mailtest.RequireUser(t), "--smtp-allowed-recipients", `@example\.com$`)...)
	user := url.UserPassword(mailtest.Username, mailtest.Password).String()
	env := map[string]string{
		"GATEHOUSE_DATABASE_URL": storagetest.URL(t, storage.SQLite), "GATEHOUSE_SECRET_KEY": keyText,
		"GATEHOUSE_BRAND_NAME": "Acme",
	}
	mustRun(t, env, "", "scope", "create", "x") // creates the database
	for _, x := range []struct {
		name, smtp, from, to string
		want                 []string
	}{
		{"not configured", "", "", "a@example.com", []string{"GATEHOUSE_SMTP_URL is not set"}},
		{"no sender", "smtp://" + server.Address, "", "a@example.com", []string{"GATEHOUSE_MAIL_FROM is required"}},
		{"no server", "smtp://" + storagetest.FreeAddress(t), "a@b.c", "a@example.com", []string{
			"connect: ", "check the host and port in GATEHOUSE_SMTP_URL",
		}},
		{"wrong password", "smtp://gatehouse:wrong@" + server.Address, "a@b.c", "a@example.com", []string{
			"authentication  PLAIN", "535", "check the user name and password",
		}},
		{"no TLS", "smtps://" + user + "@" + server.Address, "a@b.c", "a@example.com", []string{
			"TLS: ", "host name of the server's certificate",
		}},
		{"rejected", "smtp://" + user + "@" + server.Address, "a@b.c", "a@other.example", []string{"recipient: ", "550"}},
		{"two addresses", "smtp://" + user + "@" + server.Address, "a@b.c", "a@b.c, d@e.f", []string{"is not an email"}},
	} {
		env["GATEHOUSE_SMTP_URL"], env["GATEHOUSE_MAIL_FROM"] = x.smtp, x.from
		stdout, stderr, code := command(t, env, "", "mail", "test", "--to", x.to)
		for _, want := range x.want {
			if code == exitOK || !strings.Contains(stdout+stderr, want) || strings.Contains(stdout+stderr, "%40") {
				t.Errorf("%s: exit %d, want a failure with %q and without the password:\n%s%s", x.name, code, want, stdout, stderr)
			}
		}
	}
	env["GATEHOUSE_SMTP_URL"] = "smtp://" + user + "@" + server.Address
	env["GATEHOUSE_MAIL_FROM"] = "no-reply@example.com"
	out := mustRun(t, env, "", "mail", "test", "--to", "a@example.com", "--language", "de")
	for _, want := range []string{"connected to", "encryption      none", "PLAIN", "response"} {
		if !strings.Contains(out, want) {
			t.Errorf("gatehouse mail test printed %q, want it to contain %q", out, want)
		}
	}
	if m := server.Wait("a@example.com"); m.Subject != "Testnachricht von Acme" ||
		!strings.Contains(m.Raw, `From: "Acme" <no-reply@example.com>`) {
		t.Errorf("the email is %q, want the German subject and the name of the brand as sender:\n%s", m.Subject, m.Raw)
	}
	if out := mustRun(t, env, "", "audit", "list", "--event", "mail.sent"); !strings.Contains(out, "mail.sent") {
		t.Errorf("the audit log has no mail.sent: %s", out)
	}
}
