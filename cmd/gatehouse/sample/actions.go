package sample

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// runAction runs an action of a signed-in browser and shows its result.
func (a *app) runAction(w http.ResponseWriter, r *http.Request, action func(s *session) (done string, err error)) {
	s := a.session(r)
	if s == nil {
		a.redirectWithNotice(w, r, errors.New("sign in first"), "")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		a.redirectWithNotice(w, r, errors.New("sign in first"), "")
		return
	}
	done, err := action(s)
	a.redirectWithNotice(w, r, err, done)
}

// call calls the API with the access token.
func (a *app) call(w http.ResponseWriter, r *http.Request) {
	a.runAction(w, r, func(s *session) (string, error) {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, a.config.URL+"/api/notes", nil)
		if err != nil {
			return "", err
		}
		s.token.SetAuthHeader(req)
		res, err := a.config.Client.Do(req)
		if err != nil {
			return "", err
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
		if err == nil && res.StatusCode != http.StatusOK {
			err = fmt.Errorf("the API responded %s: %s", res.Status, res.Header.Get("WWW-Authenticate"))
		}
		return "The API verified the token offline and responded: " + string(body), err
	})
}

// reloadUserinfo fetches the userinfo again.
func (a *app) reloadUserinfo(w http.ResponseWriter, r *http.Request) {
	a.runAction(w, r, func(s *session) (string, error) {
		return "The userinfo was loaded again.", a.readUserinfo(a.context(r), s)
	})
}

// refresh exchanges the refresh token for new tokens.
func (a *app) refresh(w http.ResponseWriter, r *http.Request) {
	a.runAction(w, r, func(s *session) (string, error) {
		conf, p, err := a.oauth(r.Context())
		if err != nil {
			return "", err
		}
		fresh, err := conf.TokenSource(a.context(r), &oauth2.Token{RefreshToken: s.token.RefreshToken}).Token()
		if err != nil {
			return "", err
		}
		s.token = fresh // stored first: the previous refresh token is consumed
		if raw, ok := fresh.Extra("id_token").(string); ok {
			// It must be about the same user (OIDC Core §12.2).
			idToken, err := p.Verifier(&oidc.Config{ClientID: a.config.ClientID}).Verify(a.context(r), raw)
			if err != nil {
				return "", err
			}
			if idToken.Subject != s.sub {
				return "", errors.New("the new ID token is about another user")
			}
			s.idToken = raw
		}
		return "The tokens are new. The refresh token was replaced, too.", nil
	})
}

// revoke revokes the grant (RFC 7009).
func (a *app) revoke(w http.ResponseWriter, r *http.Request) {
	a.runAction(w, r, func(s *session) (string, error) {
		err := a.revokeToken(r.Context(), s.token)
		s.revoked = err == nil
		return "The tokens are revoked. Refreshing them fails. The API only checks signatures and accepts the access " +
			"token until it expires.", err
	})
}

func (a *app) revokeToken(ctx context.Context, t *oauth2.Token) error {
	_, p, err := a.oauth(ctx)
	if err != nil {
		return err
	}
	form := url.Values{"token": {t.RefreshToken}, "token_type_hint": {"refresh_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.RevocationEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(a.config.ClientID), url.QueryEscape(a.config.ClientSecret))
	res, err := a.config.Client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the server responded %s", res.Status)
	}
	return nil
}

// signOut revokes the tokens, deletes the session, and redirects to the server to sign the user out there as well
// (OIDC RP-Initiated Logout §2).
func (a *app) signOut(w http.ResponseWriter, r *http.Request) {
	s := a.session(r)
	a.deleteSession(w, r)
	done := "You are signed out of this app and at " + a.config.Issuer + ", and its tokens are revoked."
	if s == nil {
		a.redirectWithNotice(w, r, nil, "You are signed out of this app.")
		return
	}
	s.mu.Lock()
	token, idToken := s.token, s.idToken
	s.ended = true // for concurrent requests of this session
	s.mu.Unlock()
	var err error
	if token.RefreshToken != "" {
		err = a.revokeToken(r.Context(), token)
	}
	_, p, perr := a.oauth(r.Context())
	if err = errors.Join(err, perr); err != nil {
		err = fmt.Errorf("you are signed out of this app, but perhaps not at %s: %w", a.config.Issuer, err)
		a.redirectWithNotice(w, r, err, "")
		return
	}
	a.setSealed(w, noticeCookie, notice{Text: done}, noticeLifetime)
	v := url.Values{"id_token_hint": {idToken}, "post_logout_redirect_uri": {a.config.URL + "/"}}
	http.Redirect(w, r, p.EndSessionEndpoint+"?"+v.Encode(), http.StatusSeeOther)
}

// backchannelLogout is called by the server when a session ends there. It ends the sessions of this app that were
// created in it (OIDC Back-Channel Logout §2.6).
func (a *app) backchannelLogout(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	_, p, err := a.oauth(r.Context())
	if err != nil {
		http.Error(w, "cannot reach the authorization server", http.StatusServiceUnavailable)
		return
	}
	logout, err := p.Verifier(&oidc.Config{ClientID: a.config.ClientID}).
		VerifyLogout(a.context(r), r.PostFormValue("logout_token"))
	if err != nil {
		http.Error(w, "the logout token is not valid", http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	all := slices.Collect(maps.Values(a.sessions))
	a.mu.Unlock() // sessions lock the app while they are locked, so it must not be locked below
	for _, s := range all {
		s.mu.Lock()
		if logout.SessionID != "" && s.sid == logout.SessionID || logout.SessionID == "" && s.sub == logout.Subject {
			s.ended = true
		}
		s.mu.Unlock()
	}
}
