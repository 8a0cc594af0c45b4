package interaction

import (
	"net/http"

	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/params"
	"gatehouse/web/page"
)

type noAccessPage struct {
	page.Layout
	clientView
	UserName, Destination string
	Request, FormToken    string
}

func noAccessTokenParts(a *oauth.AuthorizationRequest, user *identity.SignedInUser) []string {
	return []string{"no-access", user.Session.ID, a.ID}
}

// ShowNoAccess serves GET /no-access: the user is in none of the groups that the client requires.
func (p *Pages) ShowNoAccess(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Query(r)
	if err != nil {
		return err
	}
	a, in, err := p.requestAt(r, form.Get("request"), oauth.NoAccess)
	if err != nil {
		return err
	}
	user := in.Candidate // in none of the groups that the client requires
	page.AllowFormRedirects(w.Header())
	return p.pages.Render(w, http.StatusForbidden, "no_access", noAccessPage{
		Layout:     p.pages.NewLayout(r, "no_access.title", a.Client.DisplayName()),
		clientView: p.newClientView(r, a), UserName: userName(user), Destination: p.pages.Destination(r, a.RedirectURI),
		Request: a.ID, FormToken: p.pages.FormToken(noAccessTokenParts(a, user)...),
	})
}

// LeaveNoAccess serves POST /no-access: the client gets access_denied.
func (p *Pages) LeaveNoAccess(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Form(r)
	if err != nil {
		return invalidForm(err)
	}
	a, in, err := p.requestAt(r, form.Get("request"), oauth.NoAccess)
	if err != nil {
		return err
	}
	user := in.Candidate // in none of the groups that the client requires
	page.AllowFormRedirects(w.Header())
	if !p.pages.HasFormToken(form, noAccessTokenParts(a, user)...) {
		return &page.Error{Status: http.StatusForbidden, Key: "error.form"}
	}
	response, err := p.oauth.DenyWithoutGroup(r.Context(), a, user)
	if err != nil {
		return err
	}
	return p.writeResponse(w, r, response)
}
