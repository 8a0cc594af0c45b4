package main

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// startNginx runs nginx with the server block that a document has for a host, on the address. replace are further texts
// of the block and what replaces them.
func startNginx(t *testing.T, server, host, address string, replace ...string) {
	t.Helper()
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		nginx = "/usr/sbin/nginx"
	}
	if !fileExists(nginx) {
		storagetest.Missing(t, "nginx is not installed; `make setup` installs it")
	}
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	selfSigned(t, cert, key)
	changed := strings.NewReplacer(append(replace,
		"listen 443 ssl;", "listen "+address+" ssl;", "server_name "+host+";", "",
		"/etc/ssl/"+host+".pem", cert, "/etc/ssl/"+host+".key", key,
		"/var/log/nginx/gatehouse.log", filepath.Join(dir, "access.log"),
		"proxy_set_header Host $host;", "proxy_set_header Host $http_host;", // the test's port is not 443
	)...).Replace(server)
	log := filepath.Join(dir, "error.log")
	conf := "daemon off;\nmaster_process off;\npid " + dir + "/pid;\nerror_log " + log + ";\nevents {}\nhttp {\n" +
		"access_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		conf += kind + "_temp_path " + filepath.Join(dir, kind) + ";\n"
	}
	file := filepath.Join(dir, "nginx.conf")
	storagetest.Must(t, os.WriteFile(file, []byte(conf+changed+"}\n"), 0o600))
	t.Cleanup(func() {
		if b, err := os.ReadFile(log); err == nil && t.Failed() {
			t.Logf("nginx:\n%s", b)
		}
	})
	startProgram(t, exec.Command(nginx, "-p", dir, "-e", log, "-c", file), address)
}

// startBehindNginx starts a Gatehouse behind nginx. path is that of the issuer. The client trusts any certificate.
func startBehindNginx(t *testing.T, conf, path string) (s *servertest.Server, client *http.Client) {
	t.Helper()
	address := storagetest.FreeAddress(t)
	s = servertest.Start(t, storagetest.URL(t, storagetest.Engines(t)[0]), servertest.Options{
		Issuer: "https://" + address + path, Path: path,
		Env: map[string]string{"GATEHOUSE_TRUSTED_PROXIES": "127.0.0.1/32"},
	})
	u, err := url.Parse(s.URL)
	storagetest.Must(t, err)
	startNginx(t, conf, "id.example.com", address, "server 127.0.0.1:8080;", "server "+u.Host+";")
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}} // not the address of the proxy
	transport := &http.Transport{
		DialContext: dialer.DialContext, DisableCompression: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	t.Cleanup(transport.CloseIdleConnections)
	s.HTTP.Transport = transport
	s.URL = s.Issuer
	return s, s.HTTP
}

func TestLargeStatePassesThroughNginx(t *testing.T) {
	t.Parallel()
	s, _ := startBehindNginx(t, documentFiles(t, "../../docs/reverse-proxies.md")["nginx.conf"], "")
	s.User("alice")
	app := s.App()
	for _, size := range []int{4 << 10, 8 << 10, 12 << 10} {
		state := strings.Repeat("s", size)
		if got := s.Browser().Code(app, "alice", "state", state).Query().Get("state"); got != state {
			t.Errorf("the redirect has a state of %d bytes, want the %d bytes of the request", len(got), size)
		}
	}
}

func TestClientAddressPassesThroughNginx(t *testing.T) {
	t.Parallel()
	s, client := startBehindNginx(t, documentFiles(t, "../../docs/reverse-proxies.md")["nginx.conf"], "")
	service := s.Service("jobs")
	req := s.AsClient("/oauth2/token", service, url.Values{"grant_type": {"client_credentials"}})
	req.Header.Set("X-Forwarded-For", "203.0.113.7") // forged
	res, err := client.Do(req)
	storagetest.Must(t, err)
	storagetest.Must(t, res.Body.Close())
	if res.StatusCode != http.StatusOK {
		t.Fatalf("token request: %s, want 200", res.Status)
	}
	storagetest.Eventually(t, "the audit row is written", func() bool {
		events, err := s.Store.Audit.Rows(t.Context(), audit.Filter{Event: "access_token.issued", Limit: 1})
		storagetest.Must(t, err)
		if len(events) == 1 && events[0].Address != "127.0.0.2" {
			t.Fatalf("the audit row has the address %s, want 127.0.0.2", events[0].Address)
		}
		return len(events) == 1
	})
}

func TestIssuerWithPathWorksThroughNginx(t *testing.T) {
	t.Parallel()
	files := documentFiles(t, "../../docs/reverse-proxies.md")
	server, locations := files["nginx.conf"], files["nginx-path.conf"]
	begin := strings.Index(server, "    location / {")
	if begin < 0 || locations == "" {
		t.Fatal("docs/reverse-proxies.md has no location block")
	}
	s, client := startBehindNginx(t, server[:begin]+locations+"}\n", "/auth")
	host := strings.TrimSuffix(s.Issuer, "/auth")
	for _, path := range []string{
		"/auth/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/auth",
		"/.well-known/openid-configuration/auth",
	} {
		res, err := client.Get(host + path)
		storagetest.Must(t, err)
		body, err := io.ReadAll(res.Body)
		storagetest.Must(t, err)
		storagetest.Must(t, res.Body.Close())
		want := `"issuer":"` + s.Issuer + `"`
		if res.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("GET %s: %s %s, want 200 with %s", path, res.Status, body, want)
		}
	}
	s.User("alice")
	app := s.App()
	s.Token(app, servertest.CodeForm(s.Browser().Code(app, "alice"), app)).OK(t)
}
