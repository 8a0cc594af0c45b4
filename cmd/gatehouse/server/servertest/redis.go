package servertest

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"gatehouse/storage/storagetest"
)

// Redis is a real one, on a port of its own.
type Redis struct {
	URL string

	t         testing.TB
	port, dir string
	cmd       *exec.Cmd
}

// StartRedis runs a Redis until the test ends. Without redis-server the test is skipped, and fails when CI is set.
func StartRedis(t testing.TB) *Redis {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no redis-server; `make setup` installs it")
		}
		t.Skip("there is no redis-server")
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	storagetest.Must(t, err)
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	storagetest.Must(t, listener.Close())
	r := &Redis{URL: "redis://127.0.0.1:" + port, t: t, port: port, dir: t.TempDir()}
	r.Start()
	t.Cleanup(r.Kill)
	return r
}

// Start returns when it says that it is ready.
func (r *Redis) Start() {
	r.t.Helper()
	r.cmd = exec.Command("redis-server", "--port", r.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", r.dir)
	out, err := r.cmd.StdoutPipe()
	storagetest.Must(r.t, err)
	storagetest.Must(r.t, r.cmd.Start())
	said := ""
	for s := bufio.NewScanner(out); s.Scan(); {
		if said += s.Text() + "\n"; strings.Contains(s.Text(), "Ready to accept connections") {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return
		}
	}
	r.t.Fatalf("redis-server does not start:\n%s", said)
}

// Kill ends it as kill -9 does.
func (r *Redis) Kill() {
	if r.cmd.ProcessState == nil {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait() // killed
	}
}
