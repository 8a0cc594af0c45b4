package identity

import (
	"context"
	"net/http"
	"time"

	"gatehouse/storage"
)

// newAccount is how long after it was created an account is new: its first sign-in is expected.
const newAccount = 24 * time.Hour

// createSession stores a new session and, in the same transaction, queues a notice to the user if the browser is new.
func (u *Users) createSession(r *http.Request, row *storage.BrowserSession, user storage.User) error {
	ctx := r.Context()
	if !u.store.MailEnabled() || u.Device(r).hasSignedIn(user) {
		return u.store.CreateSession(ctx, row)
	}
	return u.store.Tx(ctx, func(tx *storage.Store) error {
		first, err := u.isFirstSignIn(ctx, tx, user)
		if err != nil {
			return err
		}
		if err := tx.CreateSession(ctx, row); err != nil || first {
			return err
		}
		return tx.QueueMail(ctx, storage.Mail{
			Kind: storage.MailNewDevice, UserID: user.ID, To: user.Email, Values: map[string]string{
				storage.MailValueBrowser: row.UserAgent, storage.MailValueAddress: row.Address,
			},
		})
	})
}

// isFirstSignIn reports whether the user has just created the account and has not signed in yet. Sessions are stored
// for longer than an account is new.
func (u *Users) isFirstSignIn(ctx context.Context, tx *storage.Store, user storage.User) (bool, error) {
	if u.store.Now().Sub(user.CreatedAt) > newAccount {
		return false, nil
	}
	had, err := tx.HasHadSession(ctx, user.ID)
	return !had, err
}
