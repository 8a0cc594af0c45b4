package oauth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/ory/fosite"

	"gatehouse/oauth/params"
	"gatehouse/ratelimit"
	"gatehouse/storage"
)

// Error codes, in the words of their RFCs.
const (
	InvalidRequest           = "invalid_request"
	InvalidClient            = "invalid_client"
	InvalidGrant             = "invalid_grant"
	InvalidScope             = "invalid_scope"
	InvalidTarget            = "invalid_target" // RFC 8707 §2
	UnauthorizedClient       = "unauthorized_client"
	UnsupportedGrantType     = "unsupported_grant_type"
	UnsupportedResponseType  = "unsupported_response_type"
	AccessDenied             = "access_denied"
	ServerError              = "server_error"
	TemporarilyUnavailable   = "temporarily_unavailable"
	LoginRequired            = "login_required" // OIDC Core §3.1.2.6
	ConsentRequired          = "consent_required"
	InteractionRequired      = "interaction_required"
	SelectionRequired        = "account_selection_required"
	UnmetRequirements        = "unmet_authentication_requirements" // OIDC Unmet Authentication Requirements §2
	InvalidRequestObject     = "invalid_request_object"            // RFC 9101 §7
	InvalidRequestURI        = "invalid_request_uri"
	RegistrationNotSupported = "registration_not_supported" // OIDC Core §3.1.2.6
	InvalidToken             = "invalid_token"              // RFC 6750 §3.1
	InsufficientScope        = "insufficient_scope"
	InvalidClientMetadata    = "invalid_client_metadata" // RFC 7591 §3.2.2
	InvalidRedirectURI       = "invalid_redirect_uri"
	SlowDown                 = "rate_limited" // ours: no RFC names one for 429
)

// Error is a protocol error. Code and Description go to the client: Description is constant or quotes the client's own
// input. Err is the cause and goes to the log alone.
type Error struct {
	Code        string
	Description string
	Err         error

	ClientID   string        // whom it happened to, for the log and the limits
	RetryAfter time.Duration // with 429 and 503
	status     int           // overrides the table
	challenge  bool          // the client used the Authorization header
	bearer     bool          // of a protected resource: it is told in WWW-Authenticate too
	scope      string        // that the resource needs
	allow      string        // the methods, with 405

	decision ratelimit.Decision // of the limit that refused, with 429
}

func (e *Error) Error() string {
	s := e.Code + ": " + e.Description
	if e.Err != nil {
		s += " (" + e.Err.Error() + ")"
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Status is the HTTP status of the error outside the authorization endpoint.
func (e *Error) Status() int {
	if e.status != 0 {
		return e.status
	}
	switch e.Code {
	case InvalidClient, InvalidToken, "":
		return http.StatusUnauthorized
	case InsufficientScope:
		return http.StatusForbidden
	case SlowDown:
		return http.StatusTooManyRequests
	case ServerError:
		return http.StatusInternalServerError
	case TemporarilyUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

func fail(code, description string) *Error { return &Error{Code: code, Description: description} }

// unavailable is a fault of the database or of a full queue: the request may be right and can be sent again.
func unavailable(err error) *Error {
	return &Error{Code: TemporarilyUnavailable, Description: "The server cannot answer at the moment. Try again shortly.", Err: err, RetryAfter: time.Second}
}

// AsError finds the protocol error in err. What is not one is ours to answer for and tells the client nothing: a fault
// of the store is temporarily_unavailable, anything else server_error.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	if p := (*params.Error)(nil); errors.As(err, &p) {
		return &Error{Code: cmp.Or(p.Code, InvalidRequest), Description: p.Text, status: p.Status}
	}
	switch {
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrConsumed), errors.Is(err, storage.ErrReused):
		return &Error{Code: InvalidGrant, Description: "The code or token is invalid, expired or already used.", Err: err}
	case errors.Is(err, storage.ErrUnavailable), errors.Is(err, storage.ErrBusy), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return unavailable(err)
	}
	return fromFosite(err)
}

// fromFosite is the only translation of fosite's errors. Our checks run before fosite's, so that what arrives here is
// rare; its hints stay in the log.
func fromFosite(err error) *Error {
	var f *fosite.RFC6749Error
	if !errors.As(err, &f) {
		return &Error{Code: ServerError, Description: "The server failed to answer. The fault is ours.", Err: err}
	}
	code := f.ErrorField
	switch code {
	case InvalidRequest, InvalidClient, InvalidGrant, InvalidScope, UnauthorizedClient, UnsupportedGrantType,
		UnsupportedResponseType, AccessDenied, TemporarilyUnavailable:
	case "invalid_state", "insufficient_entropy", "unsupported_response_mode":
		code = InvalidRequest
	default:
		return &Error{Code: ServerError, Description: "The server failed to answer. The fault is ours.", Err: err}
	}
	return &Error{Code: code, Description: "The request is not valid.", Err: err}
}

// errorBody is the JSON of an error response (RFC 6749 §5.2).
type errorBody struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

// WriteError answers a protocol error (RFC 6749 §5.2).
func WriteError(w http.ResponseWriter, e *Error) {
	h := w.Header()
	if e.Code == InvalidClient && e.challenge {
		h.Set("WWW-Authenticate", `Basic realm="gatehouse", charset="UTF-8"`)
	}
	if e.bearer {
		h.Set("WWW-Authenticate", e.bearerChallenge())
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10))
	}
	SetRateLimitHeaders(h, e.decision)
	if e.Status() == http.StatusMethodNotAllowed {
		h.Set("Allow", cmp.Or(e.allow, http.MethodPost))
	}
	if e.Code == "" { // no token was sent, and no more is told (RFC 6750 §3.1)
		e = &Error{Code: InvalidToken, Description: cmp.Or(e.Description, "Send an access token in the Authorization header, after Bearer.")}
	}
	writeJSON(w, e.Status(), errorBody{e.Code, e.Description})
}

// SetRateLimitHeaders sets RateLimit-Policy and RateLimit if little of a limit remains
// (draft-ietf-httpapi-ratelimit-headers).
func SetRateLimitHeaders(h http.Header, d ratelimit.Decision) {
	if d.NearLimit() {
		policy, state := d.HeaderFields()
		h.Set("RateLimit-Policy", policy)
		h.Set("RateLimit", state)
	}
}

// Decision returns that of the limit which refused, with 429.
func (e *Error) Decision() ratelimit.Decision { return e.decision }

// bearerChallenge is the WWW-Authenticate of a protected resource (RFC 6750 §3). A description never has a quote.
func (e *Error) bearerChallenge() string {
	s := `Bearer realm="gatehouse"`
	if e.Code == "" {
		return s
	}
	s += `, error="` + e.Code + `", error_description="` + e.Description + `"`
	if e.scope != "" {
		s += `, scope="` + e.scope + `"`
	}
	return s
}

// writeJSON answers with a body that no cache may keep (RFC 6749 §5.1).
func writeJSON(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil { // our own structs of strings and numbers always marshal
		status, b = http.StatusInternalServerError, []byte(`{"error":"server_error"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	w.WriteHeader(status)
	_, _ = w.Write(b) // a client that went away
}
