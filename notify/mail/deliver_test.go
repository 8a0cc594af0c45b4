package mail_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/notify"
	"gatehouse/notify/mail"
	"gatehouse/notify/mail/mailtest"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// process is one process that sends emails.
type process struct {
	*notify.Sender

	log strings.Builder
}

func newProcess(t *testing.T, store *storage.Store, clock *storagetest.Clock, address string) *process {
	t.Helper()
	server, err := mail.NewServer("smtp://"+address, "localhost")
	storagetest.Must(t, err)
	r, err := newRenderer(t, "", clock.Now)
	storagetest.Must(t, err)
	store.EnableMail()
	p := &process{}
	p.Sender = &notify.Sender{
		Store: store, Mails: true, Concurrent: mail.Concurrent, Log: slog.New(slog.NewTextHandler(&p.log, nil)),
		Kinds: map[string]notify.Kind{storage.MailDelivery: mail.ToUser(store, r, server.Send)},
	}
	return p
}

func (p *process) queue(t *testing.T, to string) {
	t.Helper()
	m := storage.Mail{
		Kind: storage.MailResetPassword, To: to, Values: map[string]string{storage.MailLink: "/reset?token=the-secret"},
	}
	storagetest.Must(t, p.Store.QueueMail(t.Context(), m))
}

// wantState fails the test unless this many emails wait, and this many events of the type are stored.
func (p *process) wantState(t *testing.T, url, when string, waiting int64, event string, rows int64) {
	t.Helper()
	got := storagetest.Count(t, p.Store, url, "SELECT count(*) FROM deliveries")
	n, err := p.Store.Audit.CountRows(t.Context(), audit.Filter{Event: event})
	if err != nil || got != waiting || n != rows {
		t.Errorf("%s: %d emails wait and %d rows of %s are stored, %v, want %d and %d",
			when, got, n, event, err, waiting, rows)
	}
}

// TestMailsWaitForServer tests PE24 and that no email is lost while the mail server is unreachable: two processes send
// it once when the server is back. An address that the server rejects is paused.
func TestMailsWaitForServer(t *testing.T) {
	t.Parallel()
	server := mailtest.Start(t, "--smtp-allowed-recipients", `@example\.com$`)
	for _, engine := range storagetest.Engines(t) { // one after the other, because they share the server
		url := storagetest.URL(t, engine)
		clock := storagetest.NewClock()
		first := newProcess(t, storagetest.Open(t, url, clock), clock, server.Address)
		second := newProcess(t, storagetest.Open(t, url, clock), clock, server.Address)
		to := engine + "@example.com"
		server.Stop()
		first.queue(t, to)
		storagetest.Must(t, first.Send(t.Context()))
		first.wantState(t, url, "server stopped", 1, audit.MailSent, 0)
		if log := first.log.String(); !strings.Contains(log, "email delivery failed") || strings.Contains(log, to) ||
			strings.Contains(log, "the-secret") {
			t.Errorf("the log is %q, want the failure without address and link", log)
		}
		server.Restart()
		storagetest.Must(t, first.Send(t.Context()))
		first.wantState(t, url, "within the backoff", 1, audit.MailSent, 0)
		clock.Advance(time.Second)
		var wait sync.WaitGroup
		for _, p := range []*process{first, second} {
			wait.Go(func() {
				if err := p.Send(t.Context()); err != nil {
					t.Errorf("Send = %v, want no error", err)
				}
			})
		}
		wait.Wait()
		first.wantState(t, url, "server restarted", 0, audit.MailSent, 1)
		if mails := server.Mails(to); len(mails) != 1 || !strings.Contains(mails[0].Text, "/base/reset?token=the-secret") {
			t.Errorf("the user got %+v, want one email with the link", mails)
		}
		for range 2 { // the second one is refused because of the pause
			first.queue(t, "unknown@other.example")
			storagetest.Must(t, first.Send(t.Context()))
		}
		first.wantState(t, url, "rejected", 0, audit.MailFailed, 2)
		first.wantState(t, url, "rejected", 0, audit.MailAddressPaused, 1)
	}
}

// TestNoticesWaitForPausedAddress tests PE24 and PE19: a security notice to an address that rejects emails waits until
// the pause ends, or is attempted again before its link expires. Other emails to the address are abandoned.
func TestNoticesWaitForPausedAddress(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		clock := storagetest.NewClock()
		p := newProcess(t, storagetest.Open(t, url, clock), clock, "127.0.0.1:1")
		r, err := newRenderer(t, "", clock.Now)
		storagetest.Must(t, err)
		rejects, attempts := true, 0
		p.Kinds[storage.MailDelivery] = mail.ToUser(p.Store, r, func(context.Context, mail.Message) (mail.Report, error) {
			attempts++
			if rejects {
				err := &textproto.Error{Code: 550, Msg: "5.1.1 no such user"}
				return mail.Report{}, &mail.Error{Step: mail.StepRecipient, Err: err}
			}
			return mail.Report{}, nil
		})
		notice := func(lifetime time.Duration) {
			t.Helper()
			storagetest.Must(t, p.Store.QueueMail(t.Context(), storage.Mail{
				Kind: storage.MailEmailChanged, To: "a@example.com", ExpiresAt: clock.Now().Add(lifetime),
				Values: map[string]string{storage.MailLink: "/verify?token=undo", storage.MailValueEmail: "b@example.com"},
			}))
		}
		send := func(when string, wantAttempts int, waiting int64, event string, rows int64) {
			t.Helper()
			attempts = 0
			storagetest.Must(t, p.Send(t.Context()))
			if attempts != wantAttempts {
				t.Errorf("%s: %d attempts, want %d", when, attempts, wantAttempts)
			}
			p.wantState(t, url, when, waiting, event, rows)
		}
		notice(7 * 24 * time.Hour)
		send("a rejected notice", 1, 1, audit.MailAddressPaused, 1)
		p.queue(t, "A@example.com")
		send("a link to the paused address", 0, 1, audit.MailFailed, 1)
		rejects = false
		for range 23 {
			clock.Advance(time.Hour)
			send("during the pause", 0, 1, audit.MailSent, 0)
		}
		clock.Advance(time.Hour)
		send("after the pause", 1, 0, audit.MailSent, 1)
		rejects = true
		p.queue(t, "a@example.com")
		send("a rejected link", 1, 0, audit.MailAddressPaused, 2)
		notice(2 * time.Hour)
		send("a notice whose link expires during the pause", 1, 1, audit.MailAddressPaused, 3)
		clock.Advance(time.Hour)
		send("an hour later", 1, 1, audit.MailAddressPaused, 4)
		clock.Advance(time.Hour)
		send("when the link has expired", 0, 0, audit.MailFailed, 3)
	})
}

// TestEmailsOfRecipientKeepTheirOrder tests that the emails to one address are sent in the order in which they were
// queued, also those that were queued together, and that they do not delay those to others.
func TestEmailsOfRecipientKeepTheirOrder(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		clock := storagetest.NewClock()
		p := newProcess(t, storagetest.Open(t, url, clock), clock, "127.0.0.1:1")
		r, err := newRenderer(t, "", clock.Now)
		storagetest.Must(t, err)
		var mu sync.Mutex
		sent, other := map[string][]string{}, make(chan struct{})
		send := func(_ context.Context, m mail.Message) (mail.Report, error) {
			if m.To == "a@example.com" {
				<-other // a slow server: the emails to the other recipient are sent nevertheless
			}
			mu.Lock()
			defer mu.Unlock()
			to := strings.ToLower(m.To)
			if sent[to] = append(sent[to], m.Text); to == "b@example.com" && len(sent[to]) == 1 {
				close(other)
			}
			return mail.Report{}, nil
		}
		p.Kinds[storage.MailDelivery] = mail.ToUser(p.Store, r, send)
		const each = 8
		for i := range each {
			for _, to := range []string{"a@example.com", "B@example.com", "b@example.com"} {
				storagetest.Must(t, p.Store.QueueMail(t.Context(), storage.Mail{
					Kind: storage.MailSignInCode, To: to,
					Values: map[string]string{storage.MailCode: fmt.Sprint("code ", i, ".")},
				}))
			}
		}
		storagetest.Must(t, p.Send(t.Context()))
		for to, texts := range sent {
			for i, text := range texts {
				if n := i * each / len(texts); !strings.Contains(text, fmt.Sprint("code ", n, ".")) {
					t.Errorf("email %d to %s is not the one with code %d:\n%s", i, to, n, text)
				}
			}
		}
		p.wantState(t, url, "sent", 0, audit.MailSent, 3*each)
	})
}

// TestSendEndsWithProcess lets the process stop while the mail server does not respond: sending ends immediately, and
// the email is sent by another process when the lease has expired.
func TestSendEndsWithProcess(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	storagetest.Must(t, err)
	accepted := make(chan net.Conn, 1)
	go func() {
		if conn, err := listener.Accept(); err == nil {
			accepted <- conn // and never respond
		}
	}()
	url, clock := storagetest.URL(t, storage.SQLite), storagetest.NewClock()
	p := newProcess(t, storagetest.Open(t, url, clock), clock, listener.Addr().String())
	p.queue(t, "a@example.com")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = p.Send(ctx) // the error is that of the context
	}()
	conn := <-accepted
	stop()
	<-ended
	storagetest.Must(t, errors.Join(conn.Close(), listener.Close()))
	p.wantState(t, url, "stopped", 1, audit.MailFailed, 0)
	due, err := p.Store.LeaseDeliveries(t.Context(), true, 1, time.Minute)
	if err != nil || len(due) != 0 {
		t.Errorf("LeaseDeliveries = %v, %v, want none before the lease of the stopped process expires", due, err)
	}
	clock.Advance(time.Minute)
	if due, err = p.Store.LeaseDeliveries(t.Context(), true, 1, time.Minute); err != nil || len(due) != 1 {
		t.Errorf("LeaseDeliveries = %v, %v, want the email after the lease", due, err)
	}
}

func TestDevelopmentPrintsMails(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	m := testMessage("a@example.com")
	m.Text = "Open the link:\nhttps://id.example/x\x1b[2J\n"
	_, err := mail.Print(&out)(t.Context(), m)
	want := "\n--- email to a@example.com: A subject\nOpen the link:\nhttps://id.example/x\\u001b[2J\n---\n"
	if err != nil || out.String() != want {
		t.Errorf("Print wrote %q, %v, want %q", out.String(), err, want)
	}
}
