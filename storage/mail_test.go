package storage_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// mailFixture is a fixture that sends emails.
func mailFixture(t *testing.T, url string) *fixture {
	t.Helper()
	f := newFixture(t, url)
	f.EnableMail()
	return f
}

// lease queues an email and returns its delivery.
func (f *fixture) lease(t *testing.T, m storage.Mail) storage.Delivery {
	t.Helper()
	storagetest.Must(t, f.QueueMail(t.Context(), m))
	due, err := f.LeaseDeliveries(t.Context(), true, 10, time.Minute)
	storagetest.Must(t, err)
	if len(due) != 1 {
		t.Fatalf("LeaseDeliveries returned %d emails, want 1", len(due))
	}
	return due[0]
}

// reset returns an email with a link to reset the password of the fixture's user.
func (f *fixture) reset() storage.Mail {
	return storage.Mail{
		Kind: storage.MailResetPassword, UserID: f.user.ID, To: "Alice@example.com", Language: "de",
		Values: map[string]string{storage.MailLink: "/reset?token=secret-of-the-link"},
	}
}

func (f *fixture) wantRefusal(t *testing.T, when string, d storage.Delivery, want string) {
	t.Helper()
	if m, err := f.OpenMail(t.Context(), d); m.Refusal != want || err != nil {
		t.Errorf("%s: OpenMail refuses with %q, %v, want %q", when, m.Refusal, err, want)
	}
}

// TestQueuedMailIsSealedAndBoundToItsRow tests PE20: a copy of the database has no link, code or address of an email
// that waits, and who can write to it cannot move a link into the email of another user.
func TestQueuedMailIsSealedAndBoundToItsRow(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := mailFixture(t, url)
		failure := errors.New("the transaction fails")
		if err := f.Tx(t.Context(), func(tx *storage.Store) error {
			return errors.Join(tx.QueueMail(t.Context(), f.reset()), failure)
		}); !errors.Is(err, failure) {
			t.Fatalf("Tx = %v, want %v", err, failure)
		}
		want := f.reset()
		d := f.lease(t, want) // and none of the transaction that failed
		dump := storagetest.Dump(t, f.Store, url)
		if strings.Contains(dump, "secret-of-the-link") || strings.Contains(dump, want.To) {
			t.Error("the database contains the link or the recipient of an email in clear")
		}
		got, err := f.OpenMail(t.Context(), d)
		if err != nil || got.Refusal != "" || got.User.Username != "alice" || got.To != want.To ||
			got.Language != "de" || got.Kind != want.Kind || got.UserID != want.UserID ||
			got.Values[storage.MailLink] != want.Values[storage.MailLink] {
			t.Errorf("OpenMail = %+v, %v, want %+v", got, err, want)
		}
		for name, moved := range map[string]storage.Delivery{
			"another row":  {ID: "other", Mail: d.Mail, UserID: d.UserID, Sealed: d.Sealed},
			"another user": {ID: d.ID, Mail: d.Mail, UserID: "other", Sealed: d.Sealed},
			"another kind": {ID: d.ID, Mail: storage.MailTest, UserID: d.UserID, Sealed: d.Sealed},
		} {
			if m, err := f.OpenMail(t.Context(), moved); err == nil {
				t.Errorf("OpenMail of an email moved to %s = %+v, want an error", name, m)
			}
		}
		logouts, err := f.LeaseDeliveries(t.Context(), false, 10, time.Minute)
		if err != nil || len(logouts) != 0 {
			t.Errorf("LeaseDeliveries of messages to clients = %v, %v, want no mail", logouts, err)
		}
		storagetest.Must(t, f.FinishDelivery(t.Context(), d, nil))
		rows, err := f.Audit.Rows(t.Context(), audit.Filter{Event: audit.MailSent})
		if err != nil || len(rows) != 1 || rows[0].UserID != f.user.ID || rows[0].Detail != `{"mail":"reset_password"}` {
			t.Errorf("audit rows of the email = %+v, %v, want one with its user and kind only", rows, err)
		}
	})
}

// TestDisabledUsersGetSecurityNoticesOnly tests PE26 for every kind of email.
func TestDisabledUsersGetSecurityNoticesOnly(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := mailFixture(t, url)
		isNotice := map[string]bool{
			storage.MailVerifyEmail: false, storage.MailResetPassword: false, storage.MailInvitation: false,
			storage.MailSignInCode: false, storage.MailAccountExists: false, storage.MailTest: false,
			storage.MailEmailChanged: true, storage.MailNewDevice: true, storage.MailFactorsChanged: true,
			storage.MailFactorAdded:     true,
			storage.MailPasswordChanged: true, storage.MailClientConnected: true, storage.MailDeletionScheduled: true,
		}
		deliveries := map[string]storage.Delivery{}
		for _, kind := range storage.MailKinds() {
			m := f.reset()
			m.Kind = kind
			deliveries[kind] = f.lease(t, m)
			if _, ok := isNotice[kind]; !ok {
				t.Errorf("emails of the kind %s are not in this test", kind)
			}
		}
		each := func(when, refusal string) {
			t.Helper()
			for kind, d := range deliveries {
				want := refusal
				if isNotice[kind] {
					want = ""
				}
				f.wantRefusal(t, kind+" to "+when, d, want)
			}
		}
		each("an active user", "")
		storagetest.Must(t, f.DisableUser(t.Context(), f.user.ID))
		each("a disabled user", "the user is disabled or deleted")
		storagetest.Must(t, f.DeleteUser(t.Context(), f.user.ID, 0))
		each("a deleted user", "the user is disabled or deleted")
	})
}

// TestRejectedAddressIsPaused tests PE24: a bounce pauses its address, in any spelling, until the time has passed or
// the operator resumes it.
func TestRejectedAddressIsPaused(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := mailFixture(t, url)
		for _, end := range []func(){
			func() { storagetest.Must(t, f.ResumeMail(t.Context(), "aLice@example.com")) },
			func() { f.clock.Advance(25 * time.Hour) },
		} {
			rejected := f.lease(t, f.reset())
			until := f.clock.Now().Add(24 * time.Hour)
			storagetest.Must(t, f.PauseMail(t.Context(), rejected, "ALICE@example.com", until, nil))
			next := f.lease(t, f.reset())
			f.wantRefusal(t, "during the pause", next, "the address is paused")
			end()
			f.wantRefusal(t, "after the pause", next, "")
			storagetest.Must(t, f.FinishDelivery(t.Context(), next, nil))
		}
		for event, want := range map[string]int64{
			audit.MailFailed: 2, audit.MailAddressPaused: 2, audit.MailAddressResumed: 1,
		} {
			if n, err := f.Audit.CountRows(t.Context(), audit.Filter{Event: event}); err != nil || n != want {
				t.Errorf("%d rows of %s are stored, %v, want %d", n, event, err, want)
			}
		}
	})
}

func TestExpiredMailIsNotSent(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := mailFixture(t, url)
		m := f.reset()
		m.ExpiresAt = f.clock.Now().Add(10 * time.Minute)
		d := f.lease(t, m)
		f.wantRefusal(t, "before", d, "")
		f.clock.Advance(10 * time.Minute)
		f.wantRefusal(t, "after", d, "it has expired")
	})
}

func TestUnknownMailIsRefusedAndNoneQueuedWithoutServer(t *testing.T) {
	t.Parallel()
	f := newFixture(t, storagetest.URL(t, storage.SQLite))
	storagetest.Must(t, f.QueueMail(t.Context(), f.reset()))
	due, err := f.LeaseDeliveries(t.Context(), true, 10, time.Minute)
	if err != nil || len(due) != 0 {
		t.Errorf("LeaseDeliveries without a mail server = %v, %v, want none", due, err)
	}
	f.EnableMail()
	if err := f.QueueMail(t.Context(), storage.Mail{Kind: "other"}); err == nil {
		t.Error("QueueMail of an unknown kind = nil, want an error")
	}
}

// TestReplacedLinksAreNotSent tests PE20: an email that waits is not sent when its link or code was replaced, used or
// ended in the meantime, so that the newest message has the valid one. A notice is sent although its link has ended.
func TestReplacedLinksAreNotSent(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := mailFixture(t, url)
		f.ctx = t.Context()
		want := func(when string, refused ...bool) {
			t.Helper()
			for i, m := range f.leased(t, 100) {
				if i >= len(refused) || (m.Refusal != "") != refused[i] ||
					refused[i] && m.Refusal != "its link or code was replaced, used or ended" {
					t.Errorf("%s: email %d is refused with %q, want %v", when, i, m.Refusal, refused)
				}
			}
		}
		f.token(t, storage.ResetPassword, "r1", f.user.Email, nil)
		f.token(t, storage.VerifyEmail, "v1", f.user.Email, nil)
		f.token(t, storage.ResetPassword, "r2", f.user.Email, nil)
		want("a second link", true, false, false)
		f.token(t, storage.SignInCode, "c1", f.user.Email, []byte("one browser"))
		f.token(t, storage.SignInCode, "c2", f.user.Email, []byte("another browser"))
		f.token(t, storage.SignInCode, "c3", f.user.Email, []byte("one browser"))
		want("a second code in a browser", true, false, false)
		f.token(t, storage.VerifyEmail, "v2", f.user.Email, nil)
		_, err := f.VerifyEmail(f.ctx, []byte("v2"))
		storagetest.Must(t, err)
		f.token(t, storage.ResetPassword, "r3", f.user.Email, nil)
		storagetest.Must(t, f.RevokeUserTokens(f.ctx, f.user.ID))
		want("a used link, and the end of everything", true, true)
		for _, hash := range []string{"s1", "s2"} {
			storagetest.Must(t, f.CreateSignUp(f.ctx, &storage.SignUp{
				Email: "bob@example.com", EmailKey: "bob@example.com", Hash: []byte(hash), CreatedAt: f.Now(),
				ExpiresAt: f.Now().Add(time.Hour),
			}, storage.Mail{Kind: storage.MailVerifyEmail, To: "bob@example.com"}))
		}
		for _, id := range []string{"i1", "i2"} {
			storagetest.Must(t, f.CreateInvitation(f.ctx, &storage.Invitation{
				ID: id, Hash: []byte(id), Email: "eve@example.com", Mailed: true, CreatedAt: f.Now(),
				ExpiresAt: f.Now().Add(time.Hour),
			}, storage.Mail{Kind: storage.MailInvitation, To: "eve@example.com"}))
		}
		storagetest.Must(t, f.DeleteInvitation(f.ctx, "i1"))
		want("a second sign-up, a revoked invitation", true, false, true, false)
		storagetest.Must(t, f.SetRecoveryCodes(f.ctx, f.user.ID, [][]byte{[]byte("a")}, f.addition(t, "undo")))
		_, err = f.UndoFactors(f.ctx, []byte("undo"))
		storagetest.Must(t, err)
		want("notices of an addition that was undone", false, false)
	})
}

// TestEmailsAreLeasedInOrder tests that emails of the same millisecond keep their order, in every batch, also when one
// of them is retried.
func TestEmailsAreLeasedInOrder(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := mailFixture(t, url)
		const emails, batch = 30, 10
		for i := range emails {
			m := f.reset()
			m.Values = map[string]string{storage.MailLink: fmt.Sprint("/", i)}
			storagetest.Must(t, f.QueueMail(t.Context(), m))
		}
		for i := 0; i < emails; i += batch {
			if i+batch == emails { // the first one of the last batch is attempted before, so that its row is the newest
				due, err := f.LeaseDeliveries(t.Context(), true, 1, time.Hour)
				storagetest.Must(t, err)
				storagetest.Must(t, f.PostponeDelivery(t.Context(), due[0].ID, f.Now()))
			}
			for n, m := range f.leased(t, batch) {
				if want := fmt.Sprint("/", i+n); m.Values[storage.MailLink] != want {
					t.Errorf("email %d of the batch after %d is %s, want %s", n, i, m.Values[storage.MailLink], want)
				}
			}
		}
	})
}
