package identity

import (
	"context"
	"time"

	"gatehouse/storage"
)

// ScheduleDeletion deletes a user after the grace period, unless the user signs in before. It ends every session, grant
// and token immediately, notifies the clients that the user used by back-channel logout, and the user by email. It
// returns the time of the deletion.
func (u *Users) ScheduleDeletion(
	ctx context.Context, user storage.User, grace time.Duration, language string,
) (time.Time, error) {
	return u.scheduleDeletion(ctx, user, grace, language, storage.AccountSession{})
}

// ScheduleOwnDeletion does the same for a user who requests it in a session, after DeletionGrace. It returns
// ErrSessionEnded.
func (u *Users) ScheduleOwnDeletion(
	ctx context.Context, signedIn *SignedInUser, language string,
) (time.Time, error) {
	return u.scheduleDeletion(ctx, signedIn.User, u.DeletionGrace(), language, signedIn.account())
}

func (u *Users) scheduleDeletion(
	ctx context.Context, user storage.User, grace time.Duration, language string, by storage.AccountSession,
) (time.Time, error) {
	at := u.store.Now().Add(grace)
	return at, u.store.ScheduleDeletion(ctx, user.ID, at, storage.Mail{
		Kind: storage.MailDeletionScheduled, UserID: user.ID, To: user.Email, Language: language,
		Values: map[string]string{
			storage.MailValueDate: at.UTC().Format(time.RFC3339), storage.MailLink: "/login?to=account",
		},
	}, by)
}

// DeletionGrace returns the grace period of deletions that users request.
func (u *Users) DeletionGrace() time.Duration { return u.options.SelfService.DeletionGrace }

// DeletionTime returns when a user is deleted who requests it now.
func (u *Users) DeletionTime() time.Time { return u.store.Now().Add(u.DeletionGrace()) }

// Delete removes a user immediately. The username stays reserved for the configured time.
func (u *Users) Delete(ctx context.Context, id string) error {
	return u.store.DeleteUser(ctx, id, u.options.SelfService.UsernameRetention)
}

// DeleteDue removes the users whose deletion is due.
func (u *Users) DeleteDue(ctx context.Context) (int64, error) {
	return u.store.DeleteDueUsers(ctx, u.options.SelfService.UsernameRetention)
}

// MustAcceptTerms reports whether a user has not accepted the current version of the terms.
func (u *Users) MustAcceptTerms(user storage.User) bool {
	version := u.options.SelfService.TermsVersion
	return version != "" && user.TermsVersion != version
}

// TermsVersion returns the version of the terms that users must accept; empty: none.
func (u *Users) TermsVersion() string { return u.options.SelfService.TermsVersion }

// AcceptTerms stores that a user accepted a version of the terms, the one that the page showed.
func (u *Users) AcceptTerms(ctx context.Context, userID, version string) error {
	return u.store.AcceptTerms(ctx, userID, version)
}
