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

type confirmPage struct {
	page.Layout
	clientView
	Advice, UserName, Destination string
	Request, FormToken            string
}

// confirmTokenParts binds the form to the session, the request and the description of the client on the page.
func confirmTokenParts(a *oauth.AuthorizationRequest, user *identity.SignedInUser) []string {
	return []string{"confirm", user.Session.ID, a.ID, describedAt(a.Client)}
}

// ShowConfirm serves GET /confirm: the client is not verified.
func (p *Pages) ShowConfirm(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Query(r)
	if err != nil {
		return err
	}
	a, in, err := p.requestAt(r, form.Get("request"), oauth.Confirm)
	if err != nil {
		return err
	}
	user := in.Candidate // one of the first users of a client that is not verified
	page.AllowFormRedirects(w.Header())
	view := p.newClientView(r, a)
	return p.pages.Render(w, http.StatusOK, "confirm", confirmPage{
		Layout: p.pages.NewLayout(r, "confirm.title"), clientView: view,
		Advice: p.pages.Text(r, "confirm.advice", view.DocumentHost), UserName: userName(user),
		Destination: p.pages.Destination(r, a.RedirectURI), Request: a.ID,
		FormToken: p.pages.FormToken(confirmTokenParts(a, user)...),
	})
}

// Confirm serves POST /confirm: the user continues to the consent page, or the client gets access_denied.
func (p *Pages) Confirm(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Form(r)
	if err != nil {
		return invalidForm(err)
	}
	a, in, err := p.requestAt(r, form.Get("request"), oauth.Confirm)
	if err != nil {
		return err
	}
	user := in.Candidate // one of the first users of a client that is not verified
	page.AllowFormRedirects(w.Header())
	if !p.pages.HasFormToken(form, confirmTokenParts(a, user)...) {
		return &page.Error{Status: http.StatusForbidden, Key: "error.form"}
	}
	switch form.Get("decision") {
	case "continue":
		err := p.oauth.Confirm(r.Context(), a, p.users.Browser(r), user)
		if err != nil && !errors.Is(err, storage.ErrNotFound) { // decided, or another account selected, in the meantime
			return err
		}
		return page.RedirectTo(requestPath(a))
	case "cancel":
		response, err := p.oauth.Deny(r.Context(), a, user)
		if err != nil {
			return err
		}
		return p.writeResponse(w, r, response)
	}
	return &page.Error{Status: http.StatusBadRequest, Key: "error.form"}
}
