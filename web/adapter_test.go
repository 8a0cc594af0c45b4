package web

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"gatehouse/storage/reqevent"
	"gatehouse/web/page"
)

// TestPanicIsInternalServerError shows that a bug in a handler fails only its request, and that the response discloses
// nothing about it.
func TestPanicIsInternalServerError(t *testing.T) {
	t.Parallel()
	issuer := &url.URL{Scheme: "http", Host: "id.example"}
	pages, err := page.New(page.Options{Issuer: issuer})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	s := &Server{pages: pages, issuer: issuer, log: slog.New(LogHandler(slog.NewTextHandler(&log, nil)))}
	if s.metrics, err = newMetrics(s, nil); err != nil {
		t.Fatal(err)
	}
	for _, k := range []kind{kindAPI, kindStatic, kindPublic} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r = r.WithContext(reqevent.NewContext(r.Context(), &reqevent.Event{RequestID: "the-id"}))
		faulty := func(http.ResponseWriter, *http.Request) error { panic("a secret cause") }
		s.serve(route{kind: k, handler: faulty}).ServeHTTP(w, r)
		if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "secret cause") {
			t.Errorf("kind %d: status %d, want 500 without the cause: %s", k, w.Code, w.Body)
		}
	}
	w := httptest.NewRecorder()
	s.serve(route{kind: kindAPI, handler: func(w http.ResponseWriter, _ *http.Request) error {
		_, _ = w.Write([]byte("half of a response"))
		panic("in the middle")
	}}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "half") {
		t.Errorf("after half of a response: %d %s, want 500 without that half", w.Code, w.Body)
	}
	if n := s.inFlight.Load(); n != 0 {
		t.Errorf("%d slots are still acquired, want 0", n)
	}
	if !strings.Contains(log.String(), "a secret cause") || !strings.Contains(log.String(), "the-id") {
		t.Errorf("the log lacks the cause or the request ID: %s", log.String())
	}
}

// TestAbortedRequestIsLogged checks that a handler that aborts its response, as net/http lets it, also ends the request
// event, the trace and the slot.
func TestAbortedRequestIsLogged(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	spans := tracetest.NewSpanRecorder()
	s := &Server{
		log: slog.New(slog.NewTextHandler(&log, nil)), proxyCheck: &proxyCheck{},
		tracer: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test"),
	}
	registry := prometheus.NewRegistry()
	var err error
	if s.metrics, err = newMetrics(s, registry); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	func() {
		defer func() {
			if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // net/http compares the value as well
				t.Errorf("panic = %v, want http.ErrAbortHandler", p)
			}
		}()
		s.serve(route{kind: kindAPI, handler: func(w http.ResponseWriter, _ *http.Request) error {
			_, _ = w.Write([]byte("part of a response"))
			panic(http.ErrAbortHandler)
		}}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	}()
	if w.Body.Len() > 0 {
		t.Errorf("body = %q, want none", w.Body)
	}
	if n := strings.Count(log.String(), "msg=request "); n != 1 || strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("log = %q, want one request without an error of the server", log.String())
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := 0.0
	for _, family := range families {
		if family.GetName() == "gatehouse_http_requests_total" {
			counted = family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	if counted != 1 {
		t.Errorf("gatehouse_http_requests_total = %v, want 1", counted)
	}
	if n := len(spans.Ended()); n != 1 {
		t.Errorf("%d spans have ended, want 1", n)
	}
	if n := s.inFlight.Load(); n != 0 {
		t.Errorf("%d slots are still acquired, want 0", n)
	}
}

func TestEmptyResponseIsLoggedWithItsStatus(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	s := &Server{log: slog.New(slog.NewTextHandler(&log, nil)), proxyCheck: &proxyCheck{}}
	var err error
	if s.metrics, err = newMetrics(s, nil); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	s.serve(route{kind: kindAPI, handler: func(http.ResponseWriter, *http.Request) error { return nil }}).
		ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusOK {
		t.Errorf("status = %d, want 200", w.Code)
	}
	if !strings.Contains(log.String(), " status=200 ") {
		t.Errorf("log = %q, want status 200", log.String())
	}
}

// TestUnreadResponsesAreBounded shows that a response becomes 503 when too many bytes of responses are being sent.
func TestUnreadResponsesAreBounded(t *testing.T) {
	t.Parallel()
	s := &Server{log: slog.New(slog.DiscardHandler)}
	var err error
	if s.metrics, err = newMetrics(s, nil); err != nil {
		t.Fatal(err)
	}
	thousandBytes := route{kind: kindPublic, handler: func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Length", "1000")
		_, err := w.Write(make([]byte, 1000))
		return err
	}}
	for _, sending := range []int64{maxSending - 1000, maxSending - 999} {
		s.sending.Store(sending)
		w := httptest.NewRecorder()
		s.serve(thousandBytes).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		refused := w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") != "" &&
			w.Header().Get("Content-Length") == "" && w.Body.Len() == 0
		complete := w.Code == http.StatusOK && w.Header().Get("Content-Length") == "1000" && w.Body.Len() == 1000
		if full := sending == maxSending-999; full != refused || full == complete {
			t.Errorf("with %d bytes being sent: status %d with %d bytes, want it refused = %t",
				sending, w.Code, w.Body.Len(), full)
		}
		if n := s.sending.Load(); n != sending {
			t.Errorf("%d bytes are counted afterwards, want %d", n, sending)
		}
	}
}
