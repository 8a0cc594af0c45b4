package server

import (
	"testing"

	"gatehouse/notify/mail"
	"gatehouse/notify/mail/mailtest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestEmailsAreDelayedWhileTheMailServerDoesNotRespond sends no email: what pages show does not depend on one.
func TestEmailsAreDelayedWhileTheMailServerDoesNotRespond(t *testing.T) {
	t.Parallel()
	smtp := mailtest.Start(t)
	store := storagetest.Open(t, storagetest.URL(t, storage.SQLite), storagetest.NewClock())
	mailServer, err := mail.NewServer("smtp://"+smtp.Address, "id.example")
	storagetest.Must(t, err)
	s := &Server{Store: store, mailServer: mailServer}
	for _, step := range []struct {
		name    string
		do      func()
		delayed bool
	}{{"running", func() {}, false}, {"stopped", smtp.Stop, true}, {"restarted", smtp.Restart, false}} {
		step.do()
		if err := s.checkMailServer(t.Context()); (err != nil) != step.delayed || store.MailDelayed() != step.delayed {
			t.Errorf("%s: checkMailServer = %v, MailDelayed = %v, want %v", step.name, err, store.MailDelayed(), step.delayed)
		}
	}
}
