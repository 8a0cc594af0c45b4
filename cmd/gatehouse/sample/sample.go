// Package sample is a third-party app and a small API, as a stranger would write them with ordinary libraries: it
// imports nothing of Gatehouse and knows it only by its metadata. The app signs people in by OpenID Connect with the
// authorization code flow and PKCE, and keeps their tokens on its server behind an HttpOnly cookie; the API verifies
// access tokens offline through the JWKS.
package sample

import (
	"cmp"
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
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
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
var Scopes = []string{"openid", "profile", "email", "notes.read", "notes.write", "offline_access"}

// app is the third-party app.
type app struct {
	config Config
	page   *template.Template
	css    []byte

	mu       sync.Mutex
	server   *provider
	sessions map[string]*session
	notes    []string
}

// session is one browser of this app.
type session struct {
	mu sync.Mutex
	// Of the sign-in under way: its state, its nonce, and its PKCE verifier (RFC 7636).
	state, nonce, verifier string

	token    *oauth2.Token
	idToken  string // as it came, for the sign-out
	sid, sub string // what the ID token calls the session and the person
	userinfo string
	revoked  bool   // the app gave its tokens back
	said     string // what the last action brought
	failed   bool
	made     time.Time
}

// provider is the OpenID Provider as discovery describes it.
type provider struct {
	*oidc.Provider

	RevocationEndpoint string `json:"revocation_endpoint"`
	EndSessionEndpoint string `json:"end_session_endpoint"`
	JWKSURI            string `json:"jwks_uri"`
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
	mux.HandleFunc("GET /start", a.start)
	mux.HandleFunc("POST /backchannel-logout", a.backchannelLogout)
	mux.HandleFunc("POST /call", a.call)
	mux.HandleFunc("POST /refresh", a.refresh)
	mux.HandleFunc("POST /userinfo", a.askUserinfo)
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

// discover fetches the metadata once it is needed; go-oidc checks that it is the issuer's own (OIDC Discovery §4.3).
func (a *app) discover(ctx context.Context) (*provider, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server != nil {
		return a.server, nil
	}
	// The key set of the provider outlives this request.
	found, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), a.config.Client), a.config.Issuer)
	if err != nil {
		return nil, err
	}
	p := &provider{Provider: found}
	if err := found.Claims(p); err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	a.server = p
	return p, nil
}

// oauth is the golang.org/x/oauth2 client of this app.
func (a *app) oauth(ctx context.Context) (*oauth2.Config, *provider, error) {
	p, err := a.discover(ctx)
	if err != nil {
		return nil, nil, err
	}
	endpoint := p.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	return &oauth2.Config{
		ClientID: a.config.ClientID, ClientSecret: a.config.ClientSecret, RedirectURL: a.config.URL + "/callback", Scopes: Scopes, Endpoint: endpoint,
	}, p, nil
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

// askUserinfo reads the userinfo again.
func (a *app) askUserinfo(w http.ResponseWriter, r *http.Request) {
	a.use(w, r, func(s *session) (string, error) {
		return "The server told again who you are.", a.readUserinfo(a.context(r), s)
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
		if raw, ok := fresh.Extra("id_token").(string); ok {
			s.idToken = raw
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
		return fmt.Errorf("the server answered %s", res.Status)
	}
	return nil
}

// signOut revokes the tokens, forgets the session, and asks the server to sign the person out too (OIDC RP-Initiated
// Logout §2).
func (a *app) signOut(w http.ResponseWriter, r *http.Request) {
	s := a.session(w, r)
	s.mu.Lock()
	token, idToken := s.token, s.idToken
	s.token, s.idToken = nil, ""
	s.mu.Unlock()
	var err error
	if token != nil && token.RefreshToken != "" {
		err = a.giveBack(r.Context(), token)
	}
	_, p, perr := a.oauth(r.Context())
	a.mu.Lock()
	if c, cerr := r.Cookie(cookie); cerr == nil {
		delete(a.sessions, c.Value)
	}
	fresh := a.newSession(w)
	a.mu.Unlock()
	done := "You are signed out of this app and at " + a.config.Issuer + ", and its tokens are revoked."
	if err = errors.Join(err, perr); err != nil || idToken == "" {
		fresh.tell(w, r, err, done)
		return
	}
	fresh.mu.Lock()
	fresh.said = done
	fresh.mu.Unlock()
	v := url.Values{"id_token_hint": {idToken}, "post_logout_redirect_uri": {a.config.URL + "/"}}
	http.Redirect(w, r, p.EndSessionEndpoint+"?"+v.Encode(), http.StatusSeeOther)
}

// backchannelLogout is called by the server when a session there is over, however it ended: the sessions here that were
// begun in it end too (OIDC Back-Channel Logout §2.6).
func (a *app) backchannelLogout(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	_, p, err := a.oauth(r.Context())
	if err != nil {
		http.Error(w, "cannot reach the authorization server", http.StatusServiceUnavailable)
		return
	}
	logout, err := p.Verifier(&oidc.Config{ClientID: a.config.ClientID}).VerifyLogout(a.context(r), r.PostFormValue("logout_token"))
	if err != nil {
		http.Error(w, "the logout token is not valid", http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	all := slices.Collect(maps.Values(a.sessions)) // not locked together: a session asks for the app while it is locked
	a.mu.Unlock()
	for _, s := range all {
		s.mu.Lock()
		if s.token != nil && (s.sid == logout.SessionID || logout.SessionID == "" && s.sub == logout.Subject) {
			s.token, s.idToken, s.userinfo = nil, "", ""
			s.said, s.failed = "You were signed out where you had signed in, so you are signed out here too.", false
		}
		s.mu.Unlock()
	}
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
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src data:; form-action 'self' "+a.config.Issuer+"; base-uri 'none'; frame-ancestors 'none'")
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
