package servertest

import (
	"context"
	"slices"

	"gatehouse/notify/mail/mailtest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// MailSettings returns the settings with which a server sends emails to Mailpit, or to no server: then they wait.
func MailSettings(to *mailtest.Server) map[string]string {
	address := "127.0.0.1:1"
	if to != nil {
		address = to.Address
	}
	return map[string]string{"GATEHOUSE_SMTP_URL": "smtp://" + address, "GATEHOUSE_MAIL_FROM": "no-reply@id.example"}
}

// SendMails sends the emails that are due.
func (s *Server) SendMails() {
	s.T.Helper()
	storagetest.Must(s.T, s.mail.Send(context.Background()))
}

// QueuedMails returns the emails that wait, in the order in which they were queued, and removes them.
func (s *Server) QueuedMails() []storage.OpenedMail {
	s.T.Helper()
	ctx := context.Background()
	due, err := s.Store.LeaseDeliveries(ctx, true, 1000, 0)
	storagetest.Must(s.T, err)
	var mails []storage.OpenedMail
	for _, d := range due {
		m, err := s.Store.OpenMail(ctx, d)
		storagetest.Must(s.T, err)
		mails = append(mails, m)
		storagetest.Must(s.T, s.Store.FinishDelivery(ctx, d, nil))
	}
	slices.SortStableFunc(mails, func(a, b storage.OpenedMail) int { return a.QueuedAt.Compare(b.QueuedAt) })
	return mails
}
