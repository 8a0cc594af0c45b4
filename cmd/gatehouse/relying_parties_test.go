package main

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"gatehouse/storage/storagetest"
)

// provider is `gatehouse serve` with TLS of its own, as relying parties on the internet meet it.
type provider struct {
	issuer, cert, key string
	env               map[string]string
	server            *process
}

const rpPassword = "a password for relying parties"

func startProvider(t *testing.T) *provider {
	t.Helper()
	p := newProvider(t)
	p.serve(t)
	return p
}

// newProvider returns a provider with a user that is not started yet.
func newProvider(t *testing.T) *provider {
	t.Helper()
	dir := t.TempDir()
	address := storagetest.FreeAddress(t)
	p := &provider{issuer: "https://" + address, cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
	selfSigned(t, p.cert, p.key)
	p.env = map[string]string{
		"GATEHOUSE_ISSUER": p.issuer, "GATEHOUSE_LISTEN": address, "GATEHOUSE_DATABASE_URL": "sqlite:" + filepath.Join(dir, "gatehouse.db"),
		"GATEHOUSE_SECRET_KEY": base64.StdEncoding.EncodeToString(storagetest.Key[:]), "GATEHOUSE_TLS_CERT_FILE": p.cert, "GATEHOUSE_TLS_KEY_FILE": p.key,
		"GATEHOUSE_REGISTRATION": "open",
	}
	if _, stderr, code := command(t, p.env, rpPassword+"\n", "user", "create", "--username", "alice", "--email", "alice@example.com", "--name", "Alice Example", "--password-stdin"); code != exitOK {
		t.Fatal(stderr)
	}
	return p
}

func (p *provider) serve(t *testing.T) *process {
	t.Helper()
	p.server = start(t, p.env, "serve")
	p.server.stderr.waitFor(t, `"msg":"listening"`, p.server.ended)
	return p.server
}

// selfSigned writes a certificate for 127.0.0.1 that signs itself.
func selfSigned(t *testing.T, certFile, keyFile string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	storagetest.Must(t, err)
	selfSignedBy(t, private, certFile, keyFile)
}

// selfSignedBy writes a certificate for 127.0.0.1 and its private key.
func selfSignedBy(t *testing.T, private crypto.Signer, certFile, keyFile string) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	storagetest.Must(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	storagetest.Must(t, err)
	storagetest.Must(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	storagetest.Must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
}

// client registers a client by the command line.
func (p *provider) client(t *testing.T, metadata string) (id, secret string) {
	t.Helper()
	return (&cluster{env: p.env}).client(t, metadata)
}

func TestRelyingParties(t *testing.T) {
	dir := needs(t, "RELYING_PARTIES")
	needs(t, "CHROME")
	p := startProvider(t)

	t.Run("openid-client", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), "node", filepath.Join(dir, "openid-client.mjs"), p.issuer, "alice", rpPassword)
		cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+p.cert)
		out, err := cmd.CombinedOutput()
		if n := strings.Count(string(out), "ok "); err != nil || n != 9 {
			t.Errorf("%v, %d parts passed, want 9:\n%s", err, n, out)
		}
	})

	t.Run("zitadel", func(t *testing.T) {
		id, secret := p.client(t, `{"client_name":"zitadel","grant_types":["authorization_code","refresh_token"],"redirect_uris":["https://app.example/cb"],
			"post_logout_redirect_uris":["https://app.example/bye"],"scope":"openid email offline_access"}`)
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "relying-party"), p.issuer, id, secret, "https://app.example/cb")
		cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+p.cert)
		stdin, err := cmd.StdinPipe()
		storagetest.Must(t, err)
		stdout, err := cmd.StdoutPipe()
		storagetest.Must(t, err)
		errs := &strings.Builder{}
		cmd.Stderr = errs
		storagetest.Must(t, cmd.Start())
		lines := bufio.NewReader(stdout)
		authorize, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("%v: %s", err, errs)
		}
		callback := consentedCode(t, strings.TrimSpace(authorize), "alice", rpPassword, p.cert)
		_, err = fmt.Fprintln(stdin, callback)
		storagetest.Must(t, err)
		rest, _ := io.ReadAll(lines)
		// The library posts the logout request itself, without the browser's cookies, and hands on where to send the browser.
		to, ok := strings.CutPrefix(strings.TrimSpace(string(rest)), "ok alice@example.com ")
		if err := cmd.Wait(); err != nil || !ok || !strings.HasPrefix(to, p.issuer+"/oauth2/logout?request=") {
			t.Fatalf("%v %s %s", err, rest, errs)
		}
		if got := locationOf(t, to, p.cert); got != "https://app.example/bye?state=the+state" {
			t.Errorf("the logout leads to %s", got)
		}
	})

	t.Run("oidc-client-ts", func(t *testing.T) { singlePage(t, dir, p) })
}

// locationOf is where a URL redirects a browser without a session.
func locationOf(t *testing.T, address, cert string) string {
	t.Helper()
	pem, err := os.ReadFile(cert)
	storagetest.Must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	storagetest.Must(t, err)
	res, err := transport.RoundTrip(req)
	storagetest.Must(t, err)
	defer func() { _ = res.Body.Close() }()
	return res.Header.Get("Location")
}

// singlePage runs oidc-client-ts in Chromium, from a page of another origin.
func singlePage(t *testing.T, dir string, p *provider) {
	page, err := os.ReadFile(filepath.Join(dir, "spa.html"))
	storagetest.Must(t, err)
	library, err := os.ReadFile(filepath.Join(dir, "node_modules/oidc-client-ts/dist/browser/oidc-client-ts.min.js"))
	storagetest.Must(t, err)
	settings := map[string]string{"issuer": p.issuer}
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/settings.json":
			_ = json.NewEncoder(w).Encode(settings) // the browser closed the connection
		case "/oidc-client-ts.min.js":
			w.Header().Set("Content-Type", "text/javascript")
			_, _ = w.Write(library)
		default:
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write(page)
		}
	}))
	pair, err := tls.LoadX509KeyPair(p.cert, p.key)
	storagetest.Must(t, err)
	app.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	app.StartTLS()
	defer app.Close()
	settings["client_id"], _ = p.client(t, `{"client_name":"Single page","token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"],
		"redirect_uris":["`+app.URL+`/cb","`+app.URL+`/silent"],"post_logout_redirect_uris":["`+app.URL+`/out"],"scope":"openid profile email offline_access"}`)
	b := openBrowser(t, chromedp.Flag("ignore-certificate-errors", true))
	result := func(step string) map[string]any {
		t.Helper()
		b.do("wait for the result of the page", chromedp.WaitVisible(`//pre[contains(., '"step":"`+step+`"') or contains(., '"failed"')]`))
		out := map[string]any{}
		storagetest.Must(t, json.Unmarshal([]byte(evaluate[string](b, `document.querySelector("#result").textContent`)), &out))
		return out
	}
	b.do("sign in", chromedp.Navigate(app.URL), visible("to continue to"), chromedp.SendKeys(chromedp.CSS("#username"), "alice"),
		chromedp.SendKeys(chromedp.CSS("#password"), rpPassword), press("Sign in"), visible("wants access"), press("Allow"))
	in := result("in")
	if state, _ := in["state"].(map[string]any); in["email"] != "alice@example.com" || in["rotated"] != true || in["same"] != true || state["deep"] == nil {
		t.Errorf("signed in: %v", in)
	}
	b.do("leave", chromedp.Navigate(app.URL+"/leave"))
	if out := result("out"); fmt.Sprint(out["state"]) != "map[left:true]" {
		t.Errorf("signed out: %v", out)
	}
	b.do("look again in a frame", chromedp.Navigate(app.URL+"/gone"))
	if gone := result("gone"); gone["error"] != "login_required" {
		t.Errorf("in a frame afterwards: %v", gone)
	}
}
