package identity

import (
	"strings"
	"time"
	"unicode"

	"gatehouse/display"
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

// UsernameKey returns the form of a username by which it is unique, or an *InputError.
func UsernameKey(name string) (string, error) { return checkUsername(name) }
