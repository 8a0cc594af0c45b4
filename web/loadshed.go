package web

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"gatehouse/oauth/protocol"
)

const (
	maxBodyBuffer = 64<<10 + 1 // more than any endpoint reads
	smallBody     = 4 << 10
	// maxLargeBodies is how many bodies of more than smallBody may be read concurrently: 32 MB of them.
	maxLargeBodies = 256
	// writeTimeout is how long the client may take to read a response.
	writeTimeout = 15 * time.Second
	// maxPooledBuffer is the largest buffer that is reused, and the largest response that is assumed to fit into the
	// buffers of the operating system.
	maxPooledBuffer = 16 << 10
	// maxSending limits the bytes of all responses that are being sent.
	maxSending = 64 << 20
)

// readBody reads the body before the request acquires a slot, so that a slow client occupies a connection but no slot.
// A body that is too large stays unread, for the endpoint to refuse. The number of large bodies that are read
// concurrently is limited. The body is valid until the recorder of its response is released.
func (s *Server) readBody(rec *recorder, r *http.Request) error {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	// The buffer grows as bytes arrive, and does not trust Content-Length.
	b := &rec.request
	b.unread = r.Body
	n, err := b.read.ReadFrom(io.LimitReader(b.unread, smallBody))
	if err == nil && n == smallBody {
		if s.largeBodies.Add(1) > maxLargeBodies {
			s.largeBodies.Add(-1)
			return overloadError()
		}
		defer s.largeBodies.Add(-1)
		_, err = b.read.ReadFrom(io.LimitReader(b.unread, maxBodyBuffer-smallBody))
	}
	b.err = err
	r.Body = b
	return nil
}

// body is the part of a request body that was read, followed by the error that ended reading, or by the unread part.
type body struct {
	read   bytes.Buffer
	err    error
	unread io.ReadCloser
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.read.Len() > 0 {
		return b.read.Read(p)
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.unread.Read(p)
}

// Close implements io.Closer.
func (b *body) Close() error { return b.unread.Close() }

// overloadError returns the error of a request that is refused because of too many others.
func overloadError() error {
	e := protocol.NewError(protocol.TemporarilyUnavailable, "The server has too many requests in progress. Retry shortly.")
	e.RetryAfter = time.Second
	return e
}

// acquireSlot acquires one of the slots for requests in flight. When there is none, the request is refused immediately,
// because a queue would only grow.
func (s *Server) acquireSlot() error {
	if n := s.inFlight.Add(1); s.maxInFlight > 0 && n > s.maxInFlight {
		s.inFlight.Add(-1)
		s.metrics.shed.Inc()
		return overloadError()
	}
	return nil
}

func (s *Server) releaseSlot() { s.inFlight.Add(-1) }

// recorder buffers a response until the handler has returned, so that a slow client occupies no slot. Responses are
// small: pages, JSON, a logo of 256 KiB at most.
type recorder struct {
	http.ResponseWriter
	request body
	status  int // 0: no response yet
	body    bytes.Buffer
}

// WriteHeader records the first status.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

// Write records a part of the body.
func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(b)
}

// discard clears the recorded response, so that another one can replace it.
func (r *recorder) discard() {
	r.status = 0
	r.body.Reset()
}

// recorders are reused, with the buffers of both bodies.
var recorders = sync.Pool{New: func() any { return &recorder{} }}

func newRecorder(w http.ResponseWriter) *recorder {
	r, _ := recorders.Get().(*recorder)
	r.ResponseWriter = w
	return r
}

// release returns the recorder to the pool. It must not be used afterwards.
func (r *recorder) release() {
	if r.body.Cap() > maxPooledBuffer || r.request.read.Cap() > maxPooledBuffer {
		return
	}
	r.body.Reset()
	r.request.read.Reset()
	*r = recorder{request: body{read: r.request.read}, body: r.body}
	recorders.Put(r)
}

// send writes the recorded response. It takes no longer than writeTimeout when it may have to wait for the client: a
// small response fits into the buffers of the operating system, except over HTTP/2, which has flow control of its own.
//
// When more than maxSending bytes of responses are being sent, because clients do not read them, the status is 503.
func (s *Server) send(r *recorder, req *http.Request) {
	n := int64(r.body.Len())
	defer s.sending.Add(-n)
	if s.sending.Add(n) > maxSending {
		r.body.Reset()
		r.status = http.StatusServiceUnavailable
		h := r.Header()
		h.Del("Content-Length") // of the discarded response
		h.Set("Retry-After", "1")
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	if req.ProtoMajor > 1 || r.body.Len() > maxPooledBuffer {
		// Without a connection, in tests, this fails.
		_ = http.NewResponseController(r.ResponseWriter).SetWriteDeadline(time.Now().Add(writeTimeout))
	}
	if n := r.body.Len(); n > 0 { // or it would be sent in chunks
		r.Header().Set("Content-Length", strconv.Itoa(n))
	}
	r.WriteHeader(http.StatusOK) // if the handler has set no status, as net/http does
	r.ResponseWriter.WriteHeader(r.status)
	_, _ = r.ResponseWriter.Write(r.body.Bytes()) // fails when the client has disconnected
}
