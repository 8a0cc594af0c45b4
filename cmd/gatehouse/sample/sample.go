// Package sample is a third-party app and a small API, as a stranger would write them with ordinary libraries: it
// imports nothing of Gatehouse and knows it only by its metadata. The app signs people in by OpenID Connect with the
// authorization code flow and PKCE, and keeps their tokens on its server behind an HttpOnly cookie; the API verifies
// access tokens offline through the JWKS.
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

// Config is what the operator of an authorization server tells the developer of an app.
type Config struct {
	Issuer       string // the authorization server
	ClientID     string
	ClientSecret string
	URL          string // where this app runs
	Client       *http.Client
	Links        []Link // where a developer may want to go from here
}

// Link is a link at the end of every page.
type Link struct{ Text, URL string }

// Scopes is what the app asks for.
var Scopes = []string{"openid", "profile", "email", "notes.read", "notes.write", "offline_access"}

// app is the third-party app.
type app struct {
	config Config
	page   *template.Template
	css    []byte
	seal   sealer

	mu       sync.Mutex
	server   *provider
	sessions map[string]*session // by the value of the cookie
	notes    []string
}

// session is one browser in which a user is signed in to this app. A browser without a user has none.
type session struct {
	mu       sync.Mutex
	token    *oauth2.Token
	idToken  string // as it came, for the sign-out
	sid, sub string // what the ID token calls the session and the person
	userinfo string
	revoked  bool // the app revoked its tokens
	ended    bool // the server ended the session; the next page reports it
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
	seal, err := newSealer()
	if err != nil {
		return nil, err
	}
	a := &app{
		config: c, page: page, css: css, seal: seal, sessions: map[string]*session{}, notes: []string{"Buy milk", "Read RFC 9700"},
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
	mux.HandleFunc("POST /userinfo", a.askUserinfo)
	mux.HandleFunc("POST /revoke", a.revoke)
	mux.HandleFunc("POST /sign-out", a.signOut)
	mux.Handle("/api/", newAPI(a))
	mux.HandleFunc("/", a.notFound)
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
	if s == nil || time.Since(s.made) >= sessionLifetime {
		return nil
	}
	return s
}

// signedIn stores the session of a new sign-in under a new secret id and removes the previous session of the browser.
func (a *app) signedIn(w http.ResponseWriter, r *http.Request, s *session) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var own []string
	for id, other := range a.sessions {
		switch {
		case time.Since(other.made) >= sessionLifetime:
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
	slices.SortFunc(own, func(x, y string) int { return a.sessions[x].made.Compare(a.sessions[y].made) })
	for len(own) >= maxUserSessions {
		delete(a.sessions, own[0])
		own = own[1:]
	}
	id := random()
	a.sessions[id] = s
	a.setCookie(w, sessionCookie, id, sessionLifetime)
	return nil
}

// forget removes the session of a browser.
func (a *app) forget(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.sessions, a.cookie(r, sessionCookie))
	a.setCookie(w, sessionCookie, "", 0)
}

func random() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails: the program would have ended
	return base64.RawURLEncoding.EncodeToString(b)
}
