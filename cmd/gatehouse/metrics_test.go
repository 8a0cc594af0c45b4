package main

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"gatehouse/identity/passkey/passkeytest"
	"gatehouse/storage/storagetest"
)

// metricSamples are in the metrics of a server after the requests of TestMetricsCoverAlertsWithoutCallerInput.
var metricSamples = []string{
	`gatehouse_http_requests_total{error="",method="POST",route="/oauth2/token",status="200"} 1`,
	`gatehouse_http_requests_total{error="invalid_client",method="POST",route="/oauth2/token",status="401"} 1`,
	`gatehouse_http_requests_total{error="",method="other",route="/",status="404"} 1`,
	`gatehouse_http_request_duration_seconds_count{route="/oauth2/token"} 2`,
	`gatehouse_audit_events_total{event="access_token.issued"} 1`,
	`gatehouse_audit_events_total{event="client.authentication_failed"} 1`,
	`gatehouse_audit_events_total{event="refresh_token.reused"} 0`,
	`gatehouse_rate_limit_decisions_total{decision="allowed",limit="token_client"} 1`,
	`gatehouse_redis_up 0`, `gatehouse_mail_up 1`, `gatehouse_database_up 1`,
	`gatehouse_database_connections{pool="write",state="idle"}`, `gatehouse_cache_lookups_total{result="hit"}`,
	`gatehouse_tls_certificate_expiry_timestamp_seconds`,
	`gatehouse_passkey_metadata_expiry_timestamp_seconds 4.0709088e+09`, `gatehouse_passwords_waiting 0`,
	`gatehouse_job_failures_total{job="seal the audit log"} 0`, `gatehouse_clock_skew_seconds 0`,
	`gatehouse_cleanup_behind_seconds 0`, `gatehouse_large_deletions_total 0`,
	`gatehouse_build_info{version="unreleased"} 1`, `go_goroutines`, `process_open_fds`,
}

// TestMetricsCoverAlertsWithoutCallerInput reads the metrics of a server after some requests. promtool accepts them,
// every metric of an alert exists, and no label has input of a caller.
func TestMetricsCoverAlertsWithoutCallerInput(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	admin := storagetest.FreeAddress(t)
	p.env["GATEHOUSE_ADMIN_LISTEN"], p.env["GATEHOUSE_REDIS_URL"] = admin, "redis://"+storagetest.FreeAddress(t)
	p.env["GATEHOUSE_SMTP_URL"], p.env["GATEHOUSE_MAIL_FROM"] = "smtp://mail.example", "no-reply@id.example"
	writeMetadata(t, p.env)
	id, secret := createClient(t, p.env, serviceMetadata)
	server := p.serve(t)
	client := newTrustingClient(t, p.cert)
	// Redis is unreachable: the process counts for the rate limits on its own.
	if res := send(t, client, serviceTokenRequest(t, p.issuer, id, secret)); res.StatusCode != http.StatusOK {
		t.Fatalf("token request: %s, want 200\n%s", res.Status, server.stderr)
	}
	send(t, client, serviceTokenRequest(t, p.issuer, id, "planted-secret"))
	req, err := http.NewRequestWithContext(t.Context(), "PLANTED", p.issuer+"/planted/path?planted=query", nil)
	storagetest.Must(t, err)
	send(t, client, req)

	const first = `gatehouse_job_last_success_timestamp_seconds{job="deliver logouts"}` // runs when the server starts
	metrics := ""
	storagetest.Eventually(t, "the metrics have "+first, func() bool {
		_, metrics = get(t, "http://"+admin+"/metrics")
		return strings.Contains(metrics, first)
	})
	for _, want := range metricSamples {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics do not contain %s", want)
		}
	}
	for _, input := range []string{"planted", "PLANTED", id} {
		if strings.Contains(metrics, input) {
			t.Errorf("a label contains %s, which a caller sent", input)
		}
	}
	if n := strings.Count(server.stderr.String(), "Redis unreachable"); n != 1 {
		t.Errorf("the log has %q %d times, want once:\n%s", "Redis unreachable", n, server.stderr)
	}
	promtool(t, "", metrics, "check", "metrics")
	for _, name := range regexp.MustCompile(`gatehouse_[a-z_]+`).FindAllString(readFile(t, "../../docs/alerts.yml"), -1) {
		family := strings.TrimSuffix(name, "_bucket")
		if !strings.Contains(metrics, "# TYPE "+family+" ") {
			t.Errorf("an alert uses the metric %s, which does not exist", name)
		}
	}
}

// writeMetadata writes a file of the FIDO Metadata Service and sets its settings.
func writeMetadata(t *testing.T, env map[string]string) {
	t.Helper()
	vendor, dir := passkeytest.NewVendor(t), t.TempDir()
	for name, content := range map[string][]byte{
		"GATEHOUSE_PASSKEY_METADATA_FILE":      vendor.Metadata("2099-01-01", passkeytest.Model{AAGUID: [16]byte{1}}),
		"GATEHOUSE_PASSKEY_METADATA_ROOT_FILE": vendor.Root(),
	} {
		env[name] = filepath.Join(dir, name)
		storagetest.Must(t, os.WriteFile(env[name], content, 0o600))
	}
}

// serviceTokenRequest returns a request for a client credentials token.
func serviceTokenRequest(t *testing.T, issuer, id, secret string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, issuer+"/oauth2/token",
		strings.NewReader("grant_type=client_credentials"))
	storagetest.Must(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(id, secret)
	return req
}

// send sends a request and returns the response without its body.
func send(t *testing.T, client *http.Client, req *http.Request) *http.Response {
	t.Helper()
	res, err := client.Do(req)
	storagetest.Must(t, err)
	_ = res.Body.Close()
	return res
}

// TestAlertRulesFire checks and runs the rules of docs/alerts.yml with promtool.
func TestAlertRulesFire(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, file := range []string{"../../docs/alerts.yml", "testdata/alerts_test.yml"} {
		storagetest.Must(t, os.WriteFile(filepath.Join(dir, filepath.Base(file)), []byte(readFile(t, file)), 0o600))
	}
	promtool(t, dir, "", "check", "rules", "alerts.yml")
	promtool(t, dir, "", "test", "rules", "alerts_test.yml")
}

// promtool runs promtool, which must succeed.
func promtool(t *testing.T, dir, stdin string, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		storagetest.Missing(t, "promtool is not installed; `make setup` installs it")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// collector is an OpenTelemetry collector that stores the spans it receives.
type collector struct {
	*httptest.Server

	mu       sync.Mutex
	spans    []*tracepb.Span
	resource string
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

// ServeHTTP implements http.Handler.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	var data tracepb.TracesData
	authorized := r.URL.Path == "/v1/traces" && r.Header.Get("X-Team") == "identity"
	if err != nil || !authorized || proto.Unmarshal(b, &data) != nil {
		http.Error(w, "invalid request", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range data.GetResourceSpans() {
		c.resource = rs.GetResource().String()
		for _, ss := range rs.GetScopeSpans() {
			c.spans = append(c.spans, ss.GetSpans()...)
		}
	}
}

// trace returns the spans of a trace.
func (c *collector) trace(id string) (spans []*tracepb.Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if hex.EncodeToString(s.GetTraceId()) == id {
			spans = append(spans, s)
		}
	}
	return spans
}

// TestServerContinuesTraceOfCaller sends a request with a traceparent to a server that sends its traces to a collector.
func TestServerContinuesTraceOfCaller(t *testing.T) {
	t.Parallel()
	const traceID, parentID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	collector := startCollector(t)
	address := storagetest.FreeAddress(t)
	env := map[string]string{
		"GATEHOUSE_ISSUER": "http://" + address, "GATEHOUSE_LISTEN": address,
		"GATEHOUSE_DATABASE_URL":      "sqlite:" + t.TempDir() + "/gatehouse.db",
		"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL, "OTEL_EXPORTER_OTLP_HEADERS": "x-team=identity",
	}
	p := startServe(t, env)
	id, secret := createClient(t, env, serviceMetadata)
	req := serviceTokenRequest(t, "http://"+address, id, secret)
	req.Header.Set("Traceparent", "00-"+traceID+"-"+parentID+"-01")
	res := send(t, http.DefaultClient, req)
	p.stop(t)

	var request *tracepb.Span
	statements := 0
	for _, s := range collector.trace(traceID) {
		if s.GetName() == "POST /oauth2/token" {
			request = s
		}
		if s.GetName() == "database" && strings.Contains(s.String(), "FROM") {
			statements++
		}
		if strings.Contains(s.String(), secret) {
			t.Errorf("a span contains the client secret: %s", s)
		}
	}
	if request == nil {
		t.Fatalf("the trace has no span of the request:\n%s", p.stderr)
	}
	if got := hex.EncodeToString(request.GetParentSpanId()); got != parentID {
		t.Errorf("parent of the request's span = %s, want %s, the span of the caller", got, parentID)
	}
	if requestID := res.Header.Get("X-Request-Id"); !strings.Contains(request.String(), requestID) {
		t.Errorf("the request's span is %s, want the request id %s in it", request, requestID)
	}
	if !strings.Contains(collector.resource, "gatehouse") {
		t.Errorf("the resource of the spans is %s, want gatehouse", collector.resource)
	}
	if statements == 0 {
		t.Error("the trace has no span of a database statement")
	}
	if want := `"trace_id":"` + traceID + `"`; !strings.Contains(p.stderr.String(), want) {
		t.Errorf("the log does not contain %s:\n%s", want, p.stderr)
	}
}
