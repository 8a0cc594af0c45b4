package page

import (
	"cmp"
	"errors"
	"net/http"

	"gatehouse/oauth/protocol"
)

// Error is an error that has a page of its own.
type Error struct {
	Status   int
	Key      string // of the messages Key.title and Key.message
	Message  string // replaces the message Key.message
	Detail   string // for the developer of the client
	Link     string
	LinkText string // empty: that of a link to the account page
	Err      error  // the cause, for the log only
}

// Error returns the key and the cause, for the log.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Key + ": " + e.Err.Error()
	}
	return e.Key
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// NotFound returns the error of a page that does not exist.
func (p *Renderer) NotFound() error {
	return &Error{Status: http.StatusNotFound, Key: "error.page_not_found", Link: p.Path("/account")}
}

// errorPage is the data of the error page.
type errorPage struct {
	Layout
	Heading, Message, Detail, Link, LinkText string
}

// WriteError writes the page of an error.
func (p *Renderer) WriteError(w http.ResponseWriter, r *http.Request, e *Error) {
	SetHeaders(w.Header())
	layout := p.NewLayout(r, e.Key+".title")
	data := errorPage{
		Layout: layout, Heading: layout.Title, Message: cmp.Or(e.Message, p.Text(r, e.Key+".message")), Detail: e.Detail,
	}
	if e.Link != "" {
		data.Link, data.LinkText = e.Link, cmp.Or(e.LinkText, p.Text(r, "error.account"))
	}
	setRetryHeaders(w.Header(), e)
	if err := p.Render(w, e.Status, "error", data); err != nil {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write(p.fallback)
	}
}

// setRetryHeaders sets when to retry after a rate limit or a fault.
func setRetryHeaders(h http.Header, e *Error) {
	switch e.Status {
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "1")
	case http.StatusTooManyRequests:
		if limited := (*protocol.Error)(nil); errors.As(e.Err, &limited) {
			protocol.SetRetryAfter(h, limited.RetryAfter)
			protocol.SetRateLimitHeaders(h, limited.Limit)
		}
	}
}
