package main

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// balancer distributes requests round-robin to the processes that are ready.
type balancer struct {
	*httptest.Server

	requests atomic.Uint64
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

// add adds a process, and checks until the test ends whether it is ready, as every load balancer does.
func (b *balancer) add(t *testing.T, serverURL string) {
	t.Helper()
	target, err := url.Parse(serverURL)
	storagetest.Must(t, err)
	added := &backend{url: serverURL, proxy: &httputil.ReverseProxy{
		Transport: &http.Transport{MaxIdleConnsPerHost: 16},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			t.Errorf("%s %s at %s got no response: %v", r.Method, r.URL.Path, serverURL, err)
			w.WriteHeader(http.StatusBadGateway)
		},
	}}
	b.backends = append(b.backends, added)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		tick := time.NewTicker(25 * time.Millisecond)
		defer tick.Stop()
		for {
			added.ready.Store(isReady(ctx, serverURL))
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
}

func isReady(ctx context.Context, serverURL string) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, serverURL+"/readyz", nil)
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
		next := b.backends[b.requests.Add(1)%uint64(len(b.backends))]
		if next.ready.Load() {
			next.proxy.ServeHTTP(w, r)
			return
		}
	}
	w.WriteHeader(http.StatusBadGateway)
}

// TestRollingRestartLosesNothing restarts three processes one after the other, under load through a balancer.
func TestRollingRestartLosesNothing(t *testing.T) {
	t.Parallel()
	requireEnv(t, "TEST_POSTGRES_DSN")
	testRollingRestart(t, storagetest.URL(t, storage.Postgres))
}

// TestRollingRestartThroughPgBouncerLosesNothing does the same through PgBouncer, which needs no setting.
func TestRollingRestartThroughPgBouncerLosesNothing(t *testing.T) {
	t.Parallel()
	for _, mode := range storagetest.PoolModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			testRollingRestart(t, storagetest.StartPgBouncer(t, mode).URL)
		})
	}
}

func testRollingRestart(t *testing.T, db string) {
	t.Helper()
	b := newBalancer(t)
	f := newFixture(t, db, map[string]string{
		"GATEHOUSE_ISSUER": b.URL, "GATEHOUSE_TRUSTED_PROXIES": "127.0.0.1", "GATEHOUSE_SHUTDOWN_DELAY": "4s",
		"GATEHOUSE_DATABASE_POOL": "4",
	})
	f.issuer = b.URL
	var nodes []*child
	var envs []map[string]string
	for range 3 {
		env := maps.Clone(f.env)
		env["GATEHOUSE_LISTEN"] = storagetest.FreeAddress(t)
		envs = append(envs, env)
		nodes = append(nodes, serveChild(t, env))
		b.add(t, "http://"+env["GATEHOUSE_LISTEN"])
	}
	for _, added := range b.backends {
		storagetest.Eventually(t, added.url+" is ready", added.ready.Load)
	}
	journals, callers := make([]journal, 6), make([]*caller, 6)
	for i := range callers {
		callers[i] = f.caller(t)
		callers[i].exchange(callers[i].signIn(t))
	}
	stop := make(chan struct{})
	var responses atomic.Int64
	wait := runLoad(len(callers), stop, func(i int) {
		if !journals[i].work(t, callers[i]) {
			t.Error("a request got no response")
		}
		responses.Add(1)
	})
	for i := range nodes {
		from := responses.Load()
		storagetest.Eventually(t, "100 requests got a response", func() bool { return responses.Load() > from+100 })
		nodes[i].terminate(t)
		nodes[i] = serveChild(t, envs[i])
		storagetest.Eventually(t, "the restarted process is ready", b.backends[i].ready.Load)
	}
	close(stop)
	wait()
	for i := range journals {
		journals[i].check(t, callers[i])
	}
	for _, n := range nodes {
		n.terminate(t)
	}
}
