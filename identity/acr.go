package identity

import "slices"

// The authentication context class references (OIDC Core §2), from the weakest to the strongest. The first two are
// Gatehouse's; phr and phrh are those of the OpenID Connect Extended Authentication Profile ACR Values.
const (
	ACRPassword        = "1"    // a password
	ACRSecondFactor    = "2"    // a password with a second factor: a TOTP, a recovery code or a security key
	ACRPasskey         = "phr"  // a passkey with user verification, which is phishing-resistant
	ACRHardwarePasskey = "phrh" // a passkey with user verification whose key cannot leave its hardware
)

// acrOrder has every acr after those that it satisfies.
var acrOrder = []string{ACRPassword, ACRSecondFactor, ACRPasskey, ACRHardwarePasskey}

// ACRValues returns the supported acr values, from the weakest to the strongest.
func ACRValues() []string { return slices.Clone(acrOrder) }

// IsACR reports whether the acr value is supported.
func IsACR(acr string) bool { return slices.Contains(acrOrder, acr) }

// ACRSatisfies reports whether an authentication of the class have meets a requirement of the class want: a class
// satisfies itself and every weaker one. No class satisfies an unsupported one, and an empty requirement is always met.
func ACRSatisfies(have, want string) bool {
	return want == "" || IsACR(want) && slices.Index(acrOrder, have) >= slices.Index(acrOrder, want)
}

// StrongerACR returns the stronger one of two requirements; an empty one requires nothing.
func StrongerACR(a, b string) string {
	if ACRSatisfies(a, b) {
		return a
	}
	return b
}
