// Package sample is a third-party app and a small API, as a stranger would write them with ordinary libraries: it
// imports nothing of Gatehouse and knows it only by its metadata. The app signs people in with the authorization code
// flow and PKCE, and keeps their tokens on its server behind an HttpOnly cookie; the API verifies access tokens offline
// through the JWKS.
package sample

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
)

//go:embed app.html app.css
var files embed.FS

// Config is what the operator of an authorization server tells the developer of an app.
type Config struct {
	Issuer       string // the authorization server
	ClientID     string
	ClientSecret string
	URL          string // where this app runs
	Client       *http.Client
}

// Scopes is what the app asks for.
var Scopes = []string{"notes.read", "notes.write", "offline_access"}

// app is the third-party app.
type app struct {
	config Config
	page   *template.Template
	css    []byte

	mu       sync.Mutex
	server   *metadata
	sessions map[string]*session
	notes    []string
}

// session is one browser of this app.
type session struct {
	mu    sync.Mutex
	state string
	// The verifier of the sign-in under way (RFC 7636).
	verifier string
	token    *oauth2.Token
	revoked  bool   // the app gave its tokens back
	said     string // what the last action brought
	failed   bool
	made     time.Time
}

// metadata is what the app needs of RFC 8414 metadata.
type metadata struct {
	Issuer                string `json:"issuer"`
	AuthorizationEndpoint string `json:"authorization_endpoint"`
	TokenEndpoint         string `json:"token_endpoint"`
	RevocationEndpoint    string `json:"revocation_endpoint"`
	JWKSURI               string `json:"jwks_uri"`
}

// New returns the app and, under /api/, its API.
func New(c Config) (http.Handler, error) {
	if c.Client == nil {
		c.Client = &http.Client{Timeout: 10 * time.Second}
	}
	page, err := template.ParseFS(files, "app.html")
	if err != nil {
		return nil, err
	}
	css, err := files.ReadFile("app.css")
	if err != nil {
		return nil, err
	}
	a := &app{config: c, page: page, css: css, sessions: map[string]*session{}, notes: []string{"Buy milk", "Read RFC 9700"}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.home)
	mux.HandleFunc("GET /app.css", a.style)
	mux.HandleFunc("GET /callback", a.callback)
	mux.HandleFunc("POST /sign-in", a.signIn)
	mux.HandleFunc("POST /call", a.call)
	mux.HandleFunc("POST /refresh", a.refresh)
	mux.HandleFunc("POST /revoke", a.revoke)
	mux.HandleFunc("POST /sign-out", a.signOut)
	mux.Handle("/api/", newAPI(a))
	// Forms of this app can only be sent from this app.
	return a.canonical(http.NewCrossOriginProtection().Handler(mux)), nil
}

// canonical sends a browser that came under another name, such as localhost, to the app's own: cookies are kept by name,
// and the answer of a sign-in comes to this one.
func (a *app) canonical(next http.Handler) http.Handler {
	own, err := url.Parse(a.config.URL)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err == nil && r.Host != own.Host && r.Method == http.MethodGet && r.URL.Path == "/" {
			http.Redirect(w, r, a.config.URL, http.StatusSeeOther)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// discover fetches the metadata once it is needed, and checks that it is the issuer's own (RFC 8414 §3.3).
func (a *app) discover(ctx context.Context) (*metadata, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server != nil {
		return a.server, nil
	}
	issuer, err := url.Parse(a.config.Issuer)
	if err != nil {
		return nil, err
	}
	at := issuer.Scheme + "://" + issuer.Host + "/.well-known/oauth-authorization-server" + issuer.Path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	res, err := a.config.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	var m metadata
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&m); err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	if m.Issuer != a.config.Issuer {
		return nil, fmt.Errorf("the metadata is of another issuer, %q", m.Issuer)
	}
	a.server = &m
	return a.server, nil
}

// oauth is the golang.org/x/oauth2 client of this app.
func (a *app) oauth(ctx context.Context) (*oauth2.Config, *metadata, error) {
	m, err := a.discover(ctx)
	if err != nil {
		return nil, nil, err
	}
	return &oauth2.Config{
		ClientID: a.config.ClientID, ClientSecret: a.config.ClientSecret, RedirectURL: a.config.URL + "/callback", Scopes: Scopes,
		Endpoint: oauth2.Endpoint{AuthURL: m.AuthorizationEndpoint, TokenURL: m.TokenEndpoint, AuthStyle: oauth2.AuthStyleInHeader},
	}, m, nil
}

func (a *app) context(r *http.Request) context.Context {
	return context.WithValue(r.Context(), oauth2.HTTPClient, a.config.Client)
}

const (
	cookie      = "sample_session"
	sessionLife = 24 * time.Hour
	maxSessions = 1000
)

// session returns the browser's session, and makes one when there is none.
func (a *app) session(w http.ResponseWriter, r *http.Request) *session {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c, err := r.Cookie(cookie); err == nil {
		if s := a.sessions[c.Value]; s != nil && time.Since(s.made) < sessionLife {
			return s
		}
	}
	if len(a.sessions) >= maxSessions {
		clear(a.sessions)
	}
	return a.newSession(w)
}

func (a *app) newSession(w http.ResponseWriter) *session {
	id := random()
	s := &session{made: time.Now()}
	a.sessions[id] = s
	http.SetCookie(w, &http.Cookie{
		Name: cookie, Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: int(sessionLife.Seconds()),
		Secure: strings.HasPrefix(a.config.URL, "https://"),
	})
	return s
}

func random() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails: the program would have ended
	return base64.RawURLEncoding.EncodeToString(b)
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
	s.state, s.verifier = random(), oauth2.GenerateVerifier()
	http.Redirect(w, r, conf.AuthCodeURL(s.state, oauth2.S256ChallengeOption(s.verifier)), http.StatusSeeOther)
}

// callback takes the answer: it must carry the state of this very browser and the iss of the server that was asked
// (RFC 9207).
func (a *app) callback(w http.ResponseWriter, r *http.Request) {
	s := a.session(w, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	q := r.URL.Query()
	state, verifier := s.state, s.verifier
	s.state, s.verifier = "", ""
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
	conf, _, err := a.oauth(r.Context())
	if err == nil {
		s.revoked = false
		s.token, err = conf.Exchange(a.context(r), q.Get("code"), oauth2.VerifierOption(verifier))
	}
	s.tell(w, r, err, "You are signed in.")
}

// use runs an action of a signed-in browser and shows what it brought.
func (a *app) use(w http.ResponseWriter, r *http.Request, action func(s *session) (done string, err error)) {
	s := a.session(w, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == nil {
		s.tell(w, r, errors.New("sign in first"), "")
		return
	}
	done, err := action(s)
	s.tell(w, r, err, done)
}

// call asks the API with the access token.
func (a *app) call(w http.ResponseWriter, r *http.Request) {
	a.use(w, r, func(s *session) (string, error) {
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
			err = fmt.Errorf("the API answered %s: %s", res.Status, res.Header.Get("WWW-Authenticate"))
		}
		return "The API verified the token offline and answered: " + string(body), err
	})
}

// refresh trades the refresh token for new tokens.
func (a *app) refresh(w http.ResponseWriter, r *http.Request) {
	a.use(w, r, func(s *session) (string, error) {
		conf, _, err := a.oauth(r.Context())
		if err != nil {
			return "", err
		}
		fresh, err := conf.TokenSource(a.context(r), &oauth2.Token{RefreshToken: s.token.RefreshToken}).Token()
		if err != nil {
			return "", err
		}
		s.token = fresh
		return "The tokens are new: the refresh token was replaced by this use.", nil
	})
}

// revoke gives the grant back (RFC 7009).
func (a *app) revoke(w http.ResponseWriter, r *http.Request) {
	a.use(w, r, func(s *session) (string, error) {
		err := a.giveBack(r.Context(), s.token)
		s.revoked = err == nil
		return "The tokens are revoked. Refreshing fails from now on; the API, which only checks signatures, accepts the access token until it expires.", err
	})
}

func (a *app) giveBack(ctx context.Context, t *oauth2.Token) error {
	_, m, err := a.oauth(ctx)
	if err != nil {
		return err
	}
	form := url.Values{"token": {t.RefreshToken}, "token_type_hint": {"refresh_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.RevocationEndpoint, strings.NewReader(form.Encode()))
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
		return fmt.Errorf("the server answered %s", res.Status)
	}
	return nil
}

// signOut revokes the tokens and forgets the session.
func (a *app) signOut(w http.ResponseWriter, r *http.Request) {
	s := a.session(w, r)
	s.mu.Lock()
	token := s.token
	s.token = nil
	s.mu.Unlock()
	var err error
	if token != nil && token.RefreshToken != "" {
		err = a.giveBack(r.Context(), token)
	}
	a.mu.Lock()
	if c, cerr := r.Cookie(cookie); cerr == nil {
		delete(a.sessions, c.Value)
	}
	fresh := a.newSession(w)
	a.mu.Unlock()
	fresh.tell(w, r, err, "You are signed out of this app, and its tokens are revoked.")
}

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
		v.Expires = s.token.Expiry.UTC().Format("15:04:05 UTC")
		if scope, ok := s.token.Extra("scope").(string); ok {
			v.Scopes = slices.Sorted(slices.Values(strings.Fields(scope)))
		}
	}
	s.mu.Unlock()
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src data:; form-action 'self' "+a.config.Issuer+"; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	if err := a.page.Execute(w, v); err != nil {
		return // the browser went away
	}
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
