package server

import (
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gatehouse/config"
	"gatehouse/loopback"
	"gatehouse/web"
)

// adminHandler serves the admin listener: health, metrics and profiles. Health, which discloses nothing, accepts any
// host name, because the health checks of load balancers send different ones.
func adminHandler(pages *web.Server, registry *prometheus.Registry, cfg config.Config) http.Handler {
	outer := http.NewServeMux()
	mux := http.NewServeMux()
	outer.Handle("/", pages.Health())
	outer.Handle("/metrics", checkHost(mux, adminNames(cfg)))
	outer.Handle("/debug/pprof/", checkHost(mux, adminNames(cfg)))
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, os.Args[0]) //nolint:gosec // the name of the program; the arguments may have secrets
	})
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.Handle("/debug/pprof/mutex", whileRequested(pprof.Handler("mutex"), func(rate int) {
		runtime.SetMutexProfileFraction(rate)
	}))
	mux.Handle("/debug/pprof/block", whileRequested(pprof.Handler("block"), func(rate int) {
		runtime.SetBlockProfileRate(rate * 1000) // nanoseconds: a sample for each microsecond
	}))
	return outer
}

// whileRequested measures contention only while a request waits for its profile (?seconds=N), because it costs time.
func whileRequested(profile http.Handler, setRate func(int)) http.Handler {
	var mu sync.Mutex
	requests := 0
	change := func(by int) {
		mu.Lock()
		defer mu.Unlock()
		if requests += by; requests == 0 {
			setRate(0)
		} else {
			setRate(1)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		change(1)
		defer change(-1)
		profile.ServeHTTP(w, r)
	})
}

// checkHost refuses requests whose Host header has a name that is not allowed, which stops a web site from reaching
// this server through a browser and a DNS name of its own (DNS rebinding). allowed gets the name in lower case,
// without port.
func checkHost(h http.Handler, allowed func(name string) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			name = strings.Trim(r.Host, "[]")
		}
		if !allowed(strings.ToLower(strings.TrimSuffix(name, "."))) {
			http.Error(w, "this server does not respond to this host name; use its IP address", http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// adminNames returns a function that reports whether the admin listener accepts a host name. No attacker can bring a
// browser here by an IP address, and none controls localhost, this host's own name, or those in the settings. On a
// listener that other hosts reach, names without a dot and those of Kubernetes and private zones, by which
// Prometheus finds a service, are allowed too.
func adminNames(cfg config.Config) func(name string) bool {
	host, _ := os.Hostname() // without a host name it is not in the list
	listen, _, _ := net.SplitHostPort(cfg.AdminListen)
	own := []string{"localhost", strings.ToLower(host), strings.ToLower(listen), cfg.IssuerURL().Hostname()}
	return func(name string) bool {
		if _, err := netip.ParseAddr(name); err == nil {
			return true
		}
		if name == "" || slices.Contains(own, name) {
			return name != ""
		}
		if loopback.IsHost(listen) { // reachable only from this host, which needs no other name
			return false
		}
		return !strings.Contains(name, ".") || strings.HasSuffix(name, ".svc") ||
			strings.HasSuffix(name, ".cluster.local") || strings.HasSuffix(name, ".internal")
	}
}

// IsLoopback reports whether an address of the form host:port is reachable from the local host alone.
func IsLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && loopback.IsHost(host)
}
