package main

import (
	"bytes"
	"context"
	"io"
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

// output is what a command printed, and signals new output.
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

// tail is the end of it, for a failure that needs no more.
func (o *output) tail() string {
	lines := strings.Split(strings.TrimSpace(o.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}

func (o *output) contains(text string) bool { return strings.Contains(o.String(), text) }

// waitFor waits until the text was printed.
func (o *output) waitFor(t testing.TB, text string, ended <-chan struct{}) {
	t.Helper()
	deadline := time.After(60 * time.Second)
	for !strings.Contains(o.String(), text) {
		select {
		case <-o.more:
		case <-ended:
			t.Fatalf("it ended before it printed %q:\n%s", text, o)
		case <-deadline:
			t.Fatalf("timed out waiting for %q in:\n%s", text, o)
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

// start runs a command the way main does, with an environment of its own.
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

// stop sends what SIGTERM sends and waits for the end.
func (p *process) stop(t testing.TB) int {
	t.Helper()
	p.cancel()
	select {
	case <-p.ended:
	case <-time.After(60 * time.Second):
		t.Errorf("it does not stop:\n%s", p.stderr)
	}
	return p.code
}

// command runs a command to its end.
func command(t testing.TB, env map[string]string, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(stdin), &out, &errs, func(name string) string { return env[name] })
	return out.String(), errs.String(), code
}

// needs returns a setting of the test environment. Without it the test is skipped in a developer's environment and fails in
// CI, where nothing may skip.
func needs(t testing.TB, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not set; `make test` sets it", name)
		}
		t.Skipf("%s is not set; `make test` sets it", name)
	}
	return v
}

func get(t testing.TB, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// dev starts `gatehouse dev` on free ports and returns it with the environment its commands need.
type devServer struct {
	*process

	issuer, sample, password string
	env                      map[string]string
}

func startDev(t testing.TB, dir string, more map[string]string) *devServer {
	t.Helper()
	listen, sample := storagetest.FreeAddress(t), storagetest.FreeAddress(t)
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		t.Fatal(err)
	}
	d := &devServer{issuer: "http://localhost:" + port, sample: "http://" + sample, env: map[string]string{
		"GATEHOUSE_ISSUER": "http://localhost:" + port, "GATEHOUSE_LISTEN": listen, "GATEHOUSE_DATABASE_URL": "sqlite:" + dir + "/gatehouse.db",
	}}
	for k, v := range more {
		d.env[k] = v
	}
	d.process = start(t, d.env, "dev", "--sample-listen", sample)
	d.stdout.waitFor(t, "introspect it again", d.ended)
	for line := range strings.Lines(d.stdout.String()) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "password"); ok {
			d.password = strings.TrimSpace(rest)
		}
	}
	if d.password == "" {
		t.Fatalf("no password in:\n%s", d.stdout)
	}
	return d
}

// startProgram starts a program of another project, which listens on an address, and returns when it accepts connections.
// It is killed when the test ends. out is what it writes.
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
	storagetest.Eventually(t, cmd.Path+" listens on "+address, func() bool {
		select {
		case <-ended:
			t.Fatalf("%s ended:\n%s", cmd.Path, out)
		default:
		}
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = c.Close() // nothing was sent
		}
		return err == nil
	})
	return out
}
