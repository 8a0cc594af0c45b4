package identity

import (
	"context"

	"gatehouse/oauth/credential"
	"gatehouse/storage"
)

// factorAddition returns the addition of a factor in a session, with a link that undoes it.
func (u *Users) factorAddition(signedIn *SignedInUser) storage.FactorAddition {
	token, link := u.newLink(credential.EmailToken, "/verify")
	return storage.FactorAddition{
		AccountSession: signedIn.account(), UndoHash: credential.Hash(token), Link: link,
	}
}

// ErrSessionEnded is returned for a change of an account whose session ended since the request began. Nothing was
// changed, and the user signs in again.
var ErrSessionEnded = storage.ErrSessionEnded

// account returns what a change of the account in the session is compared with.
func (s *SignedInUser) account() storage.AccountSession {
	return storage.AccountSession{User: s.User, ID: s.Session.ID}
}

// RecentFactors returns the factors of a user that were added in the last seven days and that UndoFactors, or
// ResetPassword on request, removes. retained reports that there is a second factor that stays, because it replaced an
// older one.
func (u *Users) RecentFactors(
	ctx context.Context, userID string,
) (recent []storage.RecentFactor, retained bool, err error) {
	return u.store.RecentFactors(ctx, userID)
}

// UndoFactors uses a link of a notice about an added factor. It removes RecentFactors, and ends every session, grant,
// remembered browser and pending sign-in of the user. addressChanged reports that the address of the user is no longer
// the one that got the link. It returns ErrLinkRefused.
func (u *Users) UndoFactors(ctx context.Context, token string) (user storage.User, addressChanged bool, err error) {
	link, err := u.linkFor(ctx, token, storage.UndoFactors)
	if err != nil {
		return storage.User{}, false, err
	}
	hash := credential.Hash(token)
	user, err = u.store.UndoFactors(ctx, hash)
	return user, user.Email != link.Email, u.linkRefused(ctx, hash, link.Purpose, err)
}
