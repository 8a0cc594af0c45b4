package server

import (
	"context"
	"errors"
	"fmt"
	netmail "net/mail"
	"time"

	"gatehouse/notify"
	"gatehouse/notify/mail"
	"gatehouse/storage"
	"gatehouse/storage/audit"
)

// openMail prepares sending emails, if the settings have a server or the options a writer for them. Templates and
// messages are checked in any case.
func (s *Server) openMail() error {
	var err error
	if s.mailRenderer, err = mail.NewRenderer(s.mailOptions(s.Store.Now)); err != nil {
		return settingError("GATEHOUSE_TEMPLATES_DIR", err)
	}
	switch cfg := s.Config; {
	case cfg.SMTPURL != "":
		if s.mailServer, err = mail.NewServer(cfg.SMTPURL, cfg.IssuerURL().Hostname()); err != nil {
			return settingError("GATEHOUSE_SMTP_URL", err)
		}
		s.startMail(s.mailServer.Send)
	case s.options.PrintMail != nil:
		s.startMail(mail.Print(s.options.PrintMail))
	}
	return nil
}

// mailOptions returns what emails have in common.
func (s *Server) mailOptions(now func() time.Time) mail.Options {
	cfg, issuer := s.Config, s.Config.IssuerURL()
	from := &netmail.Address{Address: "no-reply@" + issuer.Hostname()}
	if cfg.MailFrom != nil {
		from = &netmail.Address{Name: cfg.MailFrom.Name, Address: cfg.MailFrom.Address}
	}
	if from.Name == "" {
		from.Name = cfg.Brand.Name
	}
	return mail.Options{
		Files: s.pages.Files, Catalogue: s.pages.Catalogue, Issuer: issuer, From: from, Now: now,
		Brand: cfg.Brand.Name, Accent: cfg.Brand.Accent, SupportURL: cfg.Brand.SupportURL,
		ImprintURL: cfg.Brand.ImprintURL, PrivacyURL: cfg.Brand.PrivacyURL,
	}
}

// startMail lets emails be queued and sent.
func (s *Server) startMail(send mail.Send) {
	s.Store.EnableMail()
	s.Mail = &notify.Sender{
		Store: s.Store, Log: s.log, Mails: true, Concurrent: mail.Concurrent,
		Kinds: map[string]notify.Kind{storage.MailDelivery: mail.ToUser(s.Store, s.mailRenderer, send)},
	}
}

// checkMailServer lets pages show that emails are delayed while the mail server does not respond. It sends nothing:
// what pages show must not depend on whether an email to a user was sent.
func (s *Server) checkMailServer(ctx context.Context) error {
	err := s.mailServer.Check(ctx)
	if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) { // otherwise this process stops
		s.Store.SetMailDelayed(err != nil)
	}
	if err != nil {
		return fmt.Errorf("emails are delayed: %w", err)
	}
	return nil
}

// ErrNoMailServer is returned by SendTestMail without GATEHOUSE_SMTP_URL.
var ErrNoMailServer = errors.New("GATEHOUSE_SMTP_URL is not set")

// SendTestMail sends a test email immediately, also to a paused address, and ends the pause when the server accepts it.
func (s *Server) SendTestMail(ctx context.Context, to, language string) (mail.Report, error) {
	if s.mailServer == nil {
		return mail.Report{}, ErrNoMailServer
	}
	m := storage.OpenedMail{Mail: storage.Mail{Kind: storage.MailTest, To: to, Language: language}}
	rendered, err := s.mailRenderer.Render(m, "test-"+s.Store.Now().Format("20060102150405.000000"))
	if err != nil {
		return mail.Report{}, err
	}
	report, err := s.mailServer.Send(ctx, rendered)
	if err != nil {
		return report, err
	}
	e := audit.Event{Type: audit.MailSent, Detail: map[string]any{"mail": storage.MailTest}}
	return report, errors.Join(s.Store.ResumeMail(ctx, to), s.Store.Audit.Record(ctx, e))
}
