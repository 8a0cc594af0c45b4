package web

import (
	"bytes"
	"io"
	"net/http"
	"time"

	"gatehouse/oauth"
)

// bodyRoom is more than any endpoint reads.
const bodyRoom = 256 << 10

// readBody reads the body before the request is let in, so that whoever sends one byte a second holds a connection and none
// of the places that requests work in. What is too large stays unread, for the endpoint to refuse.
func readBody(r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return
	}
	size := min(max(r.ContentLength, 512), bodyRoom)
	b := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead)) // one allocation for a body that says how long it is
	_, err := b.ReadFrom(io.LimitReader(r.Body, bodyRoom))
	rest := r.Body
	if err != nil {
		r.Body = body{io.MultiReader(b, failing{err}), rest}
		return
	}
	r.Body = body{io.MultiReader(b, rest), rest}
}

type body struct {
	io.Reader
	io.Closer
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

// enter takes a place for a request, or says that there is none: beyond what this process can work on at once, a quick
// refusal is better for everybody than a queue that only grows.
func (s *Site) enter() error {
	if n := s.inFlight.Add(1); s.most > 0 && n > s.most {
		s.inFlight.Add(-1)
		s.metrics.shed.Inc()
		return &oauth.Error{Code: oauth.TemporarilyUnavailable, Description: "The server has more requests than it can work on. Try again shortly.", RetryAfter: time.Second}
	}
	return nil
}

func (s *Site) leave() { s.inFlight.Add(-1) }
