// Package servertest starts the server, as package server assembles it, for black-box tests: with a real listener, a
// real database on either engine, and a clock that the test sets. It contains no mock of Gatehouse's code.
package servertest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/config"
	"gatehouse/identity"
	"gatehouse/notify"
	"gatehouse/oauth"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
	"gatehouse/web"
)

// Server is one running process of Gatehouse.
type Server struct {
	T       testing.TB
	URL     string // of the listener
	Issuer  string // equals URL, except for a second process
	DB      string
	Store   *storage.Store
	OAuth   *oauth.Server
	Users   *identity.Users
	Clock   *storagetest.Clock
	Log     *Buffer
	Config  config.Config
	HTTP    *http.Client // follows no redirects and stores no cookies
	Handler http.Handler // serves without a network

	env    map[string]string
	notify *notify.Sender
	mail   *notify.Sender // nil without a mail server
	others []*Server      // behind the same proxy
}

// Buffer is a log that a test reads while it is written.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns what was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Options are the settings of a test server.
type Options struct {
	Issuer string // of another process; by default the URL of this one
	Env    map[string]string
	Clock  *storagetest.Clock
	Path   string // the issuer's path
	Host   string // of the URL; by default 127.0.0.1, which has no passkeys
	// OwnKeys creates signing keys instead of using those of earlier servers.
	OwnKeys bool
}

// Start runs a server on the database until the test ends.
func Start(t testing.TB, db string, o Options) *Server {
	t.Helper()
	collectLess()
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	storagetest.Must(t, err)
	address := listener.Addr().String()
	if o.Host != "" {
		address = strings.Replace(address, "127.0.0.1", o.Host, 1)
	}
	s := &Server{
		T: t, URL: "http://" + address + o.Path, DB: db, Clock: o.Clock, Log: &Buffer{}, Issuer: o.Issuer,
		env: o.Env,
	}
	if s.Clock == nil {
		s.Clock = storagetest.NewClock()
	}
	if s.Issuer == "" {
		s.Issuer = s.URL
	}
	env := map[string]string{
		"GATEHOUSE_ISSUER": s.Issuer, "GATEHOUSE_DATABASE_URL": db,
		"GATEHOUSE_SECRET_KEY": config.EncodeKey(storagetest.Key[:]),
	}
	env["GATEHOUSE_REQUEST_TIMEOUT"] = "4m" // with the race detector a password takes seconds
	for k, v := range o.Env {
		env[k] = v
	}
	s.Config, _, err = config.Load(func(name string) string { return env[name] }, nil)
	storagetest.Must(t, err)
	s.Store = storagetest.OpenPool(t, db, s.Clock, cmp.Or(s.Config.DatabasePool, 4))
	if !o.OwnKeys {
		insertKeys(t, s.Store)
	}
	log := slog.New(web.LogHandler(slog.NewJSONHandler(s.Log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	assembled, err := server.New(t.Context(), s.Store, server.Options{
		Config: s.Config, Log: log, LimitClock: s.Clock.Now,
		// Tests sign users in thousands of times: the default cost was 40 % of the processor time of the protocol tests.
		PasswordCost: identity.PasswordCost{Memory: 64, Passes: 1},
	})
	storagetest.Must(t, err)
	storagetest.Cleanup(t, func() { storagetest.Must(t, assembled.Close(context.Background())) })
	cacheKeys(t, s.Store)
	s.OAuth, s.Users, s.notify, s.mail = assembled.OAuth, assembled.Users, assembled.Notify, assembled.Mail
	s.Handler, err = assembled.Handler()
	storagetest.Must(t, err)
	hs := &httptest.Server{Listener: listener, Config: &http.Server{Handler: s.Handler, ReadHeaderTimeout: time.Minute}}
	hs.Start()
	storagetest.Cleanup(t, hs.Close)
	s.HTTP = &http.Client{
		Timeout: 5 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	storagetest.Cleanup(t, s.HTTP.CloseIdleConnections)
	return s
}

// collectLess makes garbage collection of this process rarer: each server is garbage after its test, and collection was
// a sixth of the processor time of the protocol tests. GOGC in the environment overrides it, as in a server.
var collectLess = sync.OnceFunc(func() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
})

// signingKeys are the keys of the first server of this test run. RSA keys take seconds under the race detector, and
// every test store has the same root key, so later servers get the same keys.
var signingKeys struct {
	sync.Mutex
	cached []storage.SigningKey
}

func insertKeys(t testing.TB, store *storage.Store) {
	t.Helper()
	signingKeys.Lock()
	defer signingKeys.Unlock()
	insert := func(have []storage.SigningKey) (add, changed []storage.SigningKey, err error) {
		if len(have) > 0 {
			return nil, nil, nil
		}
		now := store.Now()
		for _, k := range signingKeys.cached {
			k.CreatedAt, k.ActiveAt = now, now
			add = append(add, k)
		}
		return add, nil, nil
	}
	storagetest.Must(t, store.CreateSigningKeys(context.Background(), insert))
}

// cacheKeys caches the keys of the first server.
func cacheKeys(t testing.TB, store *storage.Store) {
	t.Helper()
	signingKeys.Lock()
	defer signingKeys.Unlock()
	if signingKeys.cached == nil {
		var err error
		signingKeys.cached, err = store.SigningKeys(context.Background())
		storagetest.Must(t, err)
	}
}

// StartAnother starts a second process on the same database, with the same issuer and clock.
func (s *Server) StartAnother() *Server {
	return Start(s.T, s.DB, Options{Issuer: s.Issuer, Clock: s.Clock, Env: s.env})
}

// StartAnotherWith starts a second process like StartAnother, with additional settings of the form NAME=value.
func (s *Server) StartAnotherWith(settings ...string) *Server {
	env := map[string]string{}
	maps.Copy(env, s.env)
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		env[name] = value
	}
	return Start(s.T, s.DB, Options{Issuer: s.Issuer, Clock: s.Clock, Env: env})
}

// Response is a response with its complete body.
type Response struct {
	Status int
	Header http.Header
	Body   string
	JSON   map[string]any // nil when the body is no JSON object
}

// Text returns a string member of the JSON.
func (r Response) Text(name string) string {
	s, _ := r.JSON[name].(string)
	return s
}

// Location returns the parsed Location header.
func (r Response) Location() *url.URL {
	u, err := url.Parse(r.Header.Get("Location"))
	if err != nil {
		return &url.URL{}
	}
	return u
}

// Do sends a request.
func (s *Server) Do(req *http.Request) Response {
	s.T.Helper()
	r, err := send(s.HTTP, req)
	if err != nil {
		s.T.Fatal(err)
	}
	return r
}

func send(c *http.Client, req *http.Request) (Response, error) {
	res, err := c.Do(req)
	if err != nil {
		return Response{}, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return Response{}, err
	}
	out := Response{Status: res.StatusCode, Header: res.Header, Body: string(body)}
	_ = json.Unmarshal(body, &out.JSON) // a page has no JSON
	return out, nil
}

// Request returns a request for a path of the server. A form is the body.
func (s *Server) Request(method, path string, form url.Values) *http.Request {
	s.T.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(context.Background(), method, s.URL+path, body)
	storagetest.Must(s.T, err)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return req
}

// Get requests a path.
func (s *Server) Get(path string) Response { return s.Do(s.Request(http.MethodGet, path, nil)) }

// Post posts a form as the client, with its registered authentication method. A zero client is not authenticated.
func (s *Server) Post(path string, c client.Information, form url.Values) Response {
	s.T.Helper()
	return s.Do(s.AsClient(path, c, form))
}

// AsClient returns the request that Post sends.
func (s *Server) AsClient(path string, c client.Information, form url.Values) *http.Request {
	full := url.Values{}
	for k, v := range form {
		full[k] = v
	}
	switch c.TokenEndpointAuthMethod {
	case storage.AuthNone:
		full.Set("client_id", c.ClientID)
	case storage.AuthPost:
		full.Set("client_id", c.ClientID)
		full.Set("client_secret", c.ClientSecret)
	}
	req := s.Request(http.MethodPost, path, full)
	if c.TokenEndpointAuthMethod == storage.AuthBasic {
		req.SetBasicAuth(url.QueryEscape(c.ClientID), url.QueryEscape(c.ClientSecret))
	}
	return req
}

// Token posts to the token endpoint.
func (s *Server) Token(c client.Information, form url.Values) Response {
	s.T.Helper()
	return s.Post("/oauth2/token", c, form)
}

// LogLine returns the attributes of the log line of the request with this response. A long response arrives before the
// line is written.
func (s *Server) LogLine(r Response) (attrs map[string]any) {
	s.T.Helper()
	id := r.Header.Get("X-Request-Id")
	storagetest.Eventually(s.T, "there is a log line for request "+id, func() bool {
		for line := range strings.Lines(s.Log.String()) {
			attrs = nil
			if json.Unmarshal([]byte(line), &attrs) == nil && attrs["msg"] == "request" && attrs["request_id"] == id {
				return true
			}
		}
		return false
	})
	return attrs
}

// Introspect introspects a token.
func (s *Server) Introspect(c client.Information, token string) Response {
	s.T.Helper()
	r := s.Post("/oauth2/introspect", c, url.Values{"token": {token}})
	if r.Status != http.StatusOK {
		s.T.Fatalf("introspection: %d %s, want 200", r.Status, r.Body)
	}
	return r
}

// Active reports whether a token is active for its own client.
func (s *Server) Active(c client.Information, token string) bool {
	s.T.Helper()
	return s.Introspect(c, token).JSON["active"] == true
}

// Client registers a client from metadata in JSON.
func (s *Server) Client(metadata string) client.Information {
	s.T.Helper()
	m, err := client.ParseMetadata([]byte(metadata))
	storagetest.Must(s.T, err)
	info, _, err := s.OAuth.Clients.Create(s.T.Context(), m)
	storagetest.Must(s.T, err)
	return info
}

// Service registers a client for client credentials.
func (s *Server) Service(scope string) client.Information {
	s.T.Helper()
	return s.Client(fmt.Sprintf(`{"client_name":"Service","grant_types":["client_credentials"],"scope":%q}`, scope))
}

// Callback is the redirect URI of App and Public.
const Callback = "https://app.example/callback"

// App registers a confidential web app with refresh tokens and the scopes read, write and offline_access.
func (s *Server) App() client.Information {
	s.T.Helper()
	return s.Client(`{"client_name":"App","client_uri":"https://app.example",
		"grant_types":["authorization_code","refresh_token"],"redirect_uris":["` + Callback + `"],
		"scope":"read write offline_access"}`)
}

// Public registers a public web app like App.
func (s *Server) Public() client.Information {
	s.T.Helper()
	return s.Client(`{"client_name":"Public","token_endpoint_auth_method":"none",
		"grant_types":["authorization_code","refresh_token"],"redirect_uris":["` + Callback + `"],
		"scope":"read write offline_access"}`)
}

// Password is the password of every user.
const Password = "correct horse battery"

// User creates a user with the username, and Password.
func (s *Server) User(username string) storage.User {
	s.T.Helper()
	u, err := s.Users.Create(s.T.Context(), identity.NewUser{
		Username: username, Email: username + "@example.com", Password: Password,
	})
	storagetest.Must(s.T, err)
	return u
}

// ServiceToken requests a client credentials token.
func (s *Server) ServiceToken(c client.Information) string {
	s.T.Helper()
	r := s.Token(c, url.Values{"grant_type": {"client_credentials"}})
	if r.Status != http.StatusOK {
		s.T.Fatalf("client credentials: %d %s, want 200", r.Status, r.Body)
	}
	return r.Text("access_token")
}

// UnregisteredClient returns a client that does not exist.
func UnregisteredClient(id string) client.Information {
	c := client.Information{ClientID: id, ClientSecret: "gate_cs_live_x"}
	c.TokenEndpointAuthMethod = storage.AuthBasic
	return c
}
