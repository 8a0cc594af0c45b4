package main

import (
	"bufio"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

func TestServeRefusesOldSchemaAndMigratesOnRequest(t *testing.T) {
	t.Parallel()
	requireEnv(t, "TEST_POSTGRES_DSN")
	env := map[string]string{
		"GATEHOUSE_DATABASE_URL": storagetest.URL(t, storage.Postgres), "GATEHOUSE_SECRET_KEY": keyText,
		"GATEHOUSE_LISTEN": storagetest.FreeAddress(t),
	}
	_, stderr, code := command(t, env, "", "serve")
	if code != exitFailed || !strings.Contains(stderr, "gatehouse migrate up") {
		t.Errorf("serve without a schema: exit %d, want %d with gatehouse migrate up: %s", code, exitFailed, stderr)
	}
	startServe(t, env, "--migrate")
	status, body := get(t, "http://"+env["GATEHOUSE_LISTEN"]+"/readyz")
	if status != http.StatusOK || body != "ok\n" {
		t.Errorf("GET /readyz: %d %q, want 200 %q", status, body, "ok\n")
	}
}

func gunzip(t *testing.T, s string) string {
	t.Helper()
	r, err := gzip.NewReader(strings.NewReader(s))
	storagetest.Must(t, err)
	plain, err := io.ReadAll(r)
	storagetest.Must(t, err)
	return string(plain)
}

// TestProfilesAreOnAdminListenerOnly requests profiles from both listeners.
func TestProfilesAreOnAdminListenerOnly(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"GATEHOUSE_DATABASE_URL": "sqlite:" + t.TempDir() + "/gatehouse.db",
		"GATEHOUSE_LISTEN":       storagetest.FreeAddress(t), "GATEHOUSE_ADMIN_LISTEN": storagetest.FreeAddress(t),
	}
	startServe(t, env)
	profiles := "http://" + env["GATEHOUSE_ADMIN_LISTEN"] + "/debug/pprof/"
	if status, _ := get(t, profiles+"cmdline"); status != http.StatusOK {
		t.Errorf("GET /debug/pprof/cmdline of the admin listener: %d, want 200", status)
	}
	status, body := get(t, profiles+"block?seconds=1")
	if status != http.StatusOK {
		t.Fatalf("GET /debug/pprof/block of the admin listener: %d, want 200", status)
	}
	const waiting = "gatehouse/storage/audit.(*batch).run"
	if profile := gunzip(t, body); !strings.Contains(profile, waiting) {
		t.Errorf("the block profile does not contain %s", waiting)
	}
	if status, _ := get(t, "http://"+env["GATEHOUSE_LISTEN"]+"/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("GET /debug/pprof/ of the public listener: %d, want 404", status)
	}
}

// TestStoppedServerFinishesRequest sends the head of a request, stops the server, and then sends the body.
func TestStoppedServerFinishesRequest(t *testing.T) {
	t.Parallel()
	address := storagetest.FreeAddress(t)
	env := map[string]string{
		"GATEHOUSE_DATABASE_URL": "sqlite:" + t.TempDir() + "/gatehouse.db", "GATEHOUSE_LISTEN": address,
	}
	p := startServe(t, env)
	id, secret := createClient(t, env, serviceMetadata)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	storagetest.Must(t, err)
	defer func() { _ = conn.Close() }()
	const body = "grant_type=client_credentials"
	_, err = fmt.Fprintf(conn, "POST /oauth2/token HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nAuthorization: Basic %s\r\n\r\n",
		len(body), base64.StdEncoding.EncodeToString([]byte(id+":"+secret)))
	storagetest.Must(t, err)
	reader := bufio.NewReader(conn)
	line, err := reader.ReadString('\n')
	if err != nil || !strings.Contains(line, "100") {
		t.Fatalf("status line = %q, %v, want 100: the handler reads the body", line, err)
	}
	p.cancel()
	p.stderr.waitFor(t, `"msg":"stopping"`, p.ended)
	_, err = io.WriteString(conn, body)
	storagetest.Must(t, err)
	_, err = reader.ReadString('\n')
	storagetest.Must(t, err)
	res, err := http.ReadResponse(reader, nil)
	storagetest.Must(t, err)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("response to the request in progress: %s, want 200", res.Status)
	}
	if code := p.stop(t); code != exitOK {
		t.Errorf("exit code = %d, want 0:\n%s", code, p.stderr)
	}
	if _, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address); err == nil {
		t.Error("the stopped server still accepts connections")
	}
	if rows := mustRun(t, env, "", "audit", "list", "--event", audit.TokenIssued); !strings.Contains(rows, id) {
		t.Errorf("audit list = %q, want the row of the last token of client %s", rows, id)
	}
}

// TestAdminListenerRefusesForeignHostNames checks that a web site cannot read metrics and profiles through a browser
// and a DNS name that it controls, while scrapers and probes can use IP addresses and service names.
func TestAdminListenerRefusesForeignHostNames(t *testing.T) {
	t.Parallel()
	hostname, err := os.Hostname()
	storagetest.Must(t, err)
	for _, c := range []struct {
		listen           string
		allowed, refused []string
	}{
		{
			"127.0.0.1",
			[]string{"127.0.0.1", "localhost", "LOCALHOST.", "[::1]", "10.2.3.4", hostname, "id.example"},
			[]string{"evil.example", "gatehouse", "gatehouse.auth.svc", "evil.local", "127.0.0.1.evil.example", ""},
		},
		{
			"0.0.0.0",
			[]string{
				"10.2.3.4", "[2001:db8::1]", "localhost", "gatehouse", "gatehouse.auth.svc",
				"gatehouse.auth.svc.cluster.local", "gatehouse.corp.internal", hostname, "id.example",
			},
			[]string{"evil.example", "evil.local", "id.example.evil.example", ""},
		},
	} {
		admin := storagetest.FreeAddress(t)
		_, port, err := net.SplitHostPort(admin)
		storagetest.Must(t, err)
		startServe(t, map[string]string{
			"GATEHOUSE_DATABASE_URL": "sqlite:" + t.TempDir() + "/gatehouse.db",
			"GATEHOUSE_LISTEN":       storagetest.FreeAddress(t), "GATEHOUSE_ADMIN_LISTEN": net.JoinHostPort(c.listen, port),
			"GATEHOUSE_ISSUER": "https://id.example", "GATEHOUSE_TRUSTED_PROXIES": "127.0.0.1",
		})
		check := func(path, host string, want int) {
			t.Helper()
			if got := statusWithHost(t, admin, path, host); got != want {
				t.Errorf("listening on %s, GET %s with Host %q: %d, want %d", c.listen, path, host, got, want)
			}
		}
		for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/cmdline"} {
			for _, host := range c.allowed {
				check(path, host, http.StatusOK)
				check(path, host+":"+port, http.StatusOK)
			}
			for _, host := range append(c.refused, "evil.example:"+port) {
				check(path, host, http.StatusMisdirectedRequest)
			}
		}
		for _, path := range []string{"/healthz", "/readyz"} { // load balancers send any Host
			check(path, "balancer.example", http.StatusOK)
		}
	}
}

// statusWithHost returns the status of a GET with a Host header, which may be empty; net/http would not send that.
func statusWithHost(t *testing.T, address, path, host string) int {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	storagetest.Must(t, err)
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host)
	storagetest.Must(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	storagetest.Must(t, err)
	_ = res.Body.Close()
	return res.StatusCode
}

// TestProfilesOmitCommandLineSecrets starts a server with its root key in a flag, which logs a warning, and reads every
// profile in a text format.
func TestProfilesOmitCommandLineSecrets(t *testing.T) {
	t.Parallel()
	admin := storagetest.FreeAddress(t)
	p := startChild(t, nil, "serve", "--database-url", "sqlite:"+t.TempDir()+"/gatehouse.db",
		"--listen", storagetest.FreeAddress(t), "--admin-listen", admin, "--secret-key", keyText)
	p.stderr.waitFor(t, `"msg":"listening"`, p.ended)
	if !p.stderr.contains("--secret-key shows a secret to every user of this host") {
		t.Errorf("the log has no warning about the secret on the command line:\n%s", p.stderr)
	}
	for _, path := range []string{
		"cmdline", "goroutine?debug=2", "heap?debug=1", "allocs?debug=1", "threadcreate?debug=1", "mutex?debug=1",
		"block?debug=1", "symbol", "",
	} {
		status, body := get(t, "http://"+admin+"/debug/pprof/"+path)
		if leaks := strings.Contains(body, keyText); status != http.StatusOK || leaks {
			t.Errorf("GET /debug/pprof/%s: %d, contains the secret: %t, want 200 without it", path, status, leaks)
		}
	}
	_, stderr, _ := command(t, nil, "", "client", "list", "--database-url", "sqlite:"+t.TempDir()+"/none.db",
		"--secret-key", keyText)
	if !strings.Contains(stderr, "--secret-key shows a secret") || strings.Contains(stderr, keyText) {
		t.Errorf("standard error with a secret in a flag = %q, want a warning without the secret", stderr)
	}
}

func TestDevStoresItsDataAndRefusesOtherHosts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := startDev(t, dir, nil)
	page := first.stdout.String()
	for _, want := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke", "curl", "demo"} {
		if !strings.Contains(page, want) {
			t.Errorf("the printed page does not contain %q:\n%s", want, page)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, first.issuer+"/login", nil)
	storagetest.Must(t, err)
	req.Host = "evil.example"
	if res := send(t, http.DefaultClient, req); res.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("GET /login with Host %s: %d, want 421", req.Host, res.StatusCode)
	}
	if code := first.stop(t); code != exitOK {
		t.Fatalf("exit code = %d, want 0: %s", code, first.stderr)
	}
	second := startDev(t, dir, nil)
	if second.password != first.password {
		t.Errorf("password after a restart = %q, want that of the first start, %q", second.password, first.password)
	}
	_, stderr, code := command(t, map[string]string{}, "", "dev", "--listen", "0.0.0.0:0")
	if code != exitUsage || !strings.Contains(stderr, "loopback only") {
		t.Errorf("dev --listen 0.0.0.0:0: exit %d, want %d with loopback only: %s", code, exitUsage, stderr)
	}
}
