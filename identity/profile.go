package identity

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"regexp"
	"strings"
	"time"
	_ "time/tzdata" // the empty base of the container has no time zones
	"unicode/utf8"

	"golang.org/x/text/language"

	"gatehouse/display"
	"gatehouse/storage"
)

var (
	birthdate   = regexp.MustCompile(`^(\d{4})(-\d{2}-\d{2})?$`)
	phoneNumber = regexp.MustCompile(`^\+[0-9][0-9 ().-]{4,30}(;ext=[0-9]{1,10})?$`)
)

// checkProfile returns an *InputError for the first value that does not have the form of OIDC Core §5.1.
func checkProfile(name string, p *storage.Profile) error {
	for what, s := range map[string]string{
		"name": name, "given name": p.GivenName, "family name": p.FamilyName, "middle name": p.MiddleName,
		"nickname": p.Nickname, "gender": p.Gender, "town": p.Address.Locality, "region": p.Address.Region,
		"postal code": p.Address.PostalCode, "country": p.Address.Country,
	} {
		if utf8.RuneCountInString(s) > 200 {
			return &InputError{"the " + what + " is longer than 200 characters"}
		}
		if err := display.CheckName(s); s != "" && err != nil {
			return &InputError{"the " + what + " " + err.Error()}
		}
	}
	if len(p.Address.Street) > 500 {
		return &InputError{"the street is longer than 500 bytes"}
	}
	for line := range strings.SplitSeq(p.Address.Street, "\n") {
		if err := display.CheckName(line); line != "" && err != nil {
			return &InputError{"the street " + err.Error()}
		}
	}
	for what, s := range map[string]string{"profile page": p.Profile, "picture": p.Picture, "website": p.Website} {
		if u, err := url.Parse(s); s != "" && (err != nil || display.CheckName(s) != nil ||
			u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || len(s) > 500) {
			return &InputError{"the " + what + " must be a web address like https://example.com/me"}
		}
	}
	if m := birthdate.FindStringSubmatch(p.Birthdate); p.Birthdate != "" && (m == nil || !isDate(m[1], m[2])) {
		return &InputError{"the birthdate must be a date like 1990-12-31, a year like 1990, or 0000-12-31 without the year"}
	}
	if _, err := time.LoadLocation(p.Zoneinfo); p.Zoneinfo != "" && (err != nil || p.Zoneinfo == "Local") {
		return &InputError{"the time zone must be one like Europe/Paris"}
	}
	if _, err := language.Parse(p.Locale); p.Locale != "" && err != nil {
		return &InputError{"the language must be a tag like en, de-CH or pt-BR"}
	}
	if p.PhoneNumber != "" && !phoneNumber.MatchString(p.PhoneNumber) {
		return &InputError{"the phone number must begin with + and the country, like +1 604 555 1234"}
	}
	return nil
}

// isDate reports whether the date exists. Year 0000 means no year, which may be a leap year.
func isDate(year, monthDay string) bool {
	if monthDay == "" {
		return year != "0000"
	}
	if year == "0000" {
		year = "2000"
	}
	_, err := time.Parse(time.DateOnly, year+monthDay)
	return err == nil
}

var errNoPhone = &InputError{"there is no phone number to verify"}

// Changes has the new values of a user; nil leaves a value unchanged.
type Changes struct {
	Name          *string
	Email         *string
	Profile       *storage.Profile
	EmailVerified *bool
	PhoneVerified *bool
}

// Update changes the name, profile and email address of a user. A changed address or phone number is no longer
// verified. It returns an *InputError when a value is not accepted or already taken.
func (u *Users) Update(ctx context.Context, user storage.User, c Changes) (storage.User, error) {
	updated, err := u.store.UpdateUser(ctx, user.ID, func(user *storage.User) error {
		if c.Name != nil {
			user.Name = strings.TrimSpace(*c.Name)
		}
		if c.Profile != nil {
			if c.Profile.PhoneNumber != user.Profile.PhoneNumber {
				user.PhoneVerifiedAt = nil
			}
			user.Profile = *c.Profile
		}
		if c.Email != nil && *c.Email != user.Email {
			emailKey, err := checkEmail(*c.Email)
			if err != nil {
				return err
			}
			user.Email, user.EmailKey, user.EmailVerifiedAt = *c.Email, emailKey, nil
		}
		now := u.store.Now()
		setVerified(&user.EmailVerifiedAt, c.EmailVerified, now)
		setVerified(&user.PhoneVerifiedAt, c.PhoneVerified, now)
		if user.Profile.PhoneNumber == "" && user.PhoneVerifiedAt != nil {
			return errNoPhone
		}
		return checkProfile(user.Name, &user.Profile)
	})
	if errors.Is(err, storage.ErrConflict) {
		return storage.User{}, &InputError{"a user with this email address already exists"}
	}
	return updated, err
}

// setVerified sets or clears the time of a verification; nil leaves it unchanged.
func setVerified(at **time.Time, verified *bool, now time.Time) {
	switch {
	case verified == nil:
	case !*verified:
		*at = nil
	case *at == nil:
		*at = &now
	}
}

// checkEmail returns the form of an email address by which it is unique, or an *InputError.
func checkEmail(address string) (string, error) {
	parsed, err := mail.ParseAddress(address)
	k, kerr := key(address)
	if err != nil || kerr != nil || display.CheckName(address) != nil || parsed.Address != address || len(address) > 254 ||
		strings.Count(k, "@") != 1 {
		return "", &InputError{fmt.Sprintf("the email address %q is not valid; write it like alice@example.com", address)}
	}
	return k, nil
}
