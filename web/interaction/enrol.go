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
	UserName, Destination string
	Request, FormToken    string
	Passkey               bool // a passkey is required, otherwise a second factor
	Postponable           bool
	Since                 string // from when it is required; empty: not decided
}

// enrolTokenParts binds the form to the session and the request.
func enrolTokenParts(a *oauth.AuthorizationRequest, user *identity.SignedInUser) []string {
	return []string{"enrol", user.Session.ID, a.ID}
}

// ShowEnrol serves GET /enrol: the account of the user lacks a factor that the operator requires, or will require.
func (p *Pages) ShowEnrol(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Query(r)
	if err != nil {
		return err
	}
	a, in, err := p.requestAt(r, form.Get("request"), oauth.Enrol)
	if err != nil {
		return err
	}
	e, user, title := a.Enrolment(in), in.Candidate, "enrol.title"
	data := enrolPage{
		clientView: p.newClientView(r, a), UserName: userName(user), Destination: p.pages.Destination(r, a.RedirectURI),
		Request: a.ID, FormToken: p.pages.FormToken(enrolTokenParts(a, user)...),
		Passkey: identity.ACRSatisfies(e.ACR, identity.ACRPasskey), Postponable: e.Postponable,
	}
	if data.Passkey {
		title = "enrol.title.passkey"
	}
	if data.Layout = p.pages.NewLayout(r, title); !e.Since.IsZero() {
		data.Since = p.pages.Language(r).Date(e.Since)
	}
	page.AllowFormRedirects(w.Header())
	return p.pages.Render(w, http.StatusOK, "enrol", data)
}

// Enrol serves POST /enrol: the user adds the factor later, or returns to the client with
// unmet_authentication_requirements.
func (p *Pages) Enrol(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Form(r)
	if err != nil {
		return invalidForm(err)
	}
	a, in, err := p.requestAt(r, form.Get("request"), oauth.Enrol)
	if err != nil {
		return err
	}
	user := in.Candidate
	page.AllowFormRedirects(w.Header())
	if !p.pages.HasFormToken(form, enrolTokenParts(a, user)...) {
		return &page.Error{Status: http.StatusForbidden, Key: "error.form"}
	}
	switch {
	case form.Get("decision") == "leave":
		response, err := p.oauth.DenyWithoutFactor(r.Context(), a, user)
		if err != nil {
			return err
		}
		return p.writeResponse(w, r, response)
	case form.Get("decision") != "later":
		return &page.Error{Status: http.StatusBadRequest, Key: "error.form"}
	case a.Enrolment(in).Postponable: // otherwise the page is shown again
		if err := p.users.PostponeEnrolment(r.Context(), user); err != nil {
			return err
		}
	}
	return page.RedirectTo(requestPath(a))
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
