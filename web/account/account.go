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
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/web/page"
)

// The paths of the account pages.
const (
	homePath     = "/account"
	clientsPath  = "/account/apps"
	sessionsPath = "/account/sessions"
	profilePath  = "/account/profile"
	activityPath = "/account/activity"
	signOutPath  = "/account/sign-out"
)

// Pages are the account pages.
type Pages struct {
	store   *storage.Store // for reading
	users   *identity.Users
	oauth   *oauth.Server
	limiter *ratelimit.Limiter
	pages   *page.Renderer
}

// New returns the account pages. It fails when a template is invalid.
func New(
	store *storage.Store, users *identity.Users, server *oauth.Server, limiter *ratelimit.Limiter, renderer *page.Renderer,
) (*Pages, error) {
	if err := renderer.DeclareAll(map[string]any{
		"account": overviewPage{}, "clients": clientsPage{}, "client": clientPage{}, "sessions": sessionsPage{},
		"profile": profilePage{}, "activity": activityPage{},
		"security": securityPage{}, "security_confirm": confirmPage{},
	}); err != nil {
		return nil, err
	}
	return &Pages{store: store, users: users, oauth: server, limiter: limiter, pages: renderer}, nil
}

// ShowHome serves GET /.
func (p *Pages) ShowHome(http.ResponseWriter, *http.Request) error { return page.RedirectTo(homePath) }

// currentUser returns the current user of the browser, or a redirect to the sign-in page when there is none, or to what
// the user must do first. Users who lack a factor can add it on the page of security, and every user can sign out.
func (p *Pages) currentUser(r *http.Request) (*identity.SignedInUser, error) {
	user, err := p.users.CurrentUser(r)
	if err != nil {
		return nil, err
	}
	path := page.WithRequest(r.URL.Path, page.RequestOf(r))
	if user == nil {
		return nil, page.RedirectTo(page.SignIn(path))
	}
	step, _, err := p.users.AccountStep(r.Context(), user)
	if err != nil {
		return nil, err
	}
	isSecurity := r.URL.Path == securityPath || strings.HasPrefix(r.URL.Path, securityPath+"/")
	if r.URL.Path != signOutPath && (step != identity.AccountEnrol || !isSecurity) {
		if err := page.BeforeAccount(step, path); err != nil {
			return nil, err
		}
	}
	return user, p.users.TouchSession(r, user)
}

// sessionEnded returns a redirect to the sign-in page, which continues with the page at a path, for a change whose
// session has ended in the meantime, and other errors as they are.
func sessionEnded(err error, path string) error {
	if errors.Is(err, identity.ErrSessionEnded) {
		return page.RedirectTo(page.SignIn(path))
	}
	return err
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

// accountLayout is the layout of the account pages: the user and the navigation above what a page shows.
type accountLayout struct {
	page.Layout
	UserName, Email, Notice string
	SignOutToken            string // of the form that signs out
	IsOverview              bool
	NoticeLink              string // the path of what Notice names as the next step; empty: none
	NoticeLinkText          string
	OtherUsers              bool // other users are signed in to this browser too
	Navigation              []navigationItem
}

type navigationItem struct {
	Path, Label string
	Current     bool
}

// navigation lists the account pages, with the key of their name.
var navigation = [][2]string{
	{homePath, "account.overview"}, {clientsPath, "account.apps"}, {sessionsPath, "account.sessions_short"},
	{securityPath, "security.short"}, {profilePath, "account.profile"}, {activityPath, "account.activity"},
}

// notices are the messages that a page shows after a change, by the query to which the change redirects.
var notices = map[string]string{
	"withdrawn": "account.withdrawn", "ended": "account.ended", "saved": "account.saved",
	"totp-removed": "security.totp.removed", "passkey-added": "security.passkeys.added",
	"passkey-removed": "security.passkeys.removed", "key-added": "security.keys.added",
	"others-ended": "account.others_ended", "confirmed": "activity.confirmed", "reported": "activity.reported",
	"reported-factor": "activity.reported_factor", "reported-reset": "activity.reported_reset",
	"reported-no-mail": "activity.reported_no_mail",
}

// noticeLinks are the next steps that notices name: the path and the key of its name.
var noticeLinks = map[string][2]string{
	"activity.reported":         {"/account/password", "flow.change.title"},
	"activity.reported_reset":   {"/forgot", "flow.reset.title"},
	"activity.reported_factor":  {"/account/password", "flow.change.title"},
	"activity.reported_no_mail": {"/account/password", "flow.change.title"},
}

// newLayout returns the layout of the account page at a path, with the title that a message has.
func (p *Pages) newLayout(
	r *http.Request, user *identity.SignedInUser, path, title string, values ...any,
) (accountLayout, error) {
	layout := accountLayout{
		Layout:   p.pages.NewLayout(r, title, values...),
		UserName: display.NameOr(user.User.Name, user.User.Username), Email: user.User.Email,
		SignOutToken: p.formToken(user, "sign-out", ""),
	}
	layout.Width = "wide"
	notice, _, _ := strings.Cut(r.URL.RawQuery, "&")
	if key, ok := notices[notice]; ok {
		layout.Notice = p.pages.Text(r, key)
		if next, ok := noticeLinks[key]; ok {
			layout.NoticeLink, layout.NoticeLinkText = p.pages.Path(next[0]), p.pages.Text(r, next[1])
		}
	}
	for _, item := range navigation {
		layout.Navigation = append(layout.Navigation, navigationItem{
			Path: p.pages.Path(item[0]), Label: p.pages.Text(r, item[1]), Current: item[0] == path,
		})
	}
	users, err := p.users.SignedIn(r)
	layout.OtherUsers = len(users) > 1
	return layout, err
}

// maxOverview is how many clients and sessions the overview has.
const maxOverview = 10

type overviewPage struct {
	accountLayout
	Clients                   []connectedClient
	Sessions                  []sessionView
	Activity                  []activityView
	MoreClients, MoreSessions int // how many there are in all, when the overview does not have all of them
}

// ShowAccount serves GET /account, the overview: the clients that have access, the sessions of the user, and what
// happened last.
func (p *Pages) ShowAccount(w http.ResponseWriter, r *http.Request) error {
	user, err := p.currentUser(r)
	if err != nil {
		return err
	}
	var data overviewPage
	if data.accountLayout, err = p.newLayout(r, user, homePath, "account.title"); err != nil {
		return err
	}
	data.IsOverview = true
	if data.Clients, err = p.connectedClients(r, user); err != nil {
		return err
	}
	if data.Sessions, err = p.sessions(r, user); err != nil {
		return err
	}
	if data.Activity, _, err = p.activity(r, user, audit.Cursor{}, 3); err != nil {
		return err
	}
	for i := range data.Activity {
		data.Activity[i].Decidable = false // on the page of the activity
	}
	if n := len(data.Clients); n > maxOverview {
		data.Clients, data.MoreClients = data.Clients[:maxOverview], n
	}
	if n := len(data.Sessions); n > maxOverview {
		data.Sessions, data.MoreSessions = data.Sessions[:maxOverview], n
	}
	return p.pages.Render(w, http.StatusOK, "account", data)
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
