package passkey

import (
	"cmp"

	"gatehouse/storage"
)

// AcceptedSignal returns the argument of signalAllAcceptedCredentials, as JSON (WebAuthn Level 3 §5.1.10.3).
func (p *RelyingParty) AcceptedSignal(user storage.User, credentials [][]byte) string {
	ids := []string{}
	for _, id := range credentials {
		ids = append(ids, encode(id))
	}
	return marshal(map[string]any{
		"rpId": p.options.RPID, "userId": encode(user.PasskeyHandle), "allAcceptedCredentialIds": ids,
	})
}

// UserSignal returns the argument of signalCurrentUserDetails, as JSON (WebAuthn Level 3 §5.1.10.4).
func (p *RelyingParty) UserSignal(user storage.User) string {
	return marshal(map[string]any{
		"rpId": p.options.RPID, "userId": encode(user.PasskeyHandle), "name": user.Username,
		"displayName": displayName(user),
	})
}

// UnknownSignal returns the argument of signalUnknownCredential, as JSON (WebAuthn Level 3 §5.1.10.2).
func (p *RelyingParty) UnknownSignal(id string) string {
	return marshal(map[string]any{"rpId": p.options.RPID, "credentialId": id})
}

// displayName is how password managers show the user of a passkey.
func displayName(user storage.User) string { return cmp.Or(user.Name, user.Username) }
