package web

import (
	"net/http"
	"strings"

	"gatehouse/oauth/params"
	"gatehouse/storage/reqevent"
	"gatehouse/web/page"
)

const (
	maxURL = 32 << 10 // bytes of the request line
	// Browsers store at most 180 cookies of a site, and reverse proxies allow 100 header fields.
	maxFields  = 100
	maxCookies = 200
	// Media types have one or two parameters, and quoting and continuations are expensive to parse.
	maxContentType = 500
)

// withEvent gives every request its event, and refuses requests that no route should see.
func (s *Server) withEvent(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		event := &reqevent.Event{Address: s.clientAddress(r), UserAgent: r.UserAgent(), RequestID: reqevent.NewRequestID()}
		h := w.Header()
		h.Set("X-Request-Id", event.RequestID)
		h.Set("X-Content-Type-Options", "nosniff")
		if s.issuer.Scheme == "https" {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		r = r.WithContext(reqevent.NewContext(r.Context(), event))
		if e := s.checkRequest(r); e != nil {
			refuse := func(http.ResponseWriter, *http.Request) error { return e }
			s.serve(route{kind: kindPage, handler: refuse}).ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// checkRequest returns the error of a request that is too large or for another host, or nil.
func (s *Server) checkRequest(r *http.Request) *page.Error {
	switch {
	case len(r.RequestURI) > maxURL:
		return &page.Error{Status: http.StatusRequestURITooLong, Key: "error.malformed"}
	case isLargeHeader(r.Header):
		return &page.Error{Status: http.StatusRequestHeaderFieldsTooLarge, Key: "error.header"}
	case s.strictHost && r.Host != s.issuer.Host && !strings.HasPrefix(r.URL.Path, s.pages.Path("/static/")):
		// The stylesheet is served, for the error page.
		return &page.Error{
			Status: http.StatusMisdirectedRequest, Key: "error.host", Link: s.issuer.String(),
			LinkText: s.pages.Text(r, "error.host.open", s.issuer.String()),
		}
	}
	return nil
}

// isLargeHeader reports whether a header has more fields, cookies or media type parameters than legitimate clients
// send.
func isLargeHeader(h http.Header) bool {
	fields, cookies := 0, 0
	for _, values := range h {
		fields += len(values)
	}
	for _, v := range h["Cookie"] {
		cookies += strings.Count(v, ";") + 1
	}
	return fields > maxFields || cookies > maxCookies || len(h.Get("Content-Type")) > maxContentType
}

// checkFieldCount returns an error for more parameters in the query, or in the body of a form, than legitimate clients
// send.
func checkFieldCount(pattern string, r *http.Request, body []byte) error {
	if err := params.CheckParameterCount(r.URL.RawQuery, params.MaxParameters); err != nil {
		return err
	}
	if !strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), params.FormType) {
		return nil
	}
	limit, ok := formFields[pattern]
	if !ok {
		limit = params.MaxParameters
	}
	return params.CheckParameterCount(body, limit)
}
