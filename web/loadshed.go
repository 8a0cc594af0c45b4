package web

import (
	"bytes"
	"cmp"
	"gatehouse/oauth/protocol"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	maxBodyBuffer = 64<<10 + 1 // more than any endpoint reads
	smallBody     = 4 << 10
	// maxLargeBodies is how many bodies of more than smallBody may be on their way at once: 32 MB of them.
	maxLargeBodies = 256
	// writeTime is how long the caller may take to read an answer.
	writeTime = 15 * time.Second
)

// readBody reads the body before the request is let in, so that whoever sends one byte a second holds a connection and none
// of the places that requests work in. What is too large stays unread, for the endpoint to refuse. Of large bodies only so many
// are read at once. The body lives as long as the recorder of its answer.
func (s *Server) readBody(rec *recorder, r *http.Request) error {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	// A body gets more room as it arrives, not because it says that it will.
	b := &rec.request
	b.rest = r.Body
	n, err := b.read.ReadFrom(io.LimitReader(b.rest, smallBody))
	if err == nil && n == smallBody {
		if s.large.Add(1) > maxLargeBodies {
			s.large.Add(-1)
			return overloadError()
		}
		defer s.large.Add(-1)
		_, err = b.read.ReadFrom(io.LimitReader(b.rest, maxBodyBuffer-smallBody))
	}
	b.err = err
	r.Body = b
	return nil
}

// body is what was read of a request's body, then how reading it ended, or the rest.
type body struct {
	read bytes.Buffer
	err  error
	rest io.ReadCloser
}

func (b *body) Read(p []byte) (int, error) {
	if b.read.Len() > 0 {
		return b.read.Read(p)
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.rest.Read(p)
}

func (b *body) Close() error { return b.rest.Close() }

// overloadError returns a quick refusal.
func overloadError() error {
	e := protocol.NewError(protocol.TemporarilyUnavailable, "The server has too many requests in progress. Retry shortly.")
	e.RetryAfter = time.Second
	return e
}

// enter takes a place for a request, or says that there is none: beyond what this process can work on at once, a quick
// refusal is better for everybody than a queue that only grows.
func (s *Server) acquireSlot() error {
	if n := s.inFlight.Add(1); s.maxInFlight > 0 && n > s.maxInFlight {
		s.inFlight.Add(-1)
		s.metrics.shed.Inc()
		return overloadError()
	}
	return nil
}

// recorder keeps an answer until the handler is done, so that who reads slowly holds no place. Answers are small: pages,
// JSON, a logo of 256 KiB at most.
type recorder struct {
	http.ResponseWriter
	request body // the request's
	status  int
	body    bytes.Buffer
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(b)
}

// recorders are used again, with the room of their two bodies.
var recorders = sync.Pool{New: func() any { return &recorder{} }}

const (
	maxPooledBuffer = 16 << 10
	maxSending      = 64 << 20
)

func newRecorder(w http.ResponseWriter) *recorder {
	r, _ := recorders.Get().(*recorder)
	r.ResponseWriter = w
	return r
}

// free gives the recorder back. Nobody may hold it any more.
func (r *recorder) free() {
	if r.body.Cap() > maxPooledBuffer || r.request.read.Cap() > maxPooledBuffer {
		return
	}
	r.body.Reset()
	r.request.read.Reset()
	*r = recorder{request: body{read: r.request.read}, body: r.body}
	recorders.Put(r)
}

// send writes what was kept, for no longer than writeTime where it may have to wait: what is small fits into what the system
// takes at once, except where HTTP/2 has windows of its own.
//
// All answers on their way together take maxSending at most: whoever reads none of them gets no more.
func (s *Server) send(r *recorder, req *http.Request) {
	n := int64(r.body.Len())
	defer s.sending.Add(-n)
	if s.sending.Add(n) > maxSending {
		r.body.Reset()
		r.status = http.StatusServiceUnavailable
		h := r.Header()
		h.Del("Content-Length") // of the answer that does not come
		h.Set("Retry-After", "1")
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	if req.ProtoMajor > 1 || r.body.Len() > maxPooledBuffer {
		_ = http.NewResponseController(r.ResponseWriter).SetWriteDeadline(time.Now().Add(writeTime)) // tests have no connection
	}
	if n := r.body.Len(); n > 0 { // or it would be sent in chunks
		r.Header().Set("Content-Length", strconv.Itoa(n))
	}
	r.ResponseWriter.WriteHeader(cmp.Or(r.status, http.StatusOK))
	_, _ = r.ResponseWriter.Write(r.body.Bytes()) // a caller that went away
}

func (s *Server) releaseSlot() { s.inFlight.Add(-1) }
