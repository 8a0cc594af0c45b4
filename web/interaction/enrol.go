package interaction

import (
	"net/http"

	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/params"
	"gatehouse/storage"
	"gatehouse/web/page"
)

type enrolPage struct {
	page.Layout
	clientView
	UserName, Destination string // Destination: empty for the account pages
	Request, FormToken    string
	Add                   string // the path on which the user adds the factor
	Passkey               bool   // a passkey is required, otherwise a second factor
	Postponable           bool
	Since                 string // from when it is required; empty: not decided
}

// enrolTokenParts binds the form to the session and the request.
func enrolTokenParts(user *identity.SignedInUser, request string) []string {
	return []string{"enrol", user.Session.ID, request}
}

// enrolment is what a user must add, or will have to, for a stored request or for the account pages.
type enrolment struct {
	oauth.Enrolment

	request *oauth.AuthorizationRequest // nil for the account pages
	user    *identity.SignedInUser
}

// enrolmentFor returns the enrolment for a stored request or, without one, for the account pages. When the next step is
// another one, it returns a redirect to where the browser continues.
func (p *Pages) enrolmentFor(r *http.Request, request string) (e enrolment, err error) {
	if request != "" {
		a, in, err := p.requestAt(r, request, oauth.Enrol)
		if err != nil {
			return e, err
		}
		return enrolment{a.Enrolment(in), a, in.Candidate}, nil
	}
	if e.user, err = p.users.CurrentUser(r); err != nil {
		return e, err
	}
	if e.user == nil {
		return e, page.RedirectTo(page.SignIn("/account"))
	}
	step, policy, err := p.users.AccountStep(r.Context(), e.user)
	if err != nil {
		return e, err
	}
	if step != identity.AccountEnrol {
		return e, page.RedirectTo("/account")
	}
	setActor(r.Context(), e.user.User)
	in := oauth.DecisionInput{Policy: policy}
	if in.StrongestACR, err = p.users.StrongestACR(r.Context(), e.user.User.ID); err != nil {
		return e, err
	}
	e.Enrolment = new(oauth.AuthorizationRequest).Enrolment(in)
	return e, nil
}

// ShowEnrol serves GET /enrol: the account of the user lacks a factor that the operator requires, or will require.
func (p *Pages) ShowEnrol(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Query(r)
	if err != nil {
		return err
	}
	e, err := p.enrolmentFor(r, form.Get("request"))
	if err != nil {
		return err
	}
	title, data := "enrol.title", enrolPage{
		UserName: userName(e.user), Passkey: identity.ACRSatisfies(e.ACR, identity.ACRPasskey), Postponable: e.Postponable,
	}
	if data.Passkey {
		title = "enrol.title.passkey"
	}
	if data.Layout = p.pages.NewLayout(r, title); !e.Since.IsZero() {
		data.Since = p.pages.Language(r).Date(e.Since)
	}
	if a := e.request; a != nil {
		data.clientView, data.Request = p.newClientView(r, a), a.ID
		data.Destination = p.pages.Destination(r, a.RedirectURI)
		page.AllowFormRedirects(w.Header())
	}
	data.FormToken = p.pages.FormToken(enrolTokenParts(e.user, data.Request)...)
	if data.Add, err = p.pathToAddFactor(r, e.user, data.Request); err != nil {
		return err
	}
	return p.pages.Render(w, http.StatusOK, "enrol", data)
}

// pathToAddFactor returns the path of the page on which the user adds a factor, or that of the sign-in which that page
// needs first.
func (p *Pages) pathToAddFactor(r *http.Request, user *identity.SignedInUser, request string) (string, error) {
	path := page.WithRequest(page.AccountPath("security"), request)
	f, err := p.users.Factors(r.Context(), user.User.ID)
	if err != nil {
		return "", err
	}
	ok, err := p.users.MayChangeAccount(r.Context(), user, f)
	if !ok {
		path = page.SignInAgain(path)
	}
	return p.pages.Path(path), err
}

// Enrol serves POST /enrol: the user adds the factor later, or returns to the client with
// unmet_authentication_requirements. On the account pages the user is signed out.
func (p *Pages) Enrol(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Form(r)
	if err != nil {
		return invalidForm(err)
	}
	e, err := p.enrolmentFor(r, form.Get("request"))
	if err != nil {
		return err
	}
	page.AllowFormRedirects(w.Header())
	if !p.pages.HasFormToken(form, enrolTokenParts(e.user, form.Get("request"))...) {
		return &page.Error{Status: http.StatusForbidden, Key: "error.form"}
	}
	switch {
	case form.Get("decision") == "leave":
		return p.leaveEnrolment(w, r, e)
	case form.Get("decision") != "later":
		return &page.Error{Status: http.StatusBadRequest, Key: "error.form"}
	case e.Postponable: // otherwise the page is shown again
		if err := p.users.PostponeEnrolment(r.Context(), e.user); err != nil {
			return err
		}
	}
	if e.request == nil {
		return page.RedirectTo("/account")
	}
	return page.RedirectTo(requestPath(e.request))
}

// leaveEnrolment continues without the factor: with the client, or signed out.
func (p *Pages) leaveEnrolment(w http.ResponseWriter, r *http.Request, e enrolment) error {
	if e.request == nil {
		if err := p.users.SignOut(w, r, e.user); err != nil {
			return err
		}
		return page.RedirectTo("/signed-out")
	}
	response, err := p.oauth.DenyWithoutFactor(r.Context(), e.request, e.user)
	if err != nil {
		return err
	}
	return p.writeResponse(w, r, response)
}

// signInRequest returns what a sign-in of the user is for: the request, which is nil for the account pages, and the acr
// that it needs.
func (p *Pages) signInRequest(
	r *http.Request, user storage.User, a *oauth.AuthorizationRequest,
) (request identity.SignInRequest, err error) {
	in := oauth.DecisionInput{}
	if in.Policy, err = p.users.ACRPolicy(r.Context(), user); err != nil {
		return request, err
	}
	if a == nil {
		request.ACR = in.Policy.Required
		return request, nil
	}
	if len(a.ACRValues) > 0 {
		if in.StrongestACR, err = p.users.StrongestACR(r.Context(), user.ID); err != nil {
			return request, err
		}
	}
	request.RequestID, request.ACR = a.ID, a.SignInACR(in)
	return request, nil
}
