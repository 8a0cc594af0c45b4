package web

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"gatehouse/oauth"
	"gatehouse/oauth/protocol"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/web/page"
)

// writePageError sends the error of an authorization request to the client where that is allowed, and shows any other
// error as a page.
func (s *Server) writePageError(w http.ResponseWriter, r *http.Request, err error) {
	if e := (*protocol.Error)(nil); errors.As(err, &e) && e.Redirect != nil {
		if s.interaction.WriteErrorResponse(w, r, e) == nil {
			return
		}
	}
	s.pages.WriteError(w, r, s.pageError(r, err))
}

// pageError returns the page of an error. The page of a protocol error shows its description to the developer of the
// client; other pages only state whether the client or the server failed.
func (s *Server) pageError(r *http.Request, err error) *page.Error {
	var own *page.Error
	var expired *oauth.RequestExpiredError
	var deleted *oauth.DeletedClientError
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &expired):
		return s.expiredPage(r, expired)
	case errors.As(err, &deleted):
		invalid := s.malformedPage(r, oauth.AsError(err))
		invalid.Key = "error.deleted_client"
		invalid.Message = s.pages.Text(r, "error.deleted_client.message", deleted.Client.DisplayName())
		return invalid
	case errors.Is(err, storage.ErrOtherBrowser):
		return &page.Error{Status: http.StatusForbidden, Key: "error.browser"}
	case errors.Is(err, storage.ErrNotFound):
		return &page.Error{Status: http.StatusNotFound, Key: "error.request_not_found"}
	}
	switch e := oauth.AsError(err); e.Code {
	case protocol.RateLimited:
		if slices.Contains(accountLimits, e.Limit.Limit) {
			return &page.Error{
				Status: http.StatusTooManyRequests, Key: "error.requests", Err: e,
				Message: s.pages.Text(r, "error.requests.message", s.pages.Wait(r, e.RetryAfter)),
			}
		}
		return &page.Error{Status: http.StatusTooManyRequests, Key: limitKey(e.Limit.Limit), Err: e}
	case protocol.TemporarilyUnavailable:
		return &page.Error{Status: http.StatusServiceUnavailable, Key: "error.unavailable"}
	case protocol.ServerError:
		return &page.Error{Status: http.StatusInternalServerError, Key: "error.server"}
	default:
		return s.malformedPage(r, e)
	}
}

// expiredPage returns the page of an authorization request that expired or was decided.
func (s *Server) expiredPage(r *http.Request, e *oauth.RequestExpiredError) *page.Error {
	switch {
	case e.Client == nil:
		return &page.Error{Status: http.StatusGone, Key: "error.expired", Message: s.pages.Text(r, "error.expired.unknown")}
	case e.Decided:
		message := s.pages.Text(r, "error.decided.app", e.Client.DisplayName())
		return &page.Error{Status: http.StatusGone, Key: "error.decided", Message: message}
	}
	message := s.pages.Text(r, "error.expired.app", e.Client.DisplayName())
	return &page.Error{Status: http.StatusGone, Key: "error.expired", Message: message}
}

// accountLimits are the limits of the pages of selfservice.
var accountLimits = []string{
	ratelimit.AccountRequest, ratelimit.AccountLink, ratelimit.SignUp, ratelimit.SignUpUnproven,
}

// limitKey returns the key of the messages for a rate limit.
func limitKey(limit string) string {
	switch limit {
	case ratelimit.AllStoredRequests:
		return "error.busy"
	case ratelimit.TokenUser:
		return "error.user_limit"
	}
	return "error.limit"
}

// malformedPage returns the page of an invalid request.
func (s *Server) malformedPage(r *http.Request, e *protocol.Error) *page.Error {
	invalid := &page.Error{Status: http.StatusBadRequest, Key: "error.request", Detail: e.Code + ": " + e.Description}
	if e.Status() == http.StatusRequestEntityTooLarge {
		invalid.Status = e.Status()
	}
	// No client sent the user to these pages.
	for _, path := range []string{"/account", "/forgot", "/reset", "/sign-up", "/verify", "/invite"} {
		if strings.HasPrefix(r.URL.Path, s.pages.Path(path)) {
			invalid.Key, invalid.Link, invalid.Detail = "error.malformed", s.pages.Path("/account"), ""
		}
	}
	return invalid
}
