package web

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// Health returns a handler that serves only /healthz and /readyz, for the admin listener.
func (s *Server) Health() http.Handler {
	mux := http.NewServeMux()
	for _, rt := range s.routes() {
		if rt.kind == kindHealth {
			mux.Handle(rt.pattern, s.serve(rt))
		}
	}
	return mux
}

// Drain makes /readyz report that this process is about to stop. It keeps serving requests.
func (s *Server) Drain() { s.draining.Store(true) }

// healthz serves GET /healthz.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) error {
	_, _ = w.Write([]byte("ok\n")) // fails when the caller has disconnected
	return nil
}

// errStopping is returned by readyz while the process is about to stop.
var errStopping = errors.New("stopping")

const notReady = "not ready: the database is unavailable, the signing keys cannot be read, " +
	"a background job is stalled, or the clock is wrong; the log has the cause"

// writeNotReady writes the response to a health check that failed. The log has the cause.
func writeNotReady(w http.ResponseWriter, err error) {
	message := notReady
	if errors.Is(err, errStopping) {
		message = errStopping.Error()
	}
	http.Error(w, message, http.StatusServiceUnavailable)
}

// readyz serves GET /readyz. A process is ready when it reaches the database, has signing keys, has no stalled
// background job, has about the database's time and is not about to stop.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	if s.draining.Load() {
		return errStopping
	}
	if err := s.readiness.check(r.Context(), s); err != nil {
		return err
	}
	return s.healthz(w, r)
}

// readiness is the result of the last readiness check. One request at a time repeats it, a few times per second at
// most.
type readiness struct {
	mu        sync.Mutex
	checkedAt time.Time
	err       error
}

const (
	readinessTTL = 200 * time.Millisecond
	readyTimeout = 5 * time.Second
)

func (c *readiness) check(ctx context.Context, s *Server) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.checkedAt) < readinessTTL {
		return c.err
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
	defer cancel()
	c.err = errors.Join(s.store.Ping(limited), s.oauth.Keyring.Load(limited), s.store.CheckClock(), s.checkReady())
	c.checkedAt = time.Now()
	return c.err
}
