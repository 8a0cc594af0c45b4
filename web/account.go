package web

import (
	"cmp"
	"crypto/hmac"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/params"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
)

type accountPage struct {
	basePage
	Person, Email, SignOutToken, Notice string
	Apps                                []connectedApp
	Sessions                            []signedInBrowser
	Others                              bool // are signed in here too
}

type connectedApp struct {
	ID, Name, Host, Since, SinceText string
	Scopes                           []string
	Open                             string // where the app begins a sign-in, "" when it does not say
	Unverified, Changed              bool   // self-registered; changed its description since the user agreed
}

type signedInBrowser struct {
	ID, Browser, Address, Since, SinceText, FormToken string
	Current                                           bool
}

func (s *Server) home(w http.ResponseWriter, _ *http.Request) error {
	return s.redirectTo(w, "/account")
}

// signedIn returns who uses the browser; nobody means that the browser was sent to sign in.
func (s *Server) requireUser(w http.ResponseWriter, r *http.Request) (*identity.SignedInUser, error) {
	who, err := s.users.CurrentUser(r)
	if err != nil {
		return nil, err
	}
	if who == nil {
		return nil, s.redirectTo(w, "/login?to=account")
	}
	return who, s.users.TouchSession(r, who)
}

// showAccount serves GET /account: the apps that have access, and where the person is signed in.
func (s *Server) showAccount(w http.ResponseWriter, r *http.Request) error {
	who, err := s.requireUser(w, r)
	if err != nil || who == nil {
		return err
	}
	p := accountPage{
		basePage: s.newBasePage(r, s.pages.message("account.title")), Person: userName(who), Email: who.User.Email,
		SignOutToken: s.accountToken(who, "sign-out", ""),
	}
	people, err := s.users.SignedIn(r)
	if err != nil {
		return err
	}
	p.Others = len(people) > 1
	p.Width = "wide"
	switch r.URL.RawQuery {
	case "withdrawn", "ended", "saved":
		p.Notice = s.pages.message("account." + r.URL.RawQuery)
	}
	if p.Apps, err = s.connectedApps(r, who); err != nil {
		return err
	}
	sessions, err := s.users.Sessions(r, who.User)
	if err != nil {
		return err
	}
	for _, b := range sessions {
		p.Sessions = append(p.Sessions, signedInBrowser{
			ID: b.ID, Browser: s.browserName(b.UserAgent), Address: b.Address, Since: b.AuthTime.Format(time.RFC3339), SinceText: formatTime(b.AuthTime),
			FormToken: s.accountToken(who, "end", b.ID), Current: b.ID == who.Session.ID,
		})
	}
	return s.render(w, http.StatusOK, "account", p)
}

func (s *Server) connectedApps(r *http.Request, who *identity.SignedInUser) ([]connectedApp, error) {
	consents, err := s.store.Consents(r.Context(), who.User.ID)
	if err != nil {
		return nil, err
	}
	var apps []connectedApp
	for _, c := range consents {
		app, err := s.connectedApp(r, c, who.User.Username)
		if errors.Is(err, storage.ErrNotFound) {
			continue // the client was deleted a moment ago
		}
		if err != nil {
			return nil, err
		}
		apps = append(apps, app)
	}
	return apps, nil
}

func (s *Server) connectedApp(r *http.Request, c storage.Consent, hint string) (connectedApp, error) {
	client, err := s.store.Client(r.Context(), c.ClientID)
	if err != nil {
		return connectedApp{}, err
	}
	known, err := s.store.Scopes(r.Context())
	if err != nil {
		return connectedApp{}, err
	}
	app := connectedApp{ID: c.ID, Name: clientName(client), Host: redirect.DestinationOf(client.URI).Host, Since: c.CreatedAt.Format(time.RFC3339), SinceText: formatTime(c.CreatedAt)}
	resources, err := s.store.Resources(r.Context())
	if err != nil {
		return connectedApp{}, err
	}
	for _, word := range c.ResourceScopes {
		identifier, scope := storage.SplitResourceScope(word)
		row := s.describe(known, scope)
		if identifier != "" {
			api := apiViews(resources, []string{identifier})[0]
			row = s.pages.message("account.at", row, cmp.Or(api.Name, api.Host))
		}
		app.Scopes = append(app.Scopes, row)
	}
	if client.IsSelfRegistered() { // it can name any home page; only the destination that the user agreed to is verified
		app.Unverified, app.Changed, app.Host = true, oauth.Redescribed(client, c), ""
		if agreed := oauth.AgreedRedirectURI(client, c); agreed != "" {
			app.Host = s.pages.destination(agreed)
		}
	}
	if client.DisabledAt == nil {
		app.Open = s.oauth.InitiateLoginURL(client, c, hint)
	}
	return app, nil
}

// accountToken binds an account form to the session and to the one thing it does.
func (s *Server) accountToken(who *identity.SignedInUser, action, id string) string {
	return s.formToken("account", who.Session.ID, who.User.ID, action, id)
}

// changing is the start of every form of the account page: who sends it, and whether it is theirs.
func (s *Server) changing(w http.ResponseWriter, r *http.Request, action, id string) (*identity.SignedInUser, url.Values, error) {
	form, err := params.Form(r)
	if err != nil {
		return nil, nil, err
	}
	who, err := s.requireUser(w, r)
	if err != nil || who == nil {
		return nil, nil, err
	}
	if !hmac.Equal([]byte(form.Get("form_token")), []byte(s.accountToken(who, action, id))) {
		return nil, nil, &pageError{status: http.StatusForbidden, text: "error.form", link: s.base + "/account"}
	}
	return who, form, nil
}

type withdrawPage struct {
	basePage
	App       connectedApp
	FormToken string
}

// showWithdraw serves GET /account/apps/{id}: what the app can do, before it is taken away.
func (s *Server) showWithdraw(w http.ResponseWriter, r *http.Request) error {
	who, err := s.requireUser(w, r)
	if err != nil || who == nil {
		return err
	}
	consents, err := s.store.Consents(r.Context(), who.User.ID)
	if err != nil {
		return err
	}
	for _, c := range consents {
		if c.ID != r.PathValue("id") {
			continue
		}
		app, err := s.connectedApp(r, c, who.User.Username)
		if err != nil {
			return err
		}
		return s.render(w, http.StatusOK, "withdraw", withdrawPage{
			basePage: s.newBasePage(r, s.pages.message("account.withdraw")), App: app,
			FormToken: s.accountToken(who, "withdraw", c.ID),
		})
	}
	return s.notFound(w, r)
}

// withdraw serves POST /account/apps/{id}/withdraw. Every token of the app for this person is dead afterwards.
func (s *Server) withdraw(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	who, _, err := s.changing(w, r, "withdraw", id)
	if err != nil || who == nil {
		return err
	}
	err = s.oauth.WithdrawConsent(r.Context(), who.User.ID, id)
	if errors.Is(err, storage.ErrNotFound) {
		return s.notFound(w, r)
	}
	if err != nil {
		return err
	}
	return s.redirectTo(w, "/account?withdrawn")
}

// endSession serves POST /account/sessions/{id}/end.
func (s *Server) endSession(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	who, _, err := s.changing(w, r, "end", id)
	if err != nil || who == nil {
		return err
	}
	err = s.store.EndSession(r.Context(), who.User.ID, id, storage.Event{Type: storage.SessionEnded})
	if err != nil && !errors.Is(err, storage.ErrNotFound) { // over already is as good
		return err
	}
	return s.redirectTo(w, "/account?ended")
}

// signOut serves POST /account/sign-out.
func (s *Server) signOut(w http.ResponseWriter, r *http.Request) error {
	who, _, err := s.changing(w, r, "sign-out", "")
	if err != nil || who == nil {
		return err
	}
	if err := s.users.SignOut(w, r, who); err != nil {
		return err
	}
	return s.redirectTo(w, "/signed-out")
}

// browserName makes a user agent readable. It only helps a person tell their browsers apart.
func (s *Server) browserName(agent string) string {
	browser, system := "", ""
	for _, b := range [][2]string{{"Edg/", "Edge"}, {"OPR/", "Opera"}, {"Firefox/", "Firefox"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}} {
		if strings.Contains(agent, b[0]) {
			browser = b[1]
			break
		}
	}
	for _, o := range [][2]string{{"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Windows", "Windows"}, {"Mac OS X", "macOS"}, {"CrOS", "ChromeOS"}, {"Linux", "Linux"}} {
		if strings.Contains(agent, o[0]) {
			system = o[1]
			break
		}
	}
	switch {
	case browser == "":
		return s.pages.message("browser.unknown")
	case system == "":
		return browser
	}
	return s.pages.message("browser.on", browser, system)
}
