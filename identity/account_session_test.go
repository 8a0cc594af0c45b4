package identity_test

import (
	"crypto/rand"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"gatehouse/identity"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// session returns a new session of a user in a browser that requests nothing.
func (f *selfService) session(u storage.User) *identity.SignedInUser {
	f.t.Helper()
	u, err := f.store.User(f.ctx, u.ID)
	storagetest.Must(f.t, err)
	now := f.store.Now()
	s := storage.BrowserSession{
		ID: uuid.NewString(), TokenHash: []byte(rand.Text()), UserID: u.ID, UserEpoch: u.Epoch, SignInEpoch: u.SignInEpoch,
		AuthTime: now, CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(time.Hour),
	}
	storagetest.Must(f.t, f.store.CreateSession(f.ctx, &s))
	return &identity.SignedInUser{Session: s, User: u}
}

// TestEndedSessionChangesNothing tests PE17: a change of an account that a session requested is refused when the user
// has ended that session in the meantime.
func TestEndedSessionChangesNothing(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newSelfService(t, url, identity.SelfService{DeletionGrace: time.Hour})
		alice := user(t, f.Users, "alice")
		late := f.session(alice)
		storagetest.Must(t, f.RequestEmailChange(f.ctx, late, "new@example.com", english))
		link := f.token(storage.MailVerifyEmail)
		storagetest.Must(t, f.EndOtherSessions(f.ctx, f.session(alice), ""))
		_, err := f.ConfirmEmail(f.ctx, link, "en", f.session(alice))
		f.refused("the link of a change that another session requested", err, identity.ErrLinkRefused)
		_, codes := f.NewRecoveryCodes(f.ctx, late)
		_, deletion := f.ScheduleOwnDeletion(f.ctx, late, "en")
		in := identity.PasswordInput{Current: password, New: "ten-tiny-otters"}
		for what, err := range map[string]error{
			"recovery codes":    codes,
			"a new address":     f.RequestEmailChange(f.ctx, late, "new@example.com", english),
			"a taken address":   f.RequestEmailChange(f.ctx, late, user(t, f.Users, "bob").Email, english),
			"a new password":    f.ChangePassword(f.ctx, late, in, identity.Device{}),
			"a deletion":        deletion,
			"a sign-out":        f.Users.EndOtherSessions(f.ctx, late, ""),
			"another session":   f.Users.EndSession(f.ctx, late, f.session(alice).Session.ID),
			"removal of an app": f.RemoveTOTP(f.ctx, late),
		} {
			f.refused(what+" after the session ended", err, identity.ErrSessionEnded)
		}
		f.mails()
	})
}

// TestStepUpOfEndedSessionStartsNone tests PE17: a session that ends while its second factor is being checked is not
// replaced by a new one.
func TestStepUpOfEndedSessionStartsNone(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, s, clock := newUsers(t, url)
		alice, b := user(t, p, "alice"), browser{}
		k := setUpTOTP(t, p, alice, clock.Now())
		signedIn := b.start(t, p, alice)
		clock.Advance(time.Minute)
		var pending string
		b.visit(t, func(w http.ResponseWriter, r *http.Request) (err error) {
			pending, err = p.BeginStepUp(w, r, signedIn, identity.SignInRequest{ACR: identity.ACRSecondFactor})
			return err
		})
		// The session ends between the statement that consumes the second factor and the next one.
		end := []string{`CREATE TRIGGER ended AFTER UPDATE ON pending_sign_ins
			BEGIN UPDATE browser_sessions SET ended_at = 1; END`}
		drop := []string{"DROP TRIGGER ended"}
		if s.Engine() == storage.Postgres {
			end = []string{
				`CREATE FUNCTION ended() RETURNS trigger LANGUAGE plpgsql AS
					'BEGIN UPDATE browser_sessions SET ended_at = 1; RETURN NULL; END'`,
				"CREATE TRIGGER ended AFTER UPDATE ON pending_sign_ins EXECUTE FUNCTION ended()",
			}
			drop = []string{"DROP TRIGGER ended ON pending_sign_ins", "DROP FUNCTION ended"}
		}
		storagetest.Exec(t, s, url, end...)
		_, err := b.finish(t, p, pending, k.Code(k.Step(clock.Now())), true)
		storagetest.Exec(t, s, url, drop...)
		if !errors.Is(err, identity.ErrExpired) {
			t.Errorf("FinishSignIn of a session that ends = %v, want ErrExpired", err)
		}
		n := storagetest.Count(t, s, url, `SELECT (SELECT count(*) FROM browser_sessions WHERE ended_at IS NULL)
			+ (SELECT count(*) FROM remembered_devices)`)
		if n != 0 {
			t.Errorf("%d sessions and remembered browsers began, want none", n)
		}
	})
}

// TestAddressLimitHidesAccounts tests PE24: a change to an address with an account counts like any other, so that the
// number of emails that are left does not show that the account exists.
func TestAddressLimitHidesAccounts(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newSelfService(t, url, identity.SelfService{})
		f.limit(map[string]ratelimit.Rate{ratelimit.AccountMail: {Count: 1, Period: time.Hour}})
		alice, bob := user(t, f.Users, "alice"), user(t, f.Users, "bob")
		storagetest.Must(t, f.RequestEmailChange(f.ctx, f.session(alice), bob.Email, english))
		storagetest.Must(t, f.RequestEmailChange(f.ctx, f.session(alice), "new@example.com", english))
		f.mails()
	})
}
