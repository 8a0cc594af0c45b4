// Package account serves the pages on which users see and change what belongs to them: connected clients, sessions and
// profile. What a change does is decided by oauth and identity.
package account

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"gatehouse/display"
	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/params"
	"gatehouse/storage"
	"gatehouse/web/page"
)

// homePath is the path of the account page.
const homePath = "/account"

// Pages are the account pages.
type Pages struct {
	store *storage.Store // for reading
	users *identity.Users
	oauth *oauth.Server
	pages *page.Renderer
}

// New returns the account pages. It fails when a template is invalid.
func New(
	store *storage.Store, users *identity.Users, server *oauth.Server, renderer *page.Renderer,
) (*Pages, error) {
	for name, data := range map[string]any{
		"account": accountPage{}, "profile": profilePage{}, "withdraw": withdrawPage{},
	} {
		if err := renderer.Declare(name, data); err != nil {
			return nil, err
		}
	}
	return &Pages{store: store, users: users, oauth: server, pages: renderer}, nil
}

type accountPage struct {
	page.Layout
	UserName, Email, SignOutToken, Notice string
	Clients                               []connectedClient
	Sessions                              []sessionView
	OtherUsers                            bool // other users are signed in to this browser too
}

type sessionView struct {
	ID, Browser, Address, FormToken string
	Since                           page.Time
	Current                         bool
}

// ShowHome serves GET /.
func (p *Pages) ShowHome(http.ResponseWriter, *http.Request) error { return page.RedirectTo(homePath) }

// currentUser returns the current user of the browser, or a redirect to the sign-in page when there is none.
func (p *Pages) currentUser(r *http.Request) (*identity.SignedInUser, error) {
	user, err := p.users.CurrentUser(r)
	if err != nil {
		return nil, err
	}
	if user == nil {
		return nil, page.RedirectTo("/login?to=account")
	}
	return user, p.users.TouchSession(r, user)
}

// formToken returns the token of an account form, which binds it to the session and to one action on one record.
func (p *Pages) formToken(user *identity.SignedInUser, action, id string) string {
	return p.pages.FormToken(tokenParts(user, action, id)...)
}

func tokenParts(user *identity.SignedInUser, action, id string) []string {
	return []string{"account", user.Session.ID, user.User.ID, action, id}
}

// readForm reads a form of the account pages, and checks that the current user was shown it for this action.
func (p *Pages) readForm(r *http.Request, action, id string) (*identity.SignedInUser, url.Values, error) {
	form, err := params.Form(r)
	if err != nil {
		return nil, nil, err
	}
	user, err := p.currentUser(r)
	if err != nil {
		return nil, nil, err
	}
	if !p.pages.HasFormToken(form, tokenParts(user, action, id)...) {
		return nil, nil, &page.Error{Status: http.StatusForbidden, Key: "error.form", Link: p.pages.Path(homePath)}
	}
	return user, form, nil
}

// ShowAccount serves GET /account: the clients that have access, and the sessions of the user.
func (p *Pages) ShowAccount(w http.ResponseWriter, r *http.Request) error {
	user, err := p.currentUser(r)
	if err != nil {
		return err
	}
	data := accountPage{
		Layout:   p.pages.NewLayout(r, "account.title"),
		UserName: display.NameOr(user.User.Name, user.User.Username), Email: user.User.Email,
		SignOutToken: p.formToken(user, "sign-out", ""),
	}
	data.Width = "wide"
	users, err := p.users.SignedIn(r)
	if err != nil {
		return err
	}
	data.OtherUsers = len(users) > 1
	switch r.URL.RawQuery {
	case "withdrawn", "ended", "saved":
		data.Notice = p.pages.Text(r, "account."+r.URL.RawQuery)
	}
	if data.Clients, err = p.connectedClients(r, user); err != nil {
		return err
	}
	if data.Sessions, err = p.sessions(r, user); err != nil {
		return err
	}
	return p.pages.Render(w, http.StatusOK, "account", data)
}

func (p *Pages) sessions(r *http.Request, user *identity.SignedInUser) ([]sessionView, error) {
	rows, err := p.users.Sessions(r, user.User)
	if err != nil {
		return nil, err
	}
	views := make([]sessionView, 0, len(rows))
	for _, session := range rows {
		views = append(views, sessionView{
			ID: session.ID, Browser: p.browserName(r, session.UserAgent), Address: session.Address,
			Since:     p.pages.NewTime(r, session.AuthTime, p.store.Now()),
			FormToken: p.formToken(user, "end", session.ID), Current: session.ID == user.Session.ID,
		})
	}
	return views, nil
}

// EndSession serves POST /account/sessions/{id}/end.
func (p *Pages) EndSession(_ http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	user, _, err := p.readForm(r, "end", id)
	if err != nil {
		return err
	}
	err = p.users.EndSession(r.Context(), user.User.ID, id)
	if err != nil && !errors.Is(err, storage.ErrNotFound) { // it has ended already
		return err
	}
	return page.RedirectTo(homePath + "?ended")
}

// SignOut serves POST /account/sign-out.
func (p *Pages) SignOut(w http.ResponseWriter, r *http.Request) error {
	user, _, err := p.readForm(r, "sign-out", "")
	if err != nil {
		return err
	}
	if err := p.users.SignOut(w, r, user); err != nil {
		return err
	}
	return page.RedirectTo("/signed-out")
}

var (
	browserNames = [][2]string{
		{"Edg/", "Edge"}, {"OPR/", "Opera"}, {"Firefox/", "Firefox"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"},
	}
	systemNames = [][2]string{
		{"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Windows", "Windows"}, {"Mac OS X", "macOS"},
		{"CrOS", "ChromeOS"}, {"Linux", "Linux"},
	}
)

// browserName returns a readable name for a user agent. It only helps users to distinguish their browsers.
func (p *Pages) browserName(r *http.Request, userAgent string) string {
	browser, system := firstName(browserNames, userAgent), firstName(systemNames, userAgent)
	switch {
	case browser == "":
		return p.pages.Text(r, "browser.unknown")
	case system == "":
		return browser
	}
	return p.pages.Text(r, "browser.on", browser, system)
}

// firstName returns the name of the first product whose token is in the user agent, or "".
func firstName(products [][2]string, userAgent string) string {
	for _, product := range products {
		if strings.Contains(userAgent, product[0]) {
			return product[1]
		}
	}
	return ""
}
