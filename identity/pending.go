package identity

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"gatehouse/oauth/credential"
	"gatehouse/storage"
	"gatehouse/storage/audit"
)

// pendingTTL is how long a sign-in may wait for its second factor.
const pendingTTL = 10 * time.Minute

// SignInRequest is what a sign-in is for.
type SignInRequest struct {
	RequestID string // the authorization request, or "" for the account pages
	ACR       string // the weakest acr that is sufficient, or "" for any
}

// BeginSignIn continues a sign-in after its first factor, such as a password, a code by email or a new password. It
// starts a session, unless a second factor is required: then it returns the id of a pending sign-in, which
// FinishSignIn completes. Until then the browser has no session (CVE-2026-18963). It returns ErrInvalidCredentials when
// the password changed or everything was ended after user was read.
func (u *Users) BeginSignIn(
	w http.ResponseWriter, r *http.Request, user storage.User, a Authentication, request SignInRequest,
) (signedIn *SignedInUser, pending string, err error) {
	required, err := u.needsSecondFactor(r, user, a, request.ACR)
	if err != nil {
		return nil, "", err
	}
	if !required {
		signedIn, err = u.StartSession(w, r, user, a)
		return signedIn, "", err
	}
	now := u.store.Now()
	p := storage.PendingSignIn{
		ID: uuid.NewString(), BrowserHash: u.EnsureBrowser(w, r), UserID: user.ID, UserEpoch: user.Epoch,
		SignInEpoch: user.SignInEpoch, RequestID: request.RequestID, ACR: a.ACR, AMR: a.AMR, AuthTime: now,
		ExpiresAt: now.Add(pendingTTL),
	}
	err = u.store.CreatePendingSignIn(r.Context(), p)
	if errors.Is(err, storage.ErrNotFound) {
		err = u.recordOutdatedSignIn(r.Context(), user)
	}
	return nil, p.ID, err
}

// recordOutdatedSignIn writes the audit row of a sign-in that was verified with a password, passkey or code from before
// a change, and returns its error.
func (u *Users) recordOutdatedSignIn(ctx context.Context, user storage.User) error {
	const reason = "the password changed, or everything was ended, since the sign-in began"
	e := audit.Event{Type: audit.UserSignInFailed, UserID: user.ID, Detail: map[string]any{"reason": reason}}
	if err := u.store.Audit.RecordSignInFailure(ctx, u.options.Limiter, e); err != nil {
		return err
	}
	return failedSignIn(reason)
}

// needsSecondFactor reports whether a user who authenticated must enter a second factor. A remembered browser replaces
// it, except where the request requires one.
func (u *Users) needsSecondFactor(r *http.Request, user storage.User, a Authentication, acr string) (bool, error) {
	if ACRSatisfies(a.ACR, ACRSecondFactor) {
		return false, nil
	}
	f, err := u.store.Factors(r.Context(), user.ID)
	if err != nil || !f.HasSecondFactor() {
		return false, err
	}
	if !ACRSatisfies(a.ACR, acr) {
		return true, nil
	}
	remembered, err := u.isRemembered(r, user)
	return !remembered, err
}

// PendingSignIn returns a pending sign-in of the browser and its user, or ErrExpired.
func (u *Users) PendingSignIn(r *http.Request, id string) (storage.PendingSignIn, storage.User, error) {
	browser := u.Browser(r)
	if browser == nil {
		return storage.PendingSignIn{}, storage.User{}, ErrExpired
	}
	p, user, err := u.store.PendingSignIn(r.Context(), id, browser)
	if errors.Is(err, storage.ErrNotFound) {
		err = ErrExpired
	}
	return p, user, err
}

// RecordExpiredSignIn writes the audit row of a second factor for a sign-in that PendingSignIn did not find.
func (u *Users) RecordExpiredSignIn(ctx context.Context) error {
	const reason = "the sign-in has expired, was finished, or began in another browser"
	e := audit.Event{Type: audit.UserSignInFailed, Detail: map[string]any{"reason": reason}}
	return u.store.Audit.RecordFailure(ctx, u.options.Limiter, e)
}

// FinishSignIn completes a pending sign-in of the browser with a TOTP or recovery code, and starts the session. In a
// remembered browser the second factor is not required again for 30 days. It returns ErrExpired, ErrIncorrectCode or a
// *ThrottledError.
func (u *Users) FinishSignIn(
	w http.ResponseWriter, r *http.Request, id, code string, remembered bool,
) (*SignedInUser, storage.PendingSignIn, error) {
	p, user, err := u.PendingSignIn(r, id)
	if err != nil {
		return nil, p, err
	}
	use, count, err := u.checkCode(r.Context(), user, u.Device(r), code)
	if err == nil {
		err = u.store.FinishSignIn(r.Context(), p.ID, p.BrowserHash, use)
	}
	switch {
	case errors.Is(err, storage.ErrNotFound): // another sign-in has finished this one
		return nil, p, ErrExpired
	case errors.Is(err, storage.ErrConsumed), errors.Is(err, ErrIncorrectCode):
		return nil, p, u.recordFailedFactor(r.Context(), user, "incorrect second factor", ErrIncorrectCode)
	case err != nil:
		return nil, p, err
	}
	signedIn, err := u.finished(w, r, p, user, secondFactor(p.AMR, "otp"), count, remembered)
	return signedIn, p, err
}

// FinishSignInWithKey does the same with the response of a browser to SecurityKeyRequest. It returns ErrExpired, a
// *PasskeyError or a *ThrottledError.
func (u *Users) FinishSignInWithKey(
	w http.ResponseWriter, r *http.Request, id string, response []byte, remembered bool,
) (*SignedInUser, storage.PendingSignIn, error) {
	p, user, err := u.PendingSignIn(r, id)
	if err != nil {
		return nil, p, err
	}
	count := u.factorCount(user, u.Device(r))
	retryAt, err := u.store.CountFactorAttempt(r.Context(), count)
	if err != nil {
		return nil, p, err
	}
	if retryAt != nil {
		return nil, p, &ThrottledError{RetryAt: *retryAt}
	}
	use, method, err := u.checkSecurityKey(r.Context(), p, user, response)
	if err == nil {
		err = usePasskeyError(u.store.UsePasskey(r.Context(), use))
	}
	var failed *PasskeyError
	if errors.As(err, &failed) {
		return nil, p, u.recordFailedFactor(r.Context(), user, "security key: "+failed.Reason, failed)
	}
	if err == nil {
		err = u.store.FinishSignIn(r.Context(), p.ID, p.BrowserHash, storage.FactorUse{})
	}
	if errors.Is(err, storage.ErrNotFound) { // another sign-in has finished this one
		err = ErrExpired
	}
	if err != nil {
		return nil, p, err
	}
	signedIn, err := u.finished(w, r, p, user, secondFactor(p.AMR, method), count, remembered)
	return signedIn, p, err
}

// finished starts the session of a sign-in whose second factor was consumed.
func (u *Users) finished(
	w http.ResponseWriter, r *http.Request, p storage.PendingSignIn, user storage.User, a Authentication,
	count storage.SignInCount, remembered bool,
) (*SignedInUser, error) {
	if err := u.store.ClearSignInFailures(r.Context(), count); err != nil {
		return nil, err
	}
	signedIn, err := u.strongerSession(r, p)
	if err == nil && signedIn == nil {
		signedIn, err = u.startSession(w, r, user, a, p.SessionID)
	}
	if errors.Is(err, ErrInvalidCredentials) {
		err = ErrExpired
	}
	if err == nil && remembered {
		err = u.addRememberedBrowser(w, r, signedIn)
	}
	return signedIn, err
}

// secondFactor returns the authentication of a sign-in with the methods of the first factor that was completed with
// another method (RFC 8176).
func secondFactor(first []string, method string) Authentication {
	return Authentication{ACR: ACRSecondFactor, AMR: slices.Compact(append(slices.Clone(first), method, "mfa"))}
}

const (
	rememberedCookie = "remembered"
	rememberedTTL    = 30 * 24 * time.Hour
)

// rememberedTokens returns the tokens of the users for whom the browser is remembered.
func (u *Users) rememberedTokens(r *http.Request) []string {
	v := u.cookieValue(r, rememberedCookie)
	if v == "" {
		return nil
	}
	tokens := slices.DeleteFunc(strings.Split(v, "."), func(token string) bool {
		return !u.tokenFormat().Valid(credential.RememberedBrowser, token)
	})
	return tokens[:min(len(tokens), maxSignedIn)]
}

func (u *Users) isRemembered(r *http.Request, user storage.User) (bool, error) {
	var hashes [][]byte
	for _, token := range u.rememberedTokens(r) {
		hashes = append(hashes, credential.Hash(token))
	}
	return u.store.IsRemembered(r.Context(), user, hashes...)
}

// addRememberedBrowser sets the cookie of a remembered browser.
func (u *Users) addRememberedBrowser(w http.ResponseWriter, r *http.Request, signedIn *SignedInUser) error {
	user, token := signedIn.User, u.tokenFormat().New(credential.RememberedBrowser)
	err := u.store.CreateRememberedBrowser(r.Context(), storage.RememberedBrowser{
		TokenHash: credential.Hash(token), UserID: user.ID, UserEpoch: user.Epoch, SignInEpoch: user.SignInEpoch,
		SessionID: signedIn.Session.ID, ExpiresAt: u.store.Now().Add(rememberedTTL),
	})
	if errors.Is(err, storage.ErrNotFound) { // the session has ended too
		return nil
	}
	if err != nil {
		return err
	}
	tokens := append([]string{token}, u.rememberedTokens(r)...)
	tokens = tokens[:min(len(tokens), maxSignedIn)]
	http.SetCookie(w, u.cookie(rememberedCookie, strings.Join(tokens, "."), rememberedTTL))
	return nil
}

// DeleteRememberedBrowsers ends all remembered browsers of a user, and returns how many there were.
func (u *Users) DeleteRememberedBrowsers(ctx context.Context, userID string) (int64, error) {
	return u.store.DeleteRememberedBrowsers(ctx, userID)
}
