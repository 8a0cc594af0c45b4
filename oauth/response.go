package oauth

import (
	"net/url"

	"gatehouse/oauth/protocol"
	"gatehouse/oauth/redirect"
)

// Response modes: the response is in the query of the redirect URI, or in a form that the browser posts to it (OAuth
// 2.0 Form Post Response Mode).
const (
	modeQuery    = "query"
	modeFormPost = "form_post"
)

// Response is an authorization response (RFC 6749 §4.1.2).
type Response struct {
	RedirectURI string
	FormPost    bool // the browser posts the parameters; otherwise it is redirected to Location
	Parameters  url.Values
}

// response returns a response with state, byte for byte, and iss (RFC 9207 §2).
func (s *Server) response(uri, state, mode string, parameters url.Values) Response {
	if state != "" {
		parameters.Set("state", state)
	}
	parameters.Set("iss", s.options.Issuer)
	return Response{RedirectURI: uri, FormPost: mode == modeFormPost, Parameters: parameters}
}

// ErrorResponse returns the response with an error that has a Redirect.
func (s *Server) ErrorResponse(e *protocol.Error) Response {
	to := e.Redirect
	return s.response(
		to.URI, to.State, to.ResponseMode, url.Values{"error": {e.Code}, "error_description": {e.Description}},
	)
}

// Location returns the redirect URI with the response appended to its query, which is otherwise unchanged.
func (r Response) Location() string { return redirect.AddQuery(r.RedirectURI, r.Parameters) }
