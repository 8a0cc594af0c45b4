package interaction

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/params"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
	"gatehouse/web/page"
)

type loginPage struct {
	page.Layout
	clientView
	Request, FormToken, Username, Problem string
	Reauthenticate                        bool // a signed-in user must authenticate again
	Again                                 bool // the current user must sign in again, for an account page
	Another                               bool // the user wants to sign in with another account
	OtherUsers                            bool // the account chooser has users to choose from
	SignUp                                bool // users can create an account
	Codes                                 bool // users can sign in with a code in an email
	SignedInAs                            string
	To, Passkey, UnknownPasskey           string // Passkey: request options, as JSON
	PasskeyFirst                          bool   // the request is for a passkey, which some users may not have
	PasskeyOnly                           bool   // the user has a passkey, and a password is not enough
	CanSignOut                            bool   // the user is signed in
	HasAccount                            bool   // the account pages are open to the user without signing in again
}

// ShowLogin serves GET /login: for an authorization request, or for the account pages.
func (p *Pages) ShowLogin(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Query(r)
	if err != nil {
		return err
	}
	attempt := newLoginAttempt(form)
	if err := p.skipLogin(w, r, attempt, form.Get("to") == "account"); err != nil {
		return err
	}
	return p.renderLogin(w, r, attempt)
}

// skipLogin returns a redirect when the form of the sign-in page is not needed: to where a reloaded page continues when
// the user has signed in concurrently, in another tab, or to the page of the second factor when only that is missing.
// It returns nil when the form must be shown, as it always is with the parameter another. toAccount is set when any
// user who is signed in continues with the account pages.
func (p *Pages) skipLogin(w http.ResponseWriter, r *http.Request, attempt loginAttempt, toAccount bool) error {
	if attempt.another {
		return nil
	}
	if attempt.request == "" {
		user, err := p.users.CurrentUser(r)
		if err != nil || user == nil {
			return err
		}
		if toAccount {
			return page.RedirectTo(page.AccountPath(attempt.to))
		}
		return p.stepUpForAccount(w, r, user, attempt)
	}
	a, err := p.resume(r, attempt.request, p.users.EnsureBrowser(w, r), false)
	if err != nil {
		return err
	}
	in, next, _, err := p.decide(r, a)
	if err != nil {
		return err
	}
	if next != oauth.Login {
		return page.RedirectTo(requestPath(a))
	}
	if !a.IsStepUp(in, p.store.Now()) {
		return nil
	}
	request := identity.SignInRequest{RequestID: a.ID, ACR: a.SignInACR(in)}
	return p.stepUp(w, r, in.Candidate, request, attempt.to)
}

// loginAttempt is the content of the sign-in form, with the problem of the last attempt and its status.
type loginAttempt struct {
	status                     int
	request, username, problem string
	to                         string // where the browser continues without a request
	unknownPasskey             string // what the browser signals to password managers, as JSON
	another                    bool   // the user wants to sign in with an account that is not signed in
	again                      bool   // the current user must sign in again, for an account page
	passkeyFailed              bool   // the problem is that the passkey was not accepted
}

// newLoginAttempt reads the parameters of the sign-in page and of its form.
func newLoginAttempt(form url.Values) loginAttempt {
	return loginAttempt{
		status: http.StatusOK, request: form.Get("request"), username: form.Get("username"),
		another: form.Get("another") != "", again: form.Get("again") != "", to: form.Get("then"),
	}
}

func (p *Pages) renderLogin(w http.ResponseWriter, r *http.Request, attempt loginAttempt) error {
	browser := p.users.EnsureBrowser(w, r)
	data := loginPage{
		Layout: p.pages.NewLayout(r, "login.title"), Request: attempt.request,
		FormToken: p.pages.FormToken(loginTokenParts(browser, attempt.request)...),
		Username:  attempt.username, Problem: attempt.problem, Another: attempt.another,
		To: attempt.to, Passkey: p.users.PasskeyRequest(browser), UnknownPasskey: attempt.unknownPasskey,
	}
	data.Self = withRequest("/login", attempt.request)
	policy := p.users.SignUpPolicy()
	// Without emails nothing proves an address, so that the page would only refuse.
	data.SignUp = p.users.MailAvailable() && (policy == identity.SignUpOpen || policy == identity.SignUpDomains)
	data.Codes = p.users.SignInCodesAllowed()
	if attempt.request == "" {
		user, err := p.users.CurrentUser(r)
		if err != nil {
			return err
		}
		switch {
		case user == nil:
		case attempt.again:
			data.Again, data.Reauthenticate, data.Username = true, true, user.User.Username
			data.Self, data.CanSignOut = page.SignInAgain(page.AccountPath(attempt.to)), true
			if data.PasskeyOnly, err = p.accountNeedsPasskey(r, user, attempt.to); err != nil {
				return err
			}
			step, _, err := p.users.AccountStep(r.Context(), user)
			if err != nil {
				return err
			}
			data.HasAccount = step != identity.AccountSignIn
		default:
			data.SignedInAs = userName(user)
		}
		return p.writeLogin(w, r, attempt, data)
	}
	a, err := p.resume(r, attempt.request, browser, false)
	if err != nil {
		return err
	}
	data.clientView = p.newClientView(r, a)
	users, err := p.users.SignedIn(r)
	if err != nil {
		return err
	}
	data.OtherUsers, data.PasskeyFirst = len(users) > 0 && a.RequiredSubject == "", a.PrefersPasskey()
	if !attempt.another {
		if user := p.oauth.SelectSubject(a, users); user != nil {
			data.Reauthenticate, data.CanSignOut = true, true
			data.Username = cmp.Or(data.Username, user.User.Username)
			if data.PasskeyOnly, err = p.requestNeedsPasskey(r, a, user); err != nil {
				return err
			}
		}
		data.Username = cmp.Or(data.Username, a.LoginHint)
	}
	page.AllowFormRedirects(w.Header())
	return p.writeLogin(w, r, attempt, data)
}

// writeLogin writes the page. Where the server has no passkeys, it cannot lead with them.
func (p *Pages) writeLogin(w http.ResponseWriter, r *http.Request, attempt loginAttempt, data loginPage) error {
	data.PasskeyOnly = data.PasskeyOnly && data.Passkey != ""
	data.PasskeyFirst = data.PasskeyFirst && data.Passkey != "" && !data.PasskeyOnly
	if attempt.passkeyFailed {
		key := "login.passkey_failed"
		if data.PasskeyOnly {
			key = "login.passkey_only.failed"
		}
		data.Problem = p.pages.Text(r, key)
	}
	return p.pages.Render(w, attempt.status, "login", data)
}

func loginTokenParts(browser []byte, request string) []string {
	return []string{"login", hex.EncodeToString(browser), request}
}

// Login serves POST /login.
func (p *Pages) Login(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Form(r)
	if err != nil {
		return err
	}
	attempt := newLoginAttempt(form)
	browser := p.users.Browser(r)
	if browser == nil || !p.pages.HasFormToken(form, loginTokenParts(browser, attempt.request)...) {
		attempt.status, attempt.problem = http.StatusForbidden, p.pages.Text(r, "login.expired")
		return p.renderLogin(w, r, attempt)
	}
	var a *oauth.AuthorizationRequest
	if attempt.request != "" {
		// Before the password: a request that is over needs none.
		if a, err = p.resume(r, attempt.request, browser, false); err != nil {
			return err
		}
	}
	if err := p.checkLimit(r, ratelimit.SignIn); err != nil {
		return err
	}
	reqevent.FromContext(r.Context()).SetUser("") // another user who is signed in here is not the actor
	var user storage.User
	how := identity.Authentication{ACR: identity.ACRPassword, AMR: []string{"pwd"}}
	if response := form.Get("passkey"); response != "" {
		user, how, err = p.users.SignInWithPasskey(r.Context(), browser, p.users.Device(r), []byte(response))
		attempt.unknownPasskey = p.unknownPasskey(err, response)
	} else {
		user, err = p.users.SignIn(r.Context(), attempt.username, form.Get("password"), p.users.Device(r))
	}
	if err != nil {
		return p.loginFailed(w, r, attempt, err)
	}
	setActor(r.Context(), user)
	err = p.completeLogin(w, r, user, how, a, attempt.to)
	if errors.Is(err, identity.ErrInvalidCredentials) { // it changed since it was verified
		return p.loginFailed(w, r, attempt, err)
	}
	return err
}

// unknownPasskey returns what the browser signals to password managers when no user has the passkey of a response, as
// JSON, or "" (WebAuthn Level 3 §5.1.10).
func (p *Pages) unknownPasskey(err error, response string) string {
	var failed *identity.PasskeyError
	var credential struct {
		ID string `json:"id"`
	}
	if !errors.As(err, &failed) || !failed.Unknown || json.Unmarshal([]byte(response), &credential) != nil {
		return ""
	}
	return p.users.UnknownPasskey(credential.ID)
}

// loginFailed shows the form again and leaves the cause to the log. An unknown name and an incorrect password look the
// same.
func (p *Pages) loginFailed(w http.ResponseWriter, r *http.Request, attempt loginAttempt, err error) error {
	var throttled *identity.ThrottledError
	switch {
	case errors.As(err, new(*identity.PasskeyError)):
		attempt.status, attempt.passkeyFailed = http.StatusUnauthorized, true
	case errors.Is(err, identity.ErrInvalidCredentials):
		attempt.status, attempt.problem = http.StatusUnauthorized, p.pages.Text(r, "login.incorrect")
	case errors.As(err, &throttled):
		wait := p.retryAfter(w, r, throttled)
		message := "login.throttled"
		if throttled.Subnet {
			message = "login.throttled_subnet"
		}
		attempt.status, attempt.problem = http.StatusTooManyRequests, p.pages.Text(r, message, wait)
	case errors.Is(err, identity.ErrBusy):
		w.Header().Set("Retry-After", "5")
		attempt.status, attempt.problem = http.StatusServiceUnavailable, p.pages.Text(r, "login.busy")
	case errors.Is(err, identity.ErrOldServer):
		w.Header().Set("Retry-After", "60")
		attempt.status, attempt.problem = http.StatusServiceUnavailable, p.pages.Text(r, "login.unavailable")
	default:
		return err
	}
	reqevent.FromContext(r.Context()).Err = err
	return p.renderLogin(w, r, attempt)
}

// retryAfter sets the header for a wait and returns it for users.
func (p *Pages) retryAfter(w http.ResponseWriter, r *http.Request, t *identity.ThrottledError) string {
	wait := max(time.Second, t.RetryAt.Sub(p.store.Now()).Round(time.Second))
	w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())))
	return p.pages.Wait(r, wait)
}
