package storagetest

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
)

// Cutter is a proxy to PostgreSQL that closes a connection at a given string.
type Cutter struct {
	URL string // through the proxy

	armed atomic.Bool
}

// CutAt forwards connections to the PostgreSQL of a URL without TLS, and once armed closes each one that sends the
// string.
func CutAt(t testing.TB, db, word string) *Cutter {
	t.Helper()
	u, err := url.Parse(db)
	Must(t, err)
	behind := u.Host
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	Must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	c := &Cutter{}
	u.Host = listener.Addr().String()
	c.URL = u.String()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go c.forward(conn, behind, []byte(word))
		}
	}()
	return c
}

// Arm closes connections from now on until the test ends.
func (c *Cutter) Arm(t testing.TB) {
	c.armed.Store(true)
	t.Cleanup(func() { c.armed.Store(false) })
}

func (c *Cutter) forward(conn net.Conn, behind string, word []byte) {
	defer func() { _ = conn.Close() }()
	to, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", behind)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	go func() {
		_, _ = io.Copy(conn, to) // either end may close
		_ = conn.Close()
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := conn.Read(b)
		if c.armed.Load() && bytes.Contains(b[:n], word) {
			return
		}
		if _, werr := to.Write(b[:n]); werr != nil || err != nil {
			return
		}
	}
}
