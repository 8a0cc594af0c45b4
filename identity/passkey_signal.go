package identity

import "gatehouse/storage"

// AcceptedPasskeys returns what a browser signals to password managers, so that they remove other passkeys of the user
// (WebAuthn Level 3 §5.1.10.3), as JSON. It is empty before the first passkey.
func (u *Users) AcceptedPasskeys(user storage.User, credentials [][]byte) string {
	if u.options.Passkeys == nil || user.PasskeyHandle == nil {
		return ""
	}
	return u.options.Passkeys.AcceptedSignal(user, credentials)
}

// PasskeyUser returns what a browser signals to password managers, so that they show the current names of the user
// (WebAuthn Level 3 §5.1.10.4), as JSON. It is empty before the first passkey.
func (u *Users) PasskeyUser(user storage.User) string {
	if u.options.Passkeys == nil || user.PasskeyHandle == nil {
		return ""
	}
	return u.options.Passkeys.UserSignal(user)
}

// UnknownPasskey returns what a browser signals to password managers, so that they remove the passkey with which no
// user could sign in (WebAuthn Level 3 §5.1.10.2), as JSON. id is the credential id in base64url.
func (u *Users) UnknownPasskey(id string) string {
	if u.options.Passkeys == nil {
		return ""
	}
	return u.options.Passkeys.UnknownSignal(id)
}
