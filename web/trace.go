package web

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"gatehouse/oauth"
	"gatehouse/storage/reqevent"
)

// startSpan starts the span of a request. Its parent is the span of a trusted proxy that sent one (W3C Trace Context),
// or of any caller when the issuer is on loopback; otherwise untrusted clients would decide what is traced. The span
// has no value that a caller chose.
func (s *Server) startSpan(ctx context.Context, r *http.Request) (context.Context, trace.Span) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err == nil && (s.isTrustedProxy(peer.Addr().Unmap()) || s.proxyCheck.localIssuer) {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	}
	route, method := routeOf(r), methodLabel(r.Method)
	return s.tracer.Start(ctx, method+" "+route, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", method), attribute.String("http.route", route),
		attribute.String("gatehouse.request_id", reqevent.FromContext(ctx).RequestID)))
}

// endSpan ends the span of a request with its outcome.
func endSpan(span trace.Span, event *reqevent.Event) {
	span.SetAttributes(attribute.Int("http.response.status_code", event.Status))
	if event.Err != nil {
		span.SetAttributes(attribute.String("error.type", errorType(event)))
	}
	if event.Status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// errorType returns the protocol code of the request's error. The error of a page, such as an unknown request, has none
// and is named by its status.
func errorType(event *reqevent.Event) string {
	if event.ErrorCode == "" && event.Status < http.StatusInternalServerError {
		return strconv.Itoa(event.Status)
	}
	return oauth.AsError(event.Err).Code
}
