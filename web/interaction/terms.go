package interaction

import (
	"errors"
	"net/http"

	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/params"
	"gatehouse/storage"
	"gatehouse/web/page"
)

type termsPage struct {
	page.Layout
	clientView
	UserName, Destination       string // Destination: empty for the account pages
	Request, Version, FormToken string
	TermsURL                    string
}

// termsTokenParts binds the form to the session, the request and the version that the page showed.
func termsTokenParts(user *identity.SignedInUser, request, version string) []string {
	return []string{"terms", user.Session.ID, request, version}
}

// termsFor returns the user who must accept the terms, for a stored request or, without one, for the account pages:
// then the request is nil. Otherwise it returns a redirect to where the browser continues.
func (p *Pages) termsFor(r *http.Request, request string) (*oauth.AuthorizationRequest, *identity.SignedInUser, error) {
	if request != "" {
		a, in, err := p.requestAt(r, request, oauth.Terms)
		return a, in.Candidate, err
	}
	user, err := p.users.CurrentUser(r)
	switch {
	case err != nil:
		return nil, nil, err
	case user == nil:
		return nil, nil, page.RedirectTo("/login?to=account")
	case !p.users.MustAcceptTerms(user.User):
		return nil, nil, page.RedirectTo("/account")
	}
	setActor(r.Context(), user.User)
	return nil, user, nil
}

// ShowTerms serves GET /terms.
func (p *Pages) ShowTerms(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Query(r)
	if err != nil {
		return err
	}
	a, user, err := p.termsFor(r, form.Get("request"))
	if err != nil {
		return err
	}
	data := termsPage{
		Layout: p.pages.NewLayout(r, "terms.title"), UserName: userName(user), Version: p.users.TermsVersion(),
		TermsURL: p.termsURL,
	}
	if a != nil {
		data.clientView, data.Request = p.newClientView(r, a), a.ID
		data.Destination = p.pages.Destination(r, a.RedirectURI)
		page.AllowFormRedirects(w.Header())
	}
	data.FormToken = p.pages.FormToken(termsTokenParts(user, data.Request, data.Version)...)
	return p.pages.Render(w, http.StatusOK, "terms", data)
}

// DecideTerms serves POST /terms: the user accepts the version that the page showed, or returns to the client with
// access_denied. On the account pages the user is signed out.
func (p *Pages) DecideTerms(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Form(r)
	if err != nil {
		return invalidForm(err)
	}
	a, user, err := p.termsFor(r, form.Get("request"))
	if err != nil {
		return err
	}
	page.AllowFormRedirects(w.Header())
	if !p.pages.HasFormToken(form, termsTokenParts(user, form.Get("request"), form.Get("version"))...) {
		return &page.Error{Status: http.StatusForbidden, Key: "error.form"}
	}
	next := "/account"
	if a != nil {
		next = requestPath(a)
	}
	switch form.Get("decision") {
	case "accept":
		if form.Get("version") != p.users.TermsVersion() { // it changed in the meantime: the page is shown again
			return page.RedirectTo(next)
		}
		err := p.users.AcceptTerms(r.Context(), user.User.ID, form.Get("version"))
		if err != nil && !errors.Is(err, storage.ErrNotFound) { // accepted in another tab
			return err
		}
		return page.RedirectTo(next)
	case "cancel":
		if a == nil {
			if err := p.users.SignOut(w, r, user); err != nil {
				return err
			}
			return page.RedirectTo("/signed-out")
		}
		response, err := p.oauth.DenyWithoutTerms(r.Context(), a, user)
		if err != nil {
			return err
		}
		return p.writeResponse(w, r, response)
	}
	return &page.Error{Status: http.StatusBadRequest, Key: "error.form"}
}
