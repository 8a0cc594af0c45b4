package interaction

import (
	"net/http"
	"net/url"
	"slices"

	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/logout"
	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/storage/reqevent"
	"gatehouse/web/page"
)

const signedOutPath = "/signed-out"

type logoutPage struct {
	page.Layout
	ClientName, Request, FormToken, Destination string
	Users                                       []userView
	InvalidHint                                 bool
}

// Logout serves GET /oauth2/logout (OIDC RP-Initiated Logout §2). An ID token of this session, from a client that its
// user still allows, signs that user out; otherwise a page prompts the user.
func (p *Pages) Logout(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Query(r)
	if err != nil {
		return p.logoutError(r, err)
	}
	if sealed := form.Get("request"); sealed != "" {
		if form, err = p.oauth.Logout.Open(sealed); err != nil {
			return p.logoutError(r, err)
		}
	}
	l, err := p.beginLogout(r, form)
	if err != nil {
		return err
	}
	users, err := p.users.SignedIn(r)
	if err != nil {
		return err
	}
	target, err := p.oauth.Logout.TargetSession(r.Context(), l, users)
	if err != nil {
		return err
	}
	switch {
	case target != nil:
		return p.signOut(w, r, l, target)
	case len(users) > 0:
		return p.showLogoutConfirmation(w, r, l, form, users)
	case l.HasValidHint():
		return p.signOut(w, r, l)
	}
	return page.RedirectTo(signedOutPath)
}

// beginLogout validates a logout request.
func (p *Pages) beginLogout(r *http.Request, form url.Values) (*logout.Request, error) {
	reqevent.FromContext(r.Context()).ClaimedClientID = form.Get("client_id")
	l, err := p.oauth.Logout.Begin(r.Context(), form)
	if err != nil {
		return nil, p.logoutError(r, err)
	}
	if l.Client != nil {
		reqevent.FromContext(r.Context()).ClientID = l.Client.ID
	}
	return l, nil
}

// signOut ends the sessions of these users and sends the browser to the client, or to the signed-out page.
func (p *Pages) signOut(
	w http.ResponseWriter, r *http.Request, l *logout.Request, users ...*identity.SignedInUser,
) error {
	if len(users) > 0 {
		setActor(r.Context(), users[0].User)
		if err := p.users.SignOut(w, r, users...); err != nil {
			return err
		}
	}
	location := l.Location()
	if location == "" {
		return page.RedirectTo(signedOutPath)
	}
	page.SeeOther(w, location)
	return nil
}

// SaveLogout serves POST /oauth2/logout. The request comes from another site, without the cookies of this server, so it
// is redirected to a page whose URL has the sealed request.
func (p *Pages) SaveLogout(_ http.ResponseWriter, r *http.Request) error {
	form, err := params.Form(r)
	if err != nil {
		return p.logoutError(r, err)
	}
	if _, err := p.beginLogout(r, form); err != nil {
		return err
	}
	sealed, err := p.oauth.Logout.Seal(form)
	if err != nil {
		return p.logoutError(r, err)
	}
	return page.RedirectTo("/oauth2/logout?request=" + sealed)
}

// showLogoutConfirmation lists the users who are signed in, for the user to choose who is signed out.
func (p *Pages) showLogoutConfirmation(
	w http.ResponseWriter, r *http.Request, l *logout.Request, form url.Values, users []*identity.SignedInUser,
) error {
	sealed, err := p.oauth.Logout.Seal(form)
	if err != nil {
		return p.logoutError(r, err)
	}
	data := logoutPage{
		Layout: p.pages.NewLayout(r, "logout.title"), Request: sealed, Users: userViews(users),
		FormToken: p.pages.FormToken(logoutTokenParts(sealed, users)...), InvalidHint: l.InvalidHint,
	}
	if slices.ContainsFunc(users, func(user *identity.SignedInUser) bool { return p.oauth.Logout.HintMatches(l, user) }) {
		for i, user := range users {
			data.Users[i].Selected = p.oauth.Logout.HintMatches(l, user)
		}
	}
	if l.RedirectURI != "" {
		data.Destination = p.pages.Destination(r, l.RedirectURI)
		page.AllowFormRedirects(w.Header())
	}
	if l.Client != nil {
		data.ClientName = l.Client.DisplayName()
	}
	return p.pages.Render(w, http.StatusOK, "logout", data)
}

func logoutTokenParts(sealed string, users []*identity.SignedInUser) []string {
	parts := []string{"logout", sealed}
	for _, user := range users {
		parts = append(parts, user.Session.ID)
	}
	return parts
}

// ConfirmLogout serves POST /oauth2/logout/confirm.
func (p *Pages) ConfirmLogout(w http.ResponseWriter, r *http.Request) error {
	form, err := params.FormWithLists(r, params.MaxParameters, "session")
	if err != nil {
		return invalidForm(err)
	}
	users, err := p.users.SignedIn(r)
	if err != nil {
		return err
	}
	if len(users) == 0 {
		return page.RedirectTo(signedOutPath)
	}
	sealed := form.Get("request")
	if !p.pages.HasFormToken(form, logoutTokenParts(sealed, users)...) {
		return &page.Error{Status: http.StatusForbidden, Key: "error.form", Link: p.pages.Path("/account")}
	}
	request, err := p.oauth.Logout.Open(sealed)
	if err != nil {
		return p.logoutError(r, err)
	}
	l, err := p.beginLogout(r, request)
	if err != nil {
		return err
	}
	selected := slices.DeleteFunc(slices.Clone(users), func(user *identity.SignedInUser) bool {
		return !slices.Contains(form["session"], user.Session.ID)
	})
	if form.Get("decision") != "sign-out" || len(selected) == 0 {
		return page.RedirectTo("/account")
	}
	return p.signOut(w, r, l, selected...)
}

// logoutError returns the page for an invalid logout request, after which no user is signed out. It reads the
// sessions that the page describes.
func (p *Pages) logoutError(r *http.Request, err error) error {
	e := oauth.AsError(err)
	if e.Code != protocol.InvalidRequest {
		return err
	}
	invalid := &page.Error{
		Status: http.StatusBadRequest, Key: "error.logout", Detail: e.Code + ": " + e.Description,
		Link: p.pages.Path("/account"), Err: e.Err,
	}
	users, err := p.users.SignedIn(r)
	if err != nil {
		return err
	}
	if len(users) == 0 {
		invalid.Key, invalid.Link = "error.logout.not_signed_in", ""
	}
	return invalid
}

type signedOutPage struct {
	page.Layout
	StillSignedIn []userView // users who are still signed in
}

// ShowSignedOut serves GET /signed-out.
func (p *Pages) ShowSignedOut(w http.ResponseWriter, r *http.Request) error {
	users, err := p.users.SignedIn(r)
	if err != nil {
		return err
	}
	return p.pages.Render(w, http.StatusOK, "signed_out", signedOutPage{
		Layout: p.pages.NewLayout(r, "signed_out.title"), StillSignedIn: userViews(users),
	})
}
