package web

import (
	"crypto/hmac"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
)

type logoutPage struct {
	basePage
	App, Request, FormToken, Destination string
	People                               []userChoice
	Unproven                             bool
}

// logout serves GET /oauth2/logout (OIDC RP-Initiated Logout §2). An ID token of this session, from a client that its
// user still allows, signs that user out; otherwise a page prompts.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Query(r)
	if err != nil {
		return s.logoutError(r, err)
	}
	if sealed := form.Get("request"); sealed != "" {
		if form, err = s.oauth.OpenLogoutRequest(sealed); err != nil {
			return s.logoutError(r, err)
		}
	}
	l, err := s.oauth.BeginLogout(r.Context(), form)
	if err != nil {
		return s.logoutError(r, err)
	}
	people, err := s.users.SignedIn(r)
	if err != nil {
		return err
	}
	target, err := s.oauth.TargetSession(r.Context(), l, people)
	if err != nil {
		return err
	}
	switch {
	case target != nil:
		return s.signOutAndGo(w, r, l, target)
	case len(people) > 0:
		return s.showLogoutConfirmation(w, r, l, form, people)
	case l.HasValidHint():
		return s.signOutAndGo(w, r, l)
	}
	return s.redirectTo(w, "/signed-out")
}

// signOutAndGo ends these sessions and sends the browser where the request wants.
func (s *Server) signOutAndGo(w http.ResponseWriter, r *http.Request, l *oauth.LogoutRequest, out ...*identity.SignedInUser) error {
	if len(out) > 0 {
		setActor(r, out[0])
		if err := s.users.SignOut(w, r, out...); err != nil {
			return err
		}
	}
	if to := l.Location(); to != "" {
		return s.seeOther(w, to)
	}
	return s.redirectTo(w, "/signed-out")
}

// saveLogout serves POST /oauth2/logout. It comes from another site, without our cookies, so it is answered with a redirect
// to its own page, in whose address the request is sealed.
func (s *Server) saveLogout(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Form(r)
	if err != nil {
		return s.logoutError(r, err)
	}
	if _, err := s.oauth.BeginLogout(r.Context(), form); err != nil {
		return s.logoutError(r, err)
	}
	sealed, err := s.oauth.SealLogoutRequest(form)
	if err != nil {
		return s.logoutError(r, err)
	}
	return s.redirectTo(w, "/oauth2/logout?request="+sealed)
}

// showLogoutConfirmation shows who is signed in and asks who is to be signed out.
func (s *Server) showLogoutConfirmation(w http.ResponseWriter, r *http.Request, l *oauth.LogoutRequest, form url.Values, people []*identity.SignedInUser) error {
	sealed, err := s.oauth.SealLogoutRequest(form)
	if err != nil {
		return s.logoutError(r, err)
	}
	p := logoutPage{
		basePage: s.newBasePage(r, s.pages.message("logout.title")), Request: sealed, People: userChoices(people), FormToken: s.logoutToken(sealed, people), Unproven: l.InvalidHint,
	}
	if slices.ContainsFunc(people, func(who *identity.SignedInUser) bool { return s.oauth.HintMatches(l, who) }) {
		for i, who := range people {
			p.People[i].Ticked = s.oauth.HintMatches(l, who)
		}
	}
	if l.RedirectURI != "" {
		p.Destination = s.pages.destination(l.RedirectURI)
		s.allowLeaving(w)
	}
	if l.Client != nil {
		p.App = clientName(l.Client)
	}
	return s.render(w, http.StatusOK, "logout", p)
}

func (s *Server) logoutToken(sealed string, people []*identity.SignedInUser) string {
	parts := []string{"logout", sealed}
	for _, who := range people {
		parts = append(parts, who.Session.ID)
	}
	return s.formToken(parts...)
}

// confirmLogout serves POST /oauth2/logout/confirm.
func (s *Server) confirmLogout(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, params.MaxBodySize)
	if kind := r.Header.Get("Content-Type"); !strings.HasPrefix(kind, params.FormType) {
		return &pageError{status: http.StatusUnsupportedMediaType, text: "error.form"}
	}
	if err := r.ParseForm(); err != nil {
		return &pageError{status: http.StatusBadRequest, text: "error.form", cause: err}
	}
	people, err := s.users.SignedIn(r)
	if err != nil {
		return err
	}
	sealed := r.PostForm.Get("request")
	if len(people) == 0 {
		return s.redirectTo(w, "/signed-out")
	}
	if !hmac.Equal([]byte(r.PostForm.Get("form_token")), []byte(s.logoutToken(sealed, people))) {
		return &pageError{status: http.StatusForbidden, text: "error.form", link: s.base + "/account"}
	}
	form, err := s.oauth.OpenLogoutRequest(sealed)
	if err != nil {
		return s.logoutError(r, err)
	}
	l, err := s.oauth.BeginLogout(r.Context(), form)
	if err != nil {
		return s.logoutError(r, err)
	}
	if r.PostForm.Get("decision") != "sign-out" {
		return s.redirectTo(w, "/account")
	}
	out := slices.DeleteFunc(slices.Clone(people), func(who *identity.SignedInUser) bool {
		return !slices.Contains(r.PostForm["session"], who.Session.ID)
	})
	if len(out) == 0 {
		return s.redirectTo(w, "/account")
	}
	return s.signOutAndGo(w, r, l, out...)
}

// logoutError returns the page for an invalid logout request, which signed out no user. It reads the sessions that the
// page describes.
func (s *Server) logoutError(r *http.Request, err error) error {
	e := oauth.AsError(err)
	if e.Code != protocol.InvalidRequest {
		return err
	}
	page := &pageError{status: http.StatusBadRequest, text: "error.logout", detail: e.Code + ": " + e.Description, link: s.base + "/account", cause: e.Err}
	people, err := s.users.SignedIn(r)
	if err != nil {
		return err
	}
	if len(people) == 0 {
		page.text, page.link = "error.logout.nobody", ""
	}
	return page
}
