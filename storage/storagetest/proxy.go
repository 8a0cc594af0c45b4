package storagetest

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"testing"
)

// Proxy forwards connections to PostgreSQL and simulates failures of the network and failovers.
type Proxy struct {
	URL string // of the database, through the proxy

	mu     sync.Mutex
	target string
	conns  map[net.Conn]struct{}
	marker []byte // cut the connection when the statement that contains it is done
	down   bool
}

// NewProxy starts a proxy to the PostgreSQL of the URL. It ends with the test.
func NewProxy(t testing.TB, dsn string) *Proxy {
	t.Helper()
	u, err := url.Parse(dsn)
	Must(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // ends with the test
	Must(t, err)
	p := &Proxy{target: u.Host, conns: map[net.Conn]struct{}{}}
	u.Host = listener.Addr().String()
	p.URL = u.String()
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.Down()
		wait.Wait()
	})
	return p
}

// Down closes every connection and refuses new ones.
func (p *Proxy) Down() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for c := range p.conns {
		_ = c.Close()
	}
}

// Up accepts connections again.
func (p *Proxy) Up() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

// LoseResponseTo goes down as soon as the next statement with the marker among its values is committed, before its
// response arrives.
func (p *Proxy) LoseResponseTo(marker string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.marker = []byte(marker)
}

// track stores the connections so that Down can close them. It returns false while the proxy is down.
func (p *Proxy) track(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.down {
			_ = c.Close()
			continue
		}
		p.conns[c] = struct{}{}
	}
	return !p.down
}

// marked reports whether bytes from a client contain the marker, once.
func (p *Proxy) marked(b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.marker) == 0 || !bytes.Contains(b, p.marker) {
		return false
	}
	p.marker = nil
	return true
}

// readyForQuery ends the response of PostgreSQL to a committed statement.
var readyForQuery = []byte{'Z', 0, 0, 0, 5, 'I'}

func (p *Proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.target) //nolint:noctx // ends with the connection
	if err != nil {
		_ = client.Close()
		return
	}
	if !p.track(client, server) {
		return
	}
	var mu sync.Mutex
	losing := false
	var wait sync.WaitGroup
	forward := func(from, to net.Conn, keep func(b []byte) bool) {
		defer func() { _, _ = from.Close(), to.Close() }()
		b := make([]byte, 64<<10)
		for {
			n, err := from.Read(b)
			if n > 0 && keep(b[:n]) {
				if _, err := to.Write(b[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
	wait.Go(func() {
		forward(client, server, func(b []byte) bool {
			if p.marked(b) {
				mu.Lock()
				losing = true
				mu.Unlock()
			}
			return true
		})
	})
	forward(server, client, func(b []byte) bool {
		mu.Lock()
		defer mu.Unlock()
		if losing && bytes.HasSuffix(b, readyForQuery) {
			p.Down()
		}
		return !losing
	})
	wait.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
	delete(p.conns, server)
}
