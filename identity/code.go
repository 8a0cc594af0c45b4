package identity

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"gatehouse/keyed"
	"gatehouse/storage"
	"gatehouse/storage/audit"
)

// codeLimit limits brute force of a user's codes over all codes and browsers: beyond it, codes are not compared. A
// browser in which the user signed in before has a count of its own, so that guesses elsewhere do not lock it out.
var codeLimit = storage.SignInLimit{FreeFailures: 15, Period: 24 * time.Hour}

// RequestSignInCode sends the user with a username or address a code of six digits, which signs in once, in this
// browser only. The result and the work are the same for an unknown name. It returns ErrNoMail when no email can be
// sent or the operator does not allow it.
func (u *Users) RequestSignInCode(ctx context.Context, name string, browser []byte, from Origin) error {
	if !u.SignInCodesAllowed() {
		return ErrNoMail
	}
	user, err := u.userByTypedName(ctx, name)
	if err != nil {
		return err
	}
	n, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
	if err != nil {
		return err
	}
	code := fmt.Sprintf("%06d", n)
	return u.sendLink(ctx, user, storage.EmailToken{
		Purpose: storage.SignInCode, Hash: u.codeHash(user, browser, code), Email: user.Email, EmailKey: user.EmailKey,
		BrowserHash: browser, TriesLeft: codeTries, ExpiresAt: u.store.Now().Add(codeTTL),
	}, storage.Mail{
		Kind: storage.MailSignInCode, To: user.Email, Language: from.Language,
		Values: map[string]string{storage.MailCode: code},
	}, from)
}

// codeHash returns the HMAC of a code. It is bound to the user and the browser.
func (u *Users) codeHash(user storage.User, browser []byte, code string) []byte {
	return keyed.MAC(u.options.SelfService.CodeKey, "sign-in code", user.ID, hex.EncodeToString(browser), code)
}

// SignInWithCode returns the user with a username or address and the code that was sent for this browser. device is the
// result of Device for it. It returns ErrInvalidCredentials for an unknown name and for an incorrect, expired or used
// code alike. The user authenticated by the method AMRCode; a second factor is needed as after a password.
func (u *Users) SignInWithCode(
	ctx context.Context, name, code string, browser []byte, device Device,
) (storage.User, error) {
	if !u.SignInCodesAllowed() {
		return storage.User{}, ErrNoMail
	}
	user, err := u.userByTypedName(ctx, name)
	if err != nil {
		return storage.User{}, err
	}
	code = strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, code)
	compared := u.codeCount("code\x00" + user.ID)
	if device.hasSignedIn(user) {
		compared = u.codeCount("code\x00" + user.ID + "\x00" + device.id())
	}
	hash, err := u.store.TryCode(ctx, user.ID, browser, compared, u.codeCount("no code\x00"+hex.EncodeToString(browser)),
		func(want []byte) bool { return keyed.Equal(u.codeHash(user, browser, code), want) })
	if refusal := (*storage.RefusalError)(nil); errors.As(err, &refusal) {
		return storage.User{}, u.codeRefused(ctx, user, refusal.Reason)
	}
	if err != nil {
		return storage.User{}, err
	}
	user, err = u.store.UseSignInCode(ctx, hash)
	if refusal := (*storage.RefusalError)(nil); errors.As(err, &refusal) {
		return storage.User{}, u.codeRefused(ctx, user, refusal.Reason)
	}
	return user, err
}

func (u *Users) codeCount(account string) storage.SignInCount {
	return storage.SignInCount{Account: keyed.MAC(u.options.SignInKey, account), Subnet: "*", Limit: codeLimit}
}

// AMRCode is the authentication method of a sign-in with a code (RFC 8176 §2: one-time password).
const AMRCode = "otp"

func (u *Users) codeRefused(ctx context.Context, user storage.User, reason string) error {
	e := audit.Event{Type: audit.SignInCodeRefused, UserID: user.ID, Detail: map[string]any{"reason": reason}}
	if err := u.store.Audit.RecordFailure(ctx, u.options.Limiter, e); err != nil {
		return err
	}
	return failedSignIn(reason)
}
