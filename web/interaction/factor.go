package interaction

import (
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"

	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/params"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
	"gatehouse/web/page"
)

// factorPath is the page of a sign-in that needs a second factor.
const factorPath = "/login/factor"

// completeLogin continues after the first factor of a user: with the second one if that is required, and otherwise with
// the request, which is nil for the account pages.
func (p *Pages) completeLogin(
	w http.ResponseWriter, r *http.Request, user storage.User, first identity.Authentication,
	a *oauth.AuthorizationRequest, to string,
) error {
	request, err := identity.SignInRequest{}, error(nil)
	// No second factor follows a passkey, so that the requirements of the user need not be read.
	if !identity.ACRSatisfies(first.ACR, identity.ACRSecondFactor) {
		request, err = p.signInRequest(r, user, a)
	}
	if err != nil {
		return err
	}
	if a == nil && page.IsSensitive(to) {
		request.ACR = identity.ACRSecondFactor // of users who have one
	}
	signedIn, pending, err := p.users.BeginSignIn(w, r, user, first, request)
	if err != nil {
		return err
	}
	if pending != "" {
		return redirectToFactor(pending, request.RequestID, to)
	}
	return p.afterSignIn(w, r, signedIn, a, to)
}

// redirectToFactor redirects to the page of a pending sign-in.
func redirectToFactor(pending, request, to string) error {
	query := url.Values{"sign_in": {pending}}
	if to != "" {
		query.Set("then", to)
	}
	if request != "" {
		query.Set("request", request)
	}
	return page.RedirectTo(factorPath + "?" + query.Encode())
}

// afterSignIn continues with the request of a complete sign-in, or with the account pages. A user without a language
// gets that of the browser, so that emails have it too.
func (p *Pages) afterSignIn(
	w http.ResponseWriter, r *http.Request, signedIn *identity.SignedInUser, a *oauth.AuthorizationRequest, to string,
) error {
	if tag := p.pages.BrowserLanguage(r); tag != "" && signedIn.User.Profile.Locale == "" {
		if err := p.users.SetLanguage(r.Context(), signedIn, tag); err != nil {
			return err
		}
	}
	if a == nil {
		if signedIn.CancelledDeletion != nil {
			return p.renderDeletionCancelled(w, r, signedIn, nil, page.AccountPath(to))
		}
		return page.RedirectTo(page.AccountPath(to))
	}
	err := p.oauth.RecordSignIn(r.Context(), a, p.users.EnsureBrowser(w, r), signedIn)
	if errors.Is(err, storage.ErrNotFound) { // decided in another tab in the meantime, as the next page explains
		return page.RedirectTo(requestPath(a))
	}
	if err != nil {
		return err
	}
	if signedIn.CancelledDeletion != nil {
		return p.renderDeletionCancelled(w, r, signedIn, a, requestPath(a))
	}
	// Without an additional redirect, so that max_age=1 can be satisfied on a slow network.
	return p.continueRequest(w, r, a)
}

type factorPage struct {
	page.Layout
	clientView
	SignIn, Request, FormToken, UserName, To string
	Problem, KeyProblem                      string // of the code, and of the security key
	Factors                                  storage.Factors
	SecurityKey                              string // request options, as JSON
	IsSignedIn                               bool   // the user only confirms a sign-in
}

// ShowFactor serves GET /login/factor: the second factor of a pending sign-in.
func (p *Pages) ShowFactor(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Query(r)
	if err != nil {
		return err
	}
	return p.renderFactor(w, r, form, http.StatusOK, "")
}

// renderFactor shows the page of the pending sign-in in form, or the sign-in page when that has expired.
func (p *Pages) renderFactor(
	w http.ResponseWriter, r *http.Request, form url.Values, status int, problem string,
) error {
	pending, user, err := p.users.PendingSignIn(r, form.Get("sign_in"))
	if errors.Is(err, identity.ErrExpired) {
		return p.factorExpired(w, r, form)
	}
	if err != nil {
		return err
	}
	data := factorPage{
		Layout: p.pages.NewLayout(r, "factor.title"), SignIn: pending.ID, Request: pending.RequestID,
		FormToken: p.pages.FormToken(factorTokenParts(pending.BrowserHash, pending.ID)...),
		UserName:  user.Username, Problem: problem, To: form.Get("then"),
	}
	if form.Get("passkey") != "" {
		data.Problem, data.KeyProblem = "", problem
	}
	if data.Factors, err = p.users.Factors(r.Context(), user.ID); err != nil {
		return err
	}
	if data.SecurityKey, err = p.users.SecurityKeyRequest(r.Context(), pending); err != nil {
		return err
	}
	current, err := p.users.CurrentUser(r)
	if err != nil {
		return err
	}
	data.IsSignedIn = current != nil && current.User.ID == user.ID
	if pending.RequestID != "" {
		a, err := p.resume(r, pending.RequestID, pending.BrowserHash, false)
		if err != nil {
			return err
		}
		data.clientView = p.newClientView(r, a)
		page.AllowFormRedirects(w.Header())
	}
	return p.pages.Render(w, status, "factor", data)
}

func factorTokenParts(browser []byte, id string) []string {
	return []string{"factor", hex.EncodeToString(browser), id}
}

// factorExpired shows the sign-in page again.
func (p *Pages) factorExpired(w http.ResponseWriter, r *http.Request, form url.Values) error {
	attempt := loginAttempt{
		status: http.StatusForbidden, request: form.Get("request"), to: form.Get("then"),
		problem: p.pages.Text(r, "factor.expired"),
	}
	return p.renderLogin(w, r, attempt)
}

// FinishLogin serves POST /login/factor.
func (p *Pages) FinishLogin(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Form(r)
	if err != nil {
		return err
	}
	if err := p.checkLimit(r, ratelimit.SignIn); err != nil {
		return err
	}
	pending, user, err := p.users.PendingSignIn(r, form.Get("sign_in"))
	if errors.Is(err, identity.ErrExpired) {
		return errors.Join(p.users.RecordExpiredSignIn(r.Context()), p.factorExpired(w, r, form))
	}
	if err != nil {
		return err
	}
	if !p.pages.HasFormToken(form, factorTokenParts(pending.BrowserHash, pending.ID)...) {
		return p.factorExpired(w, r, form)
	}
	var a *oauth.AuthorizationRequest
	if pending.RequestID != "" {
		if a, err = p.resume(r, pending.RequestID, pending.BrowserHash, false); err != nil {
			return err
		}
	}
	setActor(r.Context(), user)
	signedIn, err := p.finishSignIn(w, r, pending, form)
	var throttled *identity.ThrottledError
	switch {
	case errors.Is(err, identity.ErrExpired):
		return p.factorExpired(w, r, form)
	case errors.Is(err, identity.ErrIncorrectCode):
		reqevent.FromContext(r.Context()).Err = err
		return p.renderFactor(w, r, form, http.StatusUnauthorized, p.pages.Text(r, "factor.incorrect"))
	case errors.As(err, new(*identity.PasskeyError)):
		reqevent.FromContext(r.Context()).Err = err
		return p.renderFactor(w, r, form, http.StatusUnauthorized, p.pages.Text(r, "factor.key_failed"))
	case errors.As(err, &throttled):
		reqevent.FromContext(r.Context()).Err = err
		problem := p.pages.Text(r, "factor.throttled", p.retryAfter(w, r, throttled))
		return p.renderFactor(w, r, form, http.StatusTooManyRequests, problem)
	case err != nil:
		return err
	}
	return p.afterSignIn(w, r, signedIn, a, form.Get("then"))
}

// finishSignIn completes a pending sign-in with the security key or the code in the form.
func (p *Pages) finishSignIn(
	w http.ResponseWriter, r *http.Request, pending storage.PendingSignIn, form url.Values,
) (signedIn *identity.SignedInUser, err error) {
	trusted := form.Get("trusted") != ""
	if response := form.Get("passkey"); response != "" {
		signedIn, _, err = p.users.FinishSignInWithKey(w, r, pending.ID, []byte(response), trusted)
	} else {
		signedIn, _, err = p.users.FinishSignIn(w, r, pending.ID, form.Get("code"), trusted)
	}
	return signedIn, err
}
