package identity

import (
	"context"
	"errors"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
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

// ProfileClaim is a claim of storage.Profile, with what its values must be.
type ProfileClaim struct {
	Name  string                   // OIDC Core §5.1
	Usage string                   // what it is, for the operator
	kind  string                   // of its values, which ProfileError has
	check func(value string) error // returns an *InputError; the value is not empty
}

// ProfileError is an invalid value of a profile.
type ProfileError struct {
	Claim string
	Kind  string // of the value: text, url, street, birthdate, zoneinfo, locale or phone_number
	Err   error  // an *InputError
}

// Error returns the message, for the operator.
func (e *ProfileError) Error() string { return e.Err.Error() }

// Unwrap returns the *InputError.
func (e *ProfileError) Unwrap() error { return e.Err }

// ProfileErrors has every invalid value of a profile.
type ProfileErrors []*ProfileError

// Error returns all messages.
func (e ProfileErrors) Error() string {
	messages := make([]string, 0, len(e))
	for _, p := range e {
		messages = append(messages, p.Error())
	}
	return strings.Join(messages, "; ")
}

// Unwrap returns the errors of the values.
func (e ProfileErrors) Unwrap() []error {
	errs := make([]error, 0, len(e))
	for _, p := range e {
		errs = append(errs, p)
	}
	return errs
}

var profileClaims = []ProfileClaim{
	{"given_name", "given name", "text", shortText("given name")},
	{"family_name", "family name", "text", shortText("family name")},
	{"middle_name", "middle name", "text", shortText("middle name")},
	{"nickname", "nickname", "text", shortText("nickname")},
	{"profile", "URL of a page about the user", "url", webAddress("profile page")},
	{"picture", "URL of a picture of the user", "url", webAddress("picture")},
	{"website", "URL of the user's web site", "url", webAddress("website")},
	{"gender", "gender", "text", shortText("gender")},
	{"birthdate", "like 1990-12-31, 1990 or 0000-12-31", "birthdate", checkBirthdate},
	{"zoneinfo", "time zone, like Europe/Paris", "zoneinfo", checkZoneinfo},
	{"locale", "language, like en or de-CH", "locale", checkLocale},
	{"phone_number", "like '+1 604 555 1234'", "phone_number", checkPhoneNumber},
	{"street_address", "street and number", "street", checkStreet},
	{"locality", "city", "text", shortText("city")},
	{"region", "state or region", "text", shortText("region")},
	{"postal_code", "postal code", "text", shortText("postal code")},
	{"country", "country", "text", shortText("country")},
}

// ProfileClaims returns the claims of a profile.
func ProfileClaims() []ProfileClaim { return slices.Clone(profileClaims) }

// checkProfile returns ProfileErrors with the values that do not have the form of OIDC Core §5.1.
func checkProfile(name string, p *storage.Profile) error {
	var invalid ProfileErrors
	if err := shortText("name")(name); name != "" && err != nil {
		invalid = append(invalid, &ProfileError{"name", "text", err})
	}
	for _, c := range profileClaims {
		if value := *p.Field(c.Name); value != "" {
			if err := c.check(value); err != nil {
				invalid = append(invalid, &ProfileError{c.Name, c.kind, err})
			}
		}
	}
	if invalid == nil {
		return nil
	}
	return invalid
}

// shortText returns the check of a name or a word.
func shortText(what string) func(value string) error {
	return func(value string) error {
		if utf8.RuneCountInString(value) > 200 {
			return &InputError{"the " + what + " is longer than 200 characters"}
		}
		if err := display.CheckName(value); err != nil {
			return &InputError{"the " + what + " " + err.Error()}
		}
		return nil
	}
}

// webAddress returns the check of a URL.
func webAddress(what string) func(value string) error {
	return func(value string) error {
		if u, err := url.Parse(value); err != nil || display.CheckName(value) != nil ||
			u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || len(value) > 500 {
			return &InputError{"the " + what + " must be a web address like https://example.com/me"}
		}
		return nil
	}
}

func checkStreet(value string) error {
	if len(value) > 500 {
		return &InputError{"the street is longer than 500 bytes"}
	}
	for line := range strings.SplitSeq(value, "\n") {
		if err := display.CheckName(line); line != "" && err != nil {
			return &InputError{"the street " + err.Error()}
		}
	}
	return nil
}

func checkBirthdate(value string) error {
	if m := birthdate.FindStringSubmatch(value); m == nil || !isDate(m[1], m[2]) {
		return &InputError{
			"the date of birth must be a date like 1990-12-31, a year like 1990, or 0000-12-31 without the year",
		}
	}
	return nil
}

func checkZoneinfo(value string) error {
	if _, err := time.LoadLocation(value); err != nil || value == "Local" {
		return &InputError{"the time zone must be one like Europe/Paris"}
	}
	return nil
}

func checkLocale(value string) error {
	if _, err := language.Parse(value); err != nil {
		return &InputError{"the language must be a tag like en, de-CH or pt-BR"}
	}
	return nil
}

func checkPhoneNumber(value string) error {
	if !phoneNumber.MatchString(value) {
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
	Attributes    map[string][]string // by name: the items of a list, or a single value; empty removes it
}

// Update changes the name, profile, email address and attributes of a user. A changed address or phone number is no
// longer verified. It returns an *InputError when a value is not accepted or already taken.
func (u *Users) Update(ctx context.Context, user storage.User, c Changes) (storage.User, error) {
	values, err := u.encodeAttributes(ctx, c.Attributes)
	if err != nil {
		return storage.User{}, err
	}
	updated, err := u.store.UpdateUserWithAttributes(ctx, user.ID, func(user *storage.User) error {
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
	}, values)
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

// errEmailInvalid does not have what was entered: on a page, that can be a password in the wrong field, and the error
// is in the log.
var errEmailInvalid = &InputError{"the email address is not valid; write it like alice@example.com"}

// checkEmail returns the form of an email address by which it is unique, or an *InputError.
func checkEmail(address string) (string, error) {
	parsed, err := mail.ParseAddress(address)
	k, kerr := key(address)
	if err != nil || kerr != nil || display.CheckName(address) != nil || parsed.Address != address || len(address) > 254 ||
		strings.Count(k, "@") != 1 {
		return "", errEmailInvalid
	}
	return k, nil
}
