package interaction

import (
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"

	"gatehouse/oauth/params"
	"gatehouse/storage"
	"gatehouse/web/page"
)

type selectPage struct {
	page.Layout
	clientView
	Request, FormToken string
	Users              []userView
}

// ShowSelect serves GET /select, the account chooser: for an authorization request, or for the account pages.
func (p *Pages) ShowSelect(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Query(r)
	if err != nil {
		return err
	}
	users, err := p.users.SignedIn(r)
	if err != nil {
		return err
	}
	request := form.Get("request")
	if len(users) == 0 {
		return page.RedirectTo(withRequest("/login", request))
	}
	browser := p.users.EnsureBrowser(w, r)
	data := selectPage{
		Layout: p.pages.NewLayout(r, "select.title"), Request: request, Users: userViews(users),
		FormToken: p.pages.FormToken(selectTokenParts(browser, request)...),
	}
	if request != "" {
		a, err := p.resume(r, request, browser, false)
		if err != nil {
			return err
		}
		data.clientView = p.newClientView(r, a)
		page.AllowFormRedirects(w.Header())
	}
	return p.pages.Render(w, http.StatusOK, "select", data)
}

// withRequest adds the ID of a stored request, if there is one, to a path.
func withRequest(path, request string) string {
	if request == "" {
		return path
	}
	return path + "?request=" + url.QueryEscape(request)
}

func selectTokenParts(browser []byte, request string) []string {
	return []string{"select", hex.EncodeToString(browser), request}
}

// SelectAccount serves POST /select.
func (p *Pages) SelectAccount(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Form(r)
	if err != nil {
		return err
	}
	request, browser := form.Get("request"), p.users.Browser(r)
	if browser == nil || !p.pages.HasFormToken(form, selectTokenParts(browser, request)...) {
		return &page.Error{Status: http.StatusForbidden, Key: "error.form", Link: p.pages.Path("/account")}
	}
	user, err := p.users.SelectSession(w, r, form.Get("session"))
	if errors.Is(err, storage.ErrNotFound) { // signed out in the meantime
		return page.RedirectTo(withRequest("/select", request))
	}
	if err != nil {
		return err
	}
	if request == "" {
		return page.RedirectTo("/account")
	}
	a, err := p.resume(r, request, browser, false)
	if err != nil {
		return err
	}
	if err := p.oauth.SelectSession(r.Context(), a, browser, user); err != nil {
		return err
	}
	return page.RedirectTo(requestPath(a))
}
