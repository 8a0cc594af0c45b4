package protocol

import (
	"cmp"
	"net/http"
	"strconv"
	"time"

	"gatehouse/ratelimit"
)

// The error codes of the RFCs.
const (
	InvalidRequest          = "invalid_request" // RFC 6749 §5.2
	InvalidClient           = "invalid_client"
	InvalidGrant            = "invalid_grant"
	InvalidScope            = "invalid_scope"
	UnauthorizedClient      = "unauthorized_client"
	UnsupportedGrantType    = "unsupported_grant_type"
	UnsupportedResponseType = "unsupported_response_type" // RFC 6749 §4.1.2.1
	AccessDenied            = "access_denied"
	ServerError             = "server_error"
	TemporarilyUnavailable  = "temporarily_unavailable"

	InvalidTarget = "invalid_target" // RFC 8707 §2

	LoginRequired            = "login_required" // OIDC Core §3.1.2.6
	InteractionRequired      = "interaction_required"
	ConsentRequired          = "consent_required"
	AccountSelectionRequired = "account_selection_required"
	RegistrationNotSupported = "registration_not_supported"

	// OpenID Connect Core Error Code unmet_authentication_requirements §2
	UnmetAuthenticationRequirements = "unmet_authentication_requirements"

	InvalidRequestObject = "invalid_request_object" // RFC 9101 §7
	InvalidRequestURI    = "invalid_request_uri"

	InvalidToken      = "invalid_token" // RFC 6750 §3.1
	InsufficientScope = "insufficient_scope"

	InsufficientUserAuthentication = "insufficient_user_authentication" // RFC 9470 §3

	InvalidClientMetadata = "invalid_client_metadata" // RFC 7591 §3.2.2
	InvalidRedirectURI    = "invalid_redirect_uri"

	RateLimited = "rate_limited" // Gatehouse's: no RFC has a code for status 429
)

// The authentication schemes of WWW-Authenticate.
const (
	Basic  = "Basic"
	Bearer = "Bearer"
)

// Error is a protocol error. The client receives Code and Description; a description is constant or quotes the client's
// own input. NewError, with the With… methods, is the only constructor; the other functions call it.
type Error struct {
	Code        string
	Description string
	Err         error // the cause, for the log only

	ClientID   string             // that failed to authenticate, for the limit on failed client authentications
	RetryAfter time.Duration      // with status 429 and 503
	Limit      ratelimit.Decision // the rate limit that refused, with status 429

	// Redirect is where an error of an authorization request is sent. Without it the error must not leave the server,
	// because the client or its redirect URI is invalid (RFC 6749 §4.1.2.1).
	Redirect *Redirect

	status    int    // overrides the table
	challenge string // the authentication scheme of WWW-Authenticate; empty: none
	scope     string // that the protected resource requires
	acrValues string // that the protected resource requires
	maxAge    time.Duration
	allow     string // the methods, with status 405
}

// Redirect is the destination of the response to an authorization request.
type Redirect struct {
	URI          string
	State        string
	ResponseMode string // form_post; empty: query
}

// NewError returns an error with a code and a description for the client.
func NewError(code, description string) *Error {
	return &Error{Code: code, Description: description}
}

// UnavailableError returns the error of a fault, such as an unreachable database or a full queue. The client can
// retry.
func UnavailableError(cause error) *Error {
	e := NewError(TemporarilyUnavailable, "The server is temporarily unavailable. Retry shortly.").WithCause(cause)
	e.RetryAfter = time.Second
	return e
}

// InternalError returns the error of an unexpected failure, of which the client gets no details.
func InternalError(cause error) *Error {
	return NewError(ServerError, "Internal server error.").WithCause(cause)
}

// MethodNotAllowedError returns the error of a request whose HTTP method is none of methods, the value of Allow.
func MethodNotAllowedError(methods, description string) *Error {
	e := NewError(InvalidRequest, description).WithStatus(http.StatusMethodNotAllowed)
	e.allow = methods
	return e
}

// LimitError returns the error of a rate limit that refused, or nil.
func LimitError(d ratelimit.Decision, description string) error {
	if !d.Refused {
		return nil
	}
	e := NewError(RateLimited, description)
	e.RetryAfter, e.Limit = max(d.Wait, time.Second), d
	return e
}

// WithCause sets the cause for the log.
func (e *Error) WithCause(err error) *Error { e.Err = err; return e }

// WithClient sets the client that made the request.
func (e *Error) WithClient(id string) *Error { e.ClientID = id; return e }

// WithStatus overrides the status of the error's code.
func (e *Error) WithStatus(status int) *Error { e.status = status; return e }

// WithChallenge sets the authentication scheme of WWW-Authenticate, Basic or Bearer.
func (e *Error) WithChallenge(scheme string) *Error { e.challenge = scheme; return e }

// WithRedirect sets where the error is sent.
func (e *Error) WithRedirect(to Redirect) *Error { e.Redirect = &to; return e }

// Error returns code, description and cause, for the log.
func (e *Error) Error() string {
	s := e.Code + ": " + e.Description
	if e.Err != nil {
		s += " (" + e.Err.Error() + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Status returns the HTTP status of the error outside the authorization endpoint.
func (e *Error) Status() int {
	if e.status != 0 {
		return e.status
	}
	switch e.Code {
	case InvalidClient, InvalidToken, InsufficientUserAuthentication, "":
		return http.StatusUnauthorized
	case InsufficientScope:
		return http.StatusForbidden
	case RateLimited:
		return http.StatusTooManyRequests
	case ServerError:
		return http.StatusInternalServerError
	case TemporarilyUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

// errorBody is the JSON of an error response (RFC 6749 §5.2).
type errorBody struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

// WriteError writes the response of a protocol error (RFC 6749 §5.2, RFC 6750 §3).
func WriteError(w http.ResponseWriter, e *Error) {
	h := w.Header()
	switch {
	case e.challenge == Bearer:
		h.Set("WWW-Authenticate", e.bearerChallenge())
	case e.challenge == Basic && e.Code == InvalidClient:
		h.Set("WWW-Authenticate", `Basic realm="gatehouse", charset="UTF-8"`)
	}
	if e.RetryAfter > 0 {
		SetRetryAfter(h, e.RetryAfter)
	}
	SetRateLimitHeaders(h, e.Limit)
	if e.Status() == http.StatusMethodNotAllowed {
		h.Set("Allow", cmp.Or(e.allow, http.MethodPost))
	}
	body := errorBody{e.Code, e.Description}
	if e.Code == "" { // no token was sent: only the body has a code (RFC 6750 §3.1)
		body.Error, body.Description = InvalidToken, cmp.Or(e.Description, missingTokenDescription)
	}
	WriteJSON(w, e.Status(), body)
}

// SetRetryAfter sets Retry-After to whole seconds, rounded up.
func SetRetryAfter(h http.Header, wait time.Duration) {
	h.Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
}

// SetRateLimitHeaders sets RateLimit and RateLimit-Policy when a rate limit refused or is nearly reached
// (draft-ietf-httpapi-ratelimit-headers).
func SetRateLimitHeaders(h http.Header, d ratelimit.Decision) {
	if d.NearLimit() {
		policy, state := d.HeaderFields()
		h.Set("RateLimit-Policy", policy)
		h.Set("RateLimit", state)
	}
}
