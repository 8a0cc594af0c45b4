// Package selfservice serves the pages on which users reset or change a password or address, create, export or delete
// an account, and use the links in emails. Opening a link does not consume it, because mail scanners open links: the
// page has a button.
// Which values are accepted and what a link does is decided by identity.
package selfservice

import (
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"

	"gatehouse/identity"
	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
	"gatehouse/web/page"
)

// Pages are the pages.
type Pages struct {
	users    *identity.Users
	limiter  *ratelimit.Limiter
	pages    *page.Renderer
	termsURL string

	captcha       Captcha
	captchaClient *http.Client
}

// Options are the settings of the pages.
type Options struct {
	TermsURL string // of the terms that users accept
	Captcha  Captcha
}

// New returns the pages. It fails when a template is invalid.
func New(users *identity.Users, limiter *ratelimit.Limiter, renderer *page.Renderer, o Options) (*Pages, error) {
	if err := renderer.Declare("self_service", view{}); err != nil {
		return nil, err
	}
	return &Pages{
		users: users, limiter: limiter, pages: renderer, termsURL: o.TermsURL, captcha: o.Captcha,
		captchaClient: newCaptchaClient(),
	}, nil
}

// view is the data of every page: what happened or what to do, and the form for it, if there is one.
type view struct {
	page.Layout
	Lead, Problem, Done string
	Items               []string // what the page is about
	Delayed             bool     // the email that the page announces is sent later
	Action              string   // path of the form; empty: none
	Token, FormToken    string
	Request             string // the authorization request to which the user returns; empty: none
	Fields              []field
	Choices             []choice
	Submit              string
	Danger              bool   // the form destroys something
	Challenge           string // of a proof of work
	Captcha             *Captcha
	Next                link   // the next step, as a button; empty: none
	purpose             string // of the link in an email that was opened
	Links               []link
}

type field struct {
	Name, Label, Kind, Value, Autocomplete, Hint, Problem string
	Fixed                                                 bool // shown, but not to be changed
	Optional                                              bool
}

// choice is a checkbox.
type choice struct {
	Name, Label, Link, LinkText string
	Required                    bool
}

type link struct{ Path, Text string }

// signIn returns the link to sign in: for an authorization request, or without one for the account page.
func (p *Pages) signIn(r *http.Request, request string) link {
	path := "/login?to=account"
	if request != "" {
		path = "/oauth2/authorize/" + request
	}
	return link{path, p.pages.Text(r, "flow.sign_in")}
}

// ownRequest returns the id of an authorization request if it belongs to this browser and waits for a user, or "".
func (p *Pages) ownRequest(r *http.Request, id string) (string, error) {
	return p.users.RequestOf(r.Context(), id, p.users.Browser(r))
}

// origin returns where a user requested an email.
func (p *Pages) origin(r *http.Request, request string) identity.Origin {
	return identity.Origin{Language: p.pages.Language(r).Tag, Request: request, Device: p.users.Device(r)}
}

// newView returns a page with the title and lead of its messages, KEY.title and KEY.lead.
func (p *Pages) newView(r *http.Request, title, lead string) view {
	return view{Layout: p.pages.NewLayout(r, title), Lead: p.pages.Text(r, lead)}
}

// sentView returns the page that announces an email.
func (p *Pages) sentView(r *http.Request, lead string) view {
	v := p.newView(r, "flow.sent.title", lead)
	v.Delayed = p.users.MailDelayed()
	return v
}

// form adds a form to a page. Its token is bound to the browser, the path and the token of the link.
func (p *Pages) form(w http.ResponseWriter, r *http.Request, v *view, path, token, submit string) {
	v.Action, v.Token, v.Submit = path, token, p.pages.Text(r, submit)
	v.FormToken = p.pages.FormToken(tokenParts(p.users.EnsureBrowser(w, r), path, token)...)
}

func tokenParts(browser []byte, path, token string) []string {
	return []string{"self-service", hex.EncodeToString(browser), path, token}
}

// readForm reads the form of a page, after it counted the request against a limit of its network, and checks that this
// browser was shown it.
func (p *Pages) readForm(r *http.Request, path, limit string) (url.Values, error) {
	if err := p.checkLimit(r, limit); err != nil {
		return nil, err
	}
	form, err := params.Form(r)
	if err != nil {
		return nil, err
	}
	browser := p.users.Browser(r)
	if browser == nil || !p.pages.HasFormToken(form, tokenParts(browser, path, form.Get("token"))...) {
		return nil, &page.Error{
			Status: http.StatusForbidden, Key: "error.form", Link: p.pages.Path(path), LinkText: p.pages.Text(r, "flow.again"),
		}
	}
	return form, nil
}

// checkLimit counts the request against a limit of its network.
func (p *Pages) checkLimit(r *http.Request, limit string) error {
	ctx := r.Context()
	decision := p.limiter.Count(ctx, ratelimit.Count{Limit: limit, Key: reqevent.FromContext(ctx).Network()})
	return protocol.LimitError(decision, "Too many requests from your network.")
}

// readLink reads the token of a link that was opened, which counts against the limit of its network.
func (p *Pages) readLink(r *http.Request) (string, identity.Link, error) {
	if err := p.checkLimit(r, ratelimit.AccountLink); err != nil {
		return "", identity.Link{}, err
	}
	query, err := params.Query(r)
	if err != nil {
		return "", identity.Link{}, err
	}
	token := query.Get("token")
	found, err := p.link(r, token)
	return token, found, err
}

// link returns what the link with a token is for, and makes the language of an invitation a preference of the request.
func (p *Pages) link(r *http.Request, token string) (identity.Link, error) {
	found, err := p.users.Link(r.Context(), token)
	if err == nil && found.Language != "" {
		page.SetUILocales(r, found.Language)
	}
	return found, err
}

// render writes a page, or that of a problem: a link that cannot be used, and a server that sends no email, have the
// same page in every flow. Other errors are returned.
func (p *Pages) render(w http.ResponseWriter, r *http.Request, v view, problem error) error {
	status := http.StatusOK
	switch {
	case problem == nil:
	case errors.Is(problem, identity.ErrLinkRefused):
		status = http.StatusBadRequest
		var err error
		if v, err = p.refusedLinkView(r, v.purpose); err != nil {
			return err
		}
	case errors.Is(problem, identity.ErrNoMail):
		request := v.Request
		v = p.newView(r, "flow.no_mail.title", "flow.no_mail.lead")
		v.Links = []link{p.signIn(r, request)}
	case errors.Is(problem, identity.ErrSignUpClosed):
		status = http.StatusForbidden
		request := v.Request
		v = p.newView(r, "flow.closed.title", "flow.closed.lead")
		v.Links = []link{p.signIn(r, request)}
	case errors.Is(problem, identity.ErrBusy):
		w.Header().Set("Retry-After", "5")
		status, v.Problem = http.StatusServiceUnavailable, p.pages.Text(r, "login.busy")
	default:
		if input := (*identity.InputError)(nil); !errors.As(problem, &input) {
			return problem
		}
		status = http.StatusBadRequest
		p.showProblem(r, &v, problem)
	}
	reqevent.FromContext(r.Context()).Err = problem
	return p.pages.Render(w, status, "self_service", v)
}

// refusedLinkView is the page of a link that cannot be used, with how to get another one of its kind. The purpose of a
// link that was replaced or deleted is not stored.
func (p *Pages) refusedLinkView(r *http.Request, purpose string) (view, error) {
	user, err := p.users.CurrentUser(r)
	if err != nil {
		return view{}, err
	}
	policy := p.users.SignUpPolicy()
	lead, last := "flow.link.lead", p.signIn(r, "")
	if user != nil {
		last = p.toAccount(r)
	}
	var again []link
	switch {
	case r.URL.Path == p.pages.Path("/invite"):
		lead = "flow.link.invitation"
	case r.URL.Path == p.pages.Path("/reset"):
		again = []link{{"/forgot", p.pages.Text(r, "flow.forgot")}}
	case purpose == storage.UndoEmailChange || purpose == storage.UndoFactors:
		lead, again = "flow.link.undo", []link{{"/forgot", p.pages.Text(r, "flow.reset.title")}}
	case purpose == storage.ChangeEmail || purpose == storage.VerifyEmail:
		again = []link{{"/account/email", p.pages.Text(r, "flow.email.title")}}
	case user == nil && (policy == identity.SignUpOpen || policy == identity.SignUpDomains):
		again = []link{{"/sign-up", p.pages.Text(r, "flow.sign_up.title")}}
	}
	v := p.newView(r, "flow.link.title", lead)
	v.Links = append(again, last)
	return v, nil
}

// showProblem shows an error about a value at its field, or above the form, in the language of the page.
func (p *Pages) showProblem(r *http.Request, v *view, problem error) {
	at, message := "", p.pages.Text(r, "flow.problem")
	var password *identity.PasswordError
	var username *identity.UsernameError
	var profile identity.ProfileErrors
	switch {
	case errors.As(problem, &password):
		at, message = "password", p.PasswordProblem(r, password)
	case errors.As(problem, &username):
		at, message = "username", p.pages.Text(r, "flow.username.problem")
	case errors.Is(problem, identity.ErrTaken):
		at, message = "username", p.pages.Text(r, "flow.username.taken")
	case errors.Is(problem, identity.ErrTermsNotAccepted):
		message = p.pages.Text(r, "flow.terms.problem")
	case errors.Is(problem, identity.ErrEmailTaken):
		message = p.pages.Text(r, "flow.email.taken")
	case errors.As(problem, &profile): // of a new account: only the name
		at, message = "name", p.pages.Text(r, "profile.problem."+profile[0].Kind)
	case len(v.Fields) > 0 && v.Fields[0].Name == "email" && !v.Fields[0].Fixed:
		at, message = "email", p.pages.Text(r, "flow.email.problem")
	}
	for i := range v.Fields {
		if v.Fields[i].Name == at {
			v.Fields[i].Problem = message
			return
		}
	}
	v.Problem = message
}

// PasswordProblem returns the message about a password that is not accepted, in the language of the request.
func (p *Pages) PasswordProblem(r *http.Request, e *identity.PasswordError) string {
	key := map[identity.PasswordRule]string{
		identity.TooShort: "password.short", identity.TooLong: "password.long", identity.NotText: "password.text",
		identity.TooCommon: "password.common", identity.TooPersonal: "password.personal",
		identity.Unchanged: "password.unchanged",
	}[e.Rule]
	if e.Value > 0 {
		return p.pages.Text(r, key, e.Value)
	}
	return p.pages.Text(r, key)
}
