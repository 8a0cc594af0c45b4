package main

import (
	"bufio"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// cluster is two serve processes on one database.
type cluster struct {
	env    map[string]string
	issuer string
	nodes  []*process
	urls   []string
}

func startCluster(t *testing.T, db string) *cluster {
	t.Helper()
	c := &cluster{env: map[string]string{
		"GATEHOUSE_DATABASE_URL": db, "GATEHOUSE_SECRET_KEY": base64.StdEncoding.EncodeToString(storagetest.Key[:]), "GATEHOUSE_DATABASE_POOL": "4",
	}}
	addresses := []string{freeAddress(t), freeAddress(t)}
	c.issuer = "http://" + addresses[0]
	c.env["GATEHOUSE_ISSUER"] = c.issuer
	if _, stderr, code := command(t, c.env, "", "migrate", "up"); code != exitOK {
		t.Fatalf("migrate: %s", stderr)
	}
	for _, address := range addresses {
		env := map[string]string{"GATEHOUSE_LISTEN": address}
		for k, v := range c.env {
			env[k] = v
		}
		p := start(t, env, "serve")
		p.stderr.waitFor(t, `"msg":"listening"`, p.ended)
		c.nodes, c.urls = append(c.nodes, p), append(c.urls, "http://"+address)
	}
	return c
}

// client registers a client by the command line, while the processes run.
func (c *cluster) client(t *testing.T, metadata string) (id, secret string) {
	t.Helper()
	stdout, stderr, code := command(t, c.env, metadata, "client", "create", "--metadata", "-")
	if code != exitOK {
		t.Fatal(stderr)
	}
	var info struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if err := json.Unmarshal([]byte(stdout), &info); err != nil {
		t.Fatal(err)
	}
	return info.ID, info.Secret
}

var hidden = regexp.MustCompile(`name="(request|form_token)" value="([^"]*)"`)

// consentedCode goes through sign-in and consent with a cookie jar, as a browser would, and returns the callback. It
// trusts the certificates in the files.
func consentedCode(t *testing.T, address, username, password string, trusted ...string) *url.URL {
	t.Helper()
	jar, err := cookiejar.New(nil)
	storagetest.Must(t, err)
	roots := x509.NewCertPool()
	for _, file := range trusted {
		b, err := os.ReadFile(file)
		storagetest.Must(t, err)
		roots.AppendCertsFromPEM(b)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	return throughPages(t, &http.Client{Transport: transport, Jar: jar}, address, username, password)
}

// throughPages signs in and consents in a browser that keeps cookies.
func throughPages(t testing.TB, client *http.Client, address, username, password string) *url.URL {
	t.Helper()
	var callback *url.URL
	browser := &http.Client{Transport: client.Transport, Jar: client.Jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Host == "app.example" {
			callback = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}}
	do := func(method, to string, form url.Values) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, to, strings.NewReader(form.Encode()))
		storagetest.Must(t, err)
		if form != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		res, err := browser.Do(req)
		storagetest.Must(t, err)
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		storagetest.Must(t, err)
		return string(b)
	}
	fields := func(page string, more ...string) url.Values {
		v := url.Values{}
		for _, m := range hidden.FindAllStringSubmatch(page, -1) {
			v.Set(m[1], m[2])
		}
		for i := 0; i < len(more); i += 2 {
			v.Set(more[i], more[i+1])
		}
		return v
	}
	u, err := url.Parse(address)
	storagetest.Must(t, err)
	root := u.Scheme + "://" + u.Host
	page := do(http.MethodGet, address, nil)
	page = do(http.MethodPost, root+"/login", fields(page, "username", username, "password", password))
	if callback == nil {
		do(http.MethodPost, root+"/consent", fields(page, "decision", "approve"))
	}
	if callback == nil || callback.Query().Get("code") == "" {
		t.Fatalf("no code: %v\n%s", callback, page)
	}
	return callback
}

// TestTwoProcessesServeOrdinaryClients runs the complete flow with golang.org/x/oauth2 and the remote JWKS of
// coreos/go-oidc, each step at the other process.
func TestTwoProcessesServeOrdinaryClients(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		c := startCluster(t, db)
		serviceID, serviceSecret := c.client(t, `{"client_name":"Service","grant_types":["client_credentials"],"scope":"jobs"}`)
		appID, appSecret := c.client(t, `{"client_name":"App","grant_types":["authorization_code","refresh_token"],"redirect_uris":["https://app.example/cb"],"scope":"read offline_access"}`)
		const password = "a password of the journey"
		if _, stderr, code := command(t, c.env, password+"\n", "user", "create", "--username", "alice", "--email", "alice@example.com", "--password-stdin"); code != exitOK {
			t.Fatal(stderr)
		}

		ctx := t.Context()
		service := clientcredentials.Config{ClientID: serviceID, ClientSecret: serviceSecret, TokenURL: c.urls[1] + "/oauth2/token", Scopes: []string{"jobs"}}
		serviceToken, err := service.Token(ctx)
		storagetest.Must(t, err)
		keys := oidc.NewRemoteKeySet(ctx, c.urls[0]+"/.well-known/jwks.json")
		if _, err := keys.VerifySignature(ctx, serviceToken.AccessToken); err != nil {
			t.Errorf("the service's token: %v", err)
		}

		app := oauth2.Config{
			ClientID: appID, ClientSecret: appSecret, RedirectURL: "https://app.example/cb", Scopes: []string{"read", "offline_access"},
			Endpoint: oauth2.Endpoint{AuthURL: c.urls[0] + "/oauth2/authorize", TokenURL: c.urls[1] + "/oauth2/token"}, // the library finds the method
		}
		verifier := oauth2.GenerateVerifier()
		callback := consentedCode(t, app.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)), "alice", password)
		if callback.Query().Get("iss") != c.issuer || callback.Query().Get("state") != "state" {
			t.Errorf("the callback is %s", callback)
		}
		token, err := app.Exchange(ctx, callback.Query().Get("code"), oauth2.VerifierOption(verifier))
		storagetest.Must(t, err)
		payload, err := keys.VerifySignature(ctx, token.AccessToken)
		if err != nil || !strings.Contains(string(payload), c.issuer) {
			t.Errorf("the user's token: %v %s", err, payload)
		}
		app.Endpoint.TokenURL = c.urls[0] + "/oauth2/token"
		fresh, err := app.TokenSource(ctx, &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
		storagetest.Must(t, err)
		if fresh.RefreshToken == token.RefreshToken {
			t.Error("the refresh token did not rotate")
		}
		post := func(node int, path, id, secret, value string) string {
			t.Helper()
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.urls[node]+path, strings.NewReader(url.Values{"token": {value}}.Encode()))
			storagetest.Must(t, err)
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.SetBasicAuth(id, secret)
			res, err := http.DefaultClient.Do(req)
			storagetest.Must(t, err)
			defer func() { _ = res.Body.Close() }()
			b, err := io.ReadAll(res.Body)
			storagetest.Must(t, err)
			return fmt.Sprint(res.StatusCode, " ", string(b))
		}
		if got := post(1, "/oauth2/introspect", appID, appSecret, fresh.AccessToken); !strings.Contains(got, `"active":true`) {
			t.Errorf("introspection: %s", got)
		}
		if got := post(0, "/oauth2/revoke", appID, appSecret, fresh.RefreshToken); !strings.HasPrefix(got, "200") {
			t.Errorf("revocation: %s", got)
		}
		if got := post(1, "/oauth2/introspect", appID, appSecret, fresh.AccessToken); got != `200 {"active":false}` {
			t.Errorf("after revocation at the other process: %s", got)
		}

		for _, p := range c.nodes {
			if code := p.stop(t); code != exitOK {
				t.Errorf("serve ended with %d:\n%s", code, p.stderr)
			}
		}
		// What the run leaves behind has none of its secrets.
		stdout, _, _ := command(t, c.env, "", "audit", "list", "--json", "--limit", "1000")
		if !strings.Contains(stdout, audit.TokenIssued) || !strings.Contains(stdout, audit.RefreshRotated) {
			t.Errorf("the audit log misses issues that were queued when the processes stopped:\n%s", stdout)
		}
		s := storagetest.Open(t, db, storagetest.NewClock())
		left := map[string]string{"the audit log": stdout, "the database": storagetest.Dump(t, s, db), "a log": c.nodes[0].stderr.String() + c.nodes[1].stderr.String()}
		for where, text := range left {
			for name, secret := range map[string]string{
				"the service's secret": serviceSecret, "the app's secret": appSecret, "the password": password, "the verifier": verifier, "the code": callback.Query().Get("code"),
				"an access token": token.AccessToken, "the refresh token": token.RefreshToken, "its successor": fresh.RefreshToken, "the service's token": serviceToken.AccessToken,
				"the root key": c.env["GATEHOUSE_SECRET_KEY"],
			} {
				if strings.Contains(text, secret) {
					t.Errorf("%s has %s", where, name)
				}
			}
		}
	})
}

func TestServeRefusesOldSchemaAndMigratesOnRequest(t *testing.T) {
	t.Parallel()
	needs(t, "TEST_POSTGRES_DSN")
	env := map[string]string{
		"GATEHOUSE_DATABASE_URL": storagetest.URL(t, storage.Postgres), "GATEHOUSE_SECRET_KEY": base64.StdEncoding.EncodeToString(storagetest.Key[:]),
		"GATEHOUSE_LISTEN": freeAddress(t),
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
	env := map[string]string{"GATEHOUSE_DATABASE_URL": "sqlite:" + t.TempDir() + "/gatehouse.db", "GATEHOUSE_LISTEN": freeAddress(t), "GATEHOUSE_ADMIN_LISTEN": freeAddress(t)}
	p := start(t, env, "serve")
	p.stderr.waitFor(t, `"msg":"listening"`, p.ended)
	c := &cluster{env: env}
	id, secret := c.client(t, `{"grant_types":["client_credentials"],"scope":"jobs"}`)
	if status, _ := get(t, "http://"+env["GATEHOUSE_ADMIN_LISTEN"]+"/debug/pprof/cmdline"); status != http.StatusOK {
		t.Errorf("profiling: %d", status)
	}
	if status, body := get(t, "http://"+env["GATEHOUSE_ADMIN_LISTEN"]+"/debug/pprof/block?seconds=1"); status != http.StatusOK || !strings.Contains(gunzip(t, body), "gatehouse/storage.(*batch).run") {
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
		public, admin := freeAddress(t), freeAddress(t)
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
	admin := freeAddress(t)
	p := startChild(t, nil, "serve", "--database-url", "sqlite:"+t.TempDir()+"/gatehouse.db", "--listen", freeAddress(t), "--admin-listen", admin, "--secret-key", keyText)
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
