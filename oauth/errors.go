package oauth

import (
	"cmp"
	"context"
	"errors"

	"github.com/ory/fosite"

	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// AsError returns the protocol error in err. Endpoints map ErrNotFound and the other outcomes of the store themselves,
// so that an error that none has mapped is a fault: temporarily_unavailable if the client can retry, else server_error.
func AsError(err error) *protocol.Error {
	var e *protocol.Error
	if errors.As(err, &e) {
		return e
	}
	if p := (*params.Error)(nil); errors.As(err, &p) {
		return protocol.NewError(cmp.Or(p.Code, protocol.InvalidRequest), p.Description).WithStatus(p.Status)
	}
	if errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrBusy) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return protocol.UnavailableError(err)
	}
	return fromFosite(err)
}

// fromFosite translates an error of fosite. It is the only place that does. The checks of this package run before
// fosite's, so that few arrive here. Their hints stay in the log.
func fromFosite(err error) *protocol.Error {
	var f *fosite.RFC6749Error
	if !errors.As(err, &f) {
		return protocol.InternalError(err)
	}
	code := f.ErrorField
	switch code {
	case protocol.InvalidRequest, protocol.InvalidClient, protocol.InvalidGrant, protocol.InvalidScope,
		protocol.UnauthorizedClient, protocol.UnsupportedGrantType, protocol.UnsupportedResponseType,
		protocol.AccessDenied, protocol.TemporarilyUnavailable:
	case "invalid_state", "insufficient_entropy", "unsupported_response_mode":
		code = protocol.InvalidRequest
	default:
		return protocol.InternalError(err)
	}
	return protocol.NewError(code, "The request is not valid.").WithCause(err)
}
