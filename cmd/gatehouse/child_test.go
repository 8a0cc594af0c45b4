package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"gatehouse/storage/storagetest"
)

// child is a separate process, which a signal can kill: this test binary, run under the name of the command.
type child struct {
	cmd            *exec.Cmd
	stdout, stderr *output
	ended          chan struct{}
}

func startChild(t testing.TB, env map[string]string, args ...string) *child {
	t.Helper()
	self, err := os.Executable()
	storagetest.Must(t, err)
	name := filepath.Join(t.TempDir(), "gatehouse")
	storagetest.Must(t, os.Symlink(self, name))
	return runChild(t, env, exec.Command(name, args...), false)
}

// runChild starts a command that the test can signal. With unprivileged it runs as a user without rights, which needs
// root.
func runChild(t testing.TB, env map[string]string, cmd *exec.Cmd, unprivileged bool) *child {
	t.Helper()
	c := &child{cmd: cmd, stdout: newOutput(), stderr: newOutput(), ended: make(chan struct{})}
	if unprivileged {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	c.cmd.Stdout, c.cmd.Stderr = c.stdout, c.stderr
	c.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir()}
	for k, v := range env {
		c.cmd.Env = append(c.cmd.Env, k+"="+v)
	}
	storagetest.Must(t, c.cmd.Start())
	go func() {
		_ = c.cmd.Wait() // the exit code is in cmd.ProcessState
		close(c.ended)
	}()
	t.Cleanup(func() { c.signal(syscall.SIGKILL) })
	return c
}

// readableDir returns a directory that every user of this host can read.
func readableDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gatehouse")
	storagetest.Must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	storagetest.Must(t, os.Chmod(dir, 0o755))
	return dir
}

// publicProgram returns the path of a copy of gatehouse that every user of this host can run.
func publicProgram(t testing.TB) string {
	t.Helper()
	self, err := os.Executable()
	storagetest.Must(t, err)
	name := filepath.Join(readableDir(t), "gatehouse")
	program, err := os.ReadFile(self)
	storagetest.Must(t, err)
	storagetest.Must(t, os.WriteFile(name, program, 0o755))
	return name
}

// serveChild starts serve and returns when it listens.
func serveChild(t testing.TB, env map[string]string) *child {
	t.Helper()
	c := startChild(t, env, "serve")
	c.stderr.waitFor(t, `"msg":"listening"`, c.ended)
	return c
}

// signal sends a signal; with SIGKILL it returns when the process has ended.
func (c *child) signal(s syscall.Signal) {
	_ = c.cmd.Process.Signal(s) // the process may have ended
	if s == syscall.SIGKILL {
		<-c.ended
	}
}

// wait returns the exit code when the process has ended.
func (c *child) wait(t testing.TB) int {
	t.Helper()
	select {
	case <-c.ended:
	case <-time.After(waitTimeout):
		t.Errorf("the process did not end within %v:\n%s", waitTimeout, c.stderr)
		c.signal(syscall.SIGKILL)
	}
	return c.cmd.ProcessState.ExitCode()
}

// terminate sends SIGTERM. The process must end with exit code 0.
func (c *child) terminate(t testing.TB) {
	t.Helper()
	c.signal(syscall.SIGTERM)
	if code := c.wait(t); code != exitOK {
		t.Errorf("exit code after SIGTERM = %d, want 0:\n%s", code, c.stderr.tail())
	}
}

// fixture is the settings of a server, with a service, a client that signs users in, an API, and a user in its
// database.
type fixture struct {
	env                     map[string]string
	issuer                  string
	serviceID, serviceKey   string
	appID, appKey           string
	resourceID, resourceKey string // a client that may introspect every token
}

const userPassword = "the password of alice"

// Metadata of clients.
const (
	serviceMetadata = `{"client_name":"Service","grant_types":["client_credentials"],"scope":"jobs"}`
	appMetadata     = `{"client_name":"App","grant_types":["authorization_code","refresh_token"],
		"redirect_uris":["https://app.example/cb"],"scope":"read offline_access"}`
)

// newFixture migrates a database and creates the user and the clients.
func newFixture(t *testing.T, db string, more map[string]string) *fixture {
	t.Helper()
	address := storagetest.FreeAddress(t)
	f := &fixture{issuer: "http://" + address, env: map[string]string{
		"GATEHOUSE_ISSUER": "http://" + address, "GATEHOUSE_LISTEN": address, "GATEHOUSE_DATABASE_URL": db,
		"GATEHOUSE_SECRET_KEY": keyText,
		// What was issued before a restart must still be valid after it, however slow the host is.
		"GATEHOUSE_CODE_TTL": "10m", "GATEHOUSE_REFRESH_GRACE": "10m",
	}}
	maps.Copy(f.env, more)
	mustRun(t, f.env, "", "migrate", "up")
	createUser(t, f.env, "alice", userPassword)
	f.serviceID, f.serviceKey = createClient(t, f.env, serviceMetadata)
	f.appID, f.appKey = createClient(t, f.env, appMetadata)
	f.resourceID, f.resourceKey = createClient(t, f.env,
		`{"client_name":"API","grant_types":["client_credentials"],"scope":"jobs"}`)
	mustRun(t, f.env, "", "resource", "create", "https://api.example", "--scope", "read", "--scope", "jobs",
		"--introspector", f.resourceID)
	return f
}

// caller is one client of a server, with separate connections.
type caller struct {
	*fixture

	url  string // of the server that it calls; the issuer by default
	http *http.Client
	jar  http.CookieJar
}

func (f *fixture) caller(t testing.TB) *caller {
	t.Helper()
	jar, err := cookiejar.New(nil)
	storagetest.Must(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &caller{fixture: f, url: f.issuer, jar: jar, http: &http.Client{
		Transport: transport, Jar: jar, Timeout: 2 * time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// response is a JSON response. err is set when there was no response.
type response struct {
	status int
	body   map[string]any
	header http.Header
	last   bool // the server closes the connection after this response
	err    error
}

func (r response) text(name string) string { s, _ := r.body[name].(string); return s }

func (r response) String() string { return fmt.Sprint(r.status, " ", r.body, " ", r.err) }

func (c *caller) post(path, id, secret string, form url.Values) response {
	req, err := http.NewRequest(http.MethodPost, c.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		return response{err: err}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(id, secret)
	res, err := c.http.Do(req)
	if err != nil {
		return response{err: err}
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	out := response{status: res.StatusCode, header: res.Header, last: res.Close, err: err}
	if len(b) > 0 {
		if jerr := json.Unmarshal(b, &out.body); jerr != nil && err == nil && res.StatusCode == http.StatusOK {
			out.err = fmt.Errorf("%w in %q", jerr, b)
		}
	}
	return out
}

func (c *caller) serviceToken() response {
	return c.post("/oauth2/token", c.serviceID, c.serviceKey, url.Values{"grant_type": {"client_credentials"}})
}

func (c *caller) refresh(token string) response {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	return c.post("/oauth2/token", c.appID, c.appKey, form)
}

func (c *caller) exchange(code string) response {
	return c.post("/oauth2/token", c.appID, c.appKey, url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {verifier},
		"redirect_uri": {"https://app.example/cb"},
	})
}

func (c *caller) introspect(token string) response {
	return c.post("/oauth2/introspect", c.resourceID, c.resourceKey, url.Values{"token": {token}})
}

func (c *caller) revoke(id, secret, token string) response {
	return c.post("/oauth2/revoke", id, secret, url.Values{"token": {token}})
}

const verifier = "a-verifier-that-is-long-enough-for-rfc-7636-to-take"

func (c *caller) authorizeURL() string {
	app := oauth2.Config{
		ClientID: c.appID, RedirectURL: "https://app.example/cb", Scopes: []string{"read", "offline_access"},
		Endpoint: oauth2.Endpoint{AuthURL: c.url + "/oauth2/authorize"},
	}
	return app.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier))
}

// signIn signs in and consents on the pages. Afterwards the caller's jar has the session, and the consent is stored.
func (c *caller) signIn(t testing.TB) (code string) {
	t.Helper()
	return signInAndConsent(t, c.http, c.authorizeURL(), "alice", userPassword).Query().Get("code")
}

// requestCode returns an authorization code that the server issues without a page, by the session and the stored
// consent.
func (c *caller) requestCode() (string, error) {
	req, err := http.NewRequest(http.MethodGet, c.authorizeURL(), nil)
	if err != nil {
		return "", err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return "", err
	}
	_ = res.Body.Close()
	to, err := url.Parse(res.Header.Get("Location"))
	if err != nil || to.Query().Get("code") == "" {
		return "", fmt.Errorf("%d %s: %w", res.StatusCode, to, errNoCode)
	}
	return to.Query().Get("code"), nil
}

var errNoCode = errors.New("no code")

// runLoad starts n goroutines that call the function repeatedly until stop is closed. wait returns when all have ended.
func runLoad(n int, stop <-chan struct{}, fn func(i int)) (wait func()) {
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					fn(i)
				}
			}
		})
	}
	return running.Wait
}

var keyText = base64.StdEncoding.EncodeToString(storagetest.Key[:])
