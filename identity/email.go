package identity

import (
	"context"
	"errors"

	"gatehouse/oauth/credential"
	"gatehouse/storage"
)

// RequestVerification sends a user a link that proves the address. It returns ErrNoMail when no email can be sent.
func (u *Users) RequestVerification(ctx context.Context, user storage.User, from Origin) error {
	if user.EmailVerifiedAt != nil {
		return nil
	}
	token, link := u.newLink(credential.EmailToken, "/verify")
	return u.sendLink(ctx, user, storage.EmailToken{
		Purpose: storage.VerifyEmail, Hash: credential.Hash(token), Email: user.Email, EmailKey: user.EmailKey,
		ExpiresAt: u.store.Now().Add(verifyTTL),
	}, storage.Mail{
		Kind: storage.MailVerifyEmail, To: user.Email, Language: from.Language,
		Values: map[string]string{storage.MailLink: link},
	}, from)
}

// RequestEmailChange sends a link to a new address of a user, who has it once the link was used. If the address has an
// account, nothing is sent, and the result, the work and what is stored about the user are the same: an earlier link is
// replaced, here by one that is in no email. It returns an *InputError for an invalid address, ErrNoMail when no email
// can be sent, and ErrSessionEnded.
func (u *Users) RequestEmailChange(ctx context.Context, signedIn *SignedInUser, email string, from Origin) error {
	user := signedIn.User
	emailKey, err := checkEmail(email)
	if err != nil {
		return err
	}
	if emailKey == user.EmailKey {
		return &InputError{"this is already your email address"}
	}
	if !u.store.MailEnabled() {
		return ErrNoMail
	}
	other, err := u.userByTypedName(ctx, email)
	if err != nil {
		return err
	}
	token, link := u.newLink(credential.EmailToken, "/verify")
	m := storage.Mail{Kind: storage.MailVerifyEmail, To: email, Language: from.Language}
	if other.ID != "" {
		m.Unsent = "another account has the address"
	} else {
		m.Values = map[string]string{storage.MailLink: link}
	}
	return u.sendLink(ctx, user, storage.EmailToken{
		Purpose: storage.ChangeEmail, Hash: credential.Hash(token), Email: email, EmailKey: emailKey,
		By: signedIn.account(), ExpiresAt: u.store.Now().Add(changeTTL),
	}, m, from)
}

// ErrEmailTaken is the InputError about an address that another user got while its link was waiting.
var ErrEmailTaken = &InputError{"another account has this email address"}

// ConfirmEmail uses a link that verifies, changes or restores an address, and returns its purpose and the user. by is
// the current user of the browser, or nil: only the user who requested a change of address may confirm it. It returns
// ErrLinkRefused when the link cannot be used, ErrSessionEnded when that user is not signed in, and an *InputError when
// another user now has the address.
func (u *Users) ConfirmEmail(ctx context.Context, token, language string, by *SignedInUser) (Link, error) {
	link, err := u.linkFor(ctx, token, storage.VerifyEmail, storage.ChangeEmail, storage.UndoEmailChange)
	if err != nil {
		return Link{}, err
	}
	hash := credential.Hash(token)
	switch link.Purpose {
	case storage.VerifyEmail:
		link.User, err = u.store.VerifyEmail(ctx, hash)
	case storage.UndoEmailChange:
		link.User, err = u.store.UndoEmailChange(ctx, hash)
	default:
		if by == nil {
			return Link{}, ErrSessionEnded
		}
		undo, path := u.newLink(credential.EmailToken, "/verify")
		expires := u.store.Now().Add(undoTTL)
		link.User, err = u.store.ChangeEmail(ctx, hash, storage.EmailChange{
			By: by.account(), UndoHash: credential.Hash(undo), UndoExpiresAt: expires,
			Notice: func(previous storage.User) storage.Mail {
				return storage.Mail{
					Kind: storage.MailEmailChanged, UserID: previous.ID, To: previous.Email, Language: language,
					ExpiresAt: expires,
					Values:    map[string]string{storage.MailValueEmail: link.Email, storage.MailLink: path},
				}
			},
		})
	}
	if errors.Is(err, storage.ErrConflict) {
		return Link{}, ErrEmailTaken
	}
	return link, u.linkRefused(ctx, hash, link.Purpose, err)
}
