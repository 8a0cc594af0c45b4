// Package sample is a third-party client and a small API, written as their developers would write them with common
// libraries: it imports no package of Gatehouse and uses only its metadata. The client signs users in with OpenID
// Connect, the authorization code flow and PKCE, and stores their tokens on its server behind an HttpOnly cookie. The
// API verifies access tokens offline with the JWKS.
package sample

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

//go:embed app.html app.css
var files embed.FS

// Config has the values that a developer gets from the operator of an authorization server.
type Config struct {
	Issuer       string // the authorization server
	ClientID     string
	ClientSecret string
	URL          string // of this app
	Client       *http.Client
	Links        []Link // for developers, on every page
}

// Link is a link at the end of every page.
type Link struct{ Text, URL string }

// Scopes lists the scopes that the app requests.
var Scopes = []string{"openid", "profile", "email", "notes.read", "notes.write", "offline_access"}

// app is the third-party app.
type app struct {
	config Config
	page   *template.Template
	css    []byte
	sealer sealer

	mu       sync.Mutex
	server   *provider
	sessions map[string]*session // by the value of the cookie
	notes    []string
}

// session is one browser in which a user is signed in to this app. A browser without a user has none.
type session struct {
	mu       sync.Mutex
	token    *oauth2.Token
	idToken  string // encoded, for the sign-out
	sid, sub string // of the ID token
	userinfo string
	revoked  bool // the app revoked its tokens
	ended    bool // the server ended the session; the next page reports it
	created  time.Time
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
	seal, err := newSealer()
	if err != nil {
		return nil, err
	}
	a := &app{
		config: c, page: page, css: css, sealer: seal, sessions: map[string]*session{},
		notes: []string{"Buy milk", "Read RFC 9700"},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.home)
	mux.HandleFunc("GET /app.css", a.style)
	mux.HandleFunc("GET /callback", a.callback)
	mux.HandleFunc("POST /sign-in", a.signIn)
	mux.HandleFunc("GET /start", a.start)
	mux.HandleFunc("POST /backchannel-logout", a.backchannelLogout)
	mux.HandleFunc("POST /call", a.call)
	mux.HandleFunc("POST /refresh", a.refresh)
	mux.HandleFunc("POST /userinfo", a.reloadUserinfo)
	mux.HandleFunc("POST /revoke", a.revoke)
	mux.HandleFunc("POST /sign-out", a.signOut)
	mux.Handle("/api/", newAPI(a))
	mux.HandleFunc("/", a.notFound)
	// Forms of this app can only be sent from this app.
	return a.redirectToOwnHost(http.NewCrossOriginProtection().Handler(mux)), nil
}

// redirectToOwnHost redirects the home page of another host name, such as localhost, to the app's own: cookies belong
// to a host, and the response of a sign-in is sent to this one.
func (a *app) redirectToOwnHost(next http.Handler) http.Handler {
	own, err := url.Parse(a.config.URL)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err == nil && r.Host != own.Host && r.Method == http.MethodGet && r.URL.Path == "/" {
			http.Redirect(w, r, a.config.URL, http.StatusSeeOther)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// discover fetches the metadata on first use. go-oidc checks its issuer (OIDC Discovery §4.3).
func (a *app) discover(ctx context.Context) (*provider, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server != nil {
		return a.server, nil
	}
	// The JWKS of the provider is used after this request.
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

// oauth returns the configuration of golang.org/x/oauth2 for this app.
func (a *app) oauth(ctx context.Context) (*oauth2.Config, *provider, error) {
	p, err := a.discover(ctx)
	if err != nil {
		return nil, nil, err
	}
	endpoint := p.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	return &oauth2.Config{
		ClientID: a.config.ClientID, ClientSecret: a.config.ClientSecret, RedirectURL: a.config.URL + "/callback",
		Scopes: Scopes, Endpoint: endpoint,
	}, p, nil
}

func (a *app) context(r *http.Request) context.Context {
	return context.WithValue(r.Context(), oauth2.HTTPClient, a.config.Client)
}

// Bounds of the sessions. Many sessions of one user evict that user's oldest; a full app refuses further users
// and signs no user out.
const (
	maxSessions     = 1000
	maxUserSessions = 10
)

var errFull = errors.New("too many users are signed in; try again later")

// session returns the session of a browser, or nil when no user is signed in there.
func (a *app) session(r *http.Request) *session {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.sessions[a.cookie(r, sessionCookie)]
	if s == nil || time.Since(s.created) >= sessionLifetime {
		return nil
	}
	return s
}

// storeSession stores the session of a new sign-in under a new secret id and removes the previous session of the
// browser.
func (a *app) storeSession(w http.ResponseWriter, r *http.Request, s *session) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var own []string
	for id, other := range a.sessions {
		switch {
		case time.Since(other.created) >= sessionLifetime:
			delete(a.sessions, id)
		case other.sub == s.sub:
			own = append(own, id)
		}
	}
	before := a.cookie(r, sessionCookie)
	if _, replaced := a.sessions[before]; !replaced && len(own) < maxUserSessions && len(a.sessions) >= maxSessions {
		return errFull
	}
	delete(a.sessions, before)
	own = slices.DeleteFunc(own, func(id string) bool { return id == before })
	slices.SortFunc(own, func(x, y string) int { return a.sessions[x].created.Compare(a.sessions[y].created) })
	for len(own) >= maxUserSessions {
		delete(a.sessions, own[0])
		own = own[1:]
	}
	id := random()
	a.sessions[id] = s
	a.setCookie(w, sessionCookie, id, sessionLifetime)
	return nil
}

// deleteSession deletes the session of a browser and its cookie.
func (a *app) deleteSession(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.sessions, a.cookie(r, sessionCookie))
	a.setCookie(w, sessionCookie, "", 0)
}

func random() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never returns an error
	return base64.RawURLEncoding.EncodeToString(b)
}
