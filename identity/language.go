package identity

import "context"

// SetLanguage stores the language of a signed-in user if the profile has none, or one of those in replaces: emails are
// in it, and pages in browsers in which the user chooses no other.
func (u *Users) SetLanguage(ctx context.Context, user *SignedInUser, language string, replaces ...string) error {
	set, err := u.store.SetLocale(ctx, user.User.ID, language, replaces)
	if set {
		user.User.Profile.Locale = language
	}
	return err
}
