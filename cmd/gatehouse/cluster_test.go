package main

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// balancer gives requests to processes in turn, and to none that is not ready.
type balancer struct {
	*httptest.Server

	turn     atomic.Uint64
	backends []*backend
}

type backend struct {
	url   string
	ready atomic.Bool
	proxy *httputil.ReverseProxy
}

func newBalancer(t *testing.T) *balancer {
	t.Helper()
	b := &balancer{}
	b.Server = httptest.NewServer(b)
	t.Cleanup(b.Close)
	return b
}

func (b *balancer) add(t *testing.T, address string) {
	t.Helper()
	to, err := url.Parse(address)
	storagetest.Must(t, err)
	one := &backend{url: address, proxy: &httputil.ReverseProxy{
		Transport: &http.Transport{MaxIdleConnsPerHost: 16},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			t.Errorf("a request was lost at %s: %v", address, err)
			w.WriteHeader(http.StatusBadGateway)
		},
	}}
	b.backends = append(b.backends, one)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() { // the health check of every load balancer
		tick := time.NewTicker(25 * time.Millisecond)
		defer tick.Stop()
		for {
			one.ready.Store(healthy(ctx, address))
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
}

func healthy(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/readyz", nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// ServeHTTP implements http.Handler.
func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for range 3 * len(b.backends) {
		if one := b.backends[b.turn.Add(1)%uint64(len(b.backends))]; one.ready.Load() {
			one.proxy.ServeHTTP(w, r)
			return
		}
	}
	w.WriteHeader(http.StatusBadGateway)
}

// TestRollingRestartLosesNothing restarts three processes one after the other, under load through a balancer.
func TestRollingRestartLosesNothing(t *testing.T) {
	t.Parallel()
	needs(t, "TEST_POSTGRES_DSN")
	rollingRestart(t, storagetest.URL(t, storage.Postgres))
}

// TestRollingRestartThroughPgBouncer is the same with PgBouncer between, which needs no setting.
func TestRollingRestartThroughPgBouncer(t *testing.T) {
	t.Parallel()
	for _, mode := range storagetest.PoolModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			rollingRestart(t, storagetest.StartPgBouncer(t, mode).URL)
		})
	}
}

func rollingRestart(t *testing.T, db string) {
	t.Helper()
	b := newBalancer(t)
	w := newWorld(t, db, map[string]string{
		"GATEHOUSE_ISSUER": b.URL, "GATEHOUSE_TRUSTED_PROXIES": "127.0.0.1", "GATEHOUSE_SHUTDOWN_DELAY": "4s", "GATEHOUSE_DATABASE_POOL": "4",
	})
	w.issuer = b.URL
	var nodes []*child
	var envs []map[string]string
	for range 3 {
		env := maps.Clone(w.env)
		env["GATEHOUSE_LISTEN"] = storagetest.FreeAddress(t)
		envs = append(envs, env)
		nodes = append(nodes, serveChild(t, env))
		b.add(t, "http://"+env["GATEHOUSE_LISTEN"])
	}
	for _, one := range b.backends {
		storagetest.Eventually(t, one.url+" is ready", one.ready.Load)
	}
	journals, callers := make([]journal, 6), make([]*caller, 6)
	for i := range callers {
		callers[i] = w.caller(t)
		callers[i].exchange(callers[i].signIn(t))
	}
	stop := make(chan struct{})
	var responses atomic.Int64
	done := load(len(callers), stop, func(i int) {
		if !journals[i].work(t, callers[i]) {
			t.Error("a request got no response")
		}
		responses.Add(1)
	})
	for i := range nodes {
		from := responses.Load()
		storagetest.Eventually(t, "there is load", func() bool { return responses.Load() > from+100 })
		nodes[i].signal(syscall.SIGTERM)
		if code := nodes[i].wait(t); code != exitOK {
			t.Errorf("process %d ended with %d:\n%s", i, code, nodes[i].stderr.tail())
		}
		nodes[i] = serveChild(t, envs[i])
		storagetest.Eventually(t, "it is back", b.backends[i].ready.Load)
	}
	close(stop)
	done()
	for i := range journals {
		journals[i].check(t, callers[i])
	}
	for _, n := range nodes {
		n.signal(syscall.SIGTERM)
		n.wait(t)
	}
}
