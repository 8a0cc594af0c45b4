package identity

import (
	"context"
	"errors"

	"gatehouse/oauth/credential"
	"gatehouse/storage"
)

// SetPassword replaces the password of a user, by the operator, and ends the user's sessions and grants. It returns an
// *InputError when the password is not accepted.
func (u *Users) SetPassword(ctx context.Context, user storage.User, password string) error {
	hash, err := u.newPassword(ctx, user, password)
	if err != nil {
		return err
	}
	return u.store.SetPassword(ctx, user.ID, hash)
}

func (u *Users) newPassword(ctx context.Context, user storage.User, password string) (hash string, err error) {
	if err := u.checkPassword(password, user); err != nil {
		return "", err
	}
	return u.hasher.hash(ctx, password)
}

// PasswordInput is what a user enters to get a new password.
type PasswordInput struct {
	Current       string // of ChangePassword; ignored for a user without a password
	New           string
	EndEverything bool   // also this session, access that stays after sign-out, and every token
	RemoveFactors bool   // of ResetPassword: also RecentFactors, and everything
	Language      string // BCP 47, of the email
}

// ChangePassword replaces the password of a signed-in user, ends the user's other sessions and their grants without
// offline_access, and notifies the user by email. It returns ErrInvalidCredentials or a *ThrottledError, as SignIn
// does, for the current password, an *InputError for the new one, and ErrSessionEnded.
func (u *Users) ChangePassword(ctx context.Context, user *SignedInUser, in PasswordInput, device Device) error {
	stored, err := u.store.Password(ctx, user.User.ID)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if stored.Hash != "" {
		if _, err := u.SignIn(ctx, user.User.Username, in.Current, device); err != nil {
			return err
		}
		if in.New == in.Current {
			return &PasswordError{Rule: Unchanged, Err: &InputError{"the password is the current one"}}
		}
		// Verifying may have replaced the hash of an imported password.
		if stored, err = u.store.Password(ctx, user.User.ID); err != nil {
			return err
		}
	}
	hash, err := u.newPassword(ctx, user.User, in.New)
	if err != nil {
		return err
	}
	c := u.passwordChange(user.User, hash, in)
	c.Previous, c.By = stored.Hash, user.account()
	err = u.store.ChangePassword(ctx, c)
	if errors.Is(err, storage.ErrConflict) {
		return failedSignIn("the password was changed concurrently")
	}
	return err
}

func (u *Users) passwordChange(user storage.User, hash string, in PasswordInput) storage.PasswordChange {
	return storage.PasswordChange{
		UserID: user.ID, Hash: hash, EndEverything: in.EndEverything,
		Notice: storage.Mail{
			Kind: storage.MailPasswordChanged, UserID: user.ID, To: user.Email, Language: in.Language,
		},
	}
}

// RequestReset sends the user with a username or address a link to choose a new password. The result and the work are
// the same for an unknown name. It returns ErrNoMail when no email can be sent.
func (u *Users) RequestReset(ctx context.Context, name string, from Origin) error {
	user, err := u.userByTypedName(ctx, name)
	if err != nil {
		return err
	}
	token, link := u.newLink(credential.EmailToken, "/reset")
	return u.sendLink(ctx, user, storage.EmailToken{
		Purpose: storage.ResetPassword, Hash: credential.Hash(token), Email: user.Email, EmailKey: user.EmailKey,
		RequestID: from.Request, ExpiresAt: u.store.Now().Add(resetTTL),
	}, storage.Mail{
		Kind: storage.MailResetPassword, To: user.Email, Language: from.Language,
		Values: map[string]string{storage.MailLink: link},
	}, from)
}

// ResetPassword replaces the password of the user who got a link, and ends the user's sessions and their grants without
// offline_access. It signs no user in, so that the next sign-in still needs the second factor. It returns
// ErrLinkRefused, or an *InputError for the password; the link can then be used again.
func (u *Users) ResetPassword(ctx context.Context, token string, in PasswordInput) (storage.User, error) {
	link, err := u.linkFor(ctx, token, storage.ResetPassword)
	if err != nil {
		return storage.User{}, err
	}
	hash, err := u.newPassword(ctx, link.User, in.New)
	if err != nil {
		return storage.User{}, err
	}
	c, hashed := u.passwordChange(link.User, hash, in), credential.Hash(token)
	c.RemoveFactors = in.RemoveFactors
	c.EndEverything = c.EndEverything || c.RemoveFactors
	err = u.store.ResetPassword(ctx, hashed, c)
	return link.User, u.linkRefused(ctx, hashed, storage.ResetPassword, err)
}

// linkFor returns the link with a token if it is for one of the purposes, or ErrLinkRefused.
func (u *Users) linkFor(ctx context.Context, token string, purposes ...string) (Link, error) {
	link, err := u.Link(ctx, token)
	if err != nil {
		return Link{}, err
	}
	for _, p := range purposes {
		if link.Purpose == p {
			return link, nil
		}
	}
	refusal := &storage.RefusalError{Reason: "for another purpose", UserID: link.User.ID}
	return Link{}, u.linkRefused(ctx, credential.Hash(token), link.Purpose, refusal)
}
