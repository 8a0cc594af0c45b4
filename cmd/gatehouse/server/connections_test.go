package server

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"

	"gatehouse/storage/storagetest"
)

// exhaustedListener is a listener of a system without free file descriptors.
type exhaustedListener struct{ net.Listener }

func (exhaustedListener) Accept() (net.Conn, error) {
	return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
}

func TestListenerLogsAcceptFailureOnceAMinute(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	storagetest.Must(t, err)
	var log bytes.Buffer
	b := newBoundedListener(exhaustedListener{listener}, 1, slog.New(slog.NewTextHandler(&log, nil)))
	for range 3 { // each failed Accept releases its slot
		if _, err := b.Accept(); !errors.Is(err, syscall.EMFILE) {
			t.Fatalf("Accept = %v, want %v", err, syscall.EMFILE)
		}
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 || !strings.Contains(log.String(), "too many open files") {
		t.Errorf("the log has %d errors, want one with %q:\n%s", n, "too many open files", log.String())
	}
	storagetest.Must(t, b.Close())
}

// TestWaitingAcceptEndsWithItsListener closes a listener without a free slot.
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
		t.Errorf("Accept after Close = %v, want %v", err, net.ErrClosed)
	}
	storagetest.Must(t, errors.Join(first.Close(), client.Close()))
}
