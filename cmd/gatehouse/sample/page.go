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

// tell remembers what to say and shows the page.
func (s *session) tell(w http.ResponseWriter, r *http.Request, err error, done string) {
	s.said, s.failed = done, false
	if err != nil {
		s.said, s.failed = "That did not work: "+err.Error(), true
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) {
			s.said = "The server refused: " + refused.ErrorCode + ": " + refused.ErrorDescription
		}
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

type view struct {
	Issuer, Said, Header, Claims, Expires string
	IDToken, Userinfo, Person             string
	SignedIn, Revoked, Failed, CanRefresh bool
	Scopes                                []string
}

// home shows whether somebody is signed in and what their access token says.
func (a *app) home(w http.ResponseWriter, r *http.Request) {
	s := a.session(w, r)
	s.mu.Lock()
	v := view{Issuer: a.config.Issuer, Said: s.said, Failed: s.failed}
	s.said = ""
	if s.token != nil {
		v.SignedIn, v.Revoked, v.CanRefresh = true, s.revoked, s.token.RefreshToken != ""
		v.Header, v.Claims = decode(s.token.AccessToken)
		_, v.IDToken = decode(s.idToken)
		v.Userinfo, v.Person = s.userinfo, nameIn(s.userinfo)
		v.Expires = s.token.Expiry.UTC().Format("15:04:05 UTC")
		if scope, ok := s.token.Extra("scope").(string); ok {
			v.Scopes = slices.Sorted(slices.Values(strings.Fields(scope)))
		}
	}
	s.mu.Unlock()
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	// Without form-action: Chromium applies it to every redirect that follows a form, and where the issuer redirects to, an
	// identity provider of another company for example, an app does not know.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	if err := a.page.Execute(w, v); err != nil {
		return // the browser went away
	}
}

// nameIn is what to call the person of a userinfo answer.
func nameIn(userinfo string) string {
	var claims struct {
		Name, Sub string
		Username  string `json:"preferred_username"`
	}
	_ = json.Unmarshal([]byte(userinfo), &claims) // without one nothing is shown
	return cmp.Or(claims.Name, claims.Username, claims.Sub)
}

// decode shows the two readable parts of a JWT.
func decode(token string) (header, claims string) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", ""
	}
	show := func(part string) string {
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
	return show(parts[0]), show(parts[1])
}

func (a *app) style(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, _ = w.Write(a.css) // a browser that went away
}
