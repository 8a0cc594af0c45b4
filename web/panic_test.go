package web

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"gatehouse/ratelimit"
	"gatehouse/storage/reqevent"
)

// TestAPanicIsAnAnswer: a bug in one handler costs its request alone, and the page tells nothing of it.
func TestAPanicIsAnAnswer(t *testing.T) {
	t.Parallel()
	issuer := &url.URL{Scheme: "http", Host: "id.example"}
	pages, err := loadPages(issuer)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	s := &Server{pages: pages, issuer: issuer, log: slog.New(LogHandler(slog.NewTextHandler(&log, nil))), limiter: (*ratelimit.Limiter)(nil)}
	if s.metrics, err = newMetrics(s, nil); err != nil {
		t.Fatal(err)
	}
	for _, k := range []kind{api, static, public} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r = r.WithContext(reqevent.With(r.Context(), &reqevent.Event{RequestID: "the-id"}))
		s.serve(route{kind: k, handler: func(*Server, http.ResponseWriter, *http.Request) error { panic("a secret cause") }}).ServeHTTP(w, r)
		if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "secret cause") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	w := httptest.NewRecorder()
	s.serve(route{kind: api, handler: func(_ *Server, w http.ResponseWriter, _ *http.Request) error {
		_, _ = w.Write([]byte("half of an answer"))
		panic("in the middle")
	}}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "half") {
		t.Errorf("after half an answer: %d %s", w.Code, w.Body)
	}
	if n := s.inFlight.Load(); n != 0 {
		t.Errorf("%d places are still taken", n)
	}
	if !strings.Contains(log.String(), "a secret cause") || !strings.Contains(log.String(), "the-id") {
		t.Errorf("the log says %s", log.String())
	}
}

// TestAnswersThatNobodyReadsAreBounded: when too much is on its way already, an answer becomes a short refusal.
func TestAnswersThatNobodyReadsAreBounded(t *testing.T) {
	t.Parallel()
	s := &Server{log: slog.New(slog.DiscardHandler)}
	var err error
	if s.metrics, err = newMetrics(s, nil); err != nil {
		t.Fatal(err)
	}
	answer := route{kind: public, handler: func(_ *Server, w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Length", "1000")
		_, err := w.Write(make([]byte, 1000))
		return err
	}}
	for _, on := range []int64{maxSending - 1000, maxSending - 999} {
		s.sending.Store(on)
		w := httptest.NewRecorder()
		s.serve(answer).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if full := on == maxSending-999; full != (w.Code == http.StatusServiceUnavailable) || full != (w.Header().Get("Retry-After") != "") || full != (w.Body.Len() == 0) || full != (w.Header().Get("Content-Length") == "") {
			t.Errorf("with %d bytes on their way: %d, %d bytes", on, w.Code, w.Body.Len())
		}
		if n := s.sending.Load(); n != on {
			t.Errorf("%d bytes are counted afterwards, not %d", n, on)
		}
	}
}
