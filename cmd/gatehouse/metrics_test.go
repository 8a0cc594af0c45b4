package main

import (
	"bytes"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"gatehouse/storage/storagetest"
)

// TestMetrics scrapes a server that has done some of everything. promtool accepts its output, every metric
// of an alert exists, and nothing that a caller sent is in a label.
func TestMetrics(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	admin := storagetest.FreeAddress(t)
	p.env["GATEHOUSE_ADMIN_LISTEN"], p.env["GATEHOUSE_REDIS_URL"] = admin, "redis://"+storagetest.FreeAddress(t)
	id, secret := p.client(t, `{"client_name":"Service","grant_types":["client_credentials"],"scope":"jobs"}`)
	server := p.serve(t)
	client := trusting(t, p.cert)
	token := func(secret string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.issuer+"/oauth2/token", strings.NewReader("grant_type=client_credentials"))
		storagetest.Must(t, err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(id, secret)
		res, err := client.Do(req)
		storagetest.Must(t, err)
		_ = res.Body.Close()
		return res
	}
	if res := token(secret); res.StatusCode != http.StatusOK { // by the limits of this process: there is no Redis
		t.Fatalf("%d\n%s", res.StatusCode, server.stderr)
	}
	token("planted-secret")
	req, err := http.NewRequestWithContext(t.Context(), "PLANTED", p.issuer+"/planted/path?planted=query", nil)
	storagetest.Must(t, err)
	res, err := client.Do(req)
	storagetest.Must(t, err)
	_ = res.Body.Close()

	const first = `gatehouse_job_last_success_timestamp_seconds{job="deliver logouts"}` // it runs as soon as the server does
	text := ""
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(text, first) && time.Now().Before(deadline); {
		_, text = get(t, "http://"+admin+"/metrics")
	}
	for _, want := range []string{
		`gatehouse_http_requests_total{error="",method="POST",route="/oauth2/token",status="200"} 1`,
		`gatehouse_http_requests_total{error="invalid_client",method="POST",route="/oauth2/token",status="401"} 1`,
		`gatehouse_http_requests_total{error="",method="other",route="/",status="404"} 1`,
		`gatehouse_audit_events_total{event="access_token.issued"} 1`, `gatehouse_audit_events_total{event="client.authentication_failed"} 1`,
		`gatehouse_rate_limit_decisions_total{decision="allowed",limit="token_client"} 1`, `gatehouse_redis_up 0`,
		`gatehouse_http_request_duration_seconds_count{route="/oauth2/token"} 2`, `gatehouse_database_connections{pool="write",state="idle"}`,
		`gatehouse_cache_lookups_total{result="hit"}`, `gatehouse_tls_certificate_expiry_timestamp_seconds`, `go_goroutines`, `process_open_fds`,
		first, `gatehouse_audit_events_total{event="refresh_token.reused"} 0`, `gatehouse_job_failures_total{job="seal the audit log"} 0`, `gatehouse_passwords_waiting 0`, `gatehouse_database_up 1`, `gatehouse_clock_skew_seconds 0`, `gatehouse_cleanup_behind_seconds 0`, `gatehouse_large_deletions_total 0`, `gatehouse_build_info{version="unreleased"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	for _, leak := range []string{"planted", "PLANTED", id} {
		if strings.Contains(text, leak) {
			t.Errorf("a label has %s", leak)
		}
	}
	if strings.Count(server.stderr.String(), "Redis unreachable") != 1 {
		t.Errorf("the log does not report once that Redis is unreachable:\n%s", server.stderr)
	}
	promtool(t, "", text, "check", "metrics")
	rules, err := os.ReadFile("../../docs/alerts.yml")
	storagetest.Must(t, err)
	for _, name := range regexp.MustCompile(`gatehouse_[a-z_]+`).FindAllString(string(rules), -1) {
		family := strings.TrimSuffix(name, "_bucket")
		if !strings.Contains(text, "# TYPE "+family+" ") {
			t.Errorf("an alert uses %s, which does not exist", name)
		}
	}
}

// TestAlertRules has promtool check and run the rules that operators are given.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for from, to := range map[string]string{"../../docs/alerts.yml": "alerts.yml", "testdata/alerts_test.yml": "alerts_test.yml"} {
		b, err := os.ReadFile(from)
		storagetest.Must(t, err)
		storagetest.Must(t, os.WriteFile(filepath.Join(dir, to), b, 0o600))
	}
	promtool(t, dir, "", "check", "rules", "alerts.yml")
	promtool(t, dir, "", "test", "rules", "alerts_test.yml")
}

func promtool(t *testing.T, dir, stdin string, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no promtool; `make setup` installs it")
		}
		t.Skip("promtool is not installed")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// TestTraces sends a request with a trace of its own to a server that sends traces to a collector.
func TestTraces(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var spans []*tracepb.Span
	var resource string
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		var data tracepb.TracesData
		if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("X-Team") != "identity" || proto.Unmarshal(b, &data) != nil {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, rs := range data.GetResourceSpans() {
			resource = rs.GetResource().String()
			for _, ss := range rs.GetScopeSpans() {
				spans = append(spans, ss.GetSpans()...)
			}
		}
	}))
	defer collector.Close()
	address := storagetest.FreeAddress(t)
	env := map[string]string{
		"GATEHOUSE_ISSUER": "http://" + address, "GATEHOUSE_LISTEN": address, "GATEHOUSE_DATABASE_URL": "sqlite:" + t.TempDir() + "/gatehouse.db",
		"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL, "OTEL_EXPORTER_OTLP_HEADERS": "x-team=identity",
	}
	c := &cluster{env: env}
	p := start(t, env, "serve")
	p.stderr.waitFor(t, `"msg":"listening"`, p.ended)
	id, secret := c.client(t, `{"grant_types":["client_credentials"],"scope":"jobs"}`)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/oauth2/token", strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode()))
	storagetest.Must(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	req.SetBasicAuth(id, secret)
	res, err := http.DefaultClient.Do(req)
	storagetest.Must(t, err)
	_ = res.Body.Close()
	p.stop(t)

	mu.Lock()
	defer mu.Unlock()
	var request *tracepb.Span
	statements := 0
	for _, s := range spans {
		if hex.EncodeToString(s.GetTraceId()) != "0af7651916cd43dd8448eb211c80319c" {
			continue
		}
		if s.GetName() == "POST /oauth2/token" {
			request = s
		}
		if strings.Contains(s.String(), secret) {
			t.Errorf("a span has the secret: %s", s)
		}
	}
	if request == nil || hex.EncodeToString(request.GetParentSpanId()) != "b7ad6b7169203331" || !strings.Contains(request.String(), res.Header.Get("X-Request-Id")) || !strings.Contains(resource, "gatehouse") {
		t.Fatalf("of %d spans none is that of the request below its caller's, or the resource is not ours: %v, %s\n%s", len(spans), request, resource, p.stderr)
	}
	for _, s := range spans {
		if s.GetName() == "database" && bytes.Equal(s.GetTraceId(), request.GetTraceId()) && strings.Contains(s.String(), "FROM") {
			statements++
		}
	}
	if statements == 0 {
		t.Error("no statement is part of the trace")
	}
	if !strings.Contains(p.stderr.String(), `"trace_id":"0af7651916cd43dd8448eb211c80319c"`) {
		t.Error("no line of the log names the trace")
	}
}
