package storagetest

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy forwards connections to PostgreSQL, without TLS, and simulates failures of the network and failovers.
type Proxy struct {
	URL string // of the database, through the proxy

	target string
	delay  atomic.Int64 // of each response, in nanoseconds

	mu     sync.Mutex
	conns  map[net.Conn]bool // whether the connection is silenced
	marker []byte            // close the connection when the statement that contains it is done
	cut    []byte            // close each connection that sends it
	down   bool
}

// NewProxy starts a proxy to the PostgreSQL of the URL. It ends with the test.
func NewProxy(t testing.TB, dsn string) *Proxy {
	t.Helper()
	u, err := url.Parse(dsn)
	Must(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	Must(t, err)
	p := &Proxy{target: u.Host, conns: map[net.Conn]bool{}}
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

// Delay delays every response.
func (p *Proxy) Delay(d time.Duration) { p.delay.Store(int64(d)) }

// Silence keeps the connections that are open now open, and discards all further responses on them.
func (p *Proxy) Silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		p.conns[c] = true
	}
}

// CloseAt closes each connection that sends the string, until the test ends.
func (p *Proxy) CloseAt(t testing.TB, text string) {
	set := func(text string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.cut = []byte(text)
	}
	set(text)
	t.Cleanup(func() { set("") })
}

// DropResponseTo goes down as soon as the next statement with the marker among its values is committed, before its
// response arrives.
func (p *Proxy) DropResponseTo(marker string) {
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
		p.conns[c] = false
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

// closesAt reports whether bytes from a client close its connection.
func (p *Proxy) closesAt(b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.cut) > 0 && bytes.Contains(b, p.cut)
}

func (p *Proxy) silenced(client net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns[client]
}

// readyForQuery ends the response of PostgreSQL to a committed statement.
var readyForQuery = []byte{'Z', 0, 0, 0, 5, 'I'}

func (p *Proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = client.Close()
		return
	}
	if !p.track(client, server) {
		return
	}
	var losing atomic.Bool
	var wait sync.WaitGroup
	wait.Go(func() {
		forward(client, server, func(b []byte) (write, more bool) {
			if p.marked(b) {
				losing.Store(true)
			}
			closes := p.closesAt(b)
			return !closes, !closes
		})
	})
	forward(server, client, func(b []byte) (write, more bool) {
		if d := time.Duration(p.delay.Load()); d > 0 {
			<-time.After(d) // the delay is what the test simulates
		}
		if !losing.Load() {
			return !p.silenced(client), true
		}
		if bytes.HasSuffix(b, readyForQuery) {
			p.Down()
		}
		return false, true
	})
	wait.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
	delete(p.conns, server)
}

// forward copies what one side sends to the other until either closes its connection, or filter ends it.
func forward(from, to net.Conn, filter func(b []byte) (write, more bool)) {
	defer func() { _, _ = from.Close(), to.Close() }()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			write, more := filter(b[:n])
			if !more {
				return
			}
			if write {
				if _, err := to.Write(b[:n]); err != nil {
					return
				}
			}
		}
		if err != nil {
			return
		}
	}
}
