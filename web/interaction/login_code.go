package interaction

import (
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/params"
	"gatehouse/ratelimit"
	"gatehouse/storage/reqevent"
	"gatehouse/web/page"
)

// codeWait is how long users wait before they request another code.
const codeWait = time.Minute

type codePage struct {
	page.Layout
	clientView
	Request, To, FormToken, Username, Problem, Notice string

	Delayed bool // the code is sent later

	Sent string // when a code was requested, in milliseconds; empty: the user enters a name
}

// codeAttempt is the content of the page, with the problem of the last attempt and its status.
type codeAttempt struct {
	status                                 int
	request, to, username, problem, notice string
	sent                                   string
}

func newCodeAttempt(form url.Values) codeAttempt {
	return codeAttempt{
		status: http.StatusOK, request: form.Get("request"), to: form.Get("then"), username: form.Get("username"),
		sent: form.Get("sent"),
	}
}

// tokenParts binds the form to the browser, the request and the time at which the code was requested.
func (c codeAttempt) tokenParts(browser []byte) []string {
	return []string{"login code", hex.EncodeToString(browser), c.request, c.sent}
}

// ShowCode serves GET /login/code: users who sign in without a password enter their name.
func (p *Pages) ShowCode(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Query(r)
	if err != nil {
		return err
	}
	if !p.users.SignInCodesAllowed() {
		return p.pages.NotFound()
	}
	attempt := newCodeAttempt(form)
	attempt.sent = ""
	return p.renderCode(w, r, attempt)
}

func (p *Pages) renderCode(w http.ResponseWriter, r *http.Request, attempt codeAttempt) error {
	browser := p.users.EnsureBrowser(w, r)
	title, isSent := "code.title", attempt.sent != ""
	if isSent {
		title = "flow.sent.title"
	}
	data := codePage{
		Layout: p.pages.NewLayout(r, title), Request: attempt.request, To: attempt.to, Username: attempt.username,
		Problem: attempt.problem, Notice: attempt.notice, Sent: attempt.sent,
		Delayed:   isSent && p.users.MailDelayed(),
		FormToken: p.pages.FormToken(attempt.tokenParts(browser)...),
	}
	if attempt.request != "" {
		a, err := p.resume(r, attempt.request, browser, false)
		if err != nil {
			return err
		}
		data.clientView = p.newClientView(r, a)
		page.AllowFormRedirects(w.Header())
	}
	return p.pages.Render(w, attempt.status, "login_code", data)
}

// LoginWithCode serves POST /login/code: it sends a code, or signs in with it. The response does not show whether there
// is an account.
func (p *Pages) LoginWithCode(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Form(r)
	if err != nil {
		return err
	}
	if !p.users.SignInCodesAllowed() {
		return p.pages.NotFound()
	}
	attempt := newCodeAttempt(form)
	browser := p.users.Browser(r)
	if browser == nil || !p.pages.HasFormToken(form, attempt.tokenParts(browser)...) {
		attempt.status, attempt.sent, attempt.problem = http.StatusForbidden, "", p.pages.Text(r, "login.expired")
		return p.renderCode(w, r, attempt)
	}
	var a *oauth.AuthorizationRequest
	if attempt.request != "" { // before the code: a request that is over needs none
		if a, err = p.resume(r, attempt.request, browser, false); err != nil {
			return err
		}
	}
	if attempt.sent == "" || form.Get("resend") != "" {
		return p.sendCode(w, r, attempt, browser)
	}
	if err := p.checkLimit(r, ratelimit.SignIn); err != nil {
		return err
	}
	reqevent.FromContext(r.Context()).SetUser("") // another user who is signed in here is not the actor
	user, err := p.users.SignInWithCode(
		r.Context(), attempt.username, form.Get("code"), browser, p.users.Device(r))
	if err == nil {
		setActor(r.Context(), user)
		how := identity.Authentication{ACR: identity.ACRPassword, AMR: []string{identity.AMRCode}}
		err = p.completeLogin(w, r, user, how, a, attempt.to)
	}
	if errors.Is(err, identity.ErrInvalidCredentials) {
		reqevent.FromContext(r.Context()).Err = err
		attempt.status, attempt.problem = http.StatusUnauthorized, p.pages.Text(r, "code.incorrect")
		return p.renderCode(w, r, attempt)
	}
	return err
}

// sendCode sends a code, unless the previous one was requested a moment ago.
func (p *Pages) sendCode(w http.ResponseWriter, r *http.Request, attempt codeAttempt, browser []byte) error {
	now := p.store.Now()
	if attempt.sent != "" {
		millis, _ := strconv.ParseInt(attempt.sent, 10, 64) // the form token has it
		if wait := time.UnixMilli(millis).Add(codeWait).Sub(now).Round(time.Second); wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())))
			attempt.status = http.StatusTooManyRequests
			attempt.problem = p.pages.Text(r, "code.wait", p.pages.Wait(r, wait))
			return p.renderCode(w, r, attempt)
		}
	}
	if err := p.checkLimit(r, ratelimit.AccountRequest); err != nil {
		return err
	}
	from := identity.Origin{Language: p.pages.Language(r).Tag, Device: p.users.Device(r)}
	err := p.users.RequestSignInCode(r.Context(), attempt.username, browser, from)
	if err != nil {
		return err
	}
	if attempt.sent != "" {
		attempt.notice = p.pages.Text(r, "code.resent")
	}
	attempt.sent = strconv.FormatInt(now.UnixMilli(), 10)
	return p.renderCode(w, r, attempt)
}
