package web

import (
	"cmp"
	"crypto/hmac"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/params"
	"gatehouse/oauth/redirect"
	"gatehouse/ratelimit"
	"gatehouse/storage"
)

type loginPage struct {
	basePage
	clientView
	Request, FormToken, Username, Problem string
	Again                                 bool // somebody is signed in and must show that it is them
	Others                                bool // the account chooser has somebody to choose
	Stays                                 string
}

// clientView is what pages tell of an app.
type clientView struct {
	App, AppHost, Logo, PolicyURI, TosURI string
	PolicyHost, TosHost                   string // of a self-registered client
}

func (s *Server) newClientView(a *oauth.AuthorizationRequest) clientView {
	c := a.Client
	v := clientView{App: clientName(c), AppHost: redirect.DestinationOf(c.URI).Host, PolicyURI: c.PolicyURI, TosURI: c.TosURI}
	if c.IsSelfRegistered() { // it may name anybody's home page: what is sure is where the answer goes
		v.AppHost = s.pages.destination(a.RedirectURI)
		v.PolicyHost, v.TosHost = redirect.DestinationOf(c.PolicyURI).Host, redirect.DestinationOf(c.TosURI).Host
	}
	if c.LogoURI != "" {
		v.Logo = s.base + "/logo/" + c.ID
	}
	return v
}

// showLogin serves GET /login. With a request it is a step of an authorization, else the way to the account page.
func (s *Server) showLogin(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Query(r)
	if err != nil {
		return err
	}
	request := form.Get("request")
	if next, err := s.afterLogin(w, r, form); err != nil || next != "" {
		if err != nil {
			return err
		}
		return s.redirectTo(w, next)
	}
	return s.loginPage(w, r, http.StatusOK, request, "", "")
}

// afterLogin returns where a reloaded sign-in page continues when the user has signed in concurrently, in another tab,
// and "" when the form must be shown. With the parameter another, the user wants to sign in with another account.
func (s *Server) afterLogin(w http.ResponseWriter, r *http.Request, form url.Values) (string, error) {
	request := form.Get("request")
	switch {
	case form.Get("another") != "":
		return "", nil
	case request == "" && form.Get("to") == "account":
		if who, err := s.users.CurrentUser(r); err != nil || who == nil {
			return "", err
		}
		return "/account", nil
	case request == "":
		return "", nil
	}
	a, err := s.oauth.Resume(r.Context(), request, s.users.EnsureBrowser(w, r), false)
	if err != nil {
		return "", s.redirectWithError(w, r, err)
	}
	_, next, _, err := s.decide(r, a)
	if err != nil || next == oauth.Login {
		return "", err
	}
	return "/oauth2/authorize/" + a.ID, nil
}

// loginPage shows the form, with the problem of the attempt before if there was one.
func (s *Server) loginPage(w http.ResponseWriter, r *http.Request, status int, request, username, problem string) error {
	browser := s.users.EnsureBrowser(w, r)
	p := loginPage{basePage: s.newBasePage(r, s.pages.message("login.title")), Request: request, Username: username, Problem: problem}
	if request != "" {
		a, err := s.oauth.Resume(r.Context(), request, browser, false)
		if err != nil {
			return s.redirectWithError(w, r, err)
		}
		p.clientView = s.newClientView(a)
		people, err := s.users.SignedIn(r)
		if err != nil {
			return err
		}
		p.Others = len(people) > 0 && a.RequiredSubject == ""
		if who := s.oauth.SelectSubject(a, people); who != nil {
			p.Again = true
			p.Username = cmp.Or(p.Username, who.User.Username)
		}
		p.Username = cmp.Or(p.Username, a.LoginHint)
		s.allowLeaving(w)
	}
	if request == "" {
		who, err := s.users.CurrentUser(r)
		if err != nil {
			return err
		}
		if who != nil {
			p.Stays = userName(who)
		}
	}
	p.FormToken = s.loginToken(browser, request)
	return s.render(w, status, "login", p)
}

func (s *Server) loginToken(browser []byte, request string) string {
	return s.formToken("login", hex.EncodeToString(browser), request)
}

// login serves POST /login.
func (s *Server) login(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Form(r)
	if err != nil {
		return err
	}
	request, username := form.Get("request"), form.Get("username")
	browser := s.users.Browser(r)
	if browser == nil || !hmac.Equal([]byte(form.Get("form_token")), []byte(s.loginToken(browser, request))) {
		return s.loginPage(w, r, http.StatusForbidden, request, username, s.pages.message("login.stale"))
	}
	var a *oauth.AuthorizationRequest
	if request != "" {
		// Before the password: a request that is over needs none.
		if a, err = s.oauth.Resume(r.Context(), request, browser, false); err != nil {
			return s.redirectWithError(w, r, err)
		}
	}
	if err := s.limitPage(r, ratelimit.SignIn); err != nil {
		return err
	}
	setActor(r, nil) // whoever else is signed in here is not who does this
	user, err := s.users.SignIn(r.Context(), username, form.Get("password"), s.users.Device(r))
	if err != nil {
		return s.loginFailed(w, r, request, username, err)
	}
	setActor(r, &identity.SignedInUser{User: user})
	who, err := s.users.StartSession(w, r, user, "pwd")
	if err != nil {
		return err
	}
	if a == nil {
		return s.redirectTo(w, "/account")
	}
	err = s.store.RecordSignIn(r.Context(), a.ID, browser, who.Session.ID)
	if errors.Is(err, storage.ErrNotFound) { // answered in another tab in the meantime, as the next page explains
		return s.redirectTo(w, "/oauth2/authorize/"+a.ID)
	}
	if err != nil {
		return err
	}
	// Without an additional redirect, so that max_age=1 can be satisfied on a slow network.
	a.Approved = a.Approved && a.SessionID == who.Session.ID
	a.SessionID, a.SignedIn = who.Session.ID, true
	return s.continueRequest(w, r, a)
}

// loginFailed shows the form again and returns the reason for the log. A wrong name and a wrong password look the same.
func (s *Server) loginFailed(w http.ResponseWriter, r *http.Request, request, username string, err error) error {
	var throttled *identity.ThrottledError
	switch {
	case errors.Is(err, identity.ErrInvalidCredentials):
		return cmp.Or(s.loginPage(w, r, http.StatusUnauthorized, request, username, s.pages.message("login.wrong")), err)
	case errors.As(err, &throttled):
		wait := max(time.Second, throttled.RetryAt.Sub(s.store.Now()).Round(time.Second))
		w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())))
		problem := s.pages.message("login.throttled", formatWait(wait))
		if throttled.Network {
			problem = s.pages.message("login.throttled_network", formatWait(wait))
		}
		return cmp.Or(s.loginPage(w, r, http.StatusTooManyRequests, request, username, problem), err)
	case errors.Is(err, identity.ErrBusy):
		w.Header().Set("Retry-After", "5")
		return cmp.Or(s.loginPage(w, r, http.StatusServiceUnavailable, request, username, s.pages.message("login.busy")), err)
	}
	return err
}

// formatWait returns a wait in words.
func formatWait(d time.Duration) string {
	if d == time.Second {
		return "1 second"
	}
	if d < 90*time.Second {
		return strconv.Itoa(int(d.Seconds())) + " seconds"
	}
	return strconv.Itoa(int((d+time.Minute-1)/time.Minute)) + " minutes"
}

type signedOutPage struct {
	basePage
	Still []userChoice // who is signed in here all the same
}

func (s *Server) showSignedOut(w http.ResponseWriter, r *http.Request) error {
	people, err := s.users.SignedIn(r)
	if err != nil {
		return err
	}
	return s.render(w, http.StatusOK, "signed_out", signedOutPage{s.newBasePage(r, s.pages.message("signed_out.title")), userChoices(people)})
}
