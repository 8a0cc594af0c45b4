package web

import (
	"crypto/hmac"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"

	"gatehouse/identity"
	"gatehouse/oauth/params"
	"gatehouse/storage"
)

type selectPage struct {
	basePage
	clientView
	Request, FormToken string
	People             []userChoice
}

// userChoice is one of the people signed in to the browser.
type userChoice struct {
	Session, Name, Email string
	Ticked               bool
}

func userChoices(people []*identity.SignedInUser) []userChoice {
	out := make([]userChoice, 0, len(people))
	for _, who := range people {
		out = append(out, userChoice{Session: who.Session.ID, Name: userName(who), Email: who.User.Email, Ticked: true})
	}
	return out
}

// showSelect serves GET /select, the account chooser: for an authorization request, or for the account pages.
func (s *Server) showSelect(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Query(r)
	if err != nil {
		return err
	}
	people, err := s.users.SignedIn(r)
	if err != nil {
		return err
	}
	request := form.Get("request")
	if len(people) == 0 {
		if request == "" {
			return s.redirectTo(w, "/login")
		}
		return s.redirectTo(w, "/login?request="+url.QueryEscape(request))
	}
	browser := s.users.EnsureBrowser(w, r)
	p := selectPage{basePage: s.newBasePage(r, s.pages.message("select.title")), Request: request, People: userChoices(people)}
	if request != "" {
		a, err := s.oauth.Resume(r.Context(), request, browser, false)
		if err != nil {
			return s.redirectWithError(w, r, err)
		}
		p.clientView = s.newClientView(a)
		s.allowLeaving(w)
	}
	p.FormToken = s.selectToken(browser, request)
	return s.render(w, http.StatusOK, "select", p)
}

func (s *Server) selectToken(browser []byte, request string) string {
	return s.formToken("select", hex.EncodeToString(browser), request)
}

// selectAccount serves POST /select.
func (s *Server) selectAccount(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Form(r)
	if err != nil {
		return err
	}
	request, browser := form.Get("request"), s.users.Browser(r)
	if browser == nil || !hmac.Equal([]byte(form.Get("form_token")), []byte(s.selectToken(browser, request))) {
		return &pageError{status: http.StatusForbidden, text: "error.form", link: s.base + "/account"}
	}
	who, err := s.users.SelectSession(w, r, form.Get("session"))
	if errors.Is(err, storage.ErrNotFound) { // signed out meanwhile
		if request == "" {
			return s.redirectTo(w, "/select")
		}
		return s.redirectTo(w, "/select?request="+url.QueryEscape(request))
	}
	if err != nil {
		return err
	}
	if request == "" {
		return s.redirectTo(w, "/account")
	}
	a, err := s.oauth.Resume(r.Context(), request, browser, false)
	if err != nil {
		return s.redirectWithError(w, r, err)
	}
	if err := s.store.SelectSession(r.Context(), a.ID, browser, who.Session.ID); err != nil {
		return err
	}
	return s.redirectTo(w, "/oauth2/authorize/"+a.ID)
}
