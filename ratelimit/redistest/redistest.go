// Package redistest starts a Redis server for tests, with nothing stored on disk.
package redistest

import (
	"bufio"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"

	"gatehouse/storage/storagetest"
)

// Server is a redis-server process on its own port of the loopback interface.
type Server struct {
	URL string

	t         testing.TB
	port, dir string
	cmd       *exec.Cmd
}

// Start runs a Redis server until the test ends. Without redis-server the test is skipped, or fails when CI is set.
func Start(t testing.TB) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		storagetest.Missing(t, "redis-server is not installed; `make setup` installs it")
	}
	_, port, _ := net.SplitHostPort(storagetest.FreeAddress(t))
	s := &Server{URL: "redis://127.0.0.1:" + port, t: t, port: port, dir: t.TempDir()}
	s.Restart()
	t.Cleanup(s.Kill)
	return s
}

// Restart runs the server on the same port and returns when it accepts connections.
func (s *Server) Restart() {
	s.t.Helper()
	s.cmd = exec.Command("redis-server", "--port", s.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--dir", s.dir)
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	output := ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if output += lines.Text() + "\n"; strings.Contains(lines.Text(), "Ready to accept connections") {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return
		}
	}
	s.t.Fatalf("redis-server does not start:\n%s", output)
}

// Kill ends the server like kill -9.
func (s *Server) Kill() {
	if s.cmd.ProcessState == nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait() // killed
	}
}
