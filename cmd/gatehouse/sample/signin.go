package sample

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// start begins a sign-in that somebody else asks for: the person's account page at the server (OIDC Core §4). Nothing is
// begun for a server other than the app's own.
func (a *app) start(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("iss") != a.config.Issuer {
		http.Error(w, "this app signs in with "+a.config.Issuer+" alone", http.StatusBadRequest)
		return
	}
	a.signIn(w, r)
}

// signIn sends the browser to the authorization server.
func (a *app) signIn(w http.ResponseWriter, r *http.Request) {
	s := a.session(w, r)
	conf, _, err := a.oauth(r.Context())
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.tell(w, r, fmt.Errorf("cannot reach the authorization server: %w", err), "")
		return
	}
	s.state, s.nonce, s.verifier = random(), random(), oauth2.GenerateVerifier()
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(s.verifier), oidc.Nonce(s.nonce)}
	if hint := r.URL.Query().Get("login_hint"); hint != "" {
		options = append(options, oauth2.SetAuthURLParam("login_hint", hint))
	}
	http.Redirect(w, r, conf.AuthCodeURL(s.state, options...), http.StatusSeeOther) //nolint:gosec // to the endpoint that discovery told; the hint is a parameter of it
}

// callback takes the answer: it must carry the state of this very browser and the iss of the server that was asked
// (RFC 9207).
func (a *app) callback(w http.ResponseWriter, r *http.Request) {
	s := a.session(w, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	q := r.URL.Query()
	state, nonce, verifier := s.state, s.nonce, s.verifier
	s.state, s.nonce, s.verifier = "", "", ""
	switch {
	case state == "" || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(state)) != 1:
		s.tell(w, r, errors.New("this answer does not belong to a sign-in of this browser"), "")
		return
	case q.Get("iss") != a.config.Issuer:
		s.tell(w, r, errors.New("this answer is from another server"), "")
		return
	case q.Get("error") == "access_denied":
		s.tell(w, r, errors.New("you did not allow it, so you are not signed in"), "")
		return
	case q.Get("error") != "":
		s.tell(w, r, fmt.Errorf("the server refused: %s: %s", q.Get("error"), q.Get("error_description")), "")
		return
	}
	s.tell(w, r, a.exchange(a.context(r), s, q.Get("code"), nonce, verifier), "You are signed in.")
}

// exchange trades the code for tokens and checks the ID token: its signature, issuer, audience and times, that it is of
// this very sign-in, and that it came with this very access token (OIDC Core §3.1.3.7).
func (a *app) exchange(ctx context.Context, s *session, code, nonce, verifier string) error {
	conf, p, err := a.oauth(ctx)
	if err != nil {
		return err
	}
	token, err := conf.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		return err
	}
	raw, _ := token.Extra("id_token").(string)
	idToken, err := p.Verifier(&oidc.Config{ClientID: a.config.ClientID}).Verify(ctx, raw)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(idToken.Nonce), []byte(nonce)) != 1 {
		return errors.New("the ID token is of another sign-in")
	}
	if err := idToken.VerifyAccessToken(token.AccessToken); err != nil {
		return err
	}
	var claims struct {
		SID string `json:"sid"`
	}
	if err := idToken.Claims(&claims); err != nil {
		return err
	}
	s.token, s.revoked, s.idToken, s.sid, s.sub = token, false, raw, claims.SID, idToken.Subject
	return a.readUserinfo(ctx, s)
}

// readUserinfo asks who the person is. The answer must be about whom the ID token is about (OIDC Core §5.3.2).
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
		return errors.New("the userinfo is about somebody else")
	}
	var claims map[string]any
	if err := info.Claims(&claims); err != nil {
		return err
	}
	pretty, err := json.MarshalIndent(claims, "", "  ")
	s.userinfo = string(pretty)
	return err
}
