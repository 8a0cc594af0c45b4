package main

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"gatehouse/storage/storagetest"
)

// TestAdminListenerRespondsAtOpenFileLimit opens more connections to the public listener than the process may have
// files, and sends nothing.
func TestAdminListenerRespondsAtOpenFileLimit(t *testing.T) {
	t.Parallel()
	admin := freeAddress(t)
	w := newWorld(t, "sqlite:"+t.TempDir()+"/gatehouse.db", map[string]string{"GATEHOUSE_ADMIN_LISTEN": admin, "GATEHOUSE_DATABASE_POOL": "4"})
	server := runChild(t, w.env, exec.Command("sh", "-c", `ulimit -n 96 && exec "$0" serve`, publicProgram(t)), false)
	server.stderr.waitFor(t, `"msg":"listening"`, server.ended)
	public := strings.TrimPrefix(w.issuer, "http://")
	var open []net.Conn
	for range 300 {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", public)
		storagetest.Must(t, err)
		open = append(open, conn)
	}
	server.stderr.waitFor(t, "connection limit reached", server.ended)
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if status, body := get(t, "http://"+admin+path); status != http.StatusOK {
			t.Errorf("%s of the admin listener: %d %s, want 200", path, status, body)
		}
	}
	for _, conn := range open {
		storagetest.Must(t, conn.Close())
	}
	if a := w.caller(t).machine(); a.status != http.StatusOK {
		t.Errorf("a token request afterwards: %s", a)
	}
	if server.stderr.contains("too many open files") || server.stderr.contains("cannot accept connections") {
		t.Errorf("files ran out:\n%s", server.stderr.tail())
	}
	server.signal(syscall.SIGTERM)
	if code := server.wait(t); code != exitOK {
		t.Errorf("it ended with %d:\n%s", code, server.stderr.tail())
	}
}

// exhausted is a listener of a system that has no more files.
type exhausted struct{ net.Listener }

func (exhausted) Accept() (net.Conn, error) {
	return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
}

func TestListenerLogsAcceptFailureOnceAMinute(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	storagetest.Must(t, err)
	var log bytes.Buffer
	b := newBoundedListener(exhausted{listener}, 1, slog.New(slog.NewTextHandler(&log, nil)))
	for range 3 { // each gives its slot back
		if _, err := b.Accept(); !errors.Is(err, syscall.EMFILE) {
			t.Fatalf("Accept: %v, want too many open files", err)
		}
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 || !strings.Contains(log.String(), "too many open files") {
		t.Errorf("the log has the error %d times, want once:\n%s", n, log.String())
	}
	storagetest.Must(t, b.Close())
}

// TestWaitingAcceptEndsWithItsListener: a listener whose slots are all taken can be closed.
func TestWaitingAcceptEndsWithItsListener(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	storagetest.Must(t, err)
	b := newBoundedListener(listener, 1, slog.New(slog.DiscardHandler))
	client, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", listener.Addr().String())
	storagetest.Must(t, err)
	first, err := b.Accept()
	storagetest.Must(t, err)
	ended := make(chan error, 1)
	go func() {
		_, err := b.Accept()
		ended <- err
	}()
	storagetest.Must(t, b.Close())
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v, want net.ErrClosed", err)
	}
	storagetest.Must(t, errors.Join(first.Close(), client.Close()))
}
