package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/storage/storagetest"
)

// waitTimeout is how long the tests wait for a process or a page, on a busy host.
const waitTimeout = 2 * time.Minute

// output stores what a command prints, and signals new output.
type output struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{}
}

func newOutput() *output { return &output{more: make(chan struct{}, 1)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.b.Write(p)
	select {
	case o.more <- struct{}{}:
	default:
	}
	return n, err
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// tail returns the last lines, for failure messages.
func (o *output) tail() string {
	lines := strings.Split(strings.TrimSpace(o.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}

func (o *output) contains(text string) bool { return strings.Contains(o.String(), text) }

// waitFor waits until the text was printed.
func (o *output) waitFor(t testing.TB, text string, ended <-chan struct{}) {
	t.Helper()
	deadline := time.After(waitTimeout)
	for !strings.Contains(o.String(), text) {
		select {
		case <-o.more:
		case <-ended:
			t.Fatalf("the process ended before it printed %q:\n%s", text, o)
		case <-deadline:
			t.Fatalf("timed out waiting until the process prints %q; output:\n%s", text, o)
		}
	}
}

// process is a command that runs until it is stopped.
type process struct {
	stdout, stderr *output
	ended          chan struct{}
	code           int
	cancel         context.CancelFunc
}

// start runs a command as main does, with a separate environment.
func start(t testing.TB, env map[string]string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{stdout: newOutput(), stderr: newOutput(), ended: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(p.ended)
		p.code = run(ctx, args, strings.NewReader(""), p.stdout, p.stderr, func(name string) string { return env[name] })
	}()
	t.Cleanup(func() { p.stop(t) })
	return p
}

// startServe runs serve and returns when it listens.
func startServe(t testing.TB, env map[string]string, flags ...string) *process {
	t.Helper()
	p := start(t, env, append([]string{"serve"}, flags...)...)
	p.stderr.waitFor(t, `"msg":"listening"`, p.ended)
	return p
}

// stop cancels the context as SIGTERM does, and returns the exit code when the process has ended.
func (p *process) stop(t testing.TB) int {
	t.Helper()
	p.cancel()
	select {
	case <-p.ended:
	case <-time.After(waitTimeout):
		t.Errorf("the process did not end within %v after it was stopped:\n%s", waitTimeout, p.stderr)
	}
	return p.code
}

// command runs a command and returns when it has ended.
func command(t testing.TB, env map[string]string, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	// A `serve` that should fail and does not must not wait for the end of the tests.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	code = run(ctx, args, strings.NewReader(stdin), &out, &errs, func(name string) string { return env[name] })
	return out.String(), errs.String(), code
}

// mustRun runs a command, which must succeed, and returns its standard output.
func mustRun(t testing.TB, env map[string]string, stdin string, args ...string) string {
	t.Helper()
	stdout, stderr, code := command(t, env, stdin, args...)
	if code != exitOK {
		t.Fatalf("gatehouse %s: exit %d, want 0: %s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

// createUser creates a user with the email address username@example.com.
func createUser(t testing.TB, env map[string]string, username, password string, flags ...string) {
	t.Helper()
	args := []string{"user", "create", "--username", username, "--email", username + "@example.com", "--password-stdin"}
	mustRun(t, env, password+"\n", append(args, flags...)...)
}

// createClient registers a client from metadata in JSON.
func createClient(t testing.TB, env map[string]string, metadata string) (id, secret string) {
	t.Helper()
	stdout := mustRun(t, env, metadata, "client", "create", "--metadata", "-")
	var info struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	storagetest.Must(t, json.Unmarshal([]byte(stdout), &info))
	return info.ID, info.Secret
}

// requireEnv returns a variable of the test environment. Without it the test is skipped in a developer's environment
// and fails in CI, where no test may be skipped.
func requireEnv(t testing.TB, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		storagetest.Missing(t, name+" is not set; `make test` sets it")
	}
	return v
}

func get(t testing.TB, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	storagetest.Must(t, err)
	res, err := http.DefaultClient.Do(req)
	storagetest.Must(t, err)
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	storagetest.Must(t, err)
	return res.StatusCode, string(b)
}

// devServer is a running `gatehouse dev`, with the environment of commands on its database.
type devServer struct {
	*process

	issuer, sample, password string
	env                      map[string]string
}

// startDev starts `gatehouse dev` on free ports.
func startDev(t testing.TB, dir string, more map[string]string) *devServer {
	t.Helper()
	listen, sample := storagetest.FreeAddress(t), storagetest.FreeAddress(t)
	_, port, err := net.SplitHostPort(listen)
	storagetest.Must(t, err)
	d := &devServer{issuer: "http://localhost:" + port, sample: "http://" + sample, env: map[string]string{
		"GATEHOUSE_ISSUER": "http://localhost:" + port, "GATEHOUSE_LISTEN": listen,
		"GATEHOUSE_DATABASE_URL": "sqlite:" + dir + "/gatehouse.db",
	}}
	maps.Copy(d.env, more)
	d.process = start(t, d.env, "dev", "--sample-listen", sample)
	d.stdout.waitFor(t, "introspect it again", d.ended)
	for line := range strings.Lines(d.stdout.String()) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "password"); ok {
			d.password = strings.TrimSpace(rest)
		}
	}
	if d.password == "" {
		t.Fatalf("gatehouse dev printed no password:\n%s", d.stdout)
	}
	return d
}

// startProgram starts a program of another project that listens on an address, and returns its output when it accepts
// connections. The program is killed when the test ends.
func startProgram(t *testing.T, cmd *exec.Cmd, address string) (out *output) {
	t.Helper()
	out = newOutput()
	cmd.Stdout, cmd.Stderr = out, out
	storagetest.Must(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-ended
	})
	listens := func() bool {
		select {
		case <-ended:
			t.Fatalf("%s ended before it listened on %s:\n%s", cmd.Path, address, out)
		default:
		}
		return isListening(t, address)
	}
	storagetest.Eventually(t, cmd.Path+" listens on "+address, listens)
	return out
}

func isListening(t *testing.T, address string) bool {
	t.Helper()
	c, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", address)
	if err == nil {
		_ = c.Close() // nothing was sent
	}
	return err == nil
}
