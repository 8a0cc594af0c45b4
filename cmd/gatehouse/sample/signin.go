package sample

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// start starts a sign-in that another site initiates, such as the user's account page at the server (OIDC Core §4). It
// refuses any other issuer than the app's own.
func (a *app) start(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("iss") != a.config.Issuer {
		a.show(w, r, http.StatusBadRequest, notice{"This app signs in with " + a.config.Issuer + " only.", true})
		return
	}
	a.signIn(w, r)
}

// signIn sends the browser to the authorization server.
func (a *app) signIn(w http.ResponseWriter, r *http.Request) {
	conf, _, err := a.oauth(r.Context())
	if err != nil {
		a.redirectWithNotice(w, r, fmt.Errorf("cannot reach the authorization server: %w", err), "")
		return
	}
	p := pending{State: random(), Nonce: random(), Verifier: oauth2.GenerateVerifier(), Started: time.Now()}
	all := append(a.pendingOf(r), p)
	a.setSealed(w, pendingCookie, all[max(0, len(all)-maxPending):], pendingLifetime)
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(p.Verifier), oidc.Nonce(p.Nonce)}
	if hint := r.URL.Query().Get("login_hint"); hint != "" {
		options = append(options, oauth2.SetAuthURLParam("login_hint", hint))
	}
	to := conf.AuthCodeURL(p.State, options...)
	http.Redirect(w, r, to, http.StatusSeeOther) //nolint:gosec // the discovered endpoint; the hint is a parameter
}

// callback handles the authorization response: it must have the state of a sign-in of this browser and the iss of the
// server that received the request (RFC 9207). Any other response may be forged and changes nothing: the user stays
// signed in, and a sign-in in progress can still finish. An error response ends its sign-in, but no session.
func (a *app) callback(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	all := a.pendingOf(r)
	i := slices.IndexFunc(all, func(p pending) bool {
		return subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(p.State)) == 1
	})
	if i < 0 {
		a.redirectWithNotice(w, r, errors.New("this response does not belong to a sign-in of this browser"), "")
		return
	}
	if q.Get("iss") != a.config.Issuer {
		a.redirectWithNotice(w, r, errors.New("this response is from another server"), "")
		return
	}
	p := all[i]
	a.setSealed(w, pendingCookie, slices.Delete(all, i, i+1), pendingLifetime)
	switch {
	case q.Get("error") == "access_denied":
		a.redirectWithNotice(w, r, errors.New("you did not allow it"), "")
		return
	case q.Get("error") != "":
		a.redirectWithNotice(w, r, fmt.Errorf("the server refused: %s: %s", q.Get("error"), q.Get("error_description")), "")
		return
	}
	s, err := a.exchange(a.context(r), q.Get("code"), p)
	if err == nil {
		err = a.storeSession(w, r, s)
	}
	a.redirectWithNotice(w, r, err, "You are signed in.")
}

// exchange exchanges the code for tokens and validates the ID token: its signature, issuer, audience and times, that
// its nonce is the one of this sign-in, and that at_hash matches the access token (OIDC Core §3.1.3.7).
func (a *app) exchange(ctx context.Context, code string, p pending) (*session, error) {
	conf, server, err := a.oauth(ctx)
	if err != nil {
		return nil, err
	}
	token, err := conf.Exchange(ctx, code, oauth2.VerifierOption(p.Verifier))
	if err != nil {
		return nil, err
	}
	raw, _ := token.Extra("id_token").(string)
	idToken, err := server.Verifier(&oidc.Config{ClientID: a.config.ClientID}).Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(idToken.Nonce), []byte(p.Nonce)) != 1 {
		return nil, errors.New("the ID token belongs to another sign-in")
	}
	if err := idToken.VerifyAccessToken(token.AccessToken); err != nil {
		return nil, err
	}
	var claims struct {
		SID string `json:"sid"`
	}
	if err := idToken.Claims(&claims); err != nil {
		return nil, err
	}
	s := &session{token: token, idToken: raw, sid: claims.SID, sub: idToken.Subject, created: time.Now()}
	return s, a.readUserinfo(ctx, s)
}

// readUserinfo fetches the userinfo. Its sub must be the one of the ID token (OIDC Core §5.3.2).
func (a *app) readUserinfo(ctx context.Context, s *session) error {
	_, p, err := a.oauth(ctx)
	if err != nil {
		return err
	}
	info, err := p.UserInfo(ctx, oauth2.StaticTokenSource(s.token))
	if err != nil {
		return err
	}
	if info.Subject != s.sub {
		return errors.New("the userinfo is about another user")
	}
	var claims map[string]any
	if err := info.Claims(&claims); err != nil {
		return err
	}
	pretty, err := json.MarshalIndent(claims, "", "  ")
	s.userinfo = string(pretty)
	return err
}
