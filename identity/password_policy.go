package identity

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"gatehouse/identity/commonpassword"
	"gatehouse/storage"
)

// PasswordError is an InputError about a new password. Rule and Value select the message of a page in another language.
type PasswordError struct {
	Rule  PasswordRule
	Value int // of TooShort the minimum length in characters, of TooLong the maximum in bytes
	Err   *InputError
}

// PasswordRule is a requirement for passwords.
type PasswordRule string

// The requirements that a password can fail.
const (
	TooShort    PasswordRule = "short"
	TooLong     PasswordRule = "long"
	NotText     PasswordRule = "text"      // not UTF-8
	TooCommon   PasswordRule = "common"    // in the list of common passwords, or close to one
	TooPersonal PasswordRule = "personal"  // the user's name, email address or that of the server, or close to them
	Unchanged   PasswordRule = "unchanged" // the current password
)

// Error implements error.
func (e *PasswordError) Error() string { return e.Err.Message }

// Unwrap returns the InputError.
func (e *PasswordError) Unwrap() error { return e.Err }

// productName is refused as a password, like the name of the service and those of the user.
const productName = "Gatehouse"

// checkPassword returns a *PasswordError when the password is not accepted for the user. The checks are those of
// NIST SP 800-63B §3.1.1.2: length, and a list of common and expected passwords; no kinds of characters are required.
func (u *Users) checkPassword(password string, user storage.User) error {
	refuse := func(rule PasswordRule, value int, message string) error {
		return &PasswordError{Rule: rule, Value: value, Err: &InputError{"the password " + message}}
	}
	least := u.options.PasswordMinLength
	switch n := utf8.RuneCountInString(password); {
	case n < least:
		return refuse(TooShort, least, fmt.Sprintf("is too short: it has %d characters and needs at least %d", n, least))
	case len(password) > maxPassword:
		return refuse(TooLong, maxPassword, fmt.Sprintf("is longer than %d bytes", maxPassword))
	case !utf8.ValidString(password):
		return refuse(NotText, 0, "is not valid UTF-8 text")
	case commonpassword.IsPersonal(password, u.namesOf(user)):
		return refuse(TooPersonal, 0, "consists of a name or address of yours or of this service, which others try first; "+
			"choose several unrelated words, or let a password manager generate one")
	case commonpassword.IsCommon(password):
		return refuse(TooCommon, 0, "is one of the most common ones, or close to one; "+
			"choose several unrelated words, or let a password manager generate one")
	}
	return nil
}

// namesOf returns the names that others can find out about a user and this service, each also in its parts.
func (u *Users) namesOf(user storage.User) []string {
	local, domain, _ := strings.Cut(user.Email, "@")
	names := []string{productName, u.options.BrandName, user.Username, user.Email, local, user.Name, user.Profile.Nickname}
	if i := strings.LastIndexByte(domain, '.'); i > 0 {
		domain = domain[:i] // without com, org and the like, which are parts of many words
	}
	for _, name := range append(names[1:], domain, user.Profile.GivenName, user.Profile.FamilyName) {
		if name != user.Email {
			names = append(names, strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune(" .-_+'", r) })...)
		}
	}
	return names
}
