package servertest

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"

	"gatehouse/ratelimit/redistest"
	"gatehouse/storage/storagetest"
)

// Cluster starts n servers on one database behind a proxy that distributes requests round-robin. It returns the first
// process, with the URL of the proxy.
func Cluster(t testing.TB, db string, n int, o Options) *Server {
	t.Helper()
	type backend struct {
		*Server
		*httputil.ReverseProxy
	}
	var backends []backend
	var requests atomic.Uint64
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := backends[requests.Add(1)%uint64(len(backends))]
		// Otherwise the changes of other processes apply within a second, which a separate test checks.
		if err := b.Store.ApplyChanges(r.Context()); err != nil && r.Context().Err() == nil {
			t.Errorf("read the changes of other processes: %v", err)
		}
		b.ServeHTTP(w, r)
	}))
	storagetest.Cleanup(t, front.Close)
	env := map[string]string{"GATEHOUSE_TRUSTED_PROXIES": "127.0.0.1"}
	maps.Copy(env, o.Env)
	o.Env, o.Issuer = env, front.URL+o.Path
	var first *Server
	for range n {
		s := Start(t, db, o)
		to, err := url.Parse(s.URL)
		storagetest.Must(t, err)
		to.Path = ""
		backends = append(backends, backend{s, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
			r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
			r.SetXForwarded()
		}}})
		if first == nil {
			first, o.Clock = s, s.Clock
		}
	}
	first.URL = front.URL + o.Path
	for _, b := range backends[1:] {
		first.others = append(first.others, b.Server)
	}
	return first
}

// Counted returns how often this process and those behind the same proxy have counted an event.
func (s *Server) Counted(event string) uint64 {
	n := s.Store.Stats().Audit.Events[event]
	for _, other := range s.others {
		n += other.Counted(event)
	}
	return n
}

// Logs returns the logs of this process and those behind the same proxy.
func (s *Server) Logs() string {
	all := s.Log.String()
	for _, other := range s.others {
		all += other.Logs()
	}
	return all
}

// RunOnThreeProcesses tests requirements on three servers behind a proxy that share one PostgreSQL and one Redis,
// except the named requirements, which are about a single process. database returns the URL of an empty database.
func RunOnThreeProcesses(t *testing.T, table []Requirement, database func(t *testing.T) string, except ...string) {
	t.Helper()
	for _, r := range table {
		if slices.Contains(except, r.ID) {
			continue
		}
		t.Run(testName(r), func(t *testing.T) {
			t.Parallel()
			env := map[string]string{"GATEHOUSE_REDIS_URL": redistest.Start(t).URL}
			maps.Copy(env, r.Env)
			r.Test(t, Cluster(t, database(t), 3, Options{Env: env}))
		})
	}
}
