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
	needs(t, "TEST_POSTGRES_DSN")
	env := map[string]string{
		"GATEHOUSE_DATABASE_URL": storagetest.URL(t, storage.Postgres), "GATEHOUSE_SECRET_KEY": base64.StdEncoding.EncodeToString(storagetest.Key[:]),
		"GATEHOUSE_LISTEN": storagetest.FreeAddress(t),
	}
	_, stderr, code := command(t, env, "", "serve")
	if code != exitFailed || !strings.Contains(stderr, "gatehouse migrate up") {
		t.Errorf("%d %s", code, stderr)
	}
	p := start(t, env, "serve", "--migrate")
	p.stderr.waitFor(t, `"msg":"listening"`, p.ended)
	if status, body := get(t, "http://"+env["GATEHOUSE_LISTEN"]+"/readyz"); status != http.StatusOK || body != "ok\n" {
		t.Errorf("readyz: %d %s", status, body)
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

// TestServeStopsGracefully sends half a request, stops the server, and sends the rest.
func TestServeStopsGracefully(t *testing.T) {
	t.Parallel()
	env := map[string]string{"GATEHOUSE_DATABASE_URL": "sqlite:" + t.TempDir() + "/gatehouse.db", "GATEHOUSE_LISTEN": storagetest.FreeAddress(t), "GATEHOUSE_ADMIN_LISTEN": storagetest.FreeAddress(t)}
	p := start(t, env, "serve")
	p.stderr.waitFor(t, `"msg":"listening"`, p.ended)
	c := &cluster{env: env}
	id, secret := c.client(t, `{"grant_types":["client_credentials"],"scope":"jobs"}`)
	if status, _ := get(t, "http://"+env["GATEHOUSE_ADMIN_LISTEN"]+"/debug/pprof/cmdline"); status != http.StatusOK {
		t.Errorf("profiling: %d", status)
	}
	if status, body := get(t, "http://"+env["GATEHOUSE_ADMIN_LISTEN"]+"/debug/pprof/block?seconds=1"); status != http.StatusOK || !strings.Contains(gunzip(t, body), "gatehouse/storage/audit.(*batch).run") {
		t.Errorf("the profile of what blocks: %d", status)
	}
	if status, _ := get(t, "http://"+env["GATEHOUSE_LISTEN"]+"/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("profiling on the public listener: %d", status)
	}

	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", env["GATEHOUSE_LISTEN"])
	storagetest.Must(t, err)
	defer func() { _ = conn.Close() }()
	body := "grant_type=client_credentials"
	_, err = fmt.Fprintf(conn, "POST /oauth2/token HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nAuthorization: Basic %s\r\n\r\n", len(body), base64.StdEncoding.EncodeToString([]byte(id+":"+secret)))
	storagetest.Must(t, err)
	reader := bufio.NewReader(conn)
	line, err := reader.ReadString('\n') // 100: the handler is reading the body
	if err != nil || !strings.Contains(line, "100") {
		t.Fatalf("%q %v", line, err)
	}
	p.cancel()
	p.stderr.waitFor(t, `"msg":"stopping"`, p.ended)
	_, err = conn.Write([]byte(body))
	storagetest.Must(t, err)
	_, err = reader.ReadString('\n')
	storagetest.Must(t, err)
	res, err := http.ReadResponse(reader, nil)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("the request in flight was not finished: %v %v", res, err)
	}
	_ = res.Body.Close()
	if code := p.stop(t); code != exitOK {
		t.Errorf("it ended with %d:\n%s", code, p.stderr)
	}
	if _, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", env["GATEHOUSE_LISTEN"]); err == nil {
		t.Error("it still listens")
	}
	if stdout, _, _ := command(t, env, "", "audit", "list", "--event", audit.TokenIssued); !strings.Contains(stdout, id) {
		t.Errorf("the record of the last token was lost:\n%s", stdout)
	}
}

// TestAdminListenerRefusesForeignHostNames: a web site cannot reach metrics and profiles through a browser and a DNS
// name of its own, while scrapers and probes by IP address or service name can.
func TestAdminListenerRefusesForeignHostNames(t *testing.T) {
	t.Parallel()
	hostname, err := os.Hostname()
	storagetest.Must(t, err)
	for _, c := range []struct {
		listen           string
		allowed, refused []string
	}{
		{"127.0.0.1", []string{"127.0.0.1", "localhost", "LOCALHOST.", "[::1]", "10.2.3.4", hostname, "id.example"}, []string{"evil.example", "gatehouse", "gatehouse.auth.svc", "evil.local", "127.0.0.1.evil.example", ""}},
		{"0.0.0.0", []string{"10.2.3.4", "[2001:db8::1]", "localhost", "gatehouse", "gatehouse.auth.svc", "gatehouse.auth.svc.cluster.local", "gatehouse.corp.internal", hostname, "id.example"}, []string{"evil.example", "evil.local", "id.example.evil.example", ""}},
	} {
		public, admin := storagetest.FreeAddress(t), storagetest.FreeAddress(t)
		_, port, err := net.SplitHostPort(admin)
		storagetest.Must(t, err)
		p := start(t, map[string]string{
			"GATEHOUSE_DATABASE_URL": "sqlite:" + t.TempDir() + "/gatehouse.db", "GATEHOUSE_LISTEN": public, "GATEHOUSE_ADMIN_LISTEN": net.JoinHostPort(c.listen, port),
			"GATEHOUSE_ISSUER": "https://id.example", "GATEHOUSE_TRUSTED_PROXIES": "127.0.0.1",
		}, "serve")
		p.stderr.waitFor(t, `"msg":"listening"`, p.ended)
		status := func(host, path string) int {
			t.Helper()
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", admin) // net/http would send no empty Host
			storagetest.Must(t, err)
			defer func() { _ = conn.Close() }()
			_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host)
			storagetest.Must(t, err)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			storagetest.Must(t, err)
			_ = res.Body.Close()
			return res.StatusCode
		}
		for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/cmdline"} {
			for _, name := range c.allowed {
				for _, host := range []string{name, name + ":" + port} {
					if got := status(host, path); got != http.StatusOK {
						t.Errorf("listening on %s, %s with Host %q: %d, want 200", c.listen, path, host, got)
					}
				}
			}
			for _, host := range append(c.refused, "evil.example:"+port) {
				if got := status(host, path); got != http.StatusMisdirectedRequest {
					t.Errorf("listening on %s, %s with Host %q: %d, want 421", c.listen, path, host, got)
				}
			}
		}
		for _, path := range []string{"/healthz", "/readyz"} {
			if got := status("balancer.example", path); got != http.StatusOK {
				t.Errorf("%s with the Host of a load balancer: %d, want 200", path, got)
			}
		}
	}
}

// TestProfilesOmitCommandLineSecrets starts a server with its root key as a flag, which is a warning, and reads every
// profile that has text.
func TestProfilesOmitCommandLineSecrets(t *testing.T) {
	t.Parallel()
	admin := storagetest.FreeAddress(t)
	p := startChild(t, nil, "serve", "--database-url", "sqlite:"+t.TempDir()+"/gatehouse.db", "--listen", storagetest.FreeAddress(t), "--admin-listen", admin, "--secret-key", keyText)
	p.stderr.waitFor(t, `"msg":"listening"`, p.ended)
	if !p.stderr.contains("--secret-key shows a secret to every user of this host") {
		t.Errorf("the log has no warning of the secret on the command line:\n%s", p.stderr)
	}
	for _, path := range []string{"cmdline", "goroutine?debug=2", "heap?debug=1", "allocs?debug=1", "threadcreate?debug=1", "mutex?debug=1", "block?debug=1", "symbol", ""} {
		status, body := get(t, "http://"+admin+"/debug/pprof/"+path)
		if status != http.StatusOK || strings.Contains(body, keyText) {
			t.Errorf("/debug/pprof/%s: %d, has the secret: %t", path, status, strings.Contains(body, keyText))
		}
	}
	_, stderr, _ := command(t, nil, "", "client", "list", "--database-url", "sqlite:"+t.TempDir()+"/none.db", "--secret-key", keyText)
	if !strings.Contains(stderr, "--secret-key shows a secret") || strings.Contains(stderr, keyText) {
		t.Errorf("a command with a secret as a flag: %s", stderr)
	}
}

func TestDevKeepsItsDataAndRefusesOtherHosts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := startDev(t, dir, nil)
	page := first.stdout.String()
	for _, want := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke", "curl", "demo"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in:\n%s", want, page)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, first.issuer+"/login", nil)
	storagetest.Must(t, err)
	req.Host = "evil.example"
	res, err := http.DefaultClient.Do(req)
	storagetest.Must(t, err)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("under another name: %d", res.StatusCode)
	}
	if code := first.stop(t); code != exitOK {
		t.Fatalf("%d: %s", code, first.stderr)
	}
	second := startDev(t, dir, nil)
	if second.password != first.password {
		t.Error("the second start has another password")
	}
	if _, stderr, code := command(t, map[string]string{}, "", "dev", "--listen", "0.0.0.0:0"); code != exitUsage || !strings.Contains(stderr, "loopback only") {
		t.Errorf("%d %s", code, stderr)
	}
}
