package identity

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"strings"
	"time"

	"gatehouse/identity/totp"
	"gatehouse/keyed"
	"gatehouse/storage"
	"gatehouse/storage/audit"
)

// Factors returns the ways in which a user can authenticate.
func (u *Users) Factors(ctx context.Context, userID string) (storage.Factors, error) {
	return u.store.Factors(ctx, userID)
}

// ErrIncorrectCode is returned for a code that is incorrect, expired or was used before.
var ErrIncorrectCode = errors.New("incorrect code")

// ErrExpired is returned when a form or a sign-in is older than it may be, or belongs to another user or browser.
var ErrExpired = errors.New("expired")

// totpSetupTTL is how long a user may take to confirm a TOTP authenticator.
const totpSetupTTL = 15 * time.Minute

// TOTPSetup is a TOTP authenticator that the user has not confirmed. It has no effect and is stored nowhere.
type TOTPSetup struct {
	Secret string  // for typing, in base32
	URI    string  // otpauth
	QR     totp.QR // of the URI
	Token  string  // for the form that confirms it: the secret, sealed and bound to the user
}

// BeginTOTP returns a new secret for a user's TOTP authenticator. issuer is the name that the authenticator shows.
func (u *Users) BeginTOTP(user storage.User, issuer string) (TOTPSetup, error) {
	return u.totpSetup(user, issuer, totp.New(), u.store.Now().Add(totpSetupTTL))
}

// ContinueTOTP returns the set-up of a token again, to show its form after an incorrect code. It returns ErrExpired.
func (u *Users) ContinueTOTP(user storage.User, issuer, token string) (TOTPSetup, error) {
	k, expires, err := u.openTOTPSetup(user, token)
	if err != nil {
		return TOTPSetup{}, err
	}
	return u.totpSetup(user, issuer, k, expires)
}

func (u *Users) totpSetup(user storage.User, issuer string, k totp.Key, expires time.Time) (TOTPSetup, error) {
	s := TOTPSetup{Secret: k.Text(), URI: k.URI(issuer, user.Username)}
	var err error
	if s.QR, err = totp.NewQR(s.URI); err != nil {
		return s, err
	}
	value := binary.BigEndian.AppendUint64(nil, uint64(expires.UnixMilli()))
	sealed, err := keyed.Seal(u.options.FactorKey, append(value, k.Secret...), totpSetupContext(user))
	s.Token = base64.RawURLEncoding.EncodeToString(sealed)
	return s, err
}

// totpSetupContext is what the token of a TOTPSetup is bound to.
func totpSetupContext(user storage.User) string { return "TOTP set-up\x00" + user.ID }

func (u *Users) openTOTPSetup(user storage.User, token string) (totp.Key, time.Time, error) {
	sealed, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return totp.Key{}, time.Time{}, ErrExpired
	}
	value, err := keyed.Open(u.options.FactorKey, sealed, totpSetupContext(user))
	if err != nil || len(value) < 8 {
		return totp.Key{}, time.Time{}, ErrExpired
	}
	expires := time.UnixMilli(int64(binary.BigEndian.Uint64(value))) //nolint:gosec // sealed by this server
	if !u.store.Now().Before(expires) {
		return totp.Key{}, time.Time{}, ErrExpired
	}
	k := totp.New()
	k.Secret = value[8:]
	return k, expires, nil
}

// ConfirmTOTP makes the TOTP authenticator of a TOTPSetup a factor of the user, in place of another, when the user
// entered a code of it. A recent session then has both factors, as raise describes. It returns new recovery codes,
// which replace the earlier ones; or ErrIncorrectCode, ErrExpired or ErrSessionEnded.
func (u *Users) ConfirmTOTP(
	w http.ResponseWriter, r *http.Request, user *SignedInUser, token, code string,
) (codes []string, err error) {
	k, _, err := u.openTOTPSetup(user.User, token)
	if err != nil {
		return nil, u.totpRefused(r.Context(), user.User, "the set-up is invalid or has expired", err)
	}
	step, ok := k.Verify(code, u.store.Now())
	if !ok {
		return nil, u.totpRefused(r.Context(), user.User, "incorrect code", ErrIncorrectCode)
	}
	// The code that confirmed the factor must not sign in as well.
	err = u.store.UseTOTPStep(r.Context(), user.User.ID, step, k.ExpiresAt(step))
	if errors.Is(err, storage.ErrConsumed) {
		return nil, u.totpRefused(r.Context(), user.User, "the code was used before", ErrIncorrectCode)
	}
	if err != nil {
		return nil, err
	}
	t := storage.TOTPSecret{
		ID: user.User.ID, Secret: k.Secret, Algorithm: k.Algorithm, Digits: int64(k.Digits),
		Period: int64(k.Period / time.Second),
	}
	addition := u.factorAddition(user)
	codes, addition.Codes = generateRecoveryCodes(user.User.ID)
	err = u.raise(w, r, user, "otp", func(s *storage.RaisedSession) (bool, error) {
		return u.store.SetTOTPInSession(r.Context(), t, s, addition)
	})
	if err != nil {
		return nil, err
	}
	return codes, nil
}

// totpRefused records that a TOTP authenticator was not added, and returns result.
func (u *Users) totpRefused(ctx context.Context, user storage.User, reason string, result error) error {
	e := audit.Event{Type: audit.TOTPRefused, UserID: user.ID, Detail: map[string]any{"reason": reason}}
	if err := u.store.Audit.RecordFailure(ctx, u.options.Limiter, e); err != nil {
		return err
	}
	return result
}

// RemoveTOTP removes the TOTP authenticator of a user. It returns storage.ErrNotFound when there is none, or
// ErrSessionEnded.
func (u *Users) RemoveTOTP(ctx context.Context, signedIn *SignedInUser) error {
	return u.store.DeleteTOTP(ctx, signedIn.User.ID, signedIn.account())
}

const (
	recoveryCodes    = 10
	recoveryCodeSize = 10 // 80 bits
)

// recoveryEncoding has no letters that are confused with digits.
var recoveryEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewRecoveryCodes returns ten new recovery codes of a user, which replace the earlier ones. Only their hashes are
// stored. It returns ErrSessionEnded.
func (u *Users) NewRecoveryCodes(ctx context.Context, signedIn *SignedInUser) ([]string, error) {
	codes, hashes := generateRecoveryCodes(signedIn.User.ID)
	return codes, u.store.SetRecoveryCodes(ctx, signedIn.User.ID, hashes, u.factorAddition(signedIn))
}

// generateRecoveryCodes returns recovery codes of a user and their hashes.
func generateRecoveryCodes(userID string) (codes []string, hashes [][]byte) {
	for range recoveryCodes {
		b := make([]byte, recoveryCodeSize)
		_, _ = rand.Read(b) // never fails: the runtime ends the program instead
		code := recoveryEncoding.EncodeToString(b)
		codes = append(codes, code[:4]+"-"+code[4:8]+"-"+code[8:12]+"-"+code[12:])
		hashes = append(hashes, recoveryHash(userID, code))
	}
	return codes, hashes
}

// recoveryHash is bound to the user, so that the hashes of several users cannot be attacked together.
func recoveryHash(userID, code string) []byte {
	return hash("recovery code\x00" + userID + "\x00" + code)
}

// normalizeRecoveryCode returns a recovery code as it was generated, from what a user typed: separators and case do not
// matter, nor do letters that look like the digits 0 and 1.
func normalizeRecoveryCode(s string) string {
	return strings.NewReplacer("-", "", " ", "", "o", "0", "i", "1", "l", "1").Replace(strings.ToLower(s))
}

// factorLimit delays attempts to enter a code: after 5 incorrect ones the user must wait, from one second up to an hour
// (RFC 6238 §5.1, RFC 4226 §7.3). The count is per account, because an attacker needs the password first.
var factorLimit = storage.SignInLimit{FreeFailures: 5, MaxWait: time.Hour, Period: 24 * time.Hour}

// factorCount returns the count of incorrect codes of a user. A browser in which the user signed in before has a count
// of its own, so that an attacker with the password does not lock out the user there.
func (u *Users) factorCount(user storage.User, device Device) storage.SignInCount {
	from := "*"
	if device.hasSignedIn(user) {
		from = base64.RawURLEncoding.EncodeToString(keyed.MAC(u.options.SignInKey, "factor", user.ID, device.id())[:16])
	}
	return storage.SignInCount{
		Account: keyed.MAC(u.options.SignInKey, "factor\x00"+user.ID), Subnet: from, Limit: factorLimit,
	}
}

// checkCode returns what a correct TOTP or recovery code of a user consumes. The attempt is counted before, and the
// count of the result must be cleared when the code was consumed. It returns ErrIncorrectCode or a *ThrottledError.
func (u *Users) checkCode(
	ctx context.Context, user storage.User, device Device, code string,
) (use storage.FactorUse, count storage.SignInCount, err error) {
	count = u.factorCount(user, device)
	retryAt, err := u.store.CountFactorAttempt(ctx, count)
	if err != nil {
		return use, count, err
	}
	if retryAt != nil {
		return use, count, &ThrottledError{RetryAt: *retryAt}
	}
	use.UserID = user.ID
	t, err := u.store.TOTP(ctx, user.ID)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return use, count, err
	}
	if err == nil {
		k := totp.Key{
			Secret: t.Secret, Algorithm: t.Algorithm, Digits: int(t.Digits), Period: time.Duration(t.Period) * time.Second,
		}
		if step, ok := k.Verify(code, u.store.Now()); ok {
			use.TOTPStep, use.StepExpiresAt = step, k.ExpiresAt(step)
			return use, count, nil
		}
	}
	normalized := normalizeRecoveryCode(code)
	if len(normalized) != recoveryEncoding.EncodedLen(recoveryCodeSize) {
		return use, count, ErrIncorrectCode
	}
	use.RecoveryHash = recoveryHash(user.ID, normalized)
	return use, count, nil
}

// recordFailedFactor writes the audit row of a second factor that failed, and returns result.
func (u *Users) recordFailedFactor(ctx context.Context, user storage.User, reason string, result error) error {
	e := audit.Event{Type: audit.UserSignInFailed, UserID: user.ID, Detail: map[string]any{"reason": reason}}
	if err := u.store.Audit.RecordSignInFailure(ctx, u.options.Limiter, e); err != nil {
		return err
	}
	return result
}
