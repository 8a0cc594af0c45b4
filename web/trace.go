package web

import (
	"context"
	"net/http"
	"net/netip"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"gatehouse/oauth"
	"gatehouse/storage/reqevent"
)

// startSpan begins the span of a request, below that of a trusted proxy if it sent one (W3C Trace Context), or on a loopback
// issuer of anybody: else strangers would decide what is traced. Nothing that a caller wrote is in it.
func (s *Server) startSpan(ctx context.Context, r *http.Request) (context.Context, trace.Span) {
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && (s.trusted(peer.Addr().Unmap()) || s.peers.local) {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	}
	route, method := routeOf(r), knownMethod(r.Method)
	return s.tracer.Start(ctx, method+" "+route, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", method), attribute.String("http.route", route),
		attribute.String("gatehouse.request_id", reqevent.From(ctx).RequestID)))
}

func endSpan(span trace.Span, status int, err error) {
	span.SetAttributes(attribute.Int("http.response.status_code", status))
	if err != nil {
		span.SetAttributes(attribute.String("error.type", oauth.AsError(err).Code))
	}
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
	}
	span.End()
}
