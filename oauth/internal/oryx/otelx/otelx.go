// Package otelx stands in for the one function of github.com/ory/x/otelx that fosite calls
// (docs/decisions/0001-fosite-without-ory-x.md).
package otelx

import (
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// End ends the span and marks it failed when *err is set.
func End(span trace.Span, err *error) {
	if err != nil && *err != nil {
		span.SetStatus(codes.Error, "failed")
	}
	span.End()
}
