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
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/oauth/fetch"
)

// clock is moved by hand.
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

// TestPrivateAddressesAreNeverReached: in every notation, by name, and behind a redirect (CVE-2026-55671, CVE-2026-27945).
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
		"127.0.0.1", "localhost", "[::1]", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
		"10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "169.254.169.254", "198.18.0.1", "224.0.0.1", "255.255.255.255", "[fe80::1]", "[fd00::1]",
		"[64:ff9b::7f00:1]", "[::ffff:0:7f00:1]", "[4000::1]", "[2002:7f00:1::]", "[fec0::1]", "[ff02::1]", "[2001:db8::1]",
	} {
		for _, address := range []string{"https://" + host + ":" + port + "/", "https://" + host + "/"} {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			if doc, err := c.Get(ctx, "app", address, 1000); err == nil {
				t.Errorf("%s answered %q", address, doc.Body)
			}
			if status, err := c.Post(ctx, address, url.Values{"a": {"b"}}); err == nil {
				t.Errorf("POST %s answered %d", address, status)
			}
			cancel()
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("reached %d times", n)
	}
}

// TestFetchOffersOnlyTheSuitesOfRFC9325 fetches from servers that support one suite of TLS 1.2 each. Where the
// handshake gets past the choice of a suite, what fails is the unknown certificate.
func TestFetchOffersOnlyTheSuitesOfRFC9325(t *testing.T) {
	t.Parallel()
	for suite, offered := range map[uint16]bool{
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: true, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: true,
		tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA: false, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA: false, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: false,
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

func TestOnlyHTTPSServersAreFetched(t *testing.T) {
	t.Parallel()
	c := fetch.New([]string{"allowed.example"}, time.Now)
	for address, ok := range map[string]bool{
		"https://app.example/jwks": true, "https://app.example:8443/": true, "http://allowed.example/x": true, "http://allowed.example:99/x": true, "https://93.184.216.34/": true,
		"http://app.example/": false, "ftp://app.example/": false, "file:///etc/passwd": false, "https:///x": false, "https:opaque": false, "//app.example/": false, "x": false, "": false,
		"https://user@app.example/": false, "https://u:p@app.example/": false, "https://127.0.0.1/": false, "https://[::1]/": false, "https://10.1.2.3/": false, "gopher://x/": false,
		"https://app.example/" + strings.Repeat("x", 2000): false, "http://allowed.example@evil.example/": false,
	} {
		if err := c.Check(address); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestRedirectsAreCheckedAgain(t *testing.T) {
	t.Parallel()
	hidden := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("secret")) }))
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
			t.Errorf("%s: %q %v", path, doc.Body, err)
		}
	}
	if n := loops.Load(); n > 5 {
		t.Errorf("%d redirects were followed", n)
	}
	if doc, err := c.Get(t.Context(), "app", open.URL+"/once", 1000); err != nil || string(doc.Body) != "there" {
		t.Errorf("%q %v", doc.Body, err)
	}
	if status, err := c.Post(t.Context(), open.URL+"/hidden", url.Values{}); err != nil || status != http.StatusFound {
		t.Errorf("a post follows redirects: %d %v", status, err)
	}
}

func TestAnswersAreBoundedAndKept(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	status := atomic.Int32{}
	status.Store(http.StatusOK)
	hold := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch r.URL.Path {
		case "/large":
			_, _ = w.Write([]byte(strings.Repeat("x", 2000)))
		case "/slow":
			<-hold
		case "/short":
			w.Header().Set("Cache-Control", "max-age=1")
		case "/long":
			w.Header().Set("Cache-Control", "public, max-age=999999999")
		}
		w.WriteHeader(int(status.Load()))
	}))
	defer server.Close()
	now := &clock{now: time.Now()}
	c := fetch.New([]string{"127.0.0.1"}, now.Now)
	get := func(path string) error {
		_, err := c.Get(t.Context(), "app", server.URL+path, 1000)
		return err
	}
	times := func(want int32, what string) {
		t.Helper()
		if n := asked.Swap(0); n != want {
			t.Errorf("%s: asked %d times, want %d", what, n, want)
		}
	}
	if err := get("/large"); !errors.Is(err, fetch.ErrRefused) {
		t.Errorf("a large answer: %v", err)
	}
	_ = get("/large")
	times(1, "what failed is not asked for again at once")
	now.advance(31 * time.Second)
	_ = get("/large")
	times(1, "but later")
	for range 3 {
		if err := get("/short"); err != nil {
			t.Fatal(err)
		}
	}
	now.advance(59 * time.Second)
	_ = get("/short")
	times(1, "a minute at least")
	now.advance(2 * time.Second)
	_ = get("/short")
	times(1, "and then again")
	_ = get("/long")
	now.advance(23 * time.Hour)
	_ = get("/long")
	times(1, "a day at most")
	now.advance(2 * time.Hour)
	_ = get("/long")
	times(1, "and then again")
	for range 2 {
		if _, err := c.GetUncached(t.Context(), "app", server.URL+"/long", 1000); err != nil {
			t.Fatal(err)
		}
	}
	times(2, "as it is now")
	if _, err := c.Refresh(t.Context(), "app", server.URL+"/long", 1000); err != nil {
		t.Fatal(err)
	}
	times(0, "a second look within ten seconds")
	now.advance(11 * time.Second)
	_, _ = c.Refresh(t.Context(), "app", server.URL+"/long", 1000)
	times(1, "a second look later")

	// Many who want the same ask once, and one who goes away spoils it for nobody.
	gone, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		if _, err := c.Get(gone, "app", server.URL+"/slow", 1000); !errors.Is(err, context.Canceled) {
			t.Errorf("went away with %v", err)
		}
	})
	cancel()
	wait.Wait()
	for range 20 {
		wait.Go(func() {
			if err := get("/slow"); err != nil {
				t.Error(err)
			}
		})
	}
	close(hold)
	wait.Wait()
	times(1, "twenty at once")
	status.Store(http.StatusInternalServerError)
	now.advance(23 * time.Hour)
	if err := get("/short"); err == nil { // the last good one is over a day old by now
		t.Error("a document is answered for ever")
	}
	asked.Store(0)
	status.Store(http.StatusOK)
	now.advance(time.Minute)
	if err := get("/short"); err != nil {
		t.Error(err)
	}
	status.Store(http.StatusInternalServerError)
	now.advance(2 * time.Minute)
	for range 3 {
		if err := get("/short"); err != nil {
			t.Errorf("while the server fails: %v", err)
		}
	}
	times(2, "one hiccup costs one more question and nothing else")
	if _, err := c.GetUncached(t.Context(), "app", server.URL+"/short", 1000); err == nil {
		t.Error("what was good is answered as what is now")
	}
	if err := get("/broken"); err == nil {
		t.Error("500 is no document")
	}
}

// TestOneOwnerHoldsUpNoOther: whoever makes this server fetch from a host that stalls, or very many documents, is refused
// more, and what others need stays in memory and is fetched at once.
func TestOneOwnerHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	var good, stalled atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/stall") {
			stalled.Add(1)
			<-hold
		}
		if r.URL.Path == "/good" {
			good.Add(1)
		}
	}))
	defer server.Close()
	now := &clock{now: time.Now()}
	c := fetch.New([]string{"127.0.0.1"}, now.Now)
	fine := func(path string) {
		t.Helper()
		if _, err := c.Get(t.Context(), "honest", server.URL+path, 1000); err != nil {
			t.Fatal(path, err)
		}
	}
	fine("/good")
	gone, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wait sync.WaitGroup
	var refused atomic.Int32
	for i := range 200 {
		wait.Go(func() {
			_, err := c.Get(gone, "evil", server.URL+"/stall"+strconv.Itoa(i), 1000)
			if errors.Is(err, fetch.ErrBusy) && refused.Add(1) == 194 {
				cancel() // the others hang, and going away ends none of them
			}
		})
	}
	wait.Wait()
	if n := refused.Load(); n != 194 {
		t.Errorf("%d of 200 are refused", n)
	}
	fine("/good")
	fine("/other")
	close(hold)
	if n := stalled.Load(); n > 6 {
		t.Errorf("%d are under way for one owner", n)
	}

	// A hundred owners together fill everything: the longest unused goes, and not what is in use.
	for i := range 2000 {
		now.advance(time.Millisecond)
		if _, err := c.Get(t.Context(), "owner"+strconv.Itoa(i%100), server.URL+"/many"+strconv.Itoa(i), 1000); err != nil {
			t.Fatal(err)
		}
		fine("/good")
	}
	if n := good.Load(); n != 1 {
		t.Errorf("a document in use was fetched %d times", n)
	}
}

// TestAGoodDocumentIsAnsweredWithoutRoomForANewer: what is under way for an owner, or for all, costs nobody what is there.
func TestAGoodDocumentIsAnsweredWithoutRoomForANewer(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	arrived := make(chan struct{}, 200)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/stall") {
			arrived <- struct{}{}
			<-hold
		}
	}))
	defer server.Close()
	now := &clock{now: time.Now()}
	c := fetch.New([]string{"127.0.0.1"}, now.Now)
	get := func(owner, path string, limit int64) error {
		_, err := c.Get(t.Context(), owner, server.URL+path, limit)
		return err
	}
	owners := []string{"app", "another"}
	for _, owner := range owners {
		if err := get(owner, "/keys", 1000); err != nil {
			t.Fatal(err)
		}
	}
	var wait sync.WaitGroup
	stall := func(owner string, limit int64) {
		wait.Go(func() { _ = get(owner, "/stall", limit) })
		<-arrived
	}
	check := func(what string) {
		t.Helper()
		for _, owner := range owners {
			if err := get(owner, "/keys", 1000); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	for i := range 6 {
		stall("app", int64(1000+i))
	}
	now.advance(time.Hour)
	check("six under way for one")
	for i := range 63 {
		stall("owner"+strconv.Itoa(i), 1<<20)
	}
	if err := get("large", "/large", 1<<20); !errors.Is(err, fetch.ErrBusy) {
		t.Errorf("no room at all: %v", err)
	}
	check("fresh, and all is full")
	now.advance(time.Hour)
	check("stale, and all is full")
	now.advance(25 * time.Hour)
	if err := get("app", "/keys", 1000); !errors.Is(err, fetch.ErrBusy) {
		t.Errorf("over a day old: %v", err)
	}
	close(hold)
	wait.Wait()
}

// TestMemoryIsBounded: what is under way counts for what it may become.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	var open sync.Once
	release := func() { open.Do(func() { close(hold) }) }
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hold }))
	defer server.Close()
	defer release()
	c := fetch.New([]string{"127.0.0.1"}, time.Now)
	var wait sync.WaitGroup
	var refused atomic.Int32
	for i := range 100 {
		wait.Go(func() {
			_, err := c.Get(t.Context(), "owner"+strconv.Itoa(i), server.URL, 1<<20)
			if errors.Is(err, fetch.ErrBusy) {
				if refused.Add(1) == 36 { // 64 MiB are under way
					release()
				}
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if n := refused.Load(); n != 36 {
		t.Errorf("%d of 100 were refused", n)
	}
	if _, err := c.Get(t.Context(), "late", server.URL, 1<<20); err != nil {
		t.Errorf("the room is not given back: %v", err)
	}
}

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
			t.Errorf("accepted %q", raw)
		}
		if ip := net.ParseIP(u.Hostname()); ip != nil && (ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified()) {
			t.Errorf("accepted %q", raw)
		}
	})
}
