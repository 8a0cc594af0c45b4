package config

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Traces has the settings of the OpenTelemetry exporter, from the standard variables (OpenTelemetry Protocol Exporter).
// The SDK reads the variables for sampling, batches and the resource.
type Traces struct {
	Endpoint string // URL that spans are sent to; empty: no traces
	Headers  map[string]string
	Timeout  time.Duration
	Gzip     bool
}

// LoadTraces reads the OTEL_ variables.
func LoadTraces(getenv func(string) string) (Traces, error) {
	t := Traces{Headers: map[string]string{}, Timeout: 10 * time.Second}
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return t, nil
	}
	get := func(name string) string {
		if v := getenv("OTEL_EXPORTER_OTLP_TRACES_" + name); v != "" {
			return v
		}
		return getenv("OTEL_EXPORTER_OTLP_" + name)
	}
	t.Endpoint = getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	if base := getenv("OTEL_EXPORTER_OTLP_ENDPOINT"); t.Endpoint == "" && base != "" {
		t.Endpoint = strings.TrimRight(base, "/") + "/v1/traces"
	}
	if t.Endpoint == "" {
		return t, nil
	}
	if u, err := url.Parse(t.Endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return Traces{}, Errors{
			fmt.Sprintf("OTEL_EXPORTER_OTLP_ENDPOINT: %q is not a URL; write one like http://127.0.0.1:4318", t.Endpoint),
		}
	}
	if p := get("PROTOCOL"); p != "" && p != "http/protobuf" {
		return Traces{}, Errors{
			fmt.Sprintf("OTEL_EXPORTER_OTLP_PROTOCOL: %q is not supported; write http/protobuf, and use the collector's "+
				"port for it, usually 4318", p),
		}
	}
	for _, item := range splitList(get("HEADERS")) {
		name, value, ok := strings.Cut(item, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil {
			return Traces{}, Errors{"OTEL_EXPORTER_OTLP_HEADERS is not a list of name=value"}
		}
		t.Headers[strings.TrimSpace(name)] = value
	}
	if v := get("TIMEOUT"); v != "" {
		ms, err := strconv.Atoi(v)
		if err != nil || ms < 1 {
			return Traces{}, Errors{fmt.Sprintf("OTEL_EXPORTER_OTLP_TIMEOUT: %q is not a number of milliseconds", v)}
		}
		t.Timeout = time.Duration(ms) * time.Millisecond
	}
	t.Gzip = get("COMPRESSION") == "gzip"
	return t, nil
}
