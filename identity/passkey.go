package identity

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"gatehouse/display"
	"gatehouse/identity/passkey"
	"gatehouse/keyed"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/reqevent"
)

// HasPasskeys reports whether users can have passkeys at this issuer.
func (u *Users) HasPasskeys() bool { return u.options.Passkeys != nil }

// PasskeyRPID returns the RP ID of passkeys, or "".
func (u *Users) PasskeyRPID() string {
	if u.options.Passkeys == nil {
		return ""
	}
	return u.options.Passkeys.RPID()
}

// PasskeyError is ErrInvalidCredentials for a sign-in with a passkey. Pages show the same message for every cause.
type PasskeyError struct {
	Reason  string // for the log
	Unknown bool   // no user has the credential: the browser may remove it (WebAuthn Level 3 §5.1.10)
}

// Error returns the reason.
func (e *PasskeyError) Error() string { return e.Reason }

// Unwrap returns ErrInvalidCredentials.
func (e *PasskeyError) Unwrap() error { return ErrInvalidCredentials }

// passkeyLimit delays sign-ins with passkeys from a subnet. It bounds the work for invalid signatures, which cannot be
// guessed.
var passkeyLimit = storage.SignInLimit{FreeFailures: 20, MaxWait: 15 * time.Minute, Period: time.Hour}

func (u *Users) passkeyCount(ctx context.Context) storage.SignInCount {
	key, subnet := u.options.SignInKey, signInSubnet(reqevent.FromContext(ctx).Address)
	return storage.SignInCount{
		Account: keyed.MAC(key, "passkey"), Limit: passkeyLimit,
		Subnet: base64.RawURLEncoding.EncodeToString(keyed.MAC(key, "network", "passkey", subnet)[:16]),
	}
}

// PasskeyRequest returns the options with which a browser signs in with a passkey, as JSON. browser is the result of
// EnsureBrowser. It returns "" when there are no passkeys.
func (u *Users) PasskeyRequest(browser []byte) string {
	if u.options.Passkeys == nil {
		return ""
	}
	return u.options.Passkeys.RequestOptions(hex.EncodeToString(browser))
}

// SignInWithPasskey verifies the response of a browser to PasskeyRequest, and returns the user and how the user
// authenticated. It queries the database twice. It returns a *PasskeyError or a *ThrottledError; a browser in which the
// user signed in before is not delayed by failures of others.
func (u *Users) SignInWithPasskey(
	ctx context.Context, browser []byte, device Device, response []byte,
) (storage.User, Authentication, error) {
	if u.options.Passkeys == nil {
		return storage.User{}, Authentication{}, &PasskeyError{Reason: "there are no passkeys at this issuer"}
	}
	count := u.passkeyCount(ctx)
	fail := func(user storage.User, e *PasskeyError) (storage.User, Authentication, error) {
		return storage.User{}, Authentication{}, u.passkeyFailed(ctx, count, user, device, e)
	}
	assertion, err := passkey.ParseAssertion(response)
	if err != nil {
		return fail(storage.User{}, &PasskeyError{Reason: "invalid response: " + err.Error()})
	}
	found, err := u.store.PasskeySignIn(ctx, assertion.CredentialID(), count)
	if errors.Is(err, storage.ErrNotFound) {
		return fail(storage.User{}, &PasskeyError{Reason: "unknown passkey", Unknown: true})
	}
	if err != nil {
		return storage.User{}, Authentication{}, err
	}
	user, scope := found.User, hex.EncodeToString(browser)
	if found.BlockedUntil != nil && !device.hasSignedIn(user) {
		return storage.User{}, Authentication{}, &ThrottledError{RetryAt: *found.BlockedUntil}
	}
	assertion.CompleteImported(&found.Passkey)
	use, err := u.options.Passkeys.Verify(assertion, found.Passkey, user, scope)
	switch {
	case err != nil:
		return fail(user, &PasskeyError{Reason: err.Error()})
	case user.DisabledAt != nil:
		return fail(user, &PasskeyError{Reason: "the user is disabled"})
	case found.Passkey.SecondFactor:
		return fail(user, &PasskeyError{Reason: "the passkey is a second factor only"})
	}
	err = usePasskeyError(u.store.UsePasskey(ctx, u.newPasskeyUse(found.Passkey, use, scope)))
	if failed := (*PasskeyError)(nil); errors.As(err, &failed) {
		return fail(user, failed)
	}
	return user, passkeyAuthentication(found.Passkey), err
}

// usePasskeyError returns a *PasskeyError for a use that the store refused, and other errors as they are.
func usePasskeyError(err error) error {
	switch {
	case errors.Is(err, storage.ErrConsumed):
		return &PasskeyError{Reason: "the challenge was used before"}
	case errors.Is(err, storage.ErrCounter):
		return &PasskeyError{Reason: err.Error()}
	}
	return err
}

// passkeyAuthentication returns how a user authenticated with a passkey.
func passkeyAuthentication(p storage.Passkey) Authentication {
	a := Authentication{ACR: ACRHardwarePasskey, AMR: []string{passkeyMethod(p), "user", "mfa"}}
	if p.BackupEligible {
		a.ACR = ACRPasskey
	}
	return a
}

// passkeyMethod returns the authentication method of a passkey (RFC 8176): its key is in hardware if it cannot be
// synced, as the authenticator reports.
func passkeyMethod(p storage.Passkey) string {
	if p.BackupEligible {
		return "swk"
	}
	return "hwk"
}

// SecurityKeyRequest returns the options with which a browser finishes a pending sign-in with a security key of its
// user, as JSON. It returns "" when the user has none.
func (u *Users) SecurityKeyRequest(ctx context.Context, p storage.PendingSignIn) (string, error) {
	if u.options.Passkeys == nil {
		return "", nil
	}
	keys, err := u.store.Passkeys(ctx, p.UserID)
	keys = slices.DeleteFunc(keys, func(k storage.Passkey) bool { return !k.SecondFactor })
	if err != nil || len(keys) == 0 {
		return "", err
	}
	return u.options.Passkeys.SecurityKeyOptions(keys, p.ID), nil
}

// checkSecurityKey verifies the response of a browser to SecurityKeyRequest, and returns what it consumes and the
// method of RFC 8176. It returns a *PasskeyError. The attempt was counted.
func (u *Users) checkSecurityKey(
	ctx context.Context, p storage.PendingSignIn, user storage.User, response []byte,
) (use storage.PasskeyUse, method string, err error) {
	if u.options.Passkeys == nil {
		return use, "", &PasskeyError{Reason: "there are no passkeys at this issuer"}
	}
	assertion, err := passkey.ParseAssertion(response)
	if err != nil {
		return use, "", &PasskeyError{Reason: "invalid response: " + err.Error()}
	}
	key, err := u.store.SecurityKey(ctx, user.ID, assertion.CredentialID())
	if errors.Is(err, storage.ErrNotFound) {
		return use, "", &PasskeyError{Reason: "the user has no such security key"}
	}
	if err != nil {
		return use, "", err
	}
	assertion.CompleteImported(&key)
	verified, err := u.options.Passkeys.VerifySecurityKey(assertion, key, user, p.ID)
	if err != nil {
		return use, "", &PasskeyError{Reason: err.Error()}
	}
	return u.newPasskeyUse(key, verified, p.ID), passkeyMethod(key), nil
}

// newPasskeyUse returns the use of a passkey that was verified.
func (u *Users) newPasskeyUse(p storage.Passkey, use passkey.Use, scope string) storage.PasskeyUse {
	return storage.PasskeyUse{
		Passkey: p, SignCount: use.SignCount, BackedUp: use.BackedUp, Scope: scope, Challenge: use.Challenge.Value,
		ChallengeExpiresAt: use.Challenge.ExpiresAt, RefuseCounter: u.options.Passkeys.RefusesCounter(),
	}
}

// passkeyFailed counts and records a failed sign-in with a passkey, and returns its error.
func (u *Users) passkeyFailed(
	ctx context.Context, count storage.SignInCount, user storage.User, device Device, e *PasskeyError,
) error {
	until, err := u.store.SignInBlockedUntil(ctx, count)
	if err != nil {
		return err
	}
	if until != nil && !device.hasSignedIn(user) {
		return &ThrottledError{RetryAt: *until}
	}
	if _, err := u.store.CountSignInFailures(ctx, []storage.SignInCount{count}, nil); err != nil {
		return err
	}
	event := audit.Event{
		Type: audit.UserSignInFailed, UserID: user.ID, Detail: map[string]any{"reason": "passkey: " + e.Reason},
	}
	if err := u.store.Audit.RecordSignInFailure(ctx, u.options.Limiter, event); err != nil {
		return err
	}
	return e
}

// Passkeys returns the passkeys of a user, the oldest first.
func (u *Users) Passkeys(ctx context.Context, userID string) ([]storage.Passkey, error) {
	return u.store.Passkeys(ctx, userID)
}

// PasskeyProvider returns the name of the authenticator or password manager that has the passkey, or "".
func PasskeyProvider(p storage.Passkey) string { return passkey.Provider(p.AAGUID) }

// PasskeyCreation returns the options with which a browser creates a passkey of the user of a session, and those for a
// security key, as JSON.
func (u *Users) PasskeyCreation(ctx context.Context, signedIn *SignedInUser) (key, securityKey string, err error) {
	if u.options.Passkeys == nil {
		return "", "", storage.ErrNotFound
	}
	handle, err := u.store.PasskeyHandle(ctx, signedIn.User.ID)
	if err != nil {
		return "", "", err
	}
	existing, err := u.store.Passkeys(ctx, signedIn.User.ID)
	c := passkey.Creation{User: signedIn.User, Handle: handle, Scope: signedIn.Session.ID}
	key = u.options.Passkeys.CreationOptions(c, existing)
	c.SecurityKey = true
	return key, u.options.Passkeys.CreationOptions(c, existing), err
}

// The errors of AddPasskey about the model of the authenticator: it is not allowed, or it is not proven as required; or
// that cannot be verified at this time.
var (
	ErrPasskeyModel      = passkey.ErrModelRefused
	ErrPasskeyUnverified = passkey.ErrNoMetadata
)

// AddPasskey verifies the response of a browser to PasskeyCreation and adds the passkey. It returns a *PasskeyError,
// ErrPasskeyModel, ErrPasskeyUnverified, storage.ErrTooManyPasskeys, ErrSessionEnded, or an *InputError for the name.
func (u *Users) AddPasskey(ctx context.Context, signedIn *SignedInUser, name string, response []byte) error {
	return u.addPasskey(ctx, signedIn, name, response, false, u.factorAddition(signedIn))
}

// AddSecurityKey does the same for a security key, which is a second factor after a password. It returns recovery codes
// if the user had none: without the key, only they sign in.
func (u *Users) AddSecurityKey(
	ctx context.Context, signedIn *SignedInUser, name string, response []byte,
) (codes []string, err error) {
	f, err := u.store.Factors(ctx, signedIn.User.ID)
	if err != nil {
		return nil, err
	}
	addition := u.factorAddition(signedIn)
	if f.RecoveryCodes == 0 {
		codes, addition.Codes = generateRecoveryCodes(signedIn.User.ID)
	}
	if err := u.addPasskey(ctx, signedIn, name, response, true, addition); err != nil {
		return nil, err
	}
	return codes, nil
}

func (u *Users) addPasskey(
	ctx context.Context, signedIn *SignedInUser, name string, response []byte, securityKey bool,
	addition storage.FactorAddition,
) error {
	if u.options.Passkeys == nil {
		return storage.ErrNotFound
	}
	user, scope := signedIn.User, signedIn.Session.ID
	handle, err := u.store.PasskeyHandle(ctx, user.ID)
	if err != nil {
		return err
	}
	creation := passkey.Creation{User: user, Handle: handle, Scope: scope, SecurityKey: securityKey}
	p, challenge, err := u.options.Passkeys.Register(creation, response)
	if err != nil {
		return u.creationFailed(ctx, user, err)
	}
	if name == "" {
		name = passkey.Provider(p.AAGUID)
	}
	if name == "" && securityKey {
		name = defaultSecurityKeyName
	}
	if p.Name, err = checkPasskeyName(name); err != nil {
		return err
	}
	err = u.store.UseOnce(ctx, storage.UseOfPasskeyChallenge, scope, challenge.Value, challenge.ExpiresAt)
	if errors.Is(err, storage.ErrConsumed) {
		return u.creationFailed(ctx, user, errors.New("the challenge was used before"))
	}
	if err != nil {
		return err
	}
	p.ID = uuid.NewString()
	if err = u.store.CreatePasskey(ctx, p, addition); errors.Is(err, storage.ErrConflict) {
		return u.creationFailed(ctx, user, errors.New("the passkey is registered already"))
	}
	return err
}

// creationFailed records why a passkey was not created, and returns the error for the page.
func (u *Users) creationFailed(ctx context.Context, user storage.User, cause error) error {
	event := audit.Event{
		Type: audit.PasskeyRefused, UserID: user.ID, Detail: map[string]any{"reason": cause.Error()},
	}
	if err := u.store.Audit.RecordFailure(ctx, u.options.Limiter, event); err != nil {
		return err
	}
	if errors.Is(cause, ErrPasskeyModel) || errors.Is(cause, ErrPasskeyUnverified) {
		return cause
	}
	return &PasskeyError{Reason: cause.Error()}
}

// The names of passkeys and security keys whose provider is unknown.
const (
	defaultPasskeyName     = "Passkey"
	defaultSecurityKeyName = "Security key"
)

func checkPasskeyName(name string) (string, error) {
	name = strings.TrimSpace(name)
	if name == "" {
		return defaultPasskeyName, nil
	}
	if utf8.RuneCountInString(name) > 64 || display.CheckName(name) != nil {
		return "", &InputError{"the name must have at most 64 characters and no invisible ones"}
	}
	return name, nil
}

// RenamePasskey changes the name of a passkey of a user. It returns storage.ErrNotFound, ErrSessionEnded or an
// *InputError.
func (u *Users) RenamePasskey(ctx context.Context, signedIn *SignedInUser, id, name string) error {
	name, err := checkPasskeyName(name)
	if err != nil {
		return err
	}
	return u.store.RenamePasskey(ctx, signedIn.User.ID, id, name, signedIn.account())
}

// DeletePasskey removes a passkey of a user. It returns storage.ErrNotFound, ErrSessionEnded, or storage.ErrLastFactor
// when the user could not sign in without it.
func (u *Users) DeletePasskey(ctx context.Context, signedIn *SignedInUser, id string) error {
	return u.store.DeletePasskey(ctx, signedIn.User.ID, id, signedIn.account())
}

// PasskeyWellKnown returns the document with the related origins (WebAuthn Level 3 §5.11), or nil when there are none.
func (u *Users) PasskeyWellKnown() []byte {
	if u.options.Passkeys == nil {
		return nil
	}
	return u.options.Passkeys.WellKnown()
}
