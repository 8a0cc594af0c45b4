// Package identity decides who a user is: how names are compared, how passwords are hashed and verified, how brute
// force is slowed down, and which users are signed in to a browser. What a user may grant to a client is left to
// oauth, and the pages are left to web.
package identity

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"golang.org/x/text/secure/precis"

	"gatehouse/display"
	"gatehouse/identity/passkey"
	"gatehouse/ratelimit"
	"gatehouse/storage"
)

// Users manages the users of one store, their passwords and their browser sessions.
type Users struct {
	store   *storage.Store
	options Options
	hasher  *hasher

	oldServer    oldServer
	mailRefusals mailRefusals
}

// Options are the settings of this package.
type Options struct {
	Secure            bool // cookies are sent over https only
	SessionIdleTTL    time.Duration
	SessionMaxTTL     time.Duration
	PasswordMinLength int
	BrandName         string                // of this service; refused as a password
	Concurrency       int                   // concurrent password hashes, 0 for half the cores
	PasswordCost      PasswordCost          // of new hashes; zero for the default
	Limiter           *ratelimit.Limiter    // nil: nothing is limited
	Log               *slog.Logger          // nil: nothing is logged
	NamesLimit        ratelimit.Rate        // how many names may fail to sign in from one subnet; zero: no limit
	SignInKey         []byte                // of the hashes of account names and subnets with failed sign-ins
	DeviceKey         []byte                // of the device cookies of browsers in which a user signed in
	FactorKey         []byte                // of forms and challenges of factors
	Passkeys          *passkey.RelyingParty // nil: there are no passkeys
	SelfService       SelfService
	AdminFactor       AdminFactor // whether administrators must have a second factor
	Migration         Migration
}

// New returns the Users of a store.
func New(store *storage.Store, o Options) *Users {
	return &Users{
		store: store, options: o, hasher: newHasher(o.Concurrency, o.PasswordCost),
		oldServer: oldServer{slots: newSlots(maxOldServerCalls, maxOldServerPerSubnet)},
	}
}

// InputError is returned when a value that a user or operator entered is not accepted. Its message is for them.
type InputError struct{ Message string }

// Error returns the message.
func (e *InputError) Error() string { return e.Message }

// key returns the form of a username or email address by which it is unique and looked up: width, case and Unicode
// composition do not matter (RFC 8265).
func key(name string) (string, error) {
	return precis.UsernameCaseMapped.CompareKey(strings.TrimSpace(name))
}

// NewUser has the values of a user to create.
type NewUser struct {
	Username, Email, Name string
	Profile               storage.Profile
	EmailVerified         bool
	PhoneVerified         bool
	Admin                 bool
	Password              string
	Attributes            map[string][]string // as in Changes
}

// Create adds a user. It returns an *InputError when a value is not accepted or already taken.
func (u *Users) Create(ctx context.Context, n NewUser) (storage.User, error) {
	user, hash, err := u.prepare(ctx, n)
	if err != nil {
		return storage.User{}, err
	}
	values, err := u.encodeAttributes(ctx, n.Attributes)
	if err != nil {
		return storage.User{}, err
	}
	err = u.store.CreateUser(ctx, &user, hash, values)
	if errors.Is(err, storage.ErrConflict) {
		return storage.User{}, ErrTaken
	}
	return user, err
}

// UsernameError is an InputError about a username.
type UsernameError struct{ Err *InputError }

// Error implements error.
func (e *UsernameError) Error() string { return e.Err.Message }

// Unwrap returns the InputError.
func (e *UsernameError) Unwrap() error { return e.Err }

func usernameError(message string) error { return &UsernameError{&InputError{message}} }

// ErrTaken is the InputError about a username or address that another user has.
var ErrTaken = &InputError{"a user with this username or email address already exists"}

// prepare checks the values of a new user, and returns its record and the hash of its password.
func (u *Users) prepare(ctx context.Context, n NewUser) (user storage.User, hash string, err error) {
	n.Username, n.Email, n.Name = strings.TrimSpace(n.Username), strings.TrimSpace(n.Email), strings.TrimSpace(n.Name)
	usernameKey, err := checkUsername(n.Username)
	if err != nil {
		return user, "", err
	}
	emailKey, err := checkEmail(n.Email)
	if err != nil {
		return user, "", err
	}
	if n.PhoneVerified && n.Profile.PhoneNumber == "" {
		return user, "", errNoPhone
	}
	if err := checkProfile(n.Name, &n.Profile); err != nil {
		return user, "", err
	}
	now := u.store.Now()
	user = storage.User{
		ID: uuid.NewString(), Username: n.Username, UsernameKey: usernameKey, Email: n.Email, EmailKey: emailKey,
		Name: n.Name, Profile: n.Profile, Admin: n.Admin, Epoch: 1, CreatedAt: now, UpdatedAt: now,
	}
	if err := u.checkPassword(n.Password, user); err != nil {
		return user, "", err
	}
	setVerified(&user.EmailVerifiedAt, &n.EmailVerified, now)
	setVerified(&user.PhoneVerifiedAt, &n.PhoneVerified, now)
	hash, err = u.hasher.hash(ctx, n.Password)
	return user, hash, err
}

// checkUsername returns the form of a username by which it is unique, or a *UsernameError.
func checkUsername(name string) (string, error) {
	usernameKey, err := key(name)
	switch {
	case name == "" || utf8.RuneCountInString(name) > 64:
		return "", usernameError("the username must have 1 to 64 characters")
	case strings.Contains(name+usernameKey, "@"): // also what the normal form makes of other at signs
		return "", usernameError("the username must not contain an @, or it could be taken for an email address")
	case err != nil || display.CheckName(name) != nil:
		return "", usernameError(
			"the username has a character that is not allowed, such as a space or an invisible one",
		)
	}
	return usernameKey, nil
}

// User returns a user by username, email address or id, or storage.ErrNotFound.
func (u *Users) User(ctx context.Context, name string) (storage.User, error) {
	if _, err := uuid.Parse(name); err == nil && len(name) == 36 {
		return u.store.User(ctx, strings.ToLower(name))
	}
	k, err := key(name)
	if err != nil {
		return storage.User{}, storage.ErrNotFound
	}
	return u.store.UserByKey(ctx, k)
}
