package web

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"gatehouse/oauth/protocol"
)

// stalledBody is a body whose rest does not arrive before release is closed. It closes started when the first part is
// read.
type stalledBody struct {
	first    io.Reader
	started  *sync.WaitGroup
	once     sync.Once
	released <-chan struct{}
}

func (b *stalledBody) Read(p []byte) (int, error) {
	if n, err := b.first.Read(p); err == nil {
		return n, nil
	}
	b.once.Do(b.started.Done)
	<-b.released
	return 0, io.EOF
}

func (b *stalledBody) Close() error { return nil }

func readRequestBody(s *Server, body io.Reader) error {
	return s.readBody(&recorder{}, httptest.NewRequest(http.MethodPost, "/oauth2/token", body))
}

func TestLargeBodiesReadConcurrentlyAreLimited(t *testing.T) {
	t.Parallel()
	const limit, small = 256, 4 << 10
	s := &Server{}
	release := make(chan struct{})
	var started, done sync.WaitGroup
	started.Add(limit)
	for range limit {
		body := &stalledBody{first: bytes.NewReader(make([]byte, small+1)), started: &started, released: release}
		done.Go(func() {
			if err := readRequestBody(s, body); err != nil {
				t.Errorf("one of %d large bodies: error %v, want none", limit, err)
			}
		})
	}
	started.Wait()
	err := readRequestBody(s, strings.NewReader(strings.Repeat("x", small+1)))
	var e *protocol.Error
	if !errors.As(err, &e) || e.Code != protocol.TemporarilyUnavailable || e.RetryAfter == 0 {
		t.Errorf("large body %d: error %v, want temporarily_unavailable with Retry-After", limit+1, err)
	}
	if err := readRequestBody(s, strings.NewReader(strings.Repeat("x", small-1))); err != nil {
		t.Errorf("small body while %d large ones are read: error %v, want none", limit, err)
	}
	close(release)
	done.Wait()
	if err := readRequestBody(s, strings.NewReader(strings.Repeat("x", small+1))); err != nil {
		t.Errorf("large body after the others were read: error %v, want none", err)
	}
}
