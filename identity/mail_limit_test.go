package identity_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gatehouse/identity"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/reqevent"
	"gatehouse/storage/storagetest"
)

// limit sets rate limits; without it there are none.
func (f *selfService) limit(rates map[string]ratelimit.Rate) {
	f.t.Helper()
	limiter, err := ratelimit.New(ratelimit.Options{Now: f.clock.Now, Rates: rates})
	storagetest.Must(f.t, err)
	f.Users = identity.New(f.store, identity.Options{
		SessionIdleTTL: time.Hour, SessionMaxTTL: 24 * time.Hour, PasswordMinLength: 10, Concurrency: 1, Limiter: limiter,
		PasswordCost: identity.PasswordCost{Memory: 8, Passes: 1}, Log: slog.New(slog.NewTextHandler(&f.log, nil)),
		SelfService: identity.SelfService{
			Environment: "test", CodeKey: []byte("key"), SignInCodes: true, SignUp: identity.SignUpOpen,
		},
	})
}

// TestAddressLimitIgnoresSpelling tests PE24: another spelling of an address counts as the same, also of another user.
func TestAddressLimitIgnoresSpelling(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newSelfService(t, url, identity.SelfService{})
		f.limit(map[string]ratelimit.Rate{ratelimit.MailAddress: {Count: 1, Period: time.Hour}})
		alice, bob := user(t, f.Users, "alice"), user(t, f.Users, "bob")
		storagetest.Must(t, f.RequestEmailChange(f.ctx, f.session(alice), "victim@example.com", english))
		f.mails(storage.MailVerifyEmail)
		for _, spelling := range []string{"Victim@example.com", "\uff36ictim@example.com"} { // a full-width V
			storagetest.Must(t, f.RequestEmailChange(f.ctx, f.session(bob), spelling, english))
			f.mails()
		}
	})
}

// TestRequestedMailsAreLimited tests PE24: emails that need no sign-in are limited per user and purpose, per address
// and in total, without a visible difference. Notices are not limited, or an attacker could suppress them.
func TestRequestedMailsAreLimited(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newSelfService(t, url, identity.SelfService{SignUp: identity.SignUpOpen})
		f.limit(map[string]ratelimit.Rate{
			ratelimit.AccountMail: {Count: 2, Period: time.Hour}, ratelimit.MailAddress: {Count: 3, Period: time.Hour},
			ratelimit.AllMails: {Count: 3, Period: time.Hour},
		})
		alice, bob := user(t, f.Users, "alice"), user(t, f.Users, "bob")
		request := func(name string, sends bool, request func() error) {
			t.Helper()
			storagetest.Must(t, request())
			want := map[bool]int{true: 1}[sends]
			due, err := f.store.LeaseDeliveries(f.ctx, true, 10, 100*24*time.Hour)
			if err != nil || len(due) != want {
				t.Errorf("%s: %d emails are queued, %v, want %d", name, len(due), err, want)
			}
		}
		reset := func() error { return f.RequestReset(f.ctx, "alice", english) }
		code := func() error { return f.RequestSignInCode(f.ctx, "alice", []byte("browser"), english) }
		request("first", true, reset)
		request("second", true, reset)
		request("over the limit of the user", false, reset)
		request("another purpose", true, code)
		request("over the limit of the address", false, code)
		request("notice", true, func() error { return f.store.SetPassword(f.ctx, alice.ID, "hash") })
		for _, name := range []string{"a@example.org", "b@example.org"} {
			request("sign-up", true, func() error { return f.RequestSignUp(f.ctx, name, "", english) })
		}
		request("over the limit of the server", false, func() error { return f.RequestReset(f.ctx, bob.Email, english) })
		f.clock.Advance(time.Hour)
		request("an hour later", true, reset)
		rows, err := f.store.Audit.Rows(f.ctx, audit.Filter{Event: audit.UserPasswordResetRequested, Limit: 100})
		storagetest.Must(t, err)
		limited := 0
		for _, row := range rows {
			if row.Detail == `{"reason":"too many emails"}` {
				limited++
			}
		}
		if limited != 2 {
			t.Errorf("%d audit rows have the reason that a limit was reached, want 2: %+v", limited, rows)
		}
	})
}

// TestOthersUseUpNoEmailsOfUsers tests PE24: emails to addresses without an account, and those that others request for
// a user, use up none of those that the user requests in a browser in which the user has signed in before. Addresses
// that differ in what follows a plus sign are one. A refusal by a limit of the server is logged.
func TestOthersUseUpNoEmailsOfUsers(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newSelfService(t, url, identity.SelfService{})
		f.limit(map[string]ratelimit.Rate{
			ratelimit.AccountMail: {Count: 2, Period: time.Hour}, ratelimit.MailAddress: {Count: 2, Period: time.Hour},
			ratelimit.AllMails: {Count: 3, Period: time.Hour}, ratelimit.NewAddressMails: {Count: 3, Period: time.Hour},
			ratelimit.KnownBrowserMails: {Count: 1, Period: time.Hour},
		})
		alice := user(t, f.Users, "alice")
		user(t, f.Users, "bob")
		user(t, f.Users, "carol")
		own := identity.Origin{Language: "en", Device: knownDevice(t, f.Users, alice)}
		request := func(what string, sent int, err error) {
			t.Helper()
			storagetest.Must(t, err)
			due, err := f.store.LeaseDeliveries(f.ctx, true, 10, 100*24*time.Hour)
			if err != nil || len(due) != sent {
				t.Errorf("%s: %d emails are queued, %v, want %d", what, len(due), err, sent)
			}
		}
		signUp := func(what, email string, sent int) {
			t.Helper()
			request(what, sent, f.RequestSignUp(f.ctx, email, "", english))
		}
		signUp("an address", "v+1@example.org", 1)
		signUp("the same mailbox", "V+2@Example.org", 1)
		signUp("the same mailbox above its limit", "v+3@example.org", 0)
		signUp("another address", "w@example.org", 1)
		if f.log.Len() != 0 {
			t.Errorf("the log before a limit of the server was reached: %s", f.log.String())
		}
		signUp("above the limit of new addresses", "x@example.org", 0)
		if log := f.log.String(); strings.Count(log, "WARN") != 1 || !strings.Contains(log, "limit=emails_new_address") {
			t.Errorf("the log is %q, want one warning with the limit", log)
		}
		for range 2 {
			request("a reset", 1, f.RequestReset(f.ctx, "alice", english))
		}
		request("a reset above the limit of the user", 0, f.RequestReset(f.ctx, "alice", english))
		request("a reset of another user", 1, f.RequestReset(f.ctx, "bob", english))
		request("a reset above the limit of the server", 0, f.RequestReset(f.ctx, "carol", english))
		request("a reset of another user in a browser of alice", 0, f.RequestReset(f.ctx, "carol", own))
		request("a reset in a browser of the user", 1, f.RequestReset(f.ctx, "alice", own))
		request("a reset above the limit of such browsers", 0, f.RequestReset(f.ctx, "alice", own))
	})
}

// TestOthersCannotUseUpMailbox tests PE24: what others request for variants of a user's address, or for it as their new
// one, in any browser, uses up none of the emails to the user.
func TestOthersCannotUseUpMailbox(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newSelfService(t, url, identity.SelfService{SignUp: identity.SignUpOpen})
		f.limit(map[string]ratelimit.Rate{ratelimit.MailAddress: {Count: 2, Period: time.Hour}})
		alice, bob := user(t, f.Users, "alice"), user(t, f.Users, "bob")
		variant := func(n int) string { return strings.Replace(alice.Email, "@", fmt.Sprintf("+%d@", n), 1) }
		of := func(u storage.User) identity.Origin {
			return identity.Origin{Language: "en", Device: knownDevice(t, f.Users, u)}
		}
		for n := range 3 {
			storagetest.Must(t, f.RequestSignUp(f.ctx, variant(n), "", english))
			storagetest.Must(t, f.RequestEmailChange(f.ctx, f.session(bob), variant(10+n), of(bob)))
		}
		sent := func(kind string) (n int) {
			t.Helper()
			due, err := f.store.LeaseDeliveries(f.ctx, true, 20, time.Hour)
			storagetest.Must(t, err)
			for _, d := range due {
				if d.Mail == kind {
					n++
				}
			}
			return n
		}
		if n := sent(storage.MailVerifyEmail); n != 2 {
			t.Errorf("%d emails to variants of an address, want the limit of 2", n)
		}
		for _, from := range []identity.Origin{english, of(alice)} {
			storagetest.Must(t, f.RequestReset(f.ctx, "alice", from))
		}
		if n := sent(storage.MailResetPassword); n != 2 {
			t.Errorf("%d resets, want both", n)
		}
	})
}

// TestRequestsWithoutMailHaveLimitedRows tests PE22 and PE24: requests for names without an account, and above the
// limits of an account, get audit rows only within the limits on failures, per network and in all, with as many
// statements.
func TestRequestsWithoutMailHaveLimitedRows(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newSelfService(t, url, identity.SelfService{})
		f.limit(map[string]ratelimit.Rate{
			ratelimit.AccountMail: {Count: 1, Period: time.Hour}, ratelimit.RecordedFailure: {Count: 2, Period: time.Hour},
			ratelimit.AllRecordedFailures: {Count: 3, Period: time.Hour},
		})
		user(t, f.Users, "alice")
		request := func(event, network string, rows int, request func(ctx context.Context) error) {
			t.Helper()
			ctx := reqevent.NewContext(f.ctx, &reqevent.Event{RequestID: "a request", Address: network})
			count := func() (int, uint64) {
				n, err := f.store.Audit.CountRows(f.ctx, audit.Filter{Event: event})
				storagetest.Must(t, err)
				return int(n), f.store.Stats().Database.Statements
			}
			before, statements := count()
			storagetest.Must(t, request(ctx))
			after, executed := count()
			if after-before != rows {
				t.Errorf("%s from %s: %d audit rows, want %d", event, network, after-before, rows)
			}
			if n := executed - statements; f.statements != 0 && n != f.statements {
				t.Errorf("%s from %s: %d statements, want %d as before", event, network, n, f.statements)
			} else {
				f.statements = n
			}
		}
		reset := func(name string) func(context.Context) error {
			return func(ctx context.Context) error { return f.RequestReset(ctx, name, english) }
		}
		resets, signUps := audit.UserPasswordResetRequested, audit.UserSignUpRequested
		request(resets, "192.0.2.1", 1, reset("alice"))
		request(resets, "192.0.2.1", 1, reset("alice")) // above the limit of the account
		request(resets, "192.0.2.1", 1, reset("unknown"))
		request(resets, "192.0.2.1", 0, reset("unknown"))
		request(resets, "192.0.2.1", 0, reset("alice"))
		signUp := func(ctx context.Context) error { return f.RequestSignUp(ctx, "new@example.org", "", english) }
		request(signUps, "192.0.2.2", 1, signUp)
		request(signUps, "192.0.2.2", 1, signUp) // above the limit of the address: the last row of all
		request(signUps, "192.0.2.3", 0, signUp)
		request(resets, "192.0.2.3", 0, reset("unknown"))
	})
}

// TestFactorsAndPasswordChangesAreReported tests PE19: each change of the factors of a user, and a password that the
// operator sets, queues a notice in its transaction.
func TestFactorsAndPasswordChangesAreReported(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newSelfService(t, url, identity.SelfService{})
		alice := user(t, f.Users, "alice")
		storagetest.Must(t, f.store.SetPassword(f.ctx, alice.ID, "hash"))
		f.mails(storage.MailPasswordChanged)
		for event, change := range map[string]func() error{
			audit.UserTOTPSet: func() error {
				return f.store.SetTOTP(f.ctx, storage.TOTPSecret{ID: alice.ID, Secret: []byte("secret")})
			},
			audit.RecoveryCodesCreated: func() error {
				return f.store.SetRecoveryCodes(f.ctx, alice.ID, [][]byte{[]byte("code")}, storage.FactorAddition{})
			},
			audit.UserFactorsReset: func() error { return f.store.ResetFactors(f.ctx, alice.ID, "lost phone") },
		} {
			storagetest.Must(t, change())
			for _, m := range f.mails(storage.MailFactorsChanged) {
				if m.Values[storage.MailValueChange] != event || m.To != alice.Email {
					t.Errorf("the notice is %+v, want %s to %s", m, event, alice.Email)
				}
			}
		}
		storagetest.Must(t, f.store.ResetFactors(f.ctx, alice.ID, "no codes from before"))
		f.mails(storage.MailFactorsChanged)
		codes := [][]byte{[]byte("a code")}
		addition := storage.FactorAddition{Codes: codes}
		secret := storage.TOTPSecret{ID: alice.ID, Secret: []byte("secret")}
		for _, x := range []struct {
			want   string
			change func() error
		}{
			{"user.totp_set.with_codes", func() error {
				_, err := f.store.SetTOTPInSession(f.ctx, secret, nil, addition)
				return err
			}},
			{"user.totp_set.with_new_codes", func() error {
				_, err := f.store.SetTOTPInSession(f.ctx, secret, nil, addition)
				return err
			}},
			{"recovery_codes.created.in_place", func() error {
				return f.store.SetRecoveryCodes(f.ctx, alice.ID, codes, storage.FactorAddition{})
			}},
			{"recovery_code.used", func() error {
				_, err := f.store.UseRecoveryCode(f.ctx, alice.ID, codes[0])
				return err
			}},
			{"recovery_codes.created", func() error { // the previous ones were used
				return f.store.SetRecoveryCodes(f.ctx, alice.ID, codes, storage.FactorAddition{})
			}},
		} {
			storagetest.Must(t, x.change())
			if got := f.mails(storage.MailFactorsChanged)[0].Values[storage.MailValueChange]; got != x.want {
				t.Errorf("the only notice is about %s, want %s", got, x.want)
			}
		}
	})
}
