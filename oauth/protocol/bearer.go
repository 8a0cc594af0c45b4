package protocol

import (
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatehouse/oauth/params"
)

const missingTokenDescription = "An access token is required; " +
	"send it in the Authorization header with the scheme Bearer."

// BearerError returns an error of a protected resource, which the response repeats in WWW-Authenticate (RFC 6750 §3.1).
func BearerError(code, description string) *Error {
	return NewError(code, description).WithChallenge(Bearer)
}

// InsufficientScopeError returns the error of a token that lacks a scope of the protected resource.
func InsufficientScopeError(scope string) *Error {
	e := BearerError(InsufficientScope, "The access token does not have the scope "+scope+".")
	e.scope = scope
	return e
}

// InsufficientAuthenticationError returns the error of a token whose user must sign in again for the protected
// resource: with the acr if it is not empty, and at most maxAge ago if that is not 0 (RFC 9470 §3).
func InsufficientAuthenticationError(acr string, maxAge time.Duration) *Error {
	e := BearerError(InsufficientUserAuthentication,
		"The sign-in of the user is too weak or too old; send an authorization request with these parameters.")
	e.acrValues, e.maxAge = acr, maxAge
	return e
}

// MissingTokenError returns the error of a request without an access token, whose challenge has no code (RFC 6750
// §3.1). An empty description means the usual one.
func MissingTokenError(description string) *Error {
	return BearerError("", description).WithCause(errors.New("the request has no access token"))
}

// bearerChallenge returns the WWW-Authenticate of a protected resource (RFC 6750 §3). Descriptions have no quotes.
func (e *Error) bearerChallenge() string {
	s := `Bearer realm="gatehouse"`
	if e.Code == "" {
		return s
	}
	s += `, error="` + e.Code + `", error_description="` + e.Description + `"`
	if e.scope != "" {
		s += `, scope="` + e.scope + `"`
	}
	if e.acrValues != "" {
		s += `, acr_values="` + e.acrValues + `"`
	}
	if e.maxAge > 0 {
		s += `, max_age="` + strconv.FormatInt(int64(e.maxAge/time.Second), 10) + `"`
	}
	return s
}

// ParseBearer returns the token of an Authorization header, or "" when its scheme is not Bearer.
func ParseBearer(header string) string {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, Bearer) {
		return ""
	}
	return strings.TrimSpace(token)
}

// AccessToken returns the one access token of a request to a protected resource, from the Authorization header or the
// body of a form (RFC 6750 §2.1, §2.2). One in the URL is refused.
func AccessToken(r *http.Request) (string, error) {
	query, err := params.Query(r)
	if err != nil {
		return "", BearerError(InvalidRequest, params.DescriptionOf(err))
	}
	if query.Has("access_token") {
		return "", BearerError(
			InvalidRequest, "access_token must be in the Authorization header or the body, never in the URL.",
		)
	}
	inBody := ""
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Method == http.MethodPost && err == nil && kind == params.FormType {
		form, err := params.Form(r)
		if err != nil {
			return "", BearerError(InvalidRequest, params.DescriptionOf(err))
		}
		inBody = form.Get("access_token")
	}
	headers := r.Header.Values("Authorization")
	if len(headers) > 1 || len(headers) == 1 && inBody != "" {
		return "", BearerError(InvalidRequest, "Send the access token once, in the Authorization header or in the body.")
	}
	token := inBody
	if len(headers) == 1 {
		token = ParseBearer(headers[0])
	}
	if token == "" {
		return "", MissingTokenError("")
	}
	return token, nil
}
