package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"gatehouse/display"
	"gatehouse/identity/totp"
	"gatehouse/storage"
)

// ImportedRecord returns the record of a user of another system with its id there as the sub. Values of the profile
// that Gatehouse does not accept are left out; dropped has the names of their claims. It returns an *InputError for a
// username or email address that is not accepted. n has no password and no attributes.
func ImportedRecord(n NewUser, id string, now time.Time) (user storage.User, dropped []string, err error) {
	n.Username, n.Email, n.Name = strings.TrimSpace(n.Username), strings.TrimSpace(n.Email), strings.TrimSpace(n.Name)
	user = storage.User{
		ID: id, Username: n.Username, Email: n.Email, Name: n.Name, Profile: n.Profile, Admin: n.Admin, Epoch: 1,
		CreatedAt: now, UpdatedAt: now,
	}
	if user.UsernameKey, err = checkUsername(n.Username); err != nil {
		return user, nil, err
	}
	if user.EmailKey, err = checkEmail(n.Email); err != nil {
		return user, nil, err
	}
	if user.Name != "" && shortText("name")(user.Name) != nil {
		user.Name, dropped = "", append(dropped, "name")
	}
	for _, c := range profileClaims {
		if value := user.Profile.Field(c.Name); *value != "" && c.check(*value) != nil {
			*value, dropped = "", append(dropped, c.Name)
		}
	}
	n.PhoneVerified = n.PhoneVerified && user.Profile.PhoneNumber != ""
	setVerified(&user.EmailVerifiedAt, &n.EmailVerified, now)
	setVerified(&user.PhoneVerifiedAt, &n.PhoneVerified, now)
	return user, dropped, nil
}

// UsernameFrom returns a username that is like a name that is not accepted as one, such as an email address.
func UsernameFrom(name string) string {
	name, _, _ = strings.Cut(strings.TrimSpace(name), "@")
	name = strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return '.'
		case !display.IsPrintable(r):
			return -1
		}
		return r
	}, name), ".")
	runes := []rune(name)
	return string(runes[:min(len(runes), maxDerivedUsername)])
}

// maxDerivedUsername leaves space for a suffix.
const maxDerivedUsername = 50

// ImportedName returns the username of a user of another system with an id there, and a second one for the case that
// the first is taken. A name that is accepted as a username stays, and has no second one: other is then empty.
func ImportedName(name, id string) (username, other, otherKey string, err error) {
	if _, err := checkUsername(strings.TrimSpace(name)); err == nil {
		return name, "", "", nil
	}
	if username = UsernameFrom(name); username == "" {
		username = "user"
	}
	sum := sha256.Sum256([]byte(id))
	other = username + "-" + hex.EncodeToString(sum[:4])
	if otherKey, err = checkUsername(other); err != nil {
		return "", "", "", err
	}
	_, err = checkUsername(username)
	return username, other, otherKey, err
}

// ImportedSub returns the id of a user of another system in lower case if it is a UUID, and otherwise a new one.
func ImportedSub(id string) string {
	if parsed, err := uuid.Parse(id); err == nil && len(id) == uuidSize {
		return parsed.String()
	}
	return uuid.NewString()
}

// uuidSize is the length of a UUID with hyphens only.
const uuidSize = 36

// CheckTOTP returns an error when the parameters of a TOTP authenticator are not supported.
func CheckTOTP(t storage.TOTPSecret) error {
	if t.Period < 0 || t.Period > maxTOTPPeriod {
		t.Period = 0 // refused, instead of overflowing
	}
	return totp.Key{
		Secret: t.Secret, Algorithm: t.Algorithm, Digits: int(t.Digits), Period: time.Duration(t.Period) * time.Second,
	}.Check()
}

const maxTOTPPeriod = 3600 // seconds, more than any that is supported

// ImportedPasskey returns the passkey of another system with the same RP ID as it is stored. It returns an error when
// the public key or the model of the authenticator is not accepted.
func (u *Users) ImportedPasskey(p storage.Passkey) (storage.Passkey, error) {
	p, err := u.options.Passkeys.Imported(p)
	if err != nil {
		return p, err
	}
	if p.Name, err = checkPasskeyName(p.Name); err != nil {
		p.Name = defaultPasskeyName
	}
	return p, nil
}
