package storage_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/reqevent"
	"gatehouse/storage/storagetest"
)

// newUser returns a user who is not stored yet.
func (f *fixture) newUser(name string) *storage.User {
	return &storage.User{
		ID: uuid.NewString(), Username: name, UsernameKey: name, Email: name + "@example.com",
		EmailKey: name + "@example.com", Epoch: 1, CreatedAt: f.Now(), UpdatedAt: f.Now(),
	}
}

// token stores an email token of the fixture's user that is valid for an hour.
func (f *fixture) token(t *testing.T, purpose, hash, email string, browser []byte) {
	t.Helper()
	u, err := f.User(f.ctx, f.user.ID)
	storagetest.Must(t, err)
	storagetest.Must(t, f.CreateEmailToken(f.ctx, u, storage.EmailToken{
		Purpose: purpose, Hash: []byte(hash), Email: email, EmailKey: email, BrowserHash: browser, TriesLeft: 5,
		ExpiresAt: f.Now().Add(time.Hour),
	}, storage.Mail{Kind: storage.MailVerifyEmail, UserID: u.ID, To: email}))
}

func wantLinkRefused(t *testing.T, what string, err error, reason string) {
	t.Helper()
	var refusal *storage.RefusalError
	if !errors.As(err, &refusal) || refusal.Reason != reason {
		t.Errorf("%s = %v, want a refusal: %s", what, err, reason)
	}
}

// onlyOne calls fn 20 times concurrently and fails the test unless exactly one call succeeds.
func onlyOne(t *testing.T, what string, fn func(i int) error) {
	t.Helper()
	var n atomic.Int64
	storagetest.Concurrently(20, func(i int) {
		if fn(i) == nil {
			n.Add(1)
		}
	})
	if n.Load() != 1 {
		t.Errorf("%d of 20 concurrent uses of %s succeeded, want 1", n.Load(), what)
	}
}

// TestEmailTokensAreSingleUse covers PE20: a token works once, until it expires, in its purpose, and only the newest
// one.
func TestEmailTokensAreSingleUse(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		f.ctx = t.Context()
		f.token(t, storage.VerifyEmail, "first", f.user.Email, nil)
		f.token(t, storage.VerifyEmail, "second", f.user.Email, nil)
		_, err := f.VerifyEmail(f.ctx, []byte("first"))
		wantLinkRefused(t, "a replaced token", err, "unknown, or replaced by a newer one")
		if _, err := f.UseSignInCode(f.ctx, []byte("second")); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("a token of another purpose = %v, want ErrNotFound", err)
		}
		onlyOne(t, "an email token", func(int) error {
			_, err := f.VerifyEmail(f.ctx, []byte("second"))
			return err
		})
		_, err = f.EmailToken(f.ctx, []byte("second"))
		wantLinkRefused(t, "a used token", err, "already used")
		if u, err := f.User(f.ctx, f.user.ID); err != nil || u.EmailVerifiedAt == nil {
			t.Errorf("User = %+v, %v, want a verified address", u, err)
		}
		f.token(t, storage.ResetPassword, "late", f.user.Email, nil)
		f.clock.Advance(61 * time.Minute)
		_, err = f.EmailToken(f.ctx, []byte("late"))
		wantLinkRefused(t, "an expired token", err, "expired")
		f.token(t, storage.ResetPassword, "before", f.user.Email, nil)
		storagetest.Must(t, f.RevokeUserTokens(f.ctx, f.user.ID))
		_, err = f.EmailToken(f.ctx, []byte("before"))
		wantLinkRefused(t, "a token from before", err, "the user is disabled, or ended everything since")
	})
}

// TestCodesHaveFiveTries covers PE20: a code has five tries, also concurrently, in the browser that requested it.
func TestCodesHaveFiveTries(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		f.ctx = t.Context()
		f.token(t, storage.SignInCode, "code", f.user.Email, []byte("browser"))
		counts := func(limit int64) (compared, other storage.SignInCount) {
			l := storage.SignInLimit{FreeFailures: limit, Period: time.Hour}
			return storage.SignInCount{Account: []byte("account"), Subnet: "*", Limit: l},
				storage.SignInCount{Account: []byte("other"), Subnet: "*", Limit: l}
		}
		try := func(browser string, limit int64, correct bool) string {
			compared, other := counts(limit)
			_, err := f.TryCode(f.ctx, f.user.ID, []byte(browser), compared, other, func([]byte) bool { return correct })
			if refusal := (*storage.RefusalError)(nil); errors.As(err, &refusal) {
				return refusal.Reason
			}
			storagetest.Must(t, err)
			return ""
		}
		for range 3 {
			if got := try("other", 2, true); got != "this browser has no valid code, or no tries left" {
				t.Errorf("TryCode in another browser = %q, want no valid code", got)
			}
		}
		if got := try("browser", 1, true); got != "" {
			t.Errorf("TryCode after tries in another browser = %q, want success", got)
		}
		f.token(t, storage.SignInCode, "code", f.user.Email, []byte("browser")) // five tries again
		var tries, limited atomic.Int64
		storagetest.Concurrently(20, func(int) {
			switch try("browser", 3, false) {
			case "incorrect code":
				tries.Add(1)
			case "too many incorrect codes":
				limited.Add(1)
			}
		})
		if tries.Load() != 3 || limited.Load() != 2 {
			t.Errorf("of 20 concurrent tries %d were compared and %d were over the limit of the user, want 3 and 2",
				tries.Load(), limited.Load())
		}
		f.token(t, storage.SignInCode, "second", f.user.Email, []byte("second"))
		if got := try("second", 3, true); got != "too many incorrect codes" {
			t.Errorf("TryCode of another code over the limit of the user = %q, want too many incorrect codes", got)
		}
		onlyOne(t, "a code", func(int) error {
			_, err := f.UseSignInCode(f.ctx, []byte("code"))
			return err
		})
	})
}

// TestSessionRenewsNoResetLink tests PE23: a link to reset the password that the operator ended is not valid again
// after a session changes the password, ends everything or reports an event. One from after that stays valid.
func TestSessionRenewsNoResetLink(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		f.ctx = t.Context()
		f.token(t, storage.ResetPassword, "ended", f.user.Email, nil)
		storagetest.Must(t, f.SetPassword(f.ctx, f.user.ID, "0"))
		change := func(previous, hash string, endEverything bool) error {
			return f.ChangePassword(f.ctx, storage.PasswordChange{
				UserID: f.user.ID, Previous: previous, Hash: hash, EndEverything: endEverything,
			})
		}
		for name, act := range map[string]func() error{
			"changes the password": func() error {
				return errors.Join(change("0", "1", false), change("1", "0", false))
			},
			"ends everything": func() error { return errors.Join(change("0", "1", true), change("1", "0", true)) },
			"reports an event": func() error {
				_, err := f.EndOtherSessions(f.ctx, f.user.ID, "", "report")
				return err
			},
		} {
			f.token(t, storage.VerifyEmail, name+" code", f.user.Email, nil)
			storagetest.Must(t, act())
			if _, err := f.EmailToken(f.ctx, []byte("ended")); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("the ended link after a session %s = %v, want a refusal", name, err)
			}
			if _, err := f.EmailToken(f.ctx, []byte(name+" code")); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("a link to verify the address after a session %s = %v, want a refusal", name, err)
			}
		}
		f.token(t, storage.ResetPassword, "later", f.user.Email, nil)
		storagetest.Must(t, change("0", "1", true))
		if _, err := f.EmailToken(f.ctx, []byte("later")); err != nil {
			t.Errorf("a later link after a session ends everything = %v, want it valid", err)
		}
	})
}

// TestInvitationIsUsedOnce covers PE28: of concurrent sign-ups with one invitation one succeeds and gets the groups; a
// name that is taken consumes nothing.
func TestInvitationIsUsedOnce(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		f.ctx = t.Context()
		storagetest.Must(t, f.CreateGroup(f.ctx, storage.Group{Name: "staff"}))
		invite := func(id, email string) {
			storagetest.Must(t, f.CreateInvitation(f.ctx, &storage.Invitation{
				ID: id, Hash: []byte(id), Email: email, Groups: storage.Strings{"staff"}, CreatedAt: f.Now(),
				ExpiresAt: f.Now().Add(time.Hour),
			}, storage.Mail{}))
		}
		invite("i1", "bob@example.com")
		taken := f.newUser("bob")
		taken.UsernameKey = "alice"
		if err := f.AcceptInvitation(f.ctx, []byte("i1"), taken, "hash"); !errors.Is(err, storage.ErrConflict) {
			t.Errorf("AcceptInvitation with a name that is taken = %v, want ErrConflict", err)
		}
		err := f.AcceptInvitation(f.ctx, []byte("i1"), f.newUser("carol"), "hash")
		wantLinkRefused(t, "an invitation of another address", err, "for another address")
		onlyOne(t, "an invitation", func(int) error {
			return f.AcceptInvitation(f.ctx, []byte("i1"), f.newUser("bob"), "hash")
		})
		members, err := f.GroupMembers(f.ctx, "staff", "", 10)
		if err != nil || len(members) != 1 || members[0].Username != "bob" {
			t.Errorf("GroupMembers = %v, %v, want bob", members, err)
		}
		invite("i2", "")
		for _, name := range []string{"carol", "dave"} {
			storagetest.Must(t, f.CreateSignUp(f.ctx, &storage.SignUp{
				Email: name + "@example.com", EmailKey: name + "@example.com", Hash: []byte(name), InvitationID: "i2",
				CreatedAt: f.Now(), ExpiresAt: f.Now().Add(time.Hour),
			}, storage.Mail{Kind: storage.MailVerifyEmail}))
		}
		onlyOne(t, "an invitation of any address", func(i int) error {
			name := []string{"carol", "dave"}[i%2]
			return f.CompleteSignUp(f.ctx, []byte(name), f.newUser(name), "hash")
		})
		invite("i3", "")
		storagetest.Must(t, f.DeleteInvitation(f.ctx, "i3"))
		_, err = f.Invitation(f.ctx, []byte("i3"))
		wantLinkRefused(t, "a revoked invitation", err, "unknown, or replaced by a newer one")
	})
}

// TestEmailChangeCanBeUndone covers PE19: the previous address gets a link that restores it and ends everything, also
// after a second change and the end of all tokens; until then no other user can have the address.
func TestEmailChangeCanBeUndone(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		f.ctx = t.Context()
		change := func(hash, email, undo string) storage.User {
			f.token(t, storage.ChangeEmail, hash, email, nil)
			u, err := f.ChangeEmail(f.ctx, []byte(hash), storage.EmailChange{
				UndoHash: []byte(undo), UndoExpiresAt: f.Now().Add(7 * 24 * time.Hour),
				Notice: func(previous storage.User) storage.Mail {
					return storage.Mail{Kind: storage.MailEmailChanged, UserID: previous.ID, To: previous.Email}
				},
			})
			storagetest.Must(t, err)
			return u
		}
		if u := change("c1", "evil@example.com", "u1"); u.Email != "evil@example.com" || u.EmailVerifiedAt == nil {
			t.Errorf("ChangeEmail = %+v, want the new address, verified", u)
		}
		change("c2", "evil2@example.com", "u2")
		storagetest.Must(t, f.RevokeUserTokens(f.ctx, f.user.ID))
		attacker := f.newUser("attacker")
		attacker.Email, attacker.EmailKey = "a@example.com", "a@example.com"
		if err := f.CreateUser(f.ctx, attacker, "hash", nil); !errors.Is(err, storage.ErrConflict) {
			t.Errorf("CreateUser with the previous address of another user = %v, want ErrConflict", err)
		}
		onlyOne(t, "a link to undo", func(int) error {
			_, err := f.UndoEmailChange(f.ctx, []byte("u1"))
			return err
		})
		u, err := f.User(f.ctx, f.user.ID)
		if err != nil || u.Email != "a@example.com" || u.Epoch != 3 {
			t.Errorf("User = %+v, %v, want the first address and the epoch 3", u, err)
		}
		_, err = f.UndoEmailChange(f.ctx, []byte("u2"))
		wantLinkRefused(t, "the attacker's link to undo", err, "unknown, or replaced by a newer one")
		// The attacker uses the link first that was sent to the attacker's own address.
		change("c3", "evil3@example.com", "u3")
		f.clock.Advance(time.Minute)
		change("c4", "evil4@example.com", "u4")
		_, err = f.UndoEmailChange(f.ctx, []byte("u4"))
		storagetest.Must(t, err)
		if u, err := f.UndoEmailChange(f.ctx, []byte("u3")); err != nil || u.Email != "a@example.com" {
			t.Errorf("UndoEmailChange of the first change = %+v, %v, want the first address", u, err)
		}
		// An operator's change ends all links.
		change("c5", "evil5@example.com", "u5")
		_, err = f.UpdateUser(f.ctx, f.user.ID, func(u *storage.User) error {
			u.Email, u.EmailKey = "repaired@example.com", "repaired@example.com"
			return nil
		})
		storagetest.Must(t, err)
		_, err = f.UndoEmailChange(f.ctx, []byte("u5"))
		wantLinkRefused(t, "a link from before the operator's change", err, "unknown, or replaced by a newer one")
	})
}

// wantDeletionRepeated lets erasing the addresses of the user fail, after which the user must still be due.
func (f *fixture) wantDeletionRepeated(t *testing.T, url string) {
	t.Helper()
	ctx := reqevent.NewContext(t.Context(), &reqevent.Event{Address: "192.0.2.1"})
	storagetest.Must(t, f.Audit.Record(ctx, audit.Event{Type: audit.SessionsEnded, UserID: f.user.ID}))
	fail, repair := `CREATE TRIGGER fail BEFORE UPDATE ON audit_events BEGIN SELECT RAISE(ABORT, 'fails'); END`,
		"DROP TRIGGER fail"
	if f.Engine() == storage.Postgres {
		fail = "ALTER TABLE audit_events ADD CONSTRAINT fail CHECK (personal_key IS NOT NULL) NOT VALID"
		repair = "ALTER TABLE audit_events DROP CONSTRAINT fail"
	}
	storagetest.Exec(t, f.Store, url, fail)
	if n, err := f.DeleteDueUsers(f.ctx, time.Hour); err == nil || n != 0 {
		t.Errorf("DeleteDueUsers when addresses cannot be erased = %d, %v, want an error", n, err)
	}
	storagetest.Exec(t, f.Store, url, repair)
	if _, err := f.User(f.ctx, f.user.ID); err != nil {
		t.Errorf("the user whose addresses were not erased: %v, want to be due", err)
	}
}

// TestDeletedUsernameIsRetired covers PE32: a deletion that is due happens once, unless the user signed in, and the
// username stays reserved; audit rows have the id alone.
func TestDeletedUsernameIsRetired(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		f.ctx = t.Context()
		due := func() time.Time { return f.Now().Add(30 * time.Minute) }
		storagetest.Must(t, f.ScheduleDeletion(f.ctx, f.user.ID, due(), storage.Mail{}, storage.AccountSession{}))
		storagetest.Must(t, f.CancelDeletion(f.ctx, f.user.ID))
		f.clock.Advance(40 * time.Minute)
		if n, err := f.DeleteDueUsers(f.ctx, time.Hour); err != nil || n != 0 {
			t.Errorf("DeleteDueUsers after the user signed in = %d, %v, want 0", n, err)
		}
		storagetest.Must(t, f.ScheduleDeletion(f.ctx, f.user.ID, due(), storage.Mail{}, storage.AccountSession{}))
		f.clock.Advance(31 * time.Minute)
		f.wantDeletionRepeated(t, url)
		var deleted atomic.Int64
		storagetest.Concurrently(5, func(int) {
			n, err := f.DeleteDueUsers(f.ctx, time.Hour)
			storagetest.Must(t, err)
			deleted.Add(n)
		})
		if deleted.Load() != 1 {
			t.Errorf("%d users were deleted, want 1", deleted.Load())
		}
		rows, err := f.Audit.Rows(f.ctx, audit.Filter{Event: audit.UserDeleted})
		if err != nil || len(rows) != 1 || rows[0].UserID != f.user.ID || rows[0].Detail != "" {
			t.Errorf("audit rows = %+v, %v, want one with the id alone", rows, err)
		}
		erased, err := f.Audit.Rows(f.ctx, audit.Filter{Event: audit.SessionsEnded})
		if err != nil || len(erased) == 0 || erased[len(erased)-1].Address != "" {
			t.Errorf("audit rows of the deleted user = %+v, %v, want no address", erased, err)
		}
		again := f.newUser("alice")
		if err := f.CreateUser(f.ctx, again, "hash", nil); !errors.Is(err, storage.ErrConflict) {
			t.Errorf("CreateUser with a retired username = %v, want ErrConflict", err)
		}
		f.clock.Advance(61 * time.Minute)
		if err := f.CreateUser(f.ctx, again, "hash", nil); err != nil {
			t.Errorf("CreateUser after the retention = %v, want no error", err)
		}
	})
}
