package fetch_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/oauth/fetch"
)

// clock returns a time that changes only by advance.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// TestPrivateAddressesAreNeverReached requests private addresses in every notation, and names that resolve to one
// (CVE-2026-55671, CVE-2026-27945).
func TestPrivateAddressesAreNeverReached(t *testing.T) {
	t.Parallel()
	var reached atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := fetch.New(nil, time.Now)
	for _, host := range []string{
		"127.0.0.1", "localhost", "[::1]", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0.0.0.0", "[::]",
		"[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
		"10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "169.254.169.254", "198.18.0.1", "224.0.0.1",
		"255.255.255.255", "[fe80::1]", "[fd00::1]",
		"[64:ff9b::7f00:1]", "[::ffff:0:7f00:1]", "[4000::1]", "[2002:7f00:1::]", "[fec0::1]", "[ff02::1]", "[2001:db8::1]",
	} {
		for _, address := range []string{"https://" + host + ":" + port + "/", "https://" + host + "/"} {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			if doc, err := c.Get(ctx, "app", address, 1000); err == nil {
				t.Errorf("Get(%s) = %q, want an error", address, doc.Body)
			}
			if status, err := c.Post(ctx, address, url.Values{"a": {"b"}}); err == nil {
				t.Errorf("Post(%s) = %d, want an error", address, status)
			}
			cancel()
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("the server received %d requests, want none", n)
	}
}

// TestOnlyCipherSuitesOfRFC9325AreOffered fetches from servers that support one suite of TLS 1.2 each. If the suite is
// offered, the handshake fails later, because of the unknown certificate.
func TestOnlyCipherSuitesOfRFC9325AreOffered(t *testing.T) {
	t.Parallel()
	for suite, offered := range map[uint16]bool{
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: true, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: true,
		tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA: false, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA: false,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: false,
	} {
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.TLS = &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}}
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		_, err := fetch.New([]string{"127.0.0.1"}, time.Now).Get(t.Context(), "app", server.URL, 1000)
		var unknown x509.UnknownAuthorityError
		if got := errors.As(err, &unknown); got != offered {
			t.Errorf("%s is offered: %t, want %t (%v)", tls.CipherSuiteName(suite), got, offered, err)
		}
		server.Close()
	}
}

func TestCheckRefusesAllButHTTPS(t *testing.T) {
	t.Parallel()
	c := fetch.New([]string{"allowed.example"}, time.Now)
	for address, ok := range map[string]bool{
		"https://app.example/jwks": true, "https://app.example:8443/": true, "http://allowed.example/x": true,
		"http://allowed.example:99/x": true, "https://93.184.216.34/": true,
		"http://app.example/": false, "ftp://app.example/": false, "file:///etc/passwd": false, "https:///x": false,
		"https:opaque": false, "//app.example/": false, "x": false, "": false,
		"https://user@app.example/": false, "https://u:p@app.example/": false, "https://127.0.0.1/": false,
		"https://[::1]/": false, "https://10.1.2.3/": false, "gopher://x/": false,
		"https://app.example/" + strings.Repeat("x", 2000): false, "http://allowed.example@evil.example/": false,
	} {
		if err := c.Check(address); (err == nil) != ok {
			t.Errorf("Check(%q) = %v, want success: %t", address, err, ok)
		}
	}
}

func TestRedirectTargetsAreChecked(t *testing.T) {
	t.Parallel()
	hidden := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("secret"))
	}))
	defer hidden.Close()
	var loops atomic.Int32
	open := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hidden":
			http.Redirect(w, r, strings.Replace(hidden.URL, "127.0.0.1", "localhost", 1), http.StatusFound)
		case "/loop":
			loops.Add(1)
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/once":
			http.Redirect(w, r, "/there", http.StatusFound)
		default:
			_, _ = w.Write([]byte("there"))
		}
	}))
	defer open.Close()
	c := fetch.New([]string{"127.0.0.1"}, time.Now)
	for _, path := range []string{"/hidden", "/loop"} {
		if doc, err := c.Get(t.Context(), "app", open.URL+path, 1000); !errors.Is(err, fetch.ErrRefused) {
			t.Errorf("Get of %s = %q, %v, want ErrRefused", path, doc.Body, err)
		}
	}
	if n := loops.Load(); n > 5 {
		t.Errorf("%d redirects were followed, want at most 5", n)
	}
	if doc, err := c.Get(t.Context(), "app", open.URL+"/once", 1000); err != nil || string(doc.Body) != "there" {
		t.Errorf("Get after one redirect = %q, %v, want \"there\"", doc.Body, err)
	}
	if status, err := c.Post(t.Context(), open.URL+"/hidden", url.Values{}); err != nil || status != http.StatusFound {
		t.Errorf("Post to a redirect = %d, %v, want 302", status, err)
	}
}

// FuzzCheck checks that only https URLs without a user, at no private address, are accepted.
func FuzzCheck(f *testing.F) {
	c := fetch.New(nil, time.Now)
	f.Add("https://app.example/x")
	f.Add("https://good@127.0.0.1/")
	f.Add("https://[::ffff:10.0.0.1]/")
	f.Fuzz(func(t *testing.T, raw string) {
		if c.Check(raw) != nil {
			return
		}
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
			t.Errorf("Check(%q) = nil, want an error", raw)
		}
		ip := net.ParseIP(u.Hostname()) // every method of a nil IP returns false
		if ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() {
			t.Errorf("Check(%q) = nil, want an error", raw)
		}
	})
}
