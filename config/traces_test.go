package config_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/config"
)

func TestTracesFollowStandardVariables(t *testing.T) {
	t.Parallel()
	off := config.Traces{Headers: map[string]string{}, Timeout: 10 * time.Second}
	to := func(endpoint string) config.Traces {
		traces := off
		traces.Endpoint = endpoint
		return traces
	}
	full := config.Traces{
		Endpoint: "https://t.example/x", Headers: map[string]string{"a": "1 2", "b": "3"}, Timeout: time.Second, Gzip: true,
	}
	for _, x := range []struct {
		env  map[string]string
		want config.Traces
	}{
		{nil, off},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318", "OTEL_SDK_DISABLED": "TRUE"}, off},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318", "OTEL_TRACES_EXPORTER": "none"}, off},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318/"}, to("http://h:4318/v1/traces")},
		{map[string]string{
			"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://t.example/x", "OTEL_EXPORTER_OTLP_HEADERS": "a=1%202, b=3",
			"OTEL_EXPORTER_OTLP_TIMEOUT": "9", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "1000",
			"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
			"OTEL_EXPORTER_OTLP_PROTOCOL":    "http/protobuf",
		}, full},
	} {
		got, err := config.LoadTraces(func(name string) string { return x.env[name] })
		if err != nil {
			t.Errorf("LoadTraces(%v): %v", x.env, err)
		}
		if diff := cmp.Diff(x.want, got); diff != "" {
			t.Errorf("LoadTraces(%v) (-want +got):\n%s", x.env, diff)
		}
	}
}

func TestInvalidTraceVariablesAreRefused(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "h:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
		"OTEL_EXPORTER_OTLP_HEADERS": "a", "OTEL_EXPORTER_OTLP_TIMEOUT": "0",
	} {
		env := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318", name: value}
		if _, err := config.LoadTraces(func(name string) string { return env[name] }); err == nil {
			t.Errorf("LoadTraces with %s=%s: no error, want one", name, value)
		}
	}
}
