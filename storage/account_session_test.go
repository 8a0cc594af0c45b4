package storage_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"gatehouse/storage"
	"gatehouse/storage/db"
	"gatehouse/storage/storagetest"
)

// session starts a session of the fixture's user.
func (f *fixture) session(t *testing.T) storage.AccountSession {
	t.Helper()
	u, err := f.User(t.Context(), f.user.ID)
	storagetest.Must(t, err)
	id, now := uuid.NewString(), f.Now()
	storagetest.Must(t, f.CreateSession(t.Context(), &storage.BrowserSession{
		ID: id, TokenHash: []byte(id), UserID: u.ID, UserEpoch: u.Epoch, SignInEpoch: u.SignInEpoch, AuthTime: now,
		CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(time.Hour),
	}))
	return storage.AccountSession{User: u, ID: id}
}

// factorChanges are what a session of the fixture's user can change with factors. Each succeeds once, in this order.
func (f *fixture) factorChanges(t *testing.T) (changes []accountChange) {
	add := func(name string, make func(by storage.AccountSession) error) {
		changes = append(changes, accountChange{name, make})
	}
	ctx, id := t.Context(), f.user.ID
	addition := func(by storage.AccountSession, hash string) storage.FactorAddition {
		return storage.FactorAddition{AccountSession: by, UndoHash: []byte(hash), Link: "/verify"}
	}
	add("another passkey", func(by storage.AccountSession) error {
		return f.CreatePasskey(ctx, f.passkey("added"), addition(by, "passkey"))
	})
	add("another app", func(by storage.AccountSession) error {
		_, err := f.SetTOTPInSession(ctx, storage.TOTPSecret{ID: id, Secret: []byte("x")}, nil, addition(by, "app"))
		return err
	})
	add("other recovery codes", func(by storage.AccountSession) error {
		return f.SetRecoveryCodes(ctx, id, [][]byte{[]byte("x")}, addition(by, "codes"))
	})
	add("a name", func(by storage.AccountSession) error { return f.RenamePasskey(ctx, id, "key", "x", by) })
	add("a deleted passkey", func(by storage.AccountSession) error { return f.DeletePasskey(ctx, id, "key", by) })
	add("a removed app", func(by storage.AccountSession) error { return f.DeleteTOTP(ctx, id, by) })
	add("a remembered browser", func(by storage.AccountSession) error {
		err := f.CreateRememberedBrowser(ctx, storage.RememberedBrowser{
			TokenHash: []byte("late"), UserID: id, UserEpoch: by.User.Epoch, SignInEpoch: by.User.SignInEpoch,
			SessionID: by.ID, ExpiresAt: f.Now().Add(time.Hour),
		})
		return endedInsteadOf(storage.ErrNotFound, err)
	})
	return changes
}

// accountChanges are all changes that a session of the fixture's user can make. Each succeeds once, in this order.
func (f *fixture) accountChanges(t *testing.T) []accountChange {
	changes := f.factorChanges(t)
	add := func(name string, make func(by storage.AccountSession) error) {
		changes = append(changes, accountChange{name, make})
	}
	ctx, id := t.Context(), f.user.ID
	notice := storage.Mail{Kind: storage.MailPasswordChanged, UserID: id, To: f.user.Email}
	for _, decided := range []func(context.Context, storage.Approval) error{f.RecordApproval, f.IssueCode} {
		add("a consent", func(by storage.AccountSession) error {
			err := decided(ctx, storage.Approval{
				RequestID: "request", FromConsentPage: true, Allowed: storage.Strings{"#read"},
				Code: storage.AuthorizationCode{
					Hash: []byte("code"), CreatedAt: f.Now(), ExpiresAt: f.Now(), GrantTerms: storage.GrantTerms{
						ClientID: f.client.ID, UserID: id, SessionID: by.ID, AuthTime: f.Now(), Scopes: storage.Strings{"read"},
						Resources: storage.Strings{}, AMR: storage.Strings{},
					},
				},
			})
			return endedInsteadOf(storage.ErrConsentWithdrawn, err)
		})
	}
	other := f.session(t)
	add("an ended session", func(by storage.AccountSession) error {
		return f.EndAccountSession(ctx, id, other.ID, by.ID)
	})
	add("a requested address", func(by storage.AccountSession) error {
		return f.CreateEmailToken(ctx, by.User, storage.EmailToken{
			Purpose: storage.ChangeEmail, Hash: []byte("requested"), Email: "x@example.com", EmailKey: "x@example.com",
			By: by, ExpiresAt: f.Now().Add(time.Hour),
		}, notice)
	})
	add("a sign-out", func(by storage.AccountSession) error {
		_, err := f.EndOtherSessions(ctx, id, by.ID, "")
		return err
	})
	add("a confirmed address", func(by storage.AccountSession) error {
		_, err := f.ChangeEmail(ctx, []byte("confirmed"), storage.EmailChange{
			By: by, UndoHash: []byte("undo"), Notice: func(storage.User) storage.Mail { return notice },
		})
		return err
	})
	add("a password", func(by storage.AccountSession) error {
		c := storage.PasswordChange{UserID: id, Previous: "hash", Hash: "hash", By: by, Notice: notice}
		return f.ChangePassword(ctx, c)
	})
	add("a deletion", func(by storage.AccountSession) error {
		u, err := f.User(ctx, id) // the change of the password has raised the epoch of sign-ins
		storagetest.Must(t, err)
		if by.User.ID != "" {
			by.User.SignInEpoch = u.SignInEpoch
		}
		return f.ScheduleDeletion(ctx, id, f.Now(), notice, by)
	})
	return changes
}

type accountChange struct {
	name string
	make func(by storage.AccountSession) error
}

// endedInsteadOf returns ErrSessionEnded for the error with which some changes refuse an ended session.
func endedInsteadOf(refused, err error) error {
	if errors.Is(err, refused) {
		return storage.ErrSessionEnded
	}
	return err
}

// TestEndedSessionChangesNothing tests PE17: what a session requested before it ended, or before the password changed,
// changes nothing afterwards.
func TestEndedSessionChangesNothing(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := mailFixture(t, url)
		f.ctx = t.Context()
		f.addFactors(t)
		storagetest.Must(t, f.CreateRequest(t.Context(), &storage.AuthorizationRequest{
			ID: "request", ClientID: f.client.ID, CreatedAt: f.Now(), ExpiresAt: f.Now().Add(time.Hour),
		}))
		for how, end := range map[string]func(id string) error{
			"the user ended it": func(id string) error {
				return f.EndAccountSession(t.Context(), f.user.ID, id, f.session(t).ID)
			},
			"the user signed out everywhere else": func(string) error {
				_, err := f.EndOtherSessions(t.Context(), f.user.ID, f.session(t).ID, "")
				return err
			},
			"the user reported an event": func(string) error {
				_, err := f.EndOtherSessions(t.Context(), f.user.ID, f.session(t).ID, "report")
				return err
			},
			"the password changed in another": func(string) error {
				return f.ChangePassword(t.Context(), storage.PasswordChange{
					UserID: f.user.ID, Previous: "hash", Hash: "hash", By: f.session(t),
					Notice: storage.Mail{Kind: storage.MailPasswordChanged, UserID: f.user.ID, To: f.user.Email},
				})
			},
			"it was never one of the user": func(string) error { return nil },
		} {
			by := f.session(t)
			storagetest.Must(t, end(by.ID))
			if how == "it was never one of the user" {
				by.ID = "another"
			}
			f.token(t, storage.ChangeEmail, "confirmed", "new@example.com", nil)
			changes := f.accountChanges(t)
			before := storagetest.Dump(t, f.Store, url)
			for _, change := range changes {
				if err := change.make(by); !errors.Is(err, storage.ErrSessionEnded) {
					t.Errorf("%s, after %s: %v, want ErrSessionEnded", change.name, how, err)
				}
			}
			if after := storagetest.Dump(t, f.Store, url); after != before {
				t.Errorf("after %s, the requests changed the database from\n%s\nto\n%s", how, before, after)
			}
		}
		by := f.session(t)
		for _, change := range f.accountChanges(t) {
			if change.name == "a confirmed address" {
				f.token(t, storage.ChangeEmail, "confirmed", "new@example.com", nil)
			}
			err := f.whileUserIsLocked(t, change.name, func() error { return change.make(by) })
			if err != nil {
				t.Errorf("%s in an active session: %v, want no error", change.name, err)
			}
		}
	})
}

// whileUserIsLocked makes a change, which on PostgreSQL must wait for another transaction that has locked the user. It
// fails the test when the change has locked a session or a link before: the other transaction, such as the end of all
// other sessions, could be about to lock that, and each would wait for the other.
func (f *fixture) whileUserIsLocked(t *testing.T, name string, change func() error) error {
	t.Helper()
	if f.Engine() != storage.Postgres { // SQLite has one writer
		return change()
	}
	locked, changed, other := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		other <- f.Tx(t.Context(), func(tx *storage.Store) error {
			err := db.Lock(t.Context(), tx.Write, "users", f.user.ID)
			close(locked)
			if err != nil {
				return err
			}
			if err := waitUntilBlocking(t.Context(), tx, changed); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			var sessions, links int64
			err = db.QueryRow(t.Context(), tx.Write, []any{&sessions, &links}, `SELECT
				(SELECT count(*) FROM browser_sessions WHERE user_id = ?) -
					(SELECT count(*) FROM (SELECT 1 FROM browser_sessions WHERE user_id = ? FOR UPDATE SKIP LOCKED) AS unlocked),
				(SELECT count(*) FROM email_tokens WHERE user_id = ?) -
					(SELECT count(*) FROM (SELECT 1 FROM email_tokens WHERE user_id = ? FOR UPDATE SKIP LOCKED) AS unlocked)`,
				f.user.ID, f.user.ID, f.user.ID, f.user.ID)
			if sessions+links > 0 {
				t.Errorf("%s locked %d sessions and %d links before the user", name, sessions, links)
			}
			return err
		})
	}()
	<-locked
	err := change()
	close(changed)
	storagetest.Must(t, <-other)
	return err
}

// waitUntilBlocking waits until another transaction waits for tx, on PostgreSQL. It fails when over is closed before.
func waitUntilBlocking(ctx context.Context, tx *storage.Store, over <-chan struct{}) error {
	for waits := int64(0); waits == 0; {
		select {
		case <-over:
			return errors.New("the change did not wait for the other transaction")
		default:
		}
		if err := db.QueryRow(ctx, tx.Write, []any{&waits}, `SELECT count(*) FROM pg_stat_activity
			WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid)) AND ? = 1`, 1); err != nil {
			return err
		}
	}
	return nil
}

// TestChangeWaitsForConcurrentSignOut adds a passkey while the transaction that ends the session is not committed.
func TestChangeWaitsForConcurrentSignOut(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		by, added, over := f.session(t), make(chan error, 1), make(chan struct{})
		storagetest.Must(t, f.Tx(t.Context(), func(tx *storage.Store) error {
			if err := tx.EndSession(t.Context(), f.user.ID, by.ID); err != nil {
				return err
			}
			go func() {
				defer close(over)
				added <- f.CreatePasskey(t.Context(), f.passkey("late"), storage.FactorAddition{AccountSession: by})
			}()
			if f.Engine() != storage.Postgres {
				return nil
			}
			return waitUntilBlocking(t.Context(), tx, over)
		}))
		if err := <-added; !errors.Is(err, storage.ErrSessionEnded) {
			t.Errorf("CreatePasskey of a session that ends concurrently = %v, want ErrSessionEnded", err)
		}
	})
}

// TestEndedSessionEndsRememberedBrowsers tests PE15: the browser of another session that the user ends needs the second
// factor again and a link to change the address ends, also when its sign-out was first; to end the current session is
// an ordinary sign-out.
func TestEndedSessionEndsRememberedBrowsers(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		f.ctx = t.Context()
		here, there, left := f.session(t), f.session(t), f.session(t)
		storagetest.Must(t, f.EndSession(t.Context(), f.user.ID, left.ID))
		for _, c := range []struct {
			what, ended string
			err         error
			want        bool
		}{
			{"a session that the user does not have", "unknown", storage.ErrNotFound, true},
			{"another session", there.ID, nil, false},
			{"another session that has ended", left.ID, nil, false},
			{"the current session", here.ID, nil, true},
		} {
			f.token(t, storage.ChangeEmail, c.what, "new@example.com", nil)
			storagetest.Must(t, f.CreateRememberedBrowser(t.Context(), storage.RememberedBrowser{
				TokenHash: []byte(c.what), UserID: f.user.ID, UserEpoch: here.User.Epoch, SignInEpoch: here.User.SignInEpoch,
				SessionID: here.ID, ExpiresAt: f.Now().Add(time.Hour),
			}))
			if err := f.EndAccountSession(t.Context(), f.user.ID, c.ended, here.ID); !errors.Is(err, c.err) {
				t.Errorf("the end of %s = %v, want %v", c.what, err, c.err)
			}
			if got, err := f.IsRemembered(t.Context(), here.User, []byte(c.what)); err != nil || got != c.want {
				t.Errorf("IsRemembered after the end of %s = %t, %v, want %t", c.what, got, err, c.want)
			}
			if _, err := f.EmailToken(t.Context(), []byte(c.what)); (err == nil) != c.want {
				t.Errorf("the link to change the address after the end of %s: %v, want it valid: %t", c.what, err, c.want)
			}
		}
	})
}
