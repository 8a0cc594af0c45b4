package server

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"gatehouse/config"
)

// startTraces sends traces by OTLP over HTTP to the collector that the standard variables of OpenTelemetry name.
// Without one the tracer is nil. stop sends the spans that are still queued.
func startTraces(
	ctx context.Context, getenv func(string) string, version string,
) (tracer trace.Tracer, stop func(context.Context) error, err error) {
	stop = func(context.Context) error { return nil }
	t, err := config.LoadTraces(getenv)
	if err != nil || t.Endpoint == "" {
		return nil, stop, err
	}
	exporter, err := otlptrace.New(ctx, &traceClient{t, &http.Client{Timeout: t.Timeout}})
	if err != nil {
		return nil, stop, fmt.Errorf("traces: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "gatehouse"), attribute.String("service.version", version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, stop, fmt.Errorf("traces: %w", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	return provider.Tracer("gatehouse"), provider.Shutdown, nil
}

// traceClient posts spans to a collector. OpenTelemetry's own HTTP client links gRPC, which is twice its size.
type traceClient struct {
	config config.Traces
	client *http.Client
}

// Start implements otlptrace.Client.
func (c *traceClient) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (c *traceClient) Stop(context.Context) error {
	c.client.CloseIdleConnections()
	return nil
}

// UploadTraces implements otlptrace.Client. It retries a temporary error three times.
func (c *traceClient) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	if c.config.Gzip {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write(body); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		body = b.Bytes()
	}
	for wait := time.Second; ; wait *= 2 {
		retry, err := c.post(ctx, body)
		if err == nil || !retry || wait > 4*time.Second {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

// post sends spans once. retry reports whether the error may be temporary.
func (c *traceClient) post(ctx context.Context, body []byte) (retry bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.config.Endpoint, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	if c.config.Gzip {
		r.Header.Set("Content-Encoding", "gzip")
	}
	for name, value := range c.config.Headers {
		r.Header.Set(name, value)
	}
	res, err := c.client.Do(r)
	if err != nil {
		return true, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	if err := res.Body.Close(); err != nil || res.StatusCode/100 == 2 {
		return false, err
	}
	switch res.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		retry = true
	}
	return retry, fmt.Errorf("the trace collector responded %s", res.Status)
}
