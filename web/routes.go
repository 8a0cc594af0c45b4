package web

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"gatehouse/oauth/protocol"
	"gatehouse/ratelimit"
	"gatehouse/storage/reqevent"
)

// kind says who a route is for, and so which adapter and which guards it gets.
type kind int

const (
	health        kind = iota // plain text, no log line
	public                    // public documents: any origin may read them
	api                       // protocol endpoints for clients: JSON errors, any origin, no cookies
	backend                   // the same for servers alone: no other origin
	page                      // pages and forms for people: HTML errors, strict headers, same origin only
	crossSitePage             // GET and POST of the authorization endpoint: a page that other sites may send people to
	static                    // stylesheet
)

type handler func(s *Server, w http.ResponseWriter, r *http.Request) error

type route struct {
	path    string
	kind    kind
	handler handler
}

const (
	metadataPath = "/.well-known/oauth-authorization-server"
	openidPath   = "/.well-known/openid-configuration"
	consentPath  = "POST /consent"
)

// routes is every route there is.
var routes = []route{
	{"GET /healthz", health, (*Server).healthy},
	{"GET /readyz", health, (*Server).ready},

	{metadataPath, public, (*Server).metadata},
	{openidPath, public, (*Server).metadata},
	{"/.well-known/jwks.json", public, (*Server).jwks},

	{"/oauth2/token", api, (*Server).token},
	{"/oauth2/introspect", backend, (*Server).introspect},
	{"/oauth2/revoke", api, (*Server).revoke},
	{"/oauth2/userinfo", api, (*Server).userinfo},
	{"/oauth2/register", backend, (*Server).register},
	{"/oauth2/register/{id}", backend, (*Server).registered},

	{"GET /oauth2/authorize", crossSitePage, (*Server).authorize},
	{"POST /oauth2/authorize", crossSitePage, (*Server).authorize},
	{"GET /oauth2/authorize/{id}", page, (*Server).resume},

	{"GET /oauth2/logout", crossSitePage, (*Server).logout},
	{"POST /oauth2/logout", crossSitePage, (*Server).saveLogout},
	{"POST /oauth2/logout/confirm", page, (*Server).confirmLogout},

	{"GET /select", page, (*Server).showSelect},
	{"POST /select", page, (*Server).selectAccount},
	{"GET /login", page, (*Server).showLogin},
	{"POST /login", page, (*Server).login},
	{"GET /consent", page, (*Server).showConsent},
	{consentPath, page, (*Server).consent},
	{"GET /signed-out", page, (*Server).showSignedOut},

	{"GET /{$}", page, (*Server).home},
	{"GET /account", page, (*Server).showAccount},
	{"GET /account/profile", page, (*Server).showProfile},
	{"POST /account/profile", page, (*Server).changeProfile},
	{"GET /account/apps/{id}", page, (*Server).showWithdraw},
	{"POST /account/apps/{id}/withdraw", page, (*Server).withdraw},
	{"POST /account/sessions/{id}/end", page, (*Server).endSession},
	{"POST /account/sign-out", page, (*Server).signOut},

	{"GET /static/{file}", static, (*Server).file},
	{"GET /logo/{id}", static, (*Server).logo},
}

func (s *Server) metadata(w http.ResponseWriter, r *http.Request) error {
	return s.oauth.Metadata(w, r)
}
func (s *Server) jwks(w http.ResponseWriter, r *http.Request) error {
	return s.oauth.Keyring.JWKS(w, r)
}
func (s *Server) token(w http.ResponseWriter, r *http.Request) error { return s.oauth.Token(w, r) }
func (s *Server) introspect(w http.ResponseWriter, r *http.Request) error {
	return s.oauth.Introspect(w, r)
}
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) error { return s.oauth.Revoke(w, r) }
func (s *Server) userinfo(w http.ResponseWriter, r *http.Request) error {
	return s.oauth.Userinfo(w, r)
}

// register and its reading, changing and deleting are limited alike: each may make this server fetch.
func (s *Server) register(w http.ResponseWriter, r *http.Request) error {
	if err := s.limitRegistration(r); err != nil {
		return err
	}
	return s.oauth.Register(w, r)
}

func (s *Server) registered(w http.ResponseWriter, r *http.Request) error {
	if err := s.limitRegistration(r); err != nil {
		return err
	}
	return s.oauth.RegisteredClient(w, r)
}

// registrationPiece is how many bytes of a request count as one: what a client was before stays in the audit log.
const registrationPiece = 4 << 10

func (s *Server) limitRegistration(r *http.Request) error {
	size := 0
	if b, ok := r.Body.(*body); ok {
		size = b.read.Len()
	}
	for piece := 0; piece <= size; piece += registrationPiece {
		if err := protocol.LimitError(s.limitNetwork(r, ratelimit.Registration), "Too many or too long registrations from your network. Wait, then try again."); err != nil {
			return err
		}
	}
	return nil
}

// limitNetwork counts a request against a limit of the network that it comes from.
func (s *Server) limitNetwork(r *http.Request, name string) ratelimit.Decision {
	return s.limiter.Count(r.Context(), ratelimit.Count{Limit: name, Key: reqevent.From(r.Context()).Network()})
}

func (s *Server) healthy(w http.ResponseWriter, _ *http.Request) error {
	_, err := w.Write([]byte("ok\n"))
	return err
}

// ready is healthy, reaches the database, has keys to sign with, has no stalled background job, has about the
// database's time and is not about to stop.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) error {
	if s.draining.Load() {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return nil
	}
	if err := s.readiness.ask(r.Context(), s); err != nil {
		http.Error(w, "not ready: the database is unavailable, the signing keys cannot be read, a background job is stalled, or the clock is wrong; the log has the cause", http.StatusServiceUnavailable)
		return err
	}
	return s.healthy(w, r)
}

// readiness is asked of the database by one request at a time and a few times a second at most, whoever wants to know.
type readiness struct {
	mu  sync.Mutex
	at  time.Time
	err error
}

const (
	readyFor     = 200 * time.Millisecond
	readyTimeout = 5 * time.Second
)

func (a *readiness) ask(ctx context.Context, s *Server) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Since(a.at) < readyFor {
		return a.err
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
	defer cancel()
	a.err = errors.Join(s.store.Ping(limited), s.oauth.Keyring.Load(limited), s.store.CheckClock(), s.also())
	a.at = time.Now()
	return a.err
}

// Health serves /healthz and /readyz alone, for the admin listener.
func (s *Server) Health() http.Handler {
	mux := http.NewServeMux()
	for _, r := range routes {
		if r.kind == health {
			mux.Handle(r.path, s.serve(r))
		}
	}
	return mux
}
