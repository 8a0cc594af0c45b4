package identity_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatehouse/identity"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

var english = identity.Origin{Language: "en"}

// selfService is a Users with every flow allowed, and the emails that it queued.
type selfService struct {
	*identity.Users

	t     *testing.T
	ctx   context.Context
	store *storage.Store
	clock *storagetest.Clock

	statements uint64          // of the last request that a test counted
	log        strings.Builder // of limit
}

func newSelfService(t *testing.T, url string, s identity.SelfService) *selfService {
	t.Helper()
	clock := storagetest.NewClock()
	store := storagetest.Open(t, url, clock)
	store.EnableMail()
	s.Environment, s.CodeKey, s.SignInCodes = "test", []byte("key"), true
	return &selfService{
		Users: identity.New(store, identity.Options{
			SessionIdleTTL: time.Hour, SessionMaxTTL: 24 * time.Hour, PasswordMinLength: 10, Concurrency: 1,
			PasswordCost: identity.PasswordCost{Memory: 8, Passes: 1}, SelfService: s,
		}),
		t: t, ctx: t.Context(), store: store, clock: clock,
	}
}

// emails returns the emails that were queued since the last call, and fails the test unless they are of these kinds.
func (f *selfService) mails(kinds ...string) []storage.Mail {
	f.t.Helper()
	due, err := f.store.LeaseDeliveries(f.ctx, true, 100, 100*24*time.Hour)
	storagetest.Must(f.t, err)
	var mails []storage.Mail
	var got []string
	for _, d := range due {
		m, err := f.store.OpenMail(f.ctx, d)
		storagetest.Must(f.t, err)
		if m.Refusal == "" {
			mails, got = append(mails, m.Mail), append(got, m.Kind)
		}
	}
	if strings.Join(got, " ") != strings.Join(kinds, " ") {
		f.t.Fatalf("emails = %v, want %v", got, kinds)
	}
	return mails
}

// token returns the token of the only email that was queued.
func (f *selfService) token(kind string) string {
	f.t.Helper()
	_, token, _ := strings.Cut(f.mails(kind)[0].Values[storage.MailLink], "?token=")
	return token
}

func (f *selfService) refused(what string, err, want error) {
	f.t.Helper()
	if !errors.Is(err, want) {
		f.t.Errorf("%s = %v, want %v", what, err, want)
	}
}

// TestResetLinkWorksOnce covers PE20, PE22 and PE23: unknown names look the same, the link works once, ends the
// sessions and signs no user in; another user's link and one of another purpose are refused.
func TestResetLinkWorksOnce(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newSelfService(t, url, identity.SelfService{})
		alice := user(t, f.Users, "alice")
		storagetest.Must(t, f.RequestReset(f.ctx, "unknown@example.com", english))
		storagetest.Must(t, f.RequestReset(f.ctx, "not a name\x00", english))
		f.mails()
		storagetest.Must(t, f.RequestReset(f.ctx, "ALICE@example.com", english))
		token := f.token(storage.MailResetPassword)
		storagetest.Must(t, f.RequestReset(f.ctx, "alice", english))
		replaced, token := token, f.token(storage.MailResetPassword)
		in := identity.PasswordInput{New: "ten-tiny-otters"}
		_, err := f.ResetPassword(f.ctx, replaced, in)
		f.refused("a replaced link", err, identity.ErrLinkRefused)
		_, err = f.ConfirmEmail(f.ctx, token, "en", nil)
		f.refused("a link of another purpose", err, identity.ErrLinkRefused)
		var weak *identity.PasswordError
		if _, err = f.ResetPassword(f.ctx, token, identity.PasswordInput{New: "alice-2026!"}); !errors.As(err, &weak) {
			t.Errorf("ResetPassword with a weak password = %v, want *PasswordError", err)
		}
		if link, err := f.Link(f.ctx, token); err != nil || link.User.ID != alice.ID {
			t.Errorf("Link = %+v, %v, want that of alice, which is not used by looking", link, err)
		}
		_, err = f.ResetPassword(f.ctx, token, in)
		storagetest.Must(t, err)
		f.mails(storage.MailPasswordChanged)
		_, err = f.ResetPassword(f.ctx, token, in)
		f.refused("a used link", err, identity.ErrLinkRefused)
		if got := resultOf(f.ctx, f.Users, f.store, "alice", "ten-tiny-otters", identity.Device{}); got != "signed in" {
			t.Errorf("SignIn with the new password: %s", got)
		}
		storagetest.Must(t, f.store.DisableUser(f.ctx, alice.ID))
		storagetest.Must(t, f.RequestReset(f.ctx, "alice", english))
		f.mails() // PE26
		rows, err := f.store.Audit.CountRows(f.ctx, audit.Filter{Event: audit.UserPasswordResetRequested})
		if err != nil || rows != 5 {
			t.Errorf("%d audit rows of requests, %v, want 5", rows, err)
		}
	})
}

// TestSignUpReservesNothing covers PE22, PE27 and, of the forms of account pre-hijacking (PE36), those that a server
// without upstream sign-in can have: an attacker who starts a sign-up with the address of a victim reserves neither
// address nor username, has no session or password that stays valid, and cannot finish it without the email.
func TestSignUpReservesNothing(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newSelfService(t, url, identity.SelfService{
			SignUp: identity.SignUpDomains, SignUpDomains: []string{"example.com"}, TermsVersion: "2026-11",
		})
		f.refused("another domain", f.RequestSignUp(f.ctx, "x@evil.example", "", english), identity.ErrSignUpClosed)
		storagetest.Must(t, f.RequestSignUp(f.ctx, "victim@example.com", "", english))
		attackers := f.token(storage.MailVerifyEmail) // which the attacker does not get
		storagetest.Must(t, f.RequestSignUp(f.ctx, "Victim@example.com", "", english))
		victims := f.token(storage.MailVerifyEmail)
		evil := identity.NewAccount{Username: "evil", Password: password, AcceptsTerms: true}
		_, err := f.CompleteSignUp(f.ctx, attackers, evil)
		f.refused("a replaced link", err, identity.ErrLinkRefused)
		_, err = f.CompleteSignUp(f.ctx, victims, identity.NewAccount{Username: "victim", Password: password})
		f.refused("without the terms", err, identity.ErrTermsNotAccepted)
		account := identity.NewAccount{Username: "victim", Password: password, AcceptsTerms: true}
		u, err := f.CompleteSignUp(f.ctx, victims, account)
		if err != nil || u.EmailVerifiedAt == nil || u.Email != "Victim@example.com" || u.TermsVersion != "2026-11" {
			t.Errorf("CompleteSignUp = %+v, %v, want a user with a verified address", u, err)
		}
		_, err = f.CompleteSignUp(f.ctx, victims, account)
		f.refused("a used link", err, identity.ErrLinkRefused)
		storagetest.Must(t, f.RequestSignUp(f.ctx, "victim@example.com", "", english))
		if m := f.mails(storage.MailAccountExists)[0]; m.UserID != u.ID {
			t.Errorf("mail = %+v, want one to the user", m)
		}
		storagetest.Must(t, f.RequestSignUp(f.ctx, "late@example.com", "", english))
		late := f.token(storage.MailVerifyEmail)
		f.clock.Advance(24*time.Hour + time.Second)
		_, err = f.CompleteSignUp(f.ctx, late, account)
		f.refused("after 24 hours", err, identity.ErrLinkRefused)
	})
}

// TestResetEndsPendingEmailChange covers PE19 and the form of pre-hijacking with an unexpired change of address: a
// link that an attacker requested before the owner took the account back no longer works.
func TestResetEndsPendingEmailChange(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newSelfService(t, url, identity.SelfService{})
		alice, bob := user(t, f.Users, "alice"), user(t, f.Users, "bob")
		storagetest.Must(t, f.RequestEmailChange(f.ctx, f.session(alice), "bob@example.com", english))
		f.mails() // the address has an account
		storagetest.Must(t, f.RequestEmailChange(f.ctx, f.session(alice), "evil@example.com", english))
		pending := f.token(storage.MailVerifyEmail)
		storagetest.Must(t, f.RequestReset(f.ctx, "alice", english))
		_, err := f.ResetPassword(f.ctx, f.token(storage.MailResetPassword), identity.PasswordInput{New: "ten-tiny-otters"})
		storagetest.Must(t, err)
		f.mails(storage.MailPasswordChanged)
		_, err = f.ConfirmEmail(f.ctx, pending, "en", f.session(alice))
		f.refused("a change from before the reset", err, identity.ErrLinkRefused)
		storagetest.Must(t, f.RequestEmailChange(f.ctx, f.session(alice), "new@example.com", english))
		change := f.token(storage.MailVerifyEmail)
		for what, by := range map[string]*identity.SignedInUser{"no user": nil, "another user": f.session(bob)} {
			_, err = f.ConfirmEmail(f.ctx, change, "en", by)
			f.refused("a change confirmed by "+what, err, identity.ErrSessionEnded)
		}
		link, err := f.ConfirmEmail(f.ctx, change, "en", f.session(alice))
		if err != nil || link.User.Email != "new@example.com" || link.User.EmailVerifiedAt == nil {
			t.Errorf("ConfirmEmail = %+v, %v, want the new address, verified", link, err)
		}
		m := f.mails(storage.MailEmailChanged)[0]
		_, undo, _ := strings.Cut(m.Values[storage.MailLink], "?token=")
		f.clock.Advance(7*24*time.Hour - time.Second)
		link, err = f.ConfirmEmail(f.ctx, undo, "en", nil)
		if err != nil || m.To != "alice@example.com" || link.User.Email != "alice@example.com" {
			t.Errorf("the link in the email to %s: %+v, %v, want the previous address", m.To, link, err)
		}
	})
}

// TestSignInCodes covers PE19 and PE20: a code signs in once, in the browser that requested it, and for its user only.
func TestSignInCodes(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newSelfService(t, url, identity.SelfService{})
		alice := user(t, f.Users, "alice")
		user(t, f.Users, "bob")
		browser, other := []byte("browser"), []byte("other browser")
		storagetest.Must(t, f.RequestSignInCode(f.ctx, "unknown", browser, english))
		f.mails()
		request := func(name string, browser []byte) string {
			storagetest.Must(t, f.RequestSignInCode(f.ctx, name, browser, english))
			return f.mails(storage.MailSignInCode)[0].Values[storage.MailCode]
		}
		try := func(name, code string, browser []byte) (storage.User, error) {
			return f.SignInWithCode(f.ctx, name, code, browser, identity.Device{})
		}
		code := request("alice@example.com", browser)
		request("alice", other) // replaces only a code of that browser
		request("bob", browser)
		wrong := string('0'+(code[0]-'0'+1)%10) + code[1:]
		for what, in := range map[string]struct {
			name, code string
			browser    []byte
		}{
			"an unknown name": {"unknown", code, browser}, "another browser": {"alice", code, other},
			"a browser without a code": {"alice", code, []byte("third")}, "another user": {"bob", code, browser},
			"an incorrect code": {"alice", wrong, browser},
		} {
			_, err := try(in.name, in.code, in.browser)
			f.refused(what, err, identity.ErrInvalidCredentials)
		}
		if u, err := try("alice", code[:3]+" "+code[3:], browser); err != nil || u.ID != alice.ID ||
			u.EmailVerifiedAt == nil {
			t.Errorf("SignInWithCode = %+v, %v, want alice with a verified address", u, err)
		}
		_, err := try("alice", code, browser)
		f.refused("a used code", err, identity.ErrInvalidCredentials)
		replaced, code := request("alice", browser), request("alice", browser)
		if replaced != code { // one time in a million
			_, err = try("alice", replaced, browser)
			f.refused("a replaced code", err, identity.ErrInvalidCredentials)
		}
		f.clock.Advance(10*time.Minute + time.Second)
		_, err = try("alice", code, browser)
		f.refused("a code after ten minutes", err, identity.ErrInvalidCredentials)
		for i := range 6 {
			storagetest.Must(t, f.RequestSignInCode(f.ctx, "alice", []byte{byte(i)}, english))
		}
		five := []string{storage.MailSignInCode}
		f.mails(append(five, five[0], five[0], five[0], five[0])...) // the sixth is refused, and replaces none
	})
}

// TestGuessesOfSignInCodesAreLimited covers PE20: a code has five tries, and all codes of a user together have fifteen
// in a day. Requests without a code cannot use these up.
func TestGuessesOfSignInCodesAreLimited(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newSelfService(t, url, identity.SelfService{})
		user(t, f.Users, "alice")
		browser, attacker := []byte("browser"), []byte("attacker")
		request := func(browser []byte) string {
			storagetest.Must(t, f.RequestSignInCode(f.ctx, "alice", browser, english))
			return f.mails(storage.MailSignInCode)[0].Values[storage.MailCode]
		}
		try := func(code string, browser []byte) error {
			_, err := f.SignInWithCode(f.ctx, "alice", code, browser, identity.Device{})
			return err
		}
		code := request(browser)
		for range 20 {
			f.refused("a try without a code", try("", attacker), identity.ErrInvalidCredentials)
		}
		storagetest.Must(t, try(code, browser))
		code = request(attacker)
		for range 5 {
			f.refused("an incorrect code", try("", attacker), identity.ErrInvalidCredentials)
		}
		f.refused("the code after five tries", try(code, attacker), identity.ErrInvalidCredentials)
		for range 2 {
			request(attacker)
			for range 5 {
				f.refused("an incorrect code", try("", attacker), identity.ErrInvalidCredentials)
			}
		}
		f.refused("a correct code after many incorrect ones", try(request(browser), browser),
			identity.ErrInvalidCredentials)
		f.clock.Advance(24*time.Hour + time.Second)
		storagetest.Must(t, try(request(browser), browser))
	})
}

// TestPasswordChangeEndsOtherSessions covers the change of a password: it needs the current one and ends the other
// sessions.
func TestPasswordChangeEndsOtherSessions(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newSelfService(t, url, identity.SelfService{})
		alice := user(t, f.Users, "alice")
		session := func(id string) *identity.SignedInUser {
			s := storage.BrowserSession{
				ID: id, TokenHash: []byte(id), UserID: alice.ID, UserEpoch: 1, CreatedAt: f.store.Now(),
				LastSeenAt: f.store.Now(), ExpiresAt: f.store.Now().Add(time.Hour),
			}
			storagetest.Must(t, f.store.CreateSession(f.ctx, &s))
			return &identity.SignedInUser{Session: s, User: alice}
		}
		here := session("here")
		session("there")
		change := func(current, password string) error {
			return f.ChangePassword(f.ctx, here, identity.PasswordInput{Current: current, New: password}, identity.Device{})
		}
		f.refused("the wrong current password", change("wrong", "ten-tiny-otters"), identity.ErrInvalidCredentials)
		storagetest.Must(t, change(password, "ten-tiny-otters"))
		f.mails(storage.MailPasswordChanged)
		left, err := f.store.Sessions(f.ctx, alice, time.Hour)
		if err != nil || len(left) != 1 || left[0].ID != "here" {
			t.Errorf("Sessions = %+v, %v, want the one that changed the password", left, err)
		}
	})
}

// TestProofOfWorkIsSingleUse covers PE29: a challenge can be solved once, for its purpose, within an hour.
func TestProofOfWorkIsSingleUse(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newSelfService(t, url, identity.SelfService{})
		challenge := f.NewProof("sign-up")
		solve := func(challenge string) (nonce string) {
			for n := 0; ; n++ {
				nonce = fmt.Sprint(n)
				if sum := sha256.Sum256([]byte(challenge + "." + nonce)); sum[0] == 0 && sum[1] == 0 {
					return nonce
				}
			}
		}
		nonce := solve(challenge)
		for what, err := range map[string]error{
			"no proof":        f.CheckProof(f.ctx, "sign-up", "", ""),
			"another purpose": f.CheckProof(f.ctx, "other", challenge, nonce),
			"a wrong nonce":   f.CheckProof(f.ctx, "sign-up", challenge, nonce+"x"),
			"fewer bits":      f.CheckProof(f.ctx, "sign-up", "0"+challenge[2:], nonce),
		} {
			f.refused(what, err, identity.ErrProofInvalid)
		}
		storagetest.Must(t, f.CheckProof(f.ctx, "sign-up", challenge, nonce))
		f.refused("a used proof", f.CheckProof(f.ctx, "sign-up", challenge, nonce), identity.ErrProofInvalid)
		challenge = f.NewProof("sign-up")
		nonce = solve(challenge)
		f.clock.Advance(time.Hour + time.Second)
		f.refused("an expired proof", f.CheckProof(f.ctx, "sign-up", challenge, nonce), identity.ErrProofInvalid)
	})
}
