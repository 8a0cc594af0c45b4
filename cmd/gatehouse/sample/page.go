package sample

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/oauth2"
)

// redirectWithNotice redirects to the page, which shows the result of an action.
func (a *app) redirectWithNotice(w http.ResponseWriter, r *http.Request, err error, done string) {
	n := notice{Text: done}
	if err != nil {
		n = notice{"That did not work: " + err.Error(), true}
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) {
			n.Text = "The server refused: " + refused.ErrorCode + ": " + refused.ErrorDescription
		}
	}
	n.Text = strings.ToValidUTF8(n.Text[:min(len(n.Text), maxNotice)], "")
	a.setSealed(w, noticeCookie, n, noticeLifetime)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

type view struct {
	Links                                   []Link
	Issuer, Notice, Header, Claims, Expires string
	IDToken, Userinfo, User                 string
	SignedIn, Revoked, Failed, CanRefresh   bool
	Scopes                                  []string
}

// home shows whether a user is signed in, and the claims of the tokens.
func (a *app) home(w http.ResponseWriter, r *http.Request) {
	var n notice
	if a.readSealed(r, noticeCookie, &n) {
		a.setCookie(w, noticeCookie, "", 0)
	}
	a.show(w, r, http.StatusOK, n)
}

// notFound responds to a URL that is not a page of this app.
func (a *app) notFound(w http.ResponseWriter, r *http.Request) {
	a.show(w, r, http.StatusNotFound, notice{"Page not found.", true})
}

// show writes the page with a notice.
func (a *app) show(w http.ResponseWriter, r *http.Request, status int, n notice) {
	s := a.session(r)
	if s == nil {
		s = &session{ended: true}
	} else if s.hasEnded() {
		a.deleteSession(w, r)
		if n.Text == "" {
			n.Text = "You were signed out at the server, so you are signed out here as well."
		}
	}
	s.mu.Lock()
	v := view{Issuer: a.config.Issuer, Notice: n.Text, Failed: n.Failed, Links: a.config.Links}
	if !s.ended {
		v.SignedIn, v.Revoked, v.CanRefresh = true, s.revoked, s.token.RefreshToken != ""
		v.Header, v.Claims = decode(s.token.AccessToken)
		_, v.IDToken = decode(s.idToken)
		v.Userinfo, v.User = s.userinfo, displayName(s.userinfo)
		v.Expires = s.token.Expiry.UTC().Format("15:04:05 UTC")
		if scope, ok := s.token.Extra("scope").(string); ok {
			v.Scopes = slices.Sorted(slices.Values(strings.Fields(scope)))
		}
	}
	s.mu.Unlock()
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	// Without form-action: Chromium applies it to every redirect that follows a form, and the app cannot list all
	// hosts that the issuer redirects to, for example another identity provider.
	h.Set("Content-Security-Policy",
		"default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	if err := a.page.Execute(w, v); err != nil {
		return // the browser disconnected
	}
}

func (s *session) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// displayName returns the name of the user in a userinfo response.
func displayName(userinfo string) string {
	var claims struct {
		Name, Sub string
		Username  string `json:"preferred_username"`
	}
	_ = json.Unmarshal([]byte(userinfo), &claims) // without claims no name is shown
	return cmp.Or(claims.Name, claims.Username, claims.Sub)
}

// decode returns the header and the claims of a JWT as indented JSON.
func decode(token string) (header, claims string) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", ""
	}
	indent := func(part string) string {
		raw, err := base64.RawURLEncoding.DecodeString(part)
		var v any
		if err != nil || json.Unmarshal(raw, &v) != nil {
			return ""
		}
		pretty, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return ""
		}
		return string(pretty)
	}
	return indent(parts[0]), indent(parts[1])
}

func (a *app) style(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, _ = w.Write(a.css) // the browser disconnected
}
