package web

import (
	"errors"
	"gatehouse/oauth/protocol"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of requests. Their labels are patterns of the route table and codes of ours, never what a caller sent.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	shed     prometheus.Counter

	mu    sync.RWMutex
	known map[seen]counted
}

// seen is what a request is counted as.
type seen struct {
	route, method, code string
	status              int
}

type counted struct {
	requests prometheus.Counter
	duration prometheus.Observer
}

func newMetrics(s *Server, registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gatehouse_http_requests_total", Help: "Requests answered, by route, method, status and protocol error."}, []string{"route", "method", "status", "error"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gatehouse_http_request_duration_seconds", Help: "Time to answer, by route.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route"}),
		shed:  prometheus.NewCounter(prometheus.CounterOpts{Name: "gatehouse_http_requests_shed_total", Help: "Requests refused with 503 because too many were in flight."}),
		known: map[seen]counted{},
	}
	inFlight := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gatehouse_http_requests_in_flight", Help: "Requests being worked on."}, func() float64 { return float64(s.inFlight.Load()) })
	if registry == nil {
		return m, nil
	}
	return m, errors.Join(registry.Register(m.requests), registry.Register(m.duration), registry.Register(m.shed), registry.Register(inFlight))
}

var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodPatch}

// knownMethod is the method, or "other" for one that a caller made up.
func knownMethod(method string) string {
	if slices.Contains(methods, method) {
		return method
	}
	return "other"
}

// count counts a request. Looking up its counters by label costs more than the counting, so they are kept.
func (m *metrics) count(route, method string, status int, err error, took time.Duration) {
	s := seen{route: route, method: knownMethod(method), status: status}
	if e := (*protocol.Error)(nil); err != nil && errors.As(err, &e) {
		s.code = e.Code
	}
	m.mu.RLock()
	c, ok := m.known[s]
	m.mu.RUnlock()
	if !ok {
		c = counted{m.requests.WithLabelValues(s.route, s.method, strconv.Itoa(s.status), s.code), m.duration.WithLabelValues(s.route)}
		m.mu.Lock()
		m.known[s] = c
		m.mu.Unlock()
	}
	c.requests.Inc()
	c.duration.Observe(took.Seconds())
}
