package web

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/storage/reqevent"
)

// metrics are those of requests. Their labels are patterns of the route table and error codes, never what a caller
// sent.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	shed     prometheus.Counter

	mu     sync.RWMutex
	series map[seriesKey]series
}

// seriesKey has the labels of a request.
type seriesKey struct {
	route, method, code string
	status              int
}

type series struct {
	requests prometheus.Counter
	duration prometheus.Observer
}

func newMetrics(s *Server, registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_http_requests_total", Help: "Requests, by route, method, status and protocol error.",
		}, []string{"route", "method", "status", "error"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gatehouse_http_request_duration_seconds", Help: "Duration of requests, by route.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route"}),
		shed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gatehouse_http_requests_shed_total", Help: "Requests refused with 503 because too many were in flight.",
		}),
		series: map[seriesKey]series{},
	}
	inFlight := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gatehouse_http_requests_in_flight", Help: "Requests in flight.",
	}, func() float64 { return float64(s.inFlight.Load()) })
	if registry == nil {
		return m, nil
	}
	return m, errors.Join(
		registry.Register(m.requests), registry.Register(m.duration), registry.Register(m.shed), registry.Register(inFlight),
	)
}

var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions,
	http.MethodPatch,
}

// methodLabel returns a method that is supported, and "other" for any other.
func methodLabel(method string) string {
	if slices.Contains(methods, method) {
		return method
	}
	return "other"
}

// count counts a request. Finding the series by labels costs more than counting, so they are cached.
func (m *metrics) count(method string, event *reqevent.Event) {
	key := seriesKey{route: event.Route, method: methodLabel(method), status: event.Status, code: event.ErrorCode}
	m.mu.RLock()
	found, ok := m.series[key]
	m.mu.RUnlock()
	if !ok {
		found = series{
			m.requests.WithLabelValues(key.route, key.method, strconv.Itoa(key.status), key.code),
			m.duration.WithLabelValues(key.route),
		}
		m.mu.Lock()
		m.series[key] = found
		m.mu.Unlock()
	}
	found.requests.Inc()
	found.duration.Observe(event.Duration.Seconds())
}
